//! `cloudsync demo`: everything at once, and a ledger that shows what became of it.
//!
//! Exit code 1 when anything is lost, doubled or altered, or a sum does not hold; also when
//! something of the input is no record or was refused, for then not all of it is there.

use super::Common;
use super::complaints::Complaints;
use crate::args::{DemoArgs, Output};
use crate::demo::feed::{Counts, Feed};
use crate::demo::journal::{FILE_NAME, Journal};
use crate::demo::kept::KeptLog;
use crate::demo::places;
use crate::demo::progress::Progress;
use crate::demo::settle::{STALLED, settled};
use crate::failure::Failure;
use crate::faults::Front;
use crate::input::format::Format;
use crate::input::{Input, Pointers, Refused};
use crate::ledger::Ledger;
use crate::ledger::count::{Remembered, Sources, count};
use crate::ledger::expected::Expected;
use crate::say;
use crate::settings::{Settings, absolute};
use crate::stack::{Roles, Stack};
use anyhow::Context;
use cloudsync::{Client, ClientSettings};
use cloudsync_consumers::{Counters, DestinationSettings};
use cloudsync_devbroker::Damage;
use cloudsync_kafka::KafkaSettings;
use cloudsync_runtime::redact;
use cloudsync_runtime::signals::Signals;
use indicatif::ProgressBar;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tempfile::TempDir;
use tokio::time::Instant;

/// What the ledger cannot read back, in a demo's directory.
const REMEMBERED: &str = "demo.json";
/// How long everything may take to come up.
const READY: Duration = Duration::from_secs(60);

pub(super) async fn run(args: &DemoArgs, common: &Common) -> Result<(), Failure> {
    let mut signals = Signals::take().context("cannot listen for signals")?;
    tokio::select! {
        result = demo(args, common) => result,
        name = signals.next() => {
            say::note(format_args!("{name}: stopped"));
            Err(Failure::Interrupted(name))
        }
    }
}

async fn demo(args: &DemoArgs, common: &Common) -> Result<(), Failure> {
    let place = Place::of(args)?;
    let mut settings = common.settings(Settings::demo(place.path()), Vec::new())?;
    if args.recount {
        places::recall(&mut settings, place.path())?;
    } else {
        places::lead(&mut settings, &args.destinations, place.path())?;
    }
    if !settings.log_is_embedded() {
        let text = "demo runs on its embedded log; kafka.brokers is for up, gateway and consumer";
        return Err(Failure::usage(text));
    }
    let ledger = if args.recount {
        recount(&settings, place.path()).await?
    } else {
        send_and_count(args, common, &settings, place.path()).await?
    };
    print(&ledger, args.output)?;
    if let Some(line) = verify_line(&place, &settings) {
        common.note(format_args!(
            "\nTo compare the two destinations with each other:\n  {line}"
        ));
    }
    if ledger.is_clean() {
        // A recount has sent nothing.
        return match ledger.left_out() {
            some if some > 0 && !args.recount => Err(Failure::Told),
            _ => Ok(()),
        };
    }
    say::note("\nWhat is wrong:");
    ledger.complaints().iter().for_each(say::note);
    say::note(format_args!(
        "\nEverything is kept in {}",
        place.keep().display()
    ));
    Err(Failure::Told)
}

/// The line that compares the destinations, if they are still there when this has ended.
fn verify_line(place: &Place, settings: &Settings) -> Option<String> {
    if let Place::Given(kept) = place {
        let directory = kept.display();
        return Some(format!(
            "cloudsync verify --data-dir {directory} --with-topic"
        ));
    }
    let variables = settings.destinations.iter().map(|(name, destination)| {
        let clouds = ["s3://", "az://"];
        let stays = clouds.iter().any(|it| destination.url.starts_with(it));
        let variable = format!("CLOUDSYNC_DESTINATIONS__{}__URL", name.to_uppercase());
        stays.then(|| format!("{variable}={}", destination.url))
    });
    let variables: Option<Vec<_>> = variables.collect();
    Some(format!(
        "{} cloudsync verify --no-log",
        variables?.join(" ")
    ))
}

// === where it lies ===

/// The directory of a demo.
enum Place {
    Given(PathBuf),
    Temporary(TempDir),
}

