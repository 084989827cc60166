//! The worker of one assigned partition in `batch` mode: drives its chain.
//!
//! One task. It looks up and judges what comes, uploads one segment while the next one fills, and
//! settles what the destination holds. A look-up is awaited and judged before anything else
//! happens here, in particular before a mark is acknowledged to the chain: that keeps the rule
//! under which an id may leave the seen ones ([`crate::chain::open`]).
//!
//! Revoked, it takes nothing more, drops the open segment, lets the attempt under way end, and
//! marks and settles that segment if it was created. Whatever it had not settled is read again by
//! whoever has the partition next.

mod adopting;
mod begin;
mod upload;

use crate::chain::{Chain, Limits};
use crate::counters::Counters;
use crate::dead_letter::DeadLetters;
use crate::decisions::Decisions;
use crate::dedupe::Dedupe;
use crate::deliver::Gate;
use crate::health::Health;
use crate::parse::Polled;
use crate::record;
use crate::settle::Settle;
use crate::sink::SegmentSink;
use cloudsync_kafka::{Committer, Consumer, PartitionRecords};
use cloudsync_runtime::{Moment, kill_point};
use futures::future::BoxFuture;
use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use upload::{Upload, Uploaded};

/// What all workers of a destination share.
#[derive(Debug)]
pub(crate) struct Context {
    /// The destination's name.
    pub(crate) destination: String,
    /// The topic.
    pub(crate) topic: Arc<str>,
    /// When a segment closes.
    pub(crate) limits: Limits,
    /// Shards of the dedupe store.
    pub(crate) shards: u32,
    /// What our commits carry.
    pub(crate) commit_metadata: String,
    pub(crate) gate: Arc<Gate>,
    pub(crate) dedupe: Arc<Dedupe>,
    pub(crate) decisions: Arc<Decisions>,
    pub(crate) dead_letters: DeadLetters,
    pub(crate) counters: Arc<Counters>,
    pub(crate) health: Health,
    /// The group's member; it goes when it is closed, and then there is nothing left to ask.
    pub(crate) consumer: Weak<Consumer>,
    pub(crate) committer: Committer,
    pub(crate) work: Work,
}

/// How a destination's partitions are worked on.
#[derive(Clone, Debug)]
pub(crate) enum Work {
    /// In `batch` mode: chains of segments in this place.
    Batch(Arc<dyn SegmentSink>),
    /// In `record` mode: what the partitions share.
    Record(Arc<record::Shared>),
}

/// Why a worker goes no further.
#[derive(Debug)]
pub(super) enum Halt {
    /// The partition moves on, or the process ends.
    Revoked,
    /// Somebody has to act: an alarm's name, and the sentence.
    Stopped { alarm: &'static str, why: String },
}

/// The driver of one partition's chain.
pub(super) struct Worker {
    context: Arc<Context>,
    sink: Arc<dyn SegmentSink>,
    revoked: CancellationToken,
    records: PartitionRecords,
    chain: Chain,
    settle: Settle,
    /// Records taken from the log that the open segment had no room for.
    backlog: VecDeque<Polled>,
    upload: Option<BoxFuture<'static, Uploaded>>,
}

pub(crate) use begin::run;

// === impl Worker ===

impl Worker {
    /// Works until the partition is revoked or has to be stopped.
    async fn work(&mut self) -> Halt {
        loop {
            self.mark_if_due().await;
            self.upload_if_due();
            let takes = !self.chain.is_full();
            if takes && !self.backlog.is_empty() && !self.revoked.is_cancelled() {
                self.take_backlog().await;
                continue;
            }
            let flush = self.chain.deadline().filter(|_| self.upload.is_none());
            let marks = self.settle.deadline();
            let deadline = flush.into_iter().chain(marks).min();
            tokio::select! {
                biased;
                () = self.revoked.cancelled() => return Halt::Revoked,
                uploaded = pending_or(&mut self.upload) => {
                    self.upload = None;
                    if let Err(halt) = self.uploaded(uploaded).await {
                        return halt;
                    }
                }
                batch = self.records.recv(), if takes => match batch {
                    Some(batch) => self.queue(batch),
                    None => return Halt::Revoked,
                },
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {}
            }
        }
    }

