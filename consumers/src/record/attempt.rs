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
use crate::deliver::{About, Admission, Alone, Backoff};
use crate::health::Alarm;
use crate::parse::{Named, Polled};
use crate::sink::{Applied, ErrorClass, Outgoing, SinkError};
use crate::worker::Context;
use cloudsync_dedupe::Subject;
use cloudsync_kafka::{Cause, Reason, Receipt};
use cloudsync_runtime::{Moment, kill_point};
use std::time::{Duration, SystemTime};
use tokio::time::{Instant, timeout};

/// First bound of the waits between attempts.
const BASE: Duration = Duration::from_millis(50);
/// Last bound of them.
const CAP: Duration = Duration::from_secs(10);

/// Others that the destination takes between two failures of a record before these are its own.
const OTHERS: u64 = 10;

/// How soon an object that somebody has to repair is looked at again, at least.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// A record on its way to the destination.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) polled: Polled,
    pub(super) backoff: Backoff,
    /// Failures of its own.
    failed: u32,
    /// What was tried, for the dead letter.
    cause: Cause,
    /// It fails while others are taken.
    alone: Option<Alone>,
    /// How it failed last, and what the destination had taken then.
    others: Option<(ErrorClass, u64)>,
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
            alone: None,
            others: None,
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

    /// Whether it has failed before, so that another attempt is a retry.
    pub(super) fn is_retry(&self) -> bool {
        self.others.is_some()
    }

    /// What a failure says now that the destination has taken `taken`.
    fn about(&self, taken: u64) -> About {
        match self.others {
            Some((class, others)) if taken >= others + OTHERS => About::Itself(class),
            Some(_) | None => About::Destination,
        }
    }

    /// It failed with `class`, while the breaker was closed or not, and the destination has taken
    /// `taken`. Out: how many failures of its own it has.
    fn failed(&mut self, class: ErrorClass, about: About, closed: bool, taken: u64) -> u32 {
        let before = self.others.replace((class, taken));
        let own = match class {
            // Where nothing succeeds the breaker opens soon.
            ErrorClass::Transient => before.is_none_or(|(_, others)| taken > others),
            // It asks for time, and says nothing of the record: with a limit on its rate it would
            // otherwise turn a backlog into dead letters.
            ErrorClass::Throttled(_) => false,
            ErrorClass::Outage | ErrorClass::Denied => about.is_itself(class),
            ErrorClass::Rejected => false,
        };
        // What fails while the breaker is not closed is the destination's fault.
        self.failed += u32::from(own && closed);
        self.failed
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
        let gate = &self.context.gate;
        let admitted = if self.revoked.is_cancelled() {
            None
        } else {
            Some(gate.admit())
        };
        let Some(Admission::Go(ticket)) = admitted else {
            return self.give_back(subject, held, Attempted::Blocked).await;
        };
        let wanted = self.shared.attempt_time;
        let limit = held.map_or(wanted, |held| held.attempt_time(wanted));
        let record = Outgoing {
            polled: &polled,
            view,
            named,
            partition: self.chain.partition,
        };
        job.cause.attempts = job.cause.attempts.saturating_add(1);
        let about = job.about(gate.taken());
        let write = self.write_within(limit, &record);
        match gate.once(ticket, about, write).await {
            Ok(wrote) => self.wrote(wrote, job, subject, held).await,
            Err(error) => self.failed(job, subject, held, about, &error).await,
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
        about: About,
        error: &SinkError,
    ) -> Attempted {
        let Context { gate, counters, .. } = &*self.context;
        Counters::add(&counters.retries, 1);
        job.note(error.class.as_str(), error.code.clone());
        let at_least = match error.class {
            ErrorClass::Throttled(after) => after,
            _ => Duration::ZERO,
        };
        if about.is_itself(error.class) && job.alone.is_none() {
            job.alone = Some(gate.lonely().one());
        }
        // Of a part of the destination it says something of that part, and not of the record.
        let about = match gate.lonely().are_few() {
            true => about,
            false => About::Destination,
        };
        let attempts = self.shared.attempts;
        if job.failed(error.class, about, gate.is_closed(), gate.taken()) >= attempts {
            let detail = format!(
                "{attempts} attempts failed while others were taken; the last: {}",
                error.chain()
            );
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

/// The lease is not ours any more, or too short for an attempt.
struct Lapsed;

#[cfg(test)]
mod tests {
    use super::*;
    use cloudsync_kafka::PolledRecord;

    fn job() -> Job {
        let record = PolledRecord {
            offset: 0,
            timestamp_ms: 0,
            key: None,
            value: None,
            headers: None,
        };
        Job::new(Polled::parse(record, "aws", 1))
    }

    #[test]
    fn who_asks_for_time_says_nothing_of_the_record() {
        let (mut job, transient) = (job(), ErrorClass::Transient);
        let minute = ErrorClass::Throttled(Duration::from_secs(60));
        let alone = About::Itself(minute);
        assert_eq!(job.failed(minute, alone, true, 0), 0);
        assert_eq!(job.failed(transient, About::Destination, false, 0), 0);
        assert_eq!(job.failed(transient, About::Destination, true, 1), 1);
        assert_eq!(
            job.failed(transient, About::Destination, true, 1),
            1,
            "an outage"
        );
        assert_eq!(job.failed(transient, About::Destination, true, 2), 2);
    }

    /// A firewall's 403 to one payload is the record's own, and that of a lost password is not.
    #[test]
    fn what_fails_alone_is_at_fault_itself() {
        for class in [ErrorClass::Denied, ErrorClass::Outage] {
            let [mut alone, mut with_all, mut while_open] = [job(), job(), job()];
            for n in 0..5u32 {
                let others = u64::from(n) * OTHERS;
                let about = alone.about(others);
                assert_eq!(alone.failed(class, about, true, others), n, "{class}");
                let about = while_open.about(others);
                assert_eq!(while_open.failed(class, about, false, others), 0, "{class}");
                let about = with_all.about(n.into());
                assert_eq!(with_all.failed(class, about, true, n.into()), 0, "{class}");
            }
            // Another answer than before may be the first of an outage.
            let about = alone.about(1_000);
            assert!(about.is_itself(class) && !about.is_itself(ErrorClass::Transient));
        }
    }
}
