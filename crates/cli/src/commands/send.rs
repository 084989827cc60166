//! `cloudsync send`: a file, or standard input, to a gateway.
//!
//! In: records of any number, read as they are sent. Out: the counts; every complaint with its
//! line; and, where it ended early, the line to go on from. Promises: constant memory; an interrupt
//! reads no more, and waits for the answers to what was sent, `LAST_ANSWERS` at most.

mod progress;

use super::Common;
use super::complaints::Complaints;
use crate::args::{Output, SendArgs};
use crate::demo::feed::{Counts, Feed, FeedError};
use crate::failure::Failure;
use crate::input::format::Format;
use crate::input::{Input, InputError, Pointers, Refused};
use crate::ledger::grouped;
use crate::say;
use crate::settings::Settings;
use anyhow::Context;
use cloudsync::client::ClientMetrics;
use cloudsync::{Client, ClientError, ClientSettings};
use cloudsync_runtime::chain;
use cloudsync_runtime::signals::Signals;
use indicatif::ProgressBar;
use progress::{Progress, Trouble};
use serde::Serialize;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;

/// How long answers that are on their way are waited for after an interrupt.
const LAST_ANSWERS: Duration = Duration::from_secs(5);

/// What was sent, and what became of it.
#[derive(Debug, Serialize)]
struct Summary {
    /// Records given to the gateway.
    sent: u64,
    /// Of those, acknowledged: durable in the log.
    acked: u64,
    /// Of the acknowledged, those that the gateway recognised and did not write again. Others may
    /// be recognised by the consumers.
    duplicates_at_gateway: u64,
    /// Records that the gateway refused for good.
    refused: u64,
    /// Lines or elements that are no records, and were not sent.
    not_records: u64,
    /// Records sent once more, because an answer did not come.
    retried: u64,
    /// Connections opened.
    connections: u64,
}

pub(super) async fn run(args: &SendArgs, common: &Common) -> Result<(), Failure> {
    // It has no setting of its own, but a misspelt one is no less wrong here.
    common.settings(Settings::default(), Vec::new())?;
    let trouble = Arc::new(Trouble::default());
    let client = Client::new(ClientSettings {
        metrics: Some(Arc::clone(&trouble) as Arc<dyn ClientMetrics>),
        ..ClientSettings::to(args.endpoint.clone())
    })
    .map_err(|error| Failure::Usage(error.into()))?;
    let mut input = open(args).await?;
    let (counts, meter) = (Counts::default(), input.meter());
    let bar = progress::bar(&meter, common.quiet);
    let mut complaints = Complaints::to(args.rejects.as_deref(), bar.clone())?;
    let mut complain = |refused: Refused| complaints.take(&refused);
    let (stop, stopped) = watch::channel(false);
    let feed = Feed::new(None, &counts, &mut complain).until(stopped);
    let feed = feed.run(&mut input, &client, 0.0);
    let (endpoint, known) = (&args.endpoint, Arc::clone(&trouble));
    let shown = Progress::new(bar.clone(), &counts, meter, endpoint, known, common.quiet);
    let sending = Sending {
        args,
        counts: &counts,
        trouble: &trouble,
        stop,
        bar: &bar,
    };
    let result = sending.run(shown.during(feed)).await;
    complaints.end("--rejects FILE takes all of them")?;
    let summary = Summary::of(&counts);
    summary.print(args.output);
    result?;
    if summary.sent + summary.not_records == 0 {
        common.note("there was nothing to send");
    }
    if summary.refused + summary.not_records > 0 {
        return Err(Failure::Told);
    }
    Ok(())
}

/// What somebody who interrupts it wants to know.
struct Sending<'a> {
    args: &'a SendArgs,
    counts: &'a Counts,
    trouble: &'a Trouble,
    /// Tells the feed to read no more.
    stop: watch::Sender<bool>,
    bar: &'a ProgressBar,
}

