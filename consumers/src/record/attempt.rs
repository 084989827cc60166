//! Step 4 of the walk, `record` mode: a record in our hands → one attempt to write it.
//!
//! In: a record and, while the dedupe store answers, a lease on it. Out: written, found there,
//! refused for good, or later. Promises: an attempt starts only when lease and breaker allow it,
//! and is over before the lease is; whoever has to wait gives the lease back first. An object
//! under the record's name that no consumer wrote so is nothing against the record: it waits, with
//! an alarm, until somebody has repaired or removed that object.

use super::Walk;
use super::lease::Held;
use crate::chain::closed::subject;
use crate::counters::Counters;
use crate::deliver::Backoff;
use crate::health::Alarm;
use crate::parse::{Named, Polled};
use crate::sink::{Applied, ErrorClass, Outgoing, SinkError};
use crate::worker::Context;
use cloudsync_dedupe::Subject;
use cloudsync_kafka::{Cause, Reason, Receipt};
use cloudsync_runtime::{Moment, kill_point};
use futures::FutureExt;
use std::time::{Duration, SystemTime};
use tokio::time::{Instant, timeout};

/// Attempts that may fail before a record is set aside; those that an outage fails do not count.
const ATTEMPTS: u32 = 16;
/// First bound of the waits between attempts.
const BASE: Duration = Duration::from_millis(50);
/// Last bound of them.
const CAP: Duration = Duration::from_secs(10);

/// How soon an object that somebody has to repair is looked at again, at least.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// A record on its way to the destination.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) polled: Polled,
    pub(super) backoff: Backoff,
    failed: u32,
    /// What was tried, for the dead letter.
    cause: Cause,
    /// Its place is taken by something that has to be looked at.
    alarm: Option<(String, Alarm)>,
}

/// How an attempt ended.
#[derive(Debug)]
pub(super) enum Attempted {
    /// The destination has the record.
    Written { met: Met, receipt: Receipt },
    /// It never will, for the record's own fault; the lease is still ours.
    Refused {
        reason: Reason,
        detail: String,
        held: Option<Held>,
    },
    /// The destination could not take it; not before this has passed. No lease is held.
    Failed(Duration),
    /// Nothing was tried: the destination takes nothing just now, or the lease was gone. No lease
    /// is held.
    Blocked,
}

/// What the write met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Met {
    /// Nothing, as far as the destination tells: this write made the effect. A place that
    /// recognises no duplicate never tells anything else.
    Nothing,
    /// The effect, made from this very place in the log.
    Itself,
    /// The effect, made from another place in the log.
    Another { offset: i64 },
}

enum Wrote {
    Applied(Applied),
    Rejected(SinkError),
}

// === impl Job ===

impl Job {
    pub(super) fn new(polled: Polled) -> Self {
        Self {
            polled,
            backoff: Backoff::new(BASE, CAP),
            failed: 0,
            cause: Cause::default(),
            alarm: None,
        }
    }

    /// What was tried so far.
    pub(super) fn cause(&self) -> Cause {
        self.cause.clone()
    }

    /// Takes note of an attempt that failed by `error`, or that the destination has refused.
    fn note(&mut self, class: &'static str, code: Option<Box<str>>) {
        self.cause.class = Some(class);
        self.cause.code = code;
        self.cause.first_at.get_or_insert_with(SystemTime::now);
    }
}

// === impl Walk ===

impl Walk {
    /// One attempt to write `job`, which is ours by `held`, or by nobody's objection.
    pub(super) async fn attempt(
        &self,
        job: &mut Job,
        named: Named,
        held: Option<Held>,
    ) -> Attempted {
        let subject = subject(named, self.chain.partition, job.polled.offset());
        let polled = job.polled.clone();
        let Some(view) = polled.view() else {
            let detail = "the record cannot be read any more".to_owned();
            return Attempted::Refused {
                reason: Reason::Undecodable,
                detail,
                held,
            };
        };
        let held = match self.keep(subject, held).await {
            Ok(held) => held,
            Err(Lapsed) => return self.give_back(subject, held, Attempted::Blocked).await,
        };
        // Asked, not waited for: nobody waits for a destination with a lease in hand.
        let admitted = self
            .context
            .gate
            .admission(&self.revoked)
            .now_or_never()
            .flatten();
        if admitted.is_none() {
            return self.give_back(subject, held, Attempted::Blocked).await;
        }
        let wanted = self.shared.attempt_time;
        let limit = held.map_or(wanted, |held| held.attempt_time(wanted));
        let record = Outgoing {
            polled: &polled,
            view,
            named,
            partition: self.chain.partition,
        };
        job.cause.attempts = job.cause.attempts.saturating_add(1);
        let mut write = || self.write_within(limit, &record);
        match self.context.gate.once(&mut write).await {
            Ok(wrote) => self.wrote(wrote, job, subject, held).await,
            Err(error) => self.failed(job, subject, held, &error).await,
        }
    }

