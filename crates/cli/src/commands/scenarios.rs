//! `cloudsync scenarios`: clients that repeat themselves in six ways, and what came of it.
//!
//! In: nothing, or a gateway and the settings of what stands behind it. Out: expected beside found,
//! a line for each scenario and destination, or one JSON object. Exit code 1 on a difference, 2 when
//! the scenarios could not be run or counted.

use super::Common;
use crate::args::{Output, ScenariosArgs};
use crate::failure::Failure;
use crate::say;
use crate::scenarios::deployment::{Deployment, elsewhere};
use crate::scenarios::plan::six;
use crate::scenarios::run::{Row, Runner};
use crate::scenarios::table;
use crate::settings::{Settings, absolute};
use anyhow::Context;
use cloudsync_dedupe::settings::is_shared;
use cloudsync_runtime::signals::Signals;
use std::time::Duration;
use tempfile::TempDir;
use uuid::Uuid;

pub(super) async fn run(args: &ScenariosArgs, common: &Common) -> Result<(), Failure> {
    let mut signals = Signals::take().context("cannot listen for signals")?;
    tokio::select! {
        result = scenarios(args, common) => result.map_err(|failure| match failure {
            // Exit code 1 says that something was found, and nothing else.
            Failure::Failed(error) => Failure::Usage(error),
            other => other,
        }),
        name = signals.next() => {
            say::note(format_args!("{name}: stopped"));
            Err(Failure::Interrupted(name))
        }
    }
}

async fn scenarios(args: &ScenariosArgs, common: &Common) -> Result<(), Failure> {
    let (settings, directory) = settings(args, common)?;
    let target = args.target.as_deref();
    let settings = with_url(settings, common)?;
    for address in elsewhere(&settings, target) {
        say::note(format_args!("not on this machine: {address}"));
    }
    let mut deployment = match (target, &directory) {
        (Some(target), _) => Deployment::there(settings, target).await?,
        (None, Some(directory)) => Deployment::here(settings, directory.path().to_owned()).await?,
        (None, None) => return Err(Failure::usage("there is no directory for the data")),
    };
    let mut rows = Vec::new();
    let ran = run_all(args, common, &mut deployment, &mut rows).await;
    // What was found is told, also where the next one could not be run or counted.
    let ended = deployment.end().await;
    print(&rows, args)?;
    ran?;
    ended?;
    if rows.iter().all(|row| row.ok) {
        return Ok(());
    }
    say::note("\nWhat is not as expected:");
    for row in &rows {
        for difference in &row.differences {
            say::note(format_args!("scenario {}: {difference}", row.scenario));
        }
    }
    if let Some(directory) = directory {
        say::note(format_args!(
            "\nEverything is kept in {}",
            directory.keep().display()
        ));
    }
    Err(Failure::Told)
}

/// The settings, and where everything lies if it is started here.
fn settings(args: &ScenariosArgs, common: &Common) -> Result<(Settings, Option<TempDir>), Failure> {
    if args.target.is_none() {
        let made = tempfile::Builder::new()
            .prefix("cloudsync-scenarios-")
            .tempdir();
        let made = made.context("cannot make a temporary directory")?;
        let ours = Settings::demo(made.path());
        let settings = common.settings(ours.clone(), Vec::new())?;
        if !settings.log_is_embedded() {
            return Err(Failure::usage(
                "without --target everything runs on a log of its own; say with --target URL which \
                 gateway writes to kafka.brokers",
            ));
        }
        is_left_alone(&ours, &settings)?;
        return Ok((settings, Some(made)));
    }
    let data_dir = absolute(&args.data_dir).context("cannot tell the current directory")?;
    let defaults = match args.up {
        true => Settings::embedded(&data_dir),
        false => Settings::default(),
    };
    let mut settings = common.settings(defaults, args.flags())?;
    if settings.log_is_embedded() {
        settings.kafka.brokers = settings.log.listen.to_string();
    }
    Ok((settings, None))
}

/// What is started here writes into places of its own, and into nobody's.
fn is_left_alone(ours: &Settings, settings: &Settings) -> Result<(), Failure> {
    for (name, destination) in &settings.destinations {
        let mine = ours.destinations.get(name).map(|it| it.url.as_str());
        if mine != Some(destination.url.as_str()) && destination.url != "null://" {
            return Err(Failure::usage(format!(
                "without --target everything is started here, with destinations of its own; unset \
                 destinations.{name}.url, or say with --target URL which gateway writes there"
            )));
        }
    }
    if is_shared(&settings.dedupe.url) && settings.dedupe.namespace == ours.dedupe.namespace {
        return Err(Failure::usage(format!(
            "without --target the ids of a trial would lie among those of the namespace {}; set \
             dedupe.namespace to another one, or unset dedupe.url",
            settings.dedupe.namespace
        )));
    }
    Ok(())
}

/// Without the destinations that have no URL, which nobody delivers to.
fn with_url(mut settings: Settings, common: &Common) -> Result<Settings, Failure> {
    let unset = settings
        .destinations
        .extract_if(.., |_, it| it.url.is_empty());
    let unset: Vec<String> = unset.map(|(name, _)| name).collect();
    if settings.destinations.is_empty() {
        return Err(Failure::usage(
            "no destination has a url, so nothing could be counted; set destinations.NAME.url as the \
             consumers have it, or say --up for what `cloudsync up` runs",
        ));
    }
    for name in unset {
        common.note(format_args!(
            "left out: {name}, since destinations.{name}.url is not set"
        ));
    }
    Ok(settings)
}

async fn run_all(
    args: &ScenariosArgs,
    common: &Common,
    deployment: &mut Deployment,
    rows: &mut Vec<Row>,
) -> Result<(), Failure> {
    for place in &deployment.places {
        if let Some(why) = &place.unread {
            let name = &place.name;
            common.note(format_args!("not known at {name}, but for its lag: {why}"));
        }
    }
    // The last twelve digits of a UUID are random.
    let id = Uuid::now_v7().simple().to_string();
    let mut runner = Runner {
        deployment,
        run: format!("scenarios-{}", id.get(20..).unwrap_or_default()),
        limit: Duration::from_secs(args.timeout),
    };
    common.note(format_args!("request ids begin with {}", runner.run));
    for scenario in six(args.records) {
        if !args.only.is_empty() && !args.only.contains(&scenario.number) {
            continue;
        }
        common.note(format_args!("{} {} …", scenario.number, scenario.name));
        let row = runner.run(&scenario).await?;
        let said = if row.ok {
            "as expected"
        } else {
            "not as expected"
        };
        common.note(format_args!("  {said}, after {:.1} s", row.seconds));
        // What is open would be met again in the next one.
        let is_open = row.destinations.iter().any(|it| it.lag != 0);
        rows.push(row);
        if is_open {
            common.note("not everything is settled, so the others are not run");
            break;
        }
    }
    Ok(())
}

fn print(rows: &[Row], args: &ScenariosArgs) -> Result<(), Failure> {
    match args.output {
        Output::Table => say::data(table::render(rows)),
        Output::Json => {
            let ok = rows.iter().all(|row| row.ok);
            let json = serde_json::json!({ "ok": ok, "scenarios": rows });
            say::data(format_args!("{json}\n"))
        }
    };
    Ok(())
}