impl Place {
    fn of(args: &DemoArgs) -> Result<Self, Failure> {
        let Some(given) = &args.data_dir else {
            let made = tempfile::Builder::new().prefix("cloudsync-demo-").tempdir();
            return Ok(Self::Temporary(
                made.context("cannot make a temporary directory")?,
            ));
        };
        let path = absolute(given).context("cannot tell the current directory")?;
        let is_there = path.join(FILE_NAME).is_file();
        if args.recount && !is_there {
            let text = format!("{} holds no demo: there is no {FILE_NAME}", path.display());
            return Err(Failure::usage(text));
        }
        if !args.recount && is_there {
            return Err(Failure::usage(format!(
                "{} holds a demo already: --recount makes its ledger again, another directory \
                 begins anew",
                path.display()
            )));
        }
        Ok(Self::Given(path))
    }

    fn path(&self) -> &Path {
        match self {
            Self::Given(path) => path,
            Self::Temporary(directory) => directory.path(),
        }
    }

    fn keep(self) -> PathBuf {
        match self {
            Self::Given(path) => path,
            Self::Temporary(directory) => directory.keep(),
        }
    }
}

// === sending ===

async fn send_and_count(
    args: &DemoArgs,
    common: &Common,
    settings: &Settings,
    directory: &Path,
) -> Result<Ledger, Failure> {
    // Before anything is made: what cannot be read leaves nothing behind.
    let (mut input, total) = open_input(args).await?;
    std::fs::create_dir_all(directory)
        .with_context(|| format!("cannot make {}", directory.display()))?;
    let mut journal =
        Journal::create(&directory.join(FILE_NAME)).context("cannot begin the journal of sends")?;
    places::remember(settings, directory)?;
    for url in places::shown(settings) {
        common.note(format_args!("Records are going to be written to {url}"));
    }
    let mut faulty = settings.clone();
    let front = Front::start(&args.faults, &mut faulty, args.faults_seed).await?;
    let stack = Stack::start(&faulty, &Roles::all(&faulty, directory)).await?;
    stack.ready(READY).await?;
    announce(common, settings, &stack, directory);
    let shown = Shown {
        total,
        quiet: common.quiet,
    };
    let remembered = tokio::select! {
        sent = feed(args, settings, &stack, &mut input, shown, &mut journal) => sent?,
        ended = stack.ended() => return Err(Failure::Failed(ended.into())),
    };
    finish(&stack, settings.grace_period).await;
    front.report().iter().for_each(say::note);
    remember(directory, &remembered)?;
    common.note("Reading the log and both destinations back …");
    let log_id = stack.log_id();
    let sources = sources(settings, stack.kafka(), log_id);
    let ledger = make_ledger(directory, &sources, &remembered).await?;
    stack.close().await?;
    Ok(ledger)
}

/// The input, and how many sends it will be, if that is known.
async fn open_input(args: &DemoArgs) -> Result<(Input, Option<u64>), Failure> {
    match (args.records, &args.file) {
        (Some(count), _) => {
            let again = (count as f64 * args.resend) as u64;
            Ok((Input::generated(count), Some(count + again)))
        }
        (None, Some(file)) => {
            let pointers = Pointers {
                id: args.id_pointer.clone(),
                key: args.key_pointer.clone(),
            };
            let input = Input::open(file, Format::Auto, pointers).await;
            Ok((input.map_err(|error| Failure::Usage(error.into()))?, None))
        }
        (None, None) => {
            let input = Input::earthquakes().context("cannot read the built-in events");
            Ok((input?, None))
        }
    }
}

/// How the progress is shown.
#[derive(Clone, Copy)]
struct Shown {
    /// How many sends it will be, if that is known.
    total: Option<u64>,
    /// Not at all.
    quiet: bool,
}

fn announce(common: &Common, settings: &Settings, stack: &Stack, directory: &Path) {
    common.note(format_args!("Everything lies in {}", directory.display()));
    if let Some(gateway) = stack.addresses().gateway {
        common.note(format_args!(
            "records → gateway {gateway} → log → two consumer groups:"
        ));
    }
    for (name, destination) in &settings.destinations {
        common.note(format_args!(
            "  {} → {name}: {}",
            destination.group,
            redact::url(&destination.url)
        ));
    }
}

