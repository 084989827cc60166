//! `cloudsync bench`: measures, and ends by itself.
//!
//! Exit code 1 when anything was lost, doubled or refused, or a sum does not hold.

use super::Common;
use crate::args::{BenchArgs, Output};
use crate::bench::crew::Crew;
use crate::bench::measure::{measure, world::World};
use crate::bench::plan::Plan;
use crate::bench::report::Report;
use crate::bench::{plot, table};
use crate::failure::Failure;
use crate::say;
use crate::settings::Settings;
use anyhow::Context;
use cloudsync_runtime::signals::Signals;

pub(super) async fn run(
    args: &BenchArgs,
    common: &Common,
    log: Option<String>,
) -> Result<(), Failure> {
    let plan = Plan::of(args)?;
    if plan.lose_one {
        say::note("test hook: one acknowledged record is left out of what arrived");
    }
    let mut signals = Signals::take().context("cannot listen for signals")?;
    let made = tempfile::Builder::new()
        .prefix("cloudsync-bench-")
        .tempdir();
    let directory = made.context("cannot make a temporary directory")?;
    let settings = Settings::demo(directory.path());
    let settings = common.settings(settings, Vec::new())?;
    let mut crew = Crew::new(log);
    let result = {
        let mut world = World::new(&plan, settings, directory.path(), &mut crew)?;
        tokio::select! {
            result = measure(&mut world) => result.map_err(Failure::from),
            name = signals.next() => {
                say::note(format_args!("{name}: stopped"));
                Err(Failure::Interrupted(name))
            }
        }
    };
    // Before the directory goes, which they write to.
    crew.end().await;
    tell(args, &Report::of(&plan, result?))
}

fn tell(args: &BenchArgs, report: &Report) -> Result<(), Failure> {
    let text = match args.output {
        Output::Table => format!("\n{}", table::of(report)),
        Output::Json => {
            let json = serde_json::to_string(report).context("cannot write JSON")?;
            format!("{json}\n")
        }
    };
    say::data(text);
    if let Some(path) = &args.plot {
        let written = std::fs::write(path, plot::of(report));
        written.with_context(|| format!("cannot write {}", path.display()))?;
    }
    if report.complaints.is_empty() {
        return Ok(());
    }
    say::note("\nWhat is wrong:");
    report.complaints.iter().for_each(say::note);
    Err(Failure::Told)
}
