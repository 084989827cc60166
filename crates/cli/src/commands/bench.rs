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
use std::io;
use tokio::signal::unix::{Signal, SignalKind, signal};

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
    let hangup = hangup().context("cannot listen for SIGHUP")?;
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
            name = signals.next() => Err(stopped(name)),
            () = heard(hangup) => Err(stopped("SIGHUP")),
        }
    };
    // Before the directory goes, which they write to.
    crew.end().await;
    tell(args, &Report::of(&plan, result?))
}

fn stopped(name: &'static str) -> Failure {
    say::note(format_args!("{name}: stopped"));
    Failure::Interrupted(name)
}

/// SIGHUP, which comes when the terminal goes: what a bench leaves behind is large. `None`: who
/// started it has it ignored, as nohup does.
fn hangup() -> io::Result<Option<Signal>> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    if ignored.is_some_and(|mask| mask & 1 == 1) {
        return Ok(None);
    }
    signal(SignalKind::hangup()).map(Some)
}

async fn heard(hangup: Option<Signal>) {
    match hangup {
        Some(mut hangup) => {
            hangup.recv().await;
        }
        None => std::future::pending().await,
    }
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
