//! `cloudsync bench`: measures, and ends by itself.
//!
//! Exit code 1 when anything was lost, doubled or refused, or a sum does not hold.

use super::Common;
use crate::args::{BenchArgs, BenchDedupeArgs, BenchPart, BenchStore, Output};
use crate::bench::by_store;
use crate::bench::crew::Crew;
use crate::bench::measure::{measure, world::World};
use crate::bench::plan::Plan;
use crate::bench::report::Report;
use crate::bench::stores::{self, Stores};
use crate::bench::{plot, table};
use crate::failure::Failure;
use crate::say;
use crate::settings::Settings;
use anyhow::Context;
use cloudsync_runtime::signals::Signals;
use serde::Serialize;
use std::io;
use tempfile::TempDir;
use tokio::signal::unix::{Signal, SignalKind, signal};

pub(super) async fn run(
    args: &BenchArgs,
    common: &Common,
    log: Option<String>,
) -> Result<(), Failure> {
    if let Some(BenchPart::Dedupe(args)) = &args.part {
        return dedupe(args, common, log).await;
    }
    let plan = Plan::of(args)?;
    if plan.lose_one {
        say::note("test hook: one acknowledged record is left out of what arrived");
    }
    let mut stops = Stops::listen()?;
    if args.dedupe == BenchStore::All {
        let one = async |plan: &Plan| once(plan, common, log.clone(), &mut stops).await;
        let report = Box::pin(by_store::measure(&plan, one)).await?;
        let table = by_store::table::of;
        return tell(args.output, &report, table, &report.complaints, || Ok(()));
    }
    let report = once(&plan, common, log, &mut stops).await?;
    tell(args.output, &report, table::of, &report.complaints, || {
        let Some(path) = &args.plot else {
            return Ok(());
        };
        let written = std::fs::write(path, plot::of(&report));
        written.with_context(|| format!("cannot write {}", path.display()))
    })
}

/// One pipeline, or a part of one, with processes and a directory of its own.
async fn once(
    plan: &Plan,
    common: &Common,
    log: Option<String>,
    stops: &mut Stops,
) -> Result<Report, Failure> {
    let directory = directory()?;
    let settings = Settings::demo(directory.path());
    let settings = common.settings(settings, Vec::new())?;
    let mut crew = Crew::new(log);
    let result = {
        let mut world = World::new(plan, settings, directory.path(), &mut crew)?;
        stops.or(measure(&mut world)).await
    };
    // Before the directory goes, which they write to.
    crew.end().await;
    Ok(Report::of(plan, result?))
}

/// `bench dedupe`.
async fn dedupe(
    args: &BenchDedupeArgs,
    common: &Common,
    log: Option<String>,
) -> Result<(), Failure> {
    let mut stops = Stops::listen()?;
    let directory = directory()?;
    let settings = common.settings(Settings::demo(directory.path()), Vec::new())?;
    let mut stores = Stores::of(args, settings, directory.path())?;
    let mut crew = Crew::new(log);
    let result = stops.or(Box::pin(stores.measure(&mut crew))).await;
    // Before anything is taken away that they write to.
    crew.end().await;
    let left = stores.leave_nothing().await;
    let left = left.context("what the bench wrote is still in the Redis");
    let figures = match (result, left) {
        (result, Ok(())) => result?,
        (Ok(_), Err(error)) => return Err(Failure::Failed(error)),
        // Both are told, also of a bench that was interrupted.
        (Err(failure), Err(error)) => {
            say::note(format_args!("{error:#}"));
            return Err(failure);
        }
    };
    let report = stores::report::Report::of(&stores, &figures);
    let table = stores::table::of;
    tell(args.output, &report, table, &report.complaints, || Ok(()))
}

/// Where a bench writes to; it goes with it.
fn directory() -> anyhow::Result<TempDir> {
    let made = tempfile::Builder::new()
        .prefix("cloudsync-bench-")
        .tempdir();
    made.context("cannot make a temporary directory")
}

/// What ends a bench before it is done.
struct Stops {
    signals: Signals,
    hangup: Option<Signal>,
}

impl Stops {
    fn listen() -> anyhow::Result<Self> {
        Ok(Self {
            signals: Signals::take().context("cannot listen for signals")?,
            hangup: hangup().context("cannot listen for SIGHUP")?,
        })
    }

    /// What `work` comes to, or that it was stopped.
    async fn or<T>(&mut self, work: impl Future<Output = anyhow::Result<T>>) -> Result<T, Failure> {
        tokio::select! {
            result = work => result.map_err(Failure::from),
            name = self.signals.next() => Err(stopped(name)),
            () = heard(self.hangup.as_mut()) => Err(stopped("SIGHUP")),
        }
    }
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

async fn heard(hangup: Option<&mut Signal>) {
    match hangup {
        Some(hangup) => {
            hangup.recv().await;
        }
        None => std::future::pending().await,
    }
}

/// Prints `report`, does what is left, and says what is wrong.
fn tell<Report: Serialize>(
    output: Output,
    report: &Report,
    table: impl Fn(&Report) -> String,
    complaints: &[String],
    rest: impl FnOnce() -> anyhow::Result<()>,
) -> Result<(), Failure> {
    let text = match output {
        Output::Table => format!("\n{}", table(report)),
        Output::Json => {
            let json = serde_json::to_string(report).context("cannot write JSON")?;
            format!("{json}\n")
        }
    };
    say::data(text);
    rest()?;
    if complaints.is_empty() {
        return Ok(());
    }
    say::note("\nWhat is wrong:");
    complaints.iter().for_each(say::note);
    Err(Failure::Told)
}
