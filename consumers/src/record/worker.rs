//! The worker of one assigned partition in `record` mode: drives its lanes.
//!
//! One task: it takes records into their lanes, claims what may go (`claiming`), and lets writes,
//! dead letters and marks run beside each other.
//!
//! Revoked, it takes and claims nothing more, lets the attempts under way end, and marks and
//! settles what they wrote. Whatever it had not settled is read again by whoever comes next.

mod claiming;

use super::Walk;
use super::attempt::{Attempted, Job, Met};
use super::finish::{Finish, Written};
use super::lanes::Lanes;
use super::lease::Held;
use crate::counters::Counters;
use crate::parse::{Content, Polled, tenant_of};
use claiming::{Claimed, Head};
use cloudsync_dedupe::{LogPosition, Subject};
use cloudsync_kafka::{
    AssignedPartition, CommitTracker, Outcome, PartitionRecords, PolledRecord, Reason,
};
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep_until};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// Records that wait in the lanes.
const IN_HAND: usize = 2_048;
/// Offsets between the oldest unsettled one and the newest. It bounds what a crash reads again,
/// and the memory: a record keeps the batch alive that it came with.
const SPAN: usize = 65_536;
/// Longest wait for a destination or a store that takes nothing just now.
const BLOCKED: Duration = Duration::from_secs(1);

/// A job that is back from the destination or from the dead-letter topic.
struct Ended {
    lane: usize,
    job: Job,
    what: What,
}

enum What {
    Written(Written),
    SetAside(Reason),
    /// Back into the lane.
    Failed(Duration),
    Blocked,
    /// The partition was revoked.
    GivenUp,
}

/// The driver of one partition's lanes.
pub(super) struct Worker {
    walk: Arc<Walk>,
    records: PartitionRecords,
    lanes: Lanes<Job>,
    claiming: Option<BoxFuture<'static, Claimed>>,
    running: FuturesUnordered<BoxFuture<'static, Ended>>,
    /// Records that are being claimed, written or set aside.
    writing: usize,
    permit: Option<BoxFuture<'static, Option<OwnedSemaphorePermit>>>,
    spare: Option<OwnedSemaphorePermit>,
    /// Lanes whose first id this process works on already.
    parked: BTreeSet<usize>,
    finish: Finish,
}

// === impl Worker: the loop ===

impl Worker {
    pub(super) fn new(walk: Walk, assigned: AssignedPartition) -> Self {
        let walk = Arc::new(walk);
        let tracker = CommitTracker::new(assigned.partition, assigned.epoch, assigned.start);
        Self {
            finish: Finish::new(Arc::clone(&walk), tracker),
            walk,
            records: assigned.records,
            lanes: Lanes::default(),
            claiming: None,
            running: FuturesUnordered::new(),
            writing: 0,
            permit: None,
            spare: None,
            parked: BTreeSet::new(),
        }
    }

    /// Works until the partition is revoked.
    pub(super) async fn work(&mut self) {
        loop {
            let now = Instant::now();
            self.claim_if_due(now);
            self.finish.mark_if_due(now);
            let takes = self.lanes.len() < IN_HAND && self.finish.span() < SPAN;
            let lanes_due = self.lanes.next_due().filter(|_| self.claiming.is_none());
            let due = lanes_due.into_iter().chain(self.finish.deadline()).min();
            tokio::select! {
                biased;
                () = self.walk.revoked.cancelled() => return,
                claimed = pending_or(&mut self.claiming) => {
                    self.claiming = None;
                    self.claimed(claimed);
                }
                Some(ended) = self.running.next(), if !self.running.is_empty() => self.ended(ended),
                () = self.finish.marked() => {
                    for lane in std::mem::take(&mut self.parked) {
                        self.lanes.wake(lane);
                    }
                }
                permit = pending_or(&mut self.permit) => {
                    self.permit = None;
                    self.spare = permit;
                }
                batch = self.records.recv(), if takes => match batch {
                    Some(batch) => self.take(batch),
                    None => return,
                },
                () = sleep_until(due.unwrap_or(now)), if due.is_some() => {}
            }
        }
    }

    /// The partition is revoked: ends what is under way, and nothing else.
    pub(super) async fn drain(&mut self) {
        (self.permit, self.spare) = (None, None);
        if let Some(claiming) = self.claiming.take() {
            let Claimed { heads, answers, .. } = claiming.await;
            let granted = heads.iter().zip(answers.unwrap_or_default());
            let granted = granted.filter(|(_, claim)| claim.lease().is_some());
            let granted: Vec<Subject> = granted.map(|(head, _)| head.subject).collect();
            self.walk.shared.claims.release(&granted).await;
        }
        while let Some(ended) = self.running.next().await {
            self.ended(ended);
        }
        self.finish.drain().await;
    }

