//! `record` mode: each record an object of its own, under a name that follows from what it is.
//!
//! Here a lease decides who writes, and the destination what counts: whoever writes a record
//! again meets its name taken and compares. A record's way within its partition:
//! [`lanes`] its key's lane, one after another → [`in_flight`] not while this process works on the
//! same effect → [`lease`] claimed → `attempt` written under [`name`], compared with what lies
//! there ([`object`]) → `finish` marked, settled, committed; or `set_aside` dead-lettered.
//! `worker` drives it for one assigned partition.
//!
//! Promises, beyond those of the walk: one effect for each (tenant, key, id) on a destination that
//! refuses a second create, whatever the dedupe store forgets; records of one key in the order of
//! the log; a record that waits (for a retry, for another holder, for the destination) holds its
//! lane, no lease, and nobody else.

// 1. which may go
pub mod in_flight;
pub mod lanes;

// 2. whose it is
pub mod lease;

// 3. what is written
mod attempt;
pub mod name;
pub mod object;

// 4. how it ends
mod finish;
mod set_aside;

// 5. who drives it
mod worker;

use crate::chain::ChainName;
use crate::chain::start::{Commit, changed, of_commit};
use crate::worker::Context;
use cloudsync_dedupe::{DedupeStore, Token};
use cloudsync_kafka::AssignedPartition;
use in_flight::InFlight;
use lease::Claims;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use worker::Worker;

/// What all partitions of a destination share in this process, for as long as it runs: a consumer
/// that is made anew goes on with it.
#[derive(Debug)]
pub(crate) struct Shared {
    claims: Claims,
    in_flight: InFlight,
    /// One permit for each write that runs or is not marked yet.
    writes: Arc<Semaphore>,
    attempt_time: Duration,
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
    /// For a destination whose writes go through `store`: `concurrency` of them at a time, each
    /// of at most `attempt_time`. `instance_id` names this process among its peers, if it has a
    /// name that no other one bears.
    pub(crate) fn new(
        store: Arc<dyn DedupeStore>,
        instance_id: Option<&str>,
        concurrency: usize,
        attempt_time: Duration,
    ) -> Self {
        let token = instance_id.map_or_else(Token::random, Token::of_instance);
        let permits = concurrency.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            claims: Claims::new(store, token),
            in_flight: InFlight::default(),
            writes: Arc::new(Semaphore::new(permits)),
            attempt_time,
        }
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