    fn queue(&mut self, batch: Vec<cloudsync_kafka::PolledRecord>) {
        let Context {
            destination,
            shards,
            ..
        } = &*self.context;
        self.backlog.extend(
            batch
                .into_iter()
                .map(|r| Polled::parse(r, destination, *shards)),
        );
    }

    /// Judges as much of the backlog as the open segment takes.
    async fn take_backlog(&mut self) {
        let met_before = self.chain.position();
        let below = self
            .backlog
            .iter()
            .take_while(|r| r.offset() < met_before)
            .count();
        if below > 0 {
            self.backlog.drain(..below);
            Counters::add(&self.context.counters.polled, below as u64);
            Counters::add(&self.context.counters.redelivered, below as u64);
        }
        let fit = self
            .chain
            .fits(self.backlog.iter().map(|r| (r.offset(), r.bytes())));
        let batch: Vec<_> = self.backlog.drain(..fit).collect();
        if batch.is_empty() {
            return;
        }
        let partition = self.chain.name().partition;
        let dedupe = &self.context.dedupe;
        let Some(answers) = dedupe.look_up(partition, &batch, &self.revoked).await else {
            // The partition is revoked; whoever has it next reads them again.
            return;
        };
        let now = Instant::now();
        for (polled, answer) in batch.iter().zip(answers) {
            let verdict = self.chain.take(polled, answer, now);
            self.context.decisions.judged(partition, polled, verdict);
        }
    }

    /// The store was away: the marks that it did not take are tried again.
    async fn mark_if_due(&mut self) {
        if self
            .settle
            .deadline()
            .is_some_and(|at| at <= Instant::now())
        {
            let released = self.settle.mark_waiting().await;
            self.chain.forget(&released.0);
        }
    }

    fn upload_if_due(&mut self) {
        if self.upload.is_some() || !self.chain.is_due(Instant::now()) {
            return;
        }
        if let Some((segment, lines)) = self.chain.close() {
            let upload = Upload::new(&self.context, &self.sink, segment, self.revoked.clone());
            self.upload = Some(Box::pin(upload.run(lines)));
        }
    }

    async fn uploaded(&mut self, uploaded: Uploaded) -> Result<(), Halt> {
        match uploaded {
            Uploaded::Created {
                subjects,
                marked,
                bytes,
            } => {
                let released = self.settle.marked(subjects, marked).await;
                self.chain.forget(&released.0);
                kill_point(Moment::BetweenMarkAndCommit);
                if let Some(segment) = self.chain.created() {
                    self.settle.created(&segment, bytes);
                }
                Ok(())
            }
            Uploaded::Found { name, ours, theirs } => self.adopt(name, ours, theirs).await,
            Uploaded::GivenUp => Err(Halt::Revoked),
            Uploaded::Failed(why) => Err(Halt::Stopped {
                alarm: "segment_failed",
                why,
            }),
        }
    }

    /// The partition is revoked: ends what is under way, and nothing else.
    async fn drain(&mut self) {
        if let Some(upload) = self.upload.take() {
            let uploaded = upload.await;
            // A found segment is compared by whoever comes next.
            if matches!(uploaded, Uploaded::Created { .. })
                && let Err(halt) = self.uploaded(uploaded).await
            {
                tracing::debug!(?halt, "the last segment was not settled");
            }
        }
        let _no_chain_left_to_tell = self.settle.mark_waiting().await;
    }
}

/// The result of the upload under way; never, if there is none. Dropping it loses nothing.
async fn pending_or(upload: &mut Option<BoxFuture<'static, Uploaded>>) -> Uploaded {
    match upload {
        Some(upload) => upload.await,
        None => futures::future::pending().await,
    }
}
