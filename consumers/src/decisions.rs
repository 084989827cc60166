//! What was decided about each record's id, said in the log where `dedupe.log` asks for it.
//!
//! In: verdicts and claims. Out: lines under the target `idempotency`, each decision with a text of
//! its own that never changes, so that it can be searched for. Promises: nothing is said, and
//! nothing but a comparison paid, while it is off; `sampled` says the first [`A_SECOND`] of each
//! second.

use crate::chain::Verdict;
use crate::parse::{Content, Polled};
use cloudsync::identity::Id16;
use cloudsync_dedupe::settings::DecisionLog;
use cloudsync_dedupe::{Claim, LogPosition, Subject};
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::time::Instant;

/// Decisions said of each second, when they are sampled.
const A_SECOND: u64 = 100;

/// The decisions of one destination.
#[derive(Debug)]
pub(crate) struct Decisions {
    destination: String,
    log: DecisionLog,
    started: Instant,
    /// The second that counts, and how many of it were said: 32 bits each.
    said: AtomicU64,
}

// === impl Decisions ===

impl Decisions {
    pub(crate) fn new(destination: &str, log: DecisionLog) -> Self {
        Self {
            destination: destination.to_owned(),
            log,
            started: Instant::now(),
            said: AtomicU64::new(0),
        }
    }

    /// A record of `partition` was judged.
    pub(crate) fn judged(&self, partition: i32, polled: &Polled, verdict: Verdict) {
        if self.log == DecisionLog::Off {
            return;
        }
        let Content::Record { named, .. } = &polled.content else {
            return;
        };
        let offset = polled.offset();
        let at = LogPosition { partition, offset };
        match verdict {
            Verdict::Duplicate => self.say(named.id, at, DUPLICATE),
            Verdict::Redelivered => self.say(named.id, at, REDELIVERED),
            Verdict::DeadLetter(cloudsync_kafka::Reason::IdConflict) => {
                self.say(named.id, at, CONFLICT);
            }
            Verdict::DeadLetter(_) | Verdict::Written | Verdict::NotAddressed => {}
        }
    }

    /// `subjects` were claimed, and answered so.
    pub(crate) fn claimed(&self, subjects: &[Subject], claims: &[Claim]) {
        if self.log == DecisionLog::Off {
            return;
        }
        for (subject, claim) in subjects.iter().zip(claims) {
            let text = match claim {
                Claim::Granted(_) | Claim::Mine(_) => "Claim granted",
                Claim::TakenOver(_) => "Claim taken over",
                Claim::Busy { .. } => "Claim busy",
                Claim::Done { position } | Claim::DeadLettered { position }
                    if *position == subject.position =>
                {
                    REDELIVERED
                }
                Claim::Done { .. } | Claim::DeadLettered { .. } => DUPLICATE,
                Claim::Conflict { .. } => CONFLICT,
            };
            self.say(subject.id, subject.position, text);
        }
    }

    /// What was held of `subjects` was given up.
    pub(crate) fn released(&self, subjects: &[Subject]) {
        if self.log == DecisionLog::Off {
            return;
        }
        for subject in subjects {
            self.say(subject.id, subject.position, "Claim released");
        }
    }

    fn say(&self, id: Id16, at: LogPosition, text: &'static str) {
        if !self.admits() {
            return;
        }
        let LogPosition { partition, offset } = at;
        let destination = &self.destination;
        let id = format_args!("{:032x}", u128::from_be_bytes(id.0));
        tracing::info!(target: "idempotency", destination, %id, partition, offset, "{text}");
    }

    fn admits(&self) -> bool {
        if self.log == DecisionLog::All {
            return true;
        }
        let second = self.started.elapsed().as_secs() & u64::from(u32::MAX);
        let order = Ordering::Relaxed;
        let counted = self.said.fetch_update(order, order, |said| {
            let count = if said >> 32 == second {
                said & u64::from(u32::MAX)
            } else {
                0
            };
            (count < A_SECOND).then_some(second << 32 | (count + 1))
        });
        counted.is_ok()
    }
}

const DUPLICATE: &str = "Duplicate message detected and skipped";
const REDELIVERED: &str = "Redelivered message recognised and skipped";
const CONFLICT: &str = "Conflicting message set aside";

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::advance;

    #[tokio::test(start_paused = true)]
    async fn a_hundred_of_each_second_are_said() {
        let decisions = Decisions::new("aws", DecisionLog::Sampled);
        for _ in 0..3 {
            let said = (0..1_000).filter(|_| decisions.admits()).count();
            assert_eq!(said as u64, A_SECOND);
            advance(Duration::from_secs(1)).await;
        }
        let all = Decisions::new("aws", DecisionLog::All);
        assert!((0..1_000).all(|_| all.admits()));
    }
}
