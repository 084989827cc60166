//! `cloudsync send`: a file, or standard input, to a gateway.
//!
//! In: records of any number, read as they are sent. Out: the counts; every complaint with its
//! line; and, where it ended early, the line to go on from. Promises: constant memory.

mod complaints;
mod progress;

use super::Common;
use crate::args::{Output, SendArgs};
use crate::demo::feed::{Counts, Feed, FeedError};
use crate::failure::Failure;
use crate::input::format::Format;
use crate::input::{Input, InputError, Pointers, Refused};
use crate::ledger::grouped;
use crate::say;
use crate::settings::Settings;
use anyhow::Context;
use cloudsync::client::{ClientMetrics, StreamStats};
use cloudsync::{Client, ClientError, ClientSettings};
use cloudsync_runtime::signals::Signals;
use complaints::Complaints;
use progress::{Progress, Trouble};
use serde::Serialize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What was sent, and what became of it.
#[derive(Debug, Serialize)]
struct Summary {
    /// Records given to the gateway.
    sent: u64,
    /// Of those, acknowledged: durable in the log.
    acked: u64,
    /// Of the acknowledged, those that the gateway had acknowledged before.
    duplicates: u64,
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
    let mut signals = Signals::take().context("cannot listen for signals")?;
    let (counts, meter) = (Counts::default(), input.meter());
    let bar = progress::bar(&meter, common.quiet);
    let mut complaints = Complaints::to(args.rejects.as_deref(), bar.clone())?;
    let mut complain = |refused: Refused| complaints.take(&refused);
    let feed = Feed::new(None, &counts, &mut complain).run(&mut input, &client, 0.0);
    let endpoint = &args.endpoint;
    let shown = Progress::new(bar.clone(), &counts, meter, endpoint, trouble, common.quiet);
    let result = tokio::select! {
        result = shown.during(feed) => result.map_err(|error| {
            let some = counts.settled_before.load(Ordering::Relaxed) > args.from_line;
            if some && matches!(error, FeedError::Input(_)) {
                say::note(format_args!("the input ends early{}", way_on(args, &counts)));
            }
            Failure::from(error)
        }),
        name = signals.next() => {
            bar.finish_and_clear();
            say::note(format_args!("{name}: stopped{}", way_on(args, &counts)));
            Err(Failure::Interrupted(name))
        }
    };
    complaints.end()?;
    let summary = Summary::of(&counts, result.as_ref().copied().unwrap_or_default());
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

/// How an input that was not sent to its end is gone on with.
fn way_on(args: &SendArgs, counts: &Counts) -> String {
    let settled = counts.settled_before.load(Ordering::Relaxed);
    let from = settled.max(args.from_line);
    let ids = if args.id_pointer.is_none() {
        " (ids were made: what was sent from there on is sent again as another record)"
    } else {
        ""
    };
    format!(": everything before line {from} has its answer; go on with --from-line {from}{ids}")
}

impl From<FeedError> for Failure {
    fn from(error: FeedError) -> Self {
        match error {
            FeedError::Input(InputError::Open { .. })
            | FeedError::Client(ClientError::Endpoint { .. }) => Self::Usage(error.into()),
            FeedError::Input(_) | FeedError::Client(_) | FeedError::Journal(_) => {
                Self::Failed(error.into())
            }
        }
    }
}

// === impl Summary ===

impl Summary {
    fn of(counts: &Counts, stats: StreamStats) -> Self {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Self {
            sent: load(&counts.sent),
            acked: load(&counts.acked),
            duplicates: stats.duplicates,
            refused: load(&counts.refused),
            not_records: load(&counts.not_records),
            retried: stats.resent,
            connections: stats.connections,
        }
    }

    fn print(&self, output: Output) {
        match (output, serde_json::to_string(self)) {
            (Output::Json, Ok(json)) => {
                say::data(format_args!("{json}\n"));
            }
            _ => {
                say::data(format_args!(
                    "{} sent, {} acknowledged ({} of them before), {} refused, {} not records, {} \
                 sent once more\n",
                    grouped(self.sent),
                    grouped(self.acked),
                    grouped(self.duplicates),
                    grouped(self.refused),
                    grouped(self.not_records),
                    grouped(self.retried),
                ));
            }
        }
    }
}
