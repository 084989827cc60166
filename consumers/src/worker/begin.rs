//! From a partition that was assigned to a worker that works: where does its chain go on?
//!
//! In: the partition's committed offset, and what lies at the destination. Out: the offset to read
//! from, committed where there was none. Promises: never behind a record that no segment covers.

use super::{Context, Halt, Worker, upload};
use crate::chain::reader::SegmentReader;
use crate::chain::start::{self, Commit, Start};
use crate::chain::{Chain, ChainName, SegmentName};
use crate::deliver::Backoff;
use crate::settle::Settle;
use crate::sink::SegmentSink;
use cloudsync_kafka::{AssignedPartition, CommitError, CommitTracker};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// Works on an assigned partition until `revoked`. Settles nothing that it may not.
pub(crate) async fn run(
    context: Arc<Context>,
    sink: Arc<dyn SegmentSink>,
    assigned: AssignedPartition,
    log: Arc<str>,
    revoked: CancellationToken,
) {
    let partition = assigned.partition;
    let halt = match begin(&context, &sink, assigned, log, &revoked).await {
        Ok(mut worker) => {
            let halt = match worker.first_steps().await {
                Ok(()) => worker.work().await,
                Err(halt) => halt,
            };
            if matches!(halt, Halt::Revoked) {
                worker.drain().await;
            }
            halt
        }
        Err(halt) => halt,
    };
    if let Halt::Stopped { alarm, why } = halt {
        let destination = &context.destination;
        tracing::error!(destination, partition, alarm, error = %why, "a partition was stopped");
        let _alarm = context.health.alarm(partition, format!("{alarm}: {why}"));
        revoked.cancelled().await;
    }
}

async fn begin(
    context: &Arc<Context>,
    sink: &Arc<dyn SegmentSink>,
    assigned: AssignedPartition,
    log: Arc<str>,
    revoked: &CancellationToken,
) -> Result<Begun, Halt> {
    let partition = assigned.partition;
    let name = ChainName {
        topic: Arc::clone(&context.topic),
        log,
        partition,
    };
    let committed = assigned
        .committed
        .as_ref()
        .map(|c| (c.offset, c.metadata.as_str()));
    let start = match start::of_commit(committed, &context.commit_metadata) {
        Commit::Boundary(position) if position > assigned.log_end => {
            return Err(rewound(context, position, assigned.log_end));
        }
        Commit::Boundary(position) => Start::At {
            position,
            ahead: Vec::new(),
        },
        Commit::Changed(found) => return Err(changed(context, &found)),
        Commit::Unknown => listed(context, sink, &name, assigned.start, revoked).await?,
    };
    let known = committed.is_some_and(|(_, metadata)| metadata == context.commit_metadata);
    let (position, ahead, inside) = match start {
        Start::At { position, ahead } => (position, ahead, false),
        Start::Inside { segment, ahead } => (segment, ahead, true),
    };
    let tracker = CommitTracker::new(partition, assigned.epoch, position);
    let mut chain = Chain::new(name.clone(), context.limits, position, ahead);
    if !sink.is_conditional() {
        chain = chain.without_lines();
    }
    let worker = Worker {
        context: Arc::clone(context),
        sink: Arc::clone(sink),
        revoked: revoked.clone(),
        records: assigned.records,
        settle: Settle::new(
            tracker,
            context.committer.clone(),
            Arc::clone(&context.dedupe),
            Arc::clone(&context.counters),
        ),
        backlog: VecDeque::new(),
        upload: None,
        chain,
    };
    let first = match (inside, known) {
        (true, _) => First::Compare(name.segment(position)),
        (false, false) => First::CommitOrigin,
        (false, true) => First::Nothing,
    };
    Ok(Begun { worker, first })
}

/// A worker, and what it does before the first record.
struct Begun {
    worker: Worker,
    first: First,
}

enum First {
    Nothing,
    /// A group's origin is committed before its first segment.
    CommitOrigin,
    /// The reading starts inside this segment.
    Compare(SegmentName),
}

impl Begun {
    async fn first_steps(&mut self) -> Result<(), Halt> {
        match std::mem::replace(&mut self.first, First::Nothing) {
            First::Nothing => Ok(()),
            First::CommitOrigin => self.worker.commit_origin().await,
            First::Compare(segment) => self.worker.adopt_at_start(segment).await,
        }
    }

    async fn work(&mut self) -> Halt {
        self.worker.work().await
    }

    async fn drain(&mut self) {
        self.worker.drain().await;
    }
}

// === impl Worker ===

impl Worker {
    async fn commit_origin(&mut self) -> Result<(), Halt> {
        let origin = self.settle.watermark();
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        loop {
            let error = match self.context.committer.commit_now(origin).await {
                Ok(()) => return Ok(()),
                Err(CommitError::NotOwned { .. } | CommitError::Closed) => {
                    return Err(Halt::Revoked);
                }
                Err(error) => error,
            };
            tracing::warn!(%error, "cannot commit a partition's origin; trying again");
            tokio::select! {
                () = sleep(backoff.next(rand::random(), Duration::ZERO)) => {}
                () = self.revoked.cancelled() => return Err(Halt::Revoked),
            }
        }
    }
}

/// Reading on from the log's start would pass its records off as met before.
fn rewound(context: &Context, committed: i64, log_end: i64) -> Halt {
    let why = format!(
        "the group committed offset {committed}, but the log ends at {log_end}: it was made anew \
         or cut off; this log needs another group and another prefix (destinations.{}.url)",
        context.destination
    );
    Halt::Stopped {
        alarm: "foreign_chain",
        why,
    }
}

fn changed(context: &Context, found: &str) -> Halt {
    Halt::Stopped {
        alarm: "destination_changed",
        why: start::changed(&context.destination, found, &context.commit_metadata),
    }
}

async fn listed(
    context: &Context,
    sink: &Arc<dyn SegmentSink>,
    chain: &ChainName,
    reading: i64,
    revoked: &CancellationToken,
) -> Result<Start, Halt> {
    let prefix = chain.prefix();
    let list = || sink.list(&prefix);
    let names = context
        .gate
        .until_done(revoked, list)
        .await
        .ok_or(Halt::Revoked)?;
    let segments = names.iter().filter_map(|name| SegmentName::parse(name));
    let starts: Vec<i64> = segments.map(|segment| segment.start).collect();
    let last_end = match start::before(&starts, reading) {
        Some(last) => end_of(context, sink, &chain.segment(last), revoked).await?,
        None => None,
    };
    Ok(start::of_listing(reading, &starts, last_end))
}

async fn end_of(
    context: &Context,
    sink: &Arc<dyn SegmentSink>,
    segment: &SegmentName,
    revoked: &CancellationToken,
) -> Result<Option<i64>, Halt> {
    let got = upload::get(context, sink, &segment.to_string(), revoked)
        .await
        .ok_or(Halt::Revoked)?;
    let Some(object) = got else { return Ok(None) };
    let read = SegmentReader::open(&object).map(|reader| reader.header.end);
    read.map(Some).map_err(|error| Halt::Stopped {
        alarm: "damaged_segment",
        why: format!("{segment} is damaged: {error}; repair or remove it, then restart"),
    })
}
