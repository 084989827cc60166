//! What may go of the lanes → claimed, and sent on its way by the answer.
//!
//! At most one claim is on its way; what becomes ready meanwhile makes the next one, so claims
//! grow to batches by themselves and a single record never waits for company. Only the first
//! record of a lane is claimed, and only with the permit to write it, so a lease is never held by
//! something that waits.

use super::{BLOCKED, Worker, jitter};
use crate::chain::closed::subject;
use crate::counters::Counters;
use crate::parse::{Content, Named};
use crate::record::attempt::Job;
use crate::record::in_flight::Pass;
use crate::record::lease::{Away, Held};
use cloudsync_dedupe::{Claim, Subject};
use cloudsync_kafka::{Outcome, Reason};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

/// Subjects in one claim.
const CLAIM: usize = 256;
/// Longest wait before a busy id is claimed again.
const BUSY: Duration = Duration::from_millis(250);
/// Spread of those who wait for the same moment.
const A_MOMENT: Duration = Duration::from_millis(250);
/// Wait for an id that this process works on elsewhere; within the partition its end is seen.
const SAME_ID: Duration = Duration::from_millis(50);

/// A record on its way into a claim.
pub(super) struct Head {
    pub(super) lane: usize,
    pub(super) job: Job,
    pub(super) named: Named,
    pub(super) subject: Subject,
    pub(super) pass: Pass,
    pub(super) permit: OwnedSemaphorePermit,
}

/// A claim that was answered.
pub(super) struct Claimed {
    pub(super) heads: Vec<Head>,
    pub(super) before_sending: Instant,
    pub(super) answers: Result<Vec<Claim>, Away>,
}

// === impl Worker ===

impl Worker {
    /// Claims what may go, unless a claim is on its way.
    pub(super) fn claim_if_due(&mut self, now: Instant) {
        if self.claiming.is_some() {
            return;
        }
        let mut heads = Vec::new();
        while heads.len() < CLAIM
            && let Some((lane, job)) = self.lanes.next(now)
        {
            match &job.polled.content {
                Content::Undecodable { why, .. } => {
                    let why = why.clone();
                    self.set_aside(lane, job, Reason::Undecodable, why);
                }
                Content::Record { named, .. } => {
                    let named = *named;
                    match self.head(lane, job, named, heads.is_empty(), now) {
                        Some(head) => heads.push(head),
                        None if self.permit.is_some() => break,
                        None => {}
                    }
                }
            }
        }
        self.spare = None;
        if heads.is_empty() {
            return;
        }
        self.writing += heads.len();
        let walk = Arc::clone(&self.walk);
        self.claiming = Some(Box::pin(async move {
            let subjects: Vec<Subject> = heads.iter().map(|head| head.subject).collect();
            let redriven = heads.iter().filter(|head| head.job.polled.redriven);
            let redriven: Vec<Subject> = redriven.map(|head| head.subject).collect();
            // Their dead letters of before would settle them. What the store is told here twice,
            // or by a process that has ended since, does no harm: only a claim lets anybody write.
            let reopened = walk.shared.claims.reopen(&redriven).await;
            let before_sending = Instant::now();
            let answers = match reopened {
                Ok(()) => walk.shared.claims.claim(&subjects).await,
                Err(Away) => Err(Away),
            };
            Claimed {
                heads,
                before_sending,
                answers,
            }
        }));
    }

    /// Makes `job` ready for a claim; `None`: it is back in its lane.
    fn head(
        &mut self,
        lane: usize,
        job: Job,
        named: Named,
        first: bool,
        now: Instant,
    ) -> Option<Head> {
        self.parked.remove(&lane);
        let gate = &self.walk.context.gate;
        // While the destination takes nothing, one record at a time finds out whether it does.
        let alone = first && self.writing == 0;
        let waits = gate.waits();
        if waits.is_some() || !(alone || gate.is_closed()) {
            let until = waits.unwrap_or(now).min(now + BLOCKED);
            self.lanes.back(lane, job, Some(until + jitter(A_MOMENT)));
            return None;
        }
        let Some(pass) = self.walk.shared.in_flight.enter(named.id) else {
            self.parked.insert(lane);
            self.lanes.back(lane, job, Some(now + SAME_ID));
            return None;
        };
        let writes = &self.walk.shared.writes;
        let permit = self
            .spare
            .take()
            .or_else(|| Arc::clone(writes).try_acquire_owned().ok());
        let Some(permit) = permit else {
            let writes = Arc::clone(writes);
            // One that waits already keeps its place.
            self.permit
                .get_or_insert_with(|| Box::pin(async move { writes.acquire_owned().await.ok() }));
            self.lanes.back(lane, job, None);
            return None;
        };
        // Last, for it costs something.
        if job.is_retry()
            && let Err(at) = self.walk.context.gate.retry()
        {
            self.lanes.back(lane, job, Some(at + jitter(A_MOMENT)));
            return None;
        }
        let subject = subject(named, self.walk.chain.partition, job.polled.offset());
        Some(Head {
            lane,
            job,
            named,
            subject,
            pass,
            permit,
        })
    }

    pub(super) fn claimed(&mut self, claimed: Claimed) {
        let Claimed {
            heads,
            before_sending,
            answers,
        } = claimed;
        match answers {
            Ok(answers) => {
                for (head, answer) in heads.into_iter().zip(answers) {
                    self.answered(head, answer, before_sending);
                }
                self.finish.commit();
            }
            Err(Away) if !self.walk.shared.claims.pauses() => {
                let bypassed = heads.len() as u64;
                Counters::add(&self.walk.context.counters.dedupe_bypassed, bypassed);
                for head in heads {
                    self.write(head, None);
                }
            }
            // No claim, no attempt; readiness says what is waited for.
            Err(Away) => {
                for head in heads {
                    self.wait(head, jitter(BLOCKED));
                }
            }
        }
    }

    fn answered(&mut self, head: Head, answer: Claim, before_sending: Instant) {
        match answer {
            Claim::Granted(lease) | Claim::Mine(lease) | Claim::TakenOver(lease) => {
                self.write(head, Some(Held::new(lease, before_sending)));
            }
            Claim::Done { position } | Claim::DeadLettered { position } => {
                let offset = head.job.polled.offset();
                self.writing -= 1;
                if position == head.subject.position {
                    Counters::add(&self.walk.context.counters.redelivered, 1);
                    self.finish.settle(offset, Outcome::Duplicate);
                } else {
                    self.finish.duplicate(offset);
                }
                self.lanes.done(head.lane);
            }
            Claim::Conflict { stored } => {
                let detail = format!(
                    "id {} was used before with fingerprint {stored}; this record has {}",
                    head.named.id, head.named.fingerprint
                );
                self.writing -= 1;
                self.set_aside(head.lane, head.job, Reason::IdConflict, detail);
            }
            Claim::Busy { remaining } => self.wait(head, jitter(remaining.min(BUSY))),
        }
    }

    /// Back into the lane: no claim, no pass, no permit.
    fn wait(&mut self, head: Head, wait: Duration) {
        self.writing -= 1;
        self.lanes
            .back(head.lane, head.job, Some(Instant::now() + wait));
    }
}