    fn take(&mut self, batch: Vec<PolledRecord>) {
        let walk = Arc::clone(&self.walk);
        for record in batch {
            if !self.finish.polled(record.offset) {
                continue;
            }
            let polled = Polled::parse(record, &walk.context.destination, walk.context.shards);
            match (&polled.content, polled.view()) {
                (
                    Content::Record {
                        addressed: false, ..
                    }
                    | Content::Undecodable {
                        addressed: false, ..
                    },
                    _,
                ) => {
                    Counters::add(&walk.context.counters.not_addressed, 1);
                    self.finish.settle(polled.offset(), Outcome::NotAddressed);
                }
                (Content::Record { .. }, Some(view)) => {
                    let tenant = xxh3_64(tenant_of(&view).as_bytes());
                    let hash = xxh3_64_with_seed(view.partition_key().as_bytes(), tenant);
                    self.lanes.push(lane_of(hash), Job::new(polled));
                }
                (Content::Record { .. } | Content::Undecodable { .. }, _) => {
                    // Without a key there is no order to keep.
                    self.lanes
                        .push(lane_of(polled.offset().cast_unsigned()), Job::new(polled));
                }
            }
        }
        self.finish.commit();
    }
}

// === impl Worker: jobs that are out ===

impl Worker {
    fn write(&mut self, head: Head, held: Option<Held>) {
        let walk = Arc::clone(&self.walk);
        self.running.push(Box::pin(async move {
            let Head {
                lane,
                mut job,
                named,
                subject,
                pass,
                permit,
            } = head;
            let what = match walk.attempt(&mut job, named, held).await {
                Attempted::Written { met, receipt } => What::Written(Written {
                    held,
                    subject: made_by(subject, met),
                    offset: job.polled.offset(),
                    met,
                    receipt,
                    _pass: pass,
                    _permit: permit,
                }),
                Attempted::Refused {
                    reason,
                    detail,
                    held,
                } => {
                    drop(permit);
                    let claimed = held.map(|held| (subject, held));
                    let done = walk.set_aside(&job, reason, detail, claimed).await;
                    if done {
                        What::SetAside(reason)
                    } else {
                        What::GivenUp
                    }
                }
                Attempted::Failed(at_least) => What::Failed(at_least),
                Attempted::Blocked => What::Blocked,
            };
            Ended { lane, job, what }
        }));
    }

    /// Sets aside a record that nobody holds.
    fn set_aside(&mut self, lane: usize, job: Job, reason: Reason, detail: String) {
        let walk = Arc::clone(&self.walk);
        self.writing += 1;
        self.running.push(Box::pin(async move {
            let done = walk.set_aside(&job, reason, detail, None).await;
            let what = if done {
                What::SetAside(reason)
            } else {
                What::GivenUp
            };
            Ended { lane, job, what }
        }));
    }

    fn ended(&mut self, ended: Ended) {
        let Ended {
            lane,
            mut job,
            what,
        } = ended;
        let now = Instant::now();
        self.writing -= 1;
        match what {
            What::Written(written) => {
                self.finish.written(written);
                self.lanes.done(lane);
            }
            What::SetAside(reason) => {
                Counters::add(&self.walk.context.counters.dead_lettered, 1);
                self.finish
                    .settle(job.polled.offset(), Outcome::DeadLettered(reason));
                self.finish.commit();
                self.lanes.done(lane);
            }
            What::Failed(at_least) => {
                // While the destination takes nothing its breaker says when to try again.
                let wait = if self.walk.context.gate.is_closed() {
                    job.backoff.next(rand::random(), at_least)
                } else {
                    at_least.max(jitter(BLOCKED))
                };
                self.lanes.back(lane, job, Some(now + wait));
            }
            What::Blocked => self.lanes.back(lane, job, Some(now + jitter(BLOCKED))),
            What::GivenUp => self.lanes.back(lane, job, None),
        }
    }
}

/// `subject` with the position that made the effect.
fn made_by(subject: Subject, met: Met) -> Subject {
    match met {
        Met::Nothing | Met::Itself => subject,
        Met::Another { offset } => Subject {
            position: LogPosition {
                offset,
                ..subject.position
            },
            ..subject
        },
    }
}

fn lane_of(hash: u64) -> usize {
    usize::try_from(hash % super::lanes::LANES as u64).unwrap_or_default()
}

/// Anything between half of `bound` and all of it.
fn jitter(bound: Duration) -> Duration {
    bound.mul_f64(0.5 + 0.5 * rand::random::<f64>())
}

/// The result of the future, if there is one; never, if there is none. Dropping it loses nothing.
async fn pending_or<T>(future: &mut Option<BoxFuture<'static, T>>) -> T {
    match future {
        Some(future) => future.await,
        None => futures::future::pending().await,
    }
}
