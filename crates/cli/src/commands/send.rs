//! `cloudsync send`: a file, or standard input, to a gateway.

use crate::args::{Output, SendArgs};
use crate::demo::feed::{Counts, Feed, FeedError};
use crate::failure::Failure;
use crate::input::{Input, InputError, Pointers, Refused};
use crate::ledger::grouped;
use crate::say;
use crate::settings::Settings;
use anyhow::Context;
use cloudsync::client::StreamStats;
use cloudsync::{Client, ClientError, ClientSettings};
use cloudsync_runtime::signals::Signals;
use serde::Serialize;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::sleep;

/// How often it is told that no answer comes.
const TELL: Duration = Duration::from_secs(5);
/// Most complaints that are printed.
const COMPLAINTS: u64 = 100;

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

pub(super) async fn run(args: &SendArgs, config: Option<PathBuf>) -> Result<(), Failure> {
    // It has no setting of its own, but a misspelt one is no less wrong here.
    super::settings(Settings::default(), config.as_ref(), Vec::new())?;
    let client = Client::new(ClientSettings::to(args.endpoint.clone()))
        .map_err(|error| Failure::Usage(error.into()))?;
    let pointers = Pointers {
        id: args.id_pointer.clone(),
        key: args.key_pointer.clone(),
    };
    let mut input = Input::open(&args.file, pointers)
        .await
        .map_err(FeedError::from)?
        .starting_at(args.from_line);
    let mut signals = Signals::take().context("cannot listen for signals")?;
    let (counts, mut complaints) = (Counts::default(), Complaints::to(args.rejects.as_deref())?);
    let mut complain = |refused: Refused| complaints.take(&refused);
    let feed = Feed::new(None, &counts, &mut complain).run(&mut input, &client, 0.0);
    let result = tokio::select! {
        result = telling(feed, &counts, &args.endpoint) => result.map_err(Failure::from),
        name = signals.next() => {
            say::note(format_args!("{name}: stopped{}", way_on(args, &counts)));
            Err(Failure::Told)
        }
    };
    complaints.end()?;
    let summary = Summary::of(&counts, result.as_ref().copied().unwrap_or_default());
    summary.print(args.output);
    result?;
    if summary.refused + summary.not_records > 0 {
        return Err(Failure::Told);
    }
    Ok(())
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

/// What is no record, or was refused: to a file, or to stderr, as far as a person reads.
struct Complaints {
    count: u64,
    file: Option<BufWriter<File>>,
    /// The file cannot be written.
    failed: Option<io::Error>,
}

impl Complaints {
    fn to(file: Option<&Path>) -> Result<Self, Failure> {
        let file = file.map(|path| {
            let made = File::create(path);
            made.with_context(|| format!("cannot write {}", path.display()))
        });
        Ok(Self {
            count: 0,
            file: file
                .transpose()
                .map_err(Failure::Usage)?
                .map(BufWriter::new),
            failed: None,
        })
    }

    fn take(&mut self, refused: &Refused) {
        self.count += 1;
        if let Some(file) = &mut self.file {
            let line = serde_json::to_string(refused).map_err(io::Error::other);
            let written = line.and_then(|line| writeln!(file, "{line}"));
            self.failed = self.failed.take().or_else(|| written.err());
        } else if self.count <= COMPLAINTS {
            say::note(refused);
        }
    }

    fn end(mut self) -> Result<(), Failure> {
        if let Some(file) = &mut self.file {
            let flushed = file.flush();
            let failed = self.failed.take().or_else(|| flushed.err());
            failed
                .map_or(Ok(()), Err)
                .context("cannot write the rejects")?;
        } else if self.count > COMPLAINTS {
            let more = grouped(self.count - COMPLAINTS);
            say::note(format_args!(
                "… and {more} more; --rejects FILE takes all of them"
            ));
        }
        Ok(())
    }
}

/// `feed`, telling now and then that it waits, if it does.
async fn telling<T>(feed: impl Future<Output = T>, counts: &Counts, endpoint: &str) -> T {
    let mut feed = pin!(feed);
    let answered = || counts.acked.load(Ordering::Relaxed) + counts.refused.load(Ordering::Relaxed);
    let mut before = 0;
    loop {
        tokio::select! {
            result = &mut feed => return result,
            () = sleep(TELL) => {}
        }
        let waiting = counts
            .sent
            .load(Ordering::Relaxed)
            .saturating_sub(answered());
        if waiting > 0 && answered() == before {
            let waiting = grouped(waiting);
            say::note(format_args!(
                "no answer from {endpoint} yet: {waiting} records wait and are sent again"
            ));
        }
        before = answered();
    }
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
            (Output::Json, Ok(json)) => say::data(format_args!("{json}\n")),
            _ => say::data(format_args!(
                "{} sent, {} acknowledged ({} of them before), {} refused, {} not records, {} \
                 sent once more\n",
                grouped(self.sent),
                grouped(self.acked),
                grouped(self.duplicates),
                grouped(self.refused),
                grouped(self.not_records),
                grouped(self.retried),
            )),
        }
    }
}