    /// Makes sure that `held` allows an attempt now, renewing it at half of its life.
    async fn keep(&self, subject: Subject, held: Option<Held>) -> Result<Option<Held>, Lapsed> {
        let Some(lease) = held else { return Ok(None) };
        let wanted = self.shared.attempt_time;
        let allows = |lease: Held| lease.allows(wanted, Instant::now());
        if allows(lease) && !lease.is_half_over(Instant::now()) {
            return Ok(held);
        }
        match self.shared.claims.renew(subject, lease).await {
            Ok(Some(renewed)) if allows(renewed) => Ok(Some(renewed)),
            // The store does not say; what we know of the lease may still be enough.
            Err(_) if allows(lease) => Ok(held),
            Ok(_) | Err(_) => Err(Lapsed),
        }
    }

    async fn give_back(
        &self,
        subject: Subject,
        held: Option<Held>,
        attempted: Attempted,
    ) -> Attempted {
        if held.is_some() {
            self.shared.claims.release(&[subject]).await;
        }
        attempted
    }

    async fn write_within(
        &self,
        limit: Duration,
        record: &Outgoing<'_>,
    ) -> Result<Wrote, SinkError> {
        match timeout(limit, self.shared.sink.apply(record, limit)).await {
            // The destination is well, and the gate shall know it; the record is not.
            Ok(Err(error)) if error.class == ErrorClass::Rejected => Ok(Wrote::Rejected(error)),
            Ok(result) => result.map(Wrote::Applied),
            Err(elapsed) => {
                let action = format!("finish writing {} in {limit:?}", record.named.id);
                Err(SinkError::new(ErrorClass::Outage, action, elapsed))
            }
        }
    }

    async fn wrote(
        &self,
        wrote: Wrote,
        job: &mut Job,
        subject: Subject,
        held: Option<Held>,
    ) -> Attempted {
        let refused = |reason, detail| Attempted::Refused {
            reason,
            detail,
            held,
        };
        let (met, receipt) = match wrote {
            Wrote::Rejected(error) => {
                let detail = error.chain();
                job.note(error.class.as_str(), error.code);
                return refused(Reason::Rejected, detail);
            }
            Wrote::Applied(Applied::Created(receipt)) => (Met::Nothing, receipt),
            Wrote::Applied(Applied::AlreadyThere { offset, receipt }) => {
                let itself = offset == job.polled.offset();
                let met = if itself {
                    Met::Itself
                } else {
                    Met::Another { offset }
                };
                (met, receipt)
            }
            Wrote::Applied(Applied::Conflict(why)) => {
                job.note(ErrorClass::Rejected.as_str(), None);
                return refused(Reason::IdConflict, why);
            }
            Wrote::Applied(Applied::Damaged(why)) => {
                self.alarm(job, why);
                let wait = Attempted::Failed(LOOK_AGAIN);
                return self.give_back(subject, held, wait).await;
            }
        };
        kill_point(Moment::BetweenWriteAndMark);
        Attempted::Written { met, receipt }
    }

    /// Says once what somebody has to look at, until `job` has come to its end.
    fn alarm(&self, job: &mut Job, why: String) {
        if job.alarm.as_ref().is_some_and(|(before, _)| *before == why) {
            return;
        }
        let Context {
            destination,
            health,
            ..
        } = &*self.context;
        let partition = self.chain.partition;
        tracing::error!(destination, partition, error = %why, "repair or remove it; its record waits");
        let alarm = health.alarm(partition, format!("{why}; repair or remove it"));
        job.alarm = Some((why, alarm));
    }

    async fn failed(
        &self,
        job: &mut Job,
        subject: Subject,
        held: Option<Held>,
        error: &SinkError,
    ) -> Attempted {
        Counters::add(&self.context.counters.retries, 1);
        job.note(error.class.as_str(), error.code.clone());
        let at_least = match error.class {
            ErrorClass::Throttled(after) => after,
            _ => Duration::ZERO,
        };
        // What fails while the breaker is not closed is the destination's fault, not the record's.
        job.failed += u32::from(counts(error.class) && self.context.gate.is_closed());
        if job.failed >= ATTEMPTS {
            let detail = format!("{ATTEMPTS} attempts failed; the last: {}", error.chain());
            return Attempted::Refused {
                reason: Reason::Exhausted,
                detail,
                held,
            };
        }
        self.give_back(subject, held, Attempted::Failed(at_least))
            .await
    }
}

/// Whether a failed attempt may be the record's own fault, and brings it nearer to its end.
fn counts(class: ErrorClass) -> bool {
    match class {
        ErrorClass::Transient => true,
        // It asks for time, and says nothing of the record: with a limit on its rate it would
        // otherwise turn a backlog into dead letters.
        ErrorClass::Throttled(_) => false,
        ErrorClass::Outage | ErrorClass::Denied | ErrorClass::Rejected => false,
    }
}

/// The lease is not ours any more, or too short for an attempt.
struct Lapsed;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_for_time_says_nothing_of_the_record() {
        assert!(counts(ErrorClass::Transient));
        assert!(!counts(ErrorClass::Throttled(Duration::from_secs(60))));
        assert!(!counts(ErrorClass::Outage) && !counts(ErrorClass::Denied));
    }
}