/// Sends everything, and waits until every group has committed all of it.
async fn feed(
    args: &DemoArgs,
    settings: &Settings,
    stack: &Stack,
    input: &mut Input,
    shown: Shown,
    journal: &mut Journal,
) -> Result<Remembered, Failure> {
    let gateway = stack
        .addresses()
        .gateway
        .context("the gateway has no address")?;
    let client = Client::new(ClientSettings {
        give_up_after: STALLED,
        ..ClientSettings::to(format!("http://{gateway}"))
    })
    .context("cannot make a client")?;
    let counts = Counts::default();
    let groups: Vec<String> = settings
        .destinations
        .values()
        .map(|destination| destination.group.clone())
        .collect();
    let mut complaints = Complaints::to(None, ProgressBar::hidden())?;
    let mut complain = |refused: Refused| complaints.take(&refused);
    let began = Instant::now();
    let work = async {
        let feed = Feed::new(Some(journal), &counts, &mut complain);
        let stats = feed.run(input, &client, args.resend).await?;
        let waited = settled(stack.kafka(), &groups, stack.readiness(), None).await;
        waited.context("the consumers have not come to the end of the log")?;
        Ok::<_, Failure>((stats, began.elapsed()))
    };
    let (stats, elapsed) = Progress::new(&counts, stack.consumers(), shown.total)
        .quiet(shown.quiet)
        .during(work)
        .await?;
    complaints.end("send --rejects FILE takes all of them")?;
    let redelivered =
        |counters: &std::sync::Arc<Counters>| counters.redelivered.load(Ordering::Relaxed);
    Ok(Remembered {
        duplicates_at_gateway: stats.duplicates,
        not_records: counts.not_records.load(Ordering::Relaxed),
        redelivered: stack
            .consumers()
            .iter()
            .map(|(name, counters)| (name.clone(), redelivered(counters)))
            .collect(),
        // Whole milliseconds come back from a file as the very same number.
        elapsed_seconds: elapsed.as_millis() as f64 / 1_000.0,
    })
}

/// Ends gateway and consumers; the log goes on, to be read.
async fn finish(stack: &Stack, grace: Duration) {
    // Everything is acknowledged: the gateway has nothing to finish.
    stack.stop_intake();
    for left in stack.drain(grace).await {
        say::note(format_args!("after {grace:?} {left}"));
    }
}

// === counting ===

/// Reads only: a log that a start would mend, or a torn one, is counted as it lies there.
async fn recount(settings: &Settings, directory: &Path) -> Result<Ledger, Failure> {
    let log = KeptLog::open(settings, directory.join("log")).await;
    let log = log.map_err(|error| Failure::Failed(error.into()))?;
    let path = directory.join(REMEMBERED);
    let remembered = match std::fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .with_context(|| format!("{} is damaged", path.display()))?,
        // The demo did not come to its end.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Remembered::default(),
        Err(error) => {
            return Err(Failure::Failed(
                anyhow::Error::new(error).context(format!("cannot read {}", path.display())),
            ));
        }
    };
    let sources = Sources {
        log_damage: log.damage().iter().map(Damage::to_string).collect(),
        ..sources(settings, log.kafka(), Some(log.log_id()))
    };
    make_ledger(directory, &sources, &remembered).await
}

fn remember(directory: &Path, remembered: &Remembered) -> Result<(), Failure> {
    let path = directory.join(REMEMBERED);
    let json = serde_json::to_vec_pretty(remembered).context("cannot write JSON")?;
    std::fs::write(&path, json).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(())
}

fn sources<'a>(
    settings: &Settings,
    kafka: &'a KafkaSettings,
    log_id: Option<String>,
) -> Sources<'a> {
    let own =
        |(name, destination): (&String, &DestinationSettings)| (name.clone(), destination.clone());
    Sources {
        kafka,
        log_id,
        log_damage: Vec::new(),
        destinations: settings.destinations.iter().map(own).collect(),
        only: None,
    }
}

async fn make_ledger(
    directory: &Path,
    sources: &Sources<'_>,
    remembered: &Remembered,
) -> Result<Ledger, Failure> {
    let journal = directory.join(FILE_NAME);
    let expected = Expected::read(&journal)
        .with_context(|| format!("cannot read the journal of sends {}", journal.display()))?;
    let ledger = count(expected, sources, remembered).await;
    Ok(ledger.context("cannot make the ledger")?)
}

fn print(ledger: &Ledger, output: Output) -> Result<(), Failure> {
    match output {
        Output::Table => {
            say::data(format_args!("\n{}", ledger.table()));
        }
        Output::Json => {
            let json = serde_json::to_string(ledger).context("cannot write JSON")?;
            say::data(format_args!("{json}\n"));
        }
    }
    Ok(())
}