impl Sending<'_> {
    async fn run<T>(
        &self,
        work: impl Future<Output = Result<T, FeedError>>,
    ) -> Result<(), Failure> {
        let mut signals = Signals::take().context("cannot listen for signals")?;
        tokio::pin!(work);
        tokio::select! {
            result = &mut work => self.ended(result),
            name = signals.next() => {
                let last = tokio::select! {
                    result = self.last_answers(name, work) => result,
                    name = signals.next() => Err(Failure::Interrupted(name)),
                };
                self.bar.finish_and_clear();
                if last.is_err() {
                    say::note(format_args!("{name}: stopped{}", self.way_on()));
                }
                last
            }
        }
    }

    fn ended<T>(&self, result: Result<T, FeedError>) -> Result<(), Failure> {
        let some = self.counts.settled_before.load(Ordering::Relaxed) > self.args.from_line;
        if some && matches!(result, Err(FeedError::Input(_))) {
            say::note(format_args!("the input ends early{}", self.way_on()));
        }
        result?;
        Ok(())
    }

    /// Reads no more, and waits for the answers that are on their way. Interrupted all the same,
    /// unless that was everything.
    async fn last_answers<T>(
        &self,
        name: &'static str,
        work: impl Future<Output = Result<T, FeedError>>,
    ) -> Result<(), Failure> {
        let _feed_is_there = self.stop.send(true).is_ok();
        let open = self.counts.open();
        if open > 0 && self.trouble.is_cut_off() {
            return Err(Failure::Interrupted(name));
        }
        if open > 0 {
            self.bar.suspend(|| {
                say::note(format_args!(
                    "{name}: reads no more, and waits for {} answers, {LAST_ANSWERS:?} at most; a \
                     second signal ends it at once",
                    grouped(open)
                ));
            });
        }
        match timeout(LAST_ANSWERS, work).await {
            Ok(Ok(_)) if self.counts.read_to_end.load(Ordering::Relaxed) => Ok(()),
            Ok(Err(error)) => {
                say::note(format_args!("error: {}", chain(&error)));
                Err(Failure::Interrupted(name))
            }
            Ok(Ok(_)) | Err(_) => Err(Failure::Interrupted(name)),
        }
    }

    /// How an input that was not sent to its end is gone on with.
    fn way_on(&self) -> String {
        let settled = self.counts.settled_before.load(Ordering::Relaxed);
        let from = settled.max(self.args.from_line);
        let ids = if self.args.id_pointer.is_none() && self.counts.open() > 0 {
            " (ids were made: what was sent from there on is sent again as another record)"
        } else {
            ""
        };
        format!(
            ": everything before line {from} has its answer; go on with --from-line {from}{ids}"
        )
    }
}

async fn open(args: &SendArgs) -> Result<Input, Failure> {
    let pointed = args.id_pointer.is_some() || args.key_pointer.is_some();
    if args.format == Format::Lines && pointed {
        return Err(Failure::usage(
            "a line of text has no fields: --id-pointer and --key-pointer are for JSON and CSV",
        ));
    }
    let pointers = Pointers {
        id: args.id_pointer.clone(),
        key: args.key_pointer.clone(),
    };
    let input = Input::open(&args.file, args.format, pointers).await;
    Ok(input.map_err(FeedError::from)?.starting_at(args.from_line))
}

impl From<FeedError> for Failure {
    fn from(error: FeedError) -> Self {
        match error {
            FeedError::Input(InputError::Open { .. } | InputError::NoColumn { .. })
            | FeedError::Client(ClientError::Endpoint { .. }) => Self::Usage(error.into()),
            FeedError::Input(_) | FeedError::Client(_) | FeedError::Journal(_) => {
                Self::Failed(error.into())
            }
        }
    }
}

// === impl Summary ===

impl Summary {
    fn of(counts: &Counts) -> Self {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Self {
            sent: load(&counts.sent),
            acked: load(&counts.acked),
            duplicates_at_gateway: load(&counts.duplicates),
            refused: load(&counts.refused),
            not_records: load(&counts.not_records),
            retried: load(&counts.retried),
            connections: load(&counts.connections),
        }
    }

    fn print(&self, output: Output) {
        match (output, serde_json::to_string(self)) {
            (Output::Json, Ok(json)) => {
                say::data(format_args!("{json}\n"));
            }
            _ => {
                // Nothing is said where the gateway knows of none: the consumers may.
                let known = match self.duplicates_at_gateway {
                    0 => String::new(),
                    some => format!(" ({} of them the gateway had already)", grouped(some)),
                };
                say::data(format_args!(
                    "{} sent, {} acknowledged{known}, {} refused, {} not records, {} sent once \
                     more\n",
                    grouped(self.sent),
                    grouped(self.acked),
                    grouped(self.refused),
                    grouped(self.not_records),
                    grouped(self.retried),
                ));
            }
        }
    }
}
