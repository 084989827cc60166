//! `record` mode: each record an object of its own, under a name that follows from what it is.
//!
//! Here a lease decides who writes, and the destination what counts: whoever writes a record
//! again meets its name taken and compares. A record's way within its partition:
//! [`lanes`] its key's lane, one after another → [`in_flight`] not while this process works on the
//! same effect → [`lease`] claimed → `attempt` given to the destination's
//! [`RecordSink`]: an HTTP endpoint, or `objects`, which writes it under [`name`] and compares it
//! with what lies there ([`object`]) → `finish` marked, settled, committed; or `set_aside`
//! dead-lettered. `worker` drives it for one assigned partition.
//!
//! Promises, beyond those of the walk: one effect for each (tenant, key, id) on a destination
//! that recognises a second write, whatever the dedupe store forgets; on one that does not, no
//! attempt without a claim that was granted (`dedupe.on_unavailable` may say otherwise); records
//! of one key in the order of the log; a record that waits (for a retry, for another holder, for
//! the destination) holds its lane, no lease, and nobody else.

// 1. which may go
pub mod in_flight;
pub mod lanes;

// 2. whose it is
pub mod lease;

// 3. what is written
mod attempt;
pub mod name;
pub mod object;
mod objects;

// 4. how it ends
mod finish;
mod set_aside;

// 5. who drives it
mod worker;

use crate::chain::ChainName;
use crate::chain::start::{Commit, changed, of_commit};
use crate::settings::DestinationSettings;
use crate::sink::{RecordSink, Sink};
use crate::worker::Context;
use cloudsync_kafka::AssignedPartition;
use in_flight::InFlight;
use lease::Claims;
use objects::ObjectRecords;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use worker::Worker;

/// What all partitions of a destination share in this process, for as long as it runs: a consumer
/// that is made anew goes on with it.
#[derive(Debug)]
pub(crate) struct Shared {
    sink: Arc<dyn RecordSink>,
    claims: Claims,
    in_flight: InFlight,
    /// One permit for each write that runs or is not marked yet.
    writes: Arc<Semaphore>,
    attempt_time: Duration,
    /// Failures of its own after which a record is set aside.
    attempts: u32,
}

/// What the parts of one partition's work share.
#[derive(Debug)]
struct Walk {
    context: Arc<Context>,
    shared: Arc<Shared>,
    chain: ChainName,
    revoked: CancellationToken,
}

// === impl Shared ===

impl Shared {
    /// For the destination `sink`, whose writes are claimed by `claims`, as `settings` say: so many
    /// at a time, each of at most so long, each record so often.
    pub(crate) fn new(
        sink: Arc<dyn RecordSink>,
        claims: Claims,
        settings: &DestinationSettings,
    ) -> Self {
        let permits = settings.concurrency.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            sink,
            claims,
            in_flight: InFlight::default(),
            writes: Arc::new(Semaphore::new(permits)),
            attempt_time: settings.attempt_timeout(),
            attempts: settings.attempts,
        }
    }
}

/// `sink` as a place that takes records.
pub(crate) fn records(sink: Sink) -> Arc<dyn RecordSink> {
    match sink {
        Sink::Objects(objects) => Arc::new(ObjectRecords::new(objects)),
        Sink::Records(records) => records,
    }
}

/// Works on an assigned partition until `revoked`. Settles nothing that it may not.
pub(crate) async fn run(
    context: Arc<Context>,
    shared: Arc<Shared>,
    assigned: AssignedPartition,
    log: Arc<str>,
    revoked: CancellationToken,
) {
    let partition = assigned.partition;
    let committed = assigned
        .committed
        .as_ref()
        .map(|c| (c.offset, c.metadata.as_str()));
    if let Commit::Changed(found) = of_commit(committed, &context.commit_metadata) {
        let why = changed(&context.destination, &found, &context.commit_metadata);
        let why = format!("destination_changed: {why}");
        tracing::error!(destination = context.destination, partition, error = %why, "a partition was stopped");
        let _alarm = context.health.alarm(partition, why);
        revoked.cancelled().await;
    } else {
        let topic = Arc::clone(&context.topic);
        let chain = ChainName {
            topic,
            log,
            partition,
        };
        let mut worker = Worker::new(
            Walk {
                context,
                shared,
                chain,
                revoked,
            },
            assigned,
        );
        worker.work().await;
        worker.drain().await;
    }
}
