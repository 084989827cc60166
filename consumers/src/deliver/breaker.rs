//! Whether a destination is worth an attempt just now.
//!
//! In: the results of attempts, of all partitions. Out: go, or wait until. Closed, it lets all
//! attempts through; open, none; after that one probe at a time, whose result decides. Pure: time
//! and randomness come in.

use crate::sink::ErrorClass;
use std::time::Duration;
use tokio::time::Instant;

/// The breaker of one destination.
#[derive(Debug)]
pub struct Breaker {
    state: State,
    /// Weight of the failures since the last success.
    weight: u32,
    /// How often it opened since the last success.
    opened: u32,
}

/// What an attempt may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Go.
    Go,
    /// Ask again at this time; or sooner, when an attempt has succeeded.
    At(Instant),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    Open {
        until: Instant,
    },
    /// One attempt is under way; if nothing is heard of it until then, another one goes.
    Probing {
        until: Instant,
    },
}

/// Failures that open it: 16 transient ones, 3 outages, 1 that only somebody can put right.
const LIMIT: u32 = 16;
/// For how long it opens the first time; doubles each time after.
const FIRST_OPEN: Duration = Duration::from_millis(500);
/// For how long it opens at most: who waits for its destination tries again within this time.
pub const LONGEST_OPEN: Duration = Duration::from_secs(15);

// === impl Breaker ===

impl Default for Breaker {
    fn default() -> Self {
        Self {
            state: State::Closed,
            weight: 0,
            opened: 0,
        }
    }
}

impl Breaker {
    /// Whether an attempt may begin; it ends within `patience`.
    pub fn admit(&mut self, now: Instant, patience: Duration) -> Admission {
        match self.state {
            State::Closed => Admission::Go,
            State::Open { until } | State::Probing { until } if now < until => Admission::At(until),
            State::Open { .. } | State::Probing { .. } => {
                self.state = State::Probing {
                    until: now + patience,
                };
                Admission::Go
            }
        }
    }

    /// An attempt succeeded. Out: whether that closed it.
    pub fn succeeded(&mut self) -> bool {
        let closed = self.state != State::Closed;
        *self = Self::default();
        closed
    }

    /// An attempt failed; `random` is in 0..=1. Out: whether that opened a closed one.
    pub fn failed(&mut self, class: ErrorClass, now: Instant, random: f64) -> bool {
        match self.state {
            State::Closed => {
                self.weight += match class {
                    ErrorClass::Transient | ErrorClass::Throttled(_) => 1,
                    ErrorClass::Outage => 6,
                    ErrorClass::Denied | ErrorClass::Rejected => LIMIT,
                };
                let opens = self.weight >= LIMIT;
                if opens {
                    self.open(now, random);
                }
                opens
            }
            State::Probing { .. } => {
                self.open(now, random);
                false
            }
            // Began before it opened; says nothing new.
            State::Open { .. } => false,
        }
    }

    /// Whether it lets everything through.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    fn open(&mut self, now: Instant, random: f64) {
        let longest = FIRST_OPEN
            .saturating_mul(1 << self.opened.min(10))
            .min(LONGEST_OPEN);
        self.opened = self.opened.saturating_add(1);
        // Half of it at least: a breaker that opens for nothing protects nobody.
        let wait = longest.mul_f64(0.5 + 0.5 * random.clamp(0.0, 1.0));
        self.state = State::Open { until: now + wait };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PATIENCE: Duration = Duration::from_secs(5);

    #[derive(Clone, Debug)]
    enum Step {
        Admit,
        Succeed,
        Fail(ErrorClass),
        Wait(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        let class = prop_oneof![
            Just(ErrorClass::Transient),
            Just(ErrorClass::Throttled(Duration::ZERO)),
            Just(ErrorClass::Outage),
            Just(ErrorClass::Denied),
            Just(ErrorClass::Rejected),
        ];
        prop_oneof![
            3 => Just(Step::Admit),
            1 => Just(Step::Succeed),
            4 => class.prop_map(Step::Fail),
            2 => (0u64..20_000).prop_map(Step::Wait),
        ]
    }

    proptest! {
        #[test]
        fn it_lets_all_through_or_one_at_a_time_and_always_one_in_the_end(
            steps in proptest::collection::vec(step(), 0..100)
        ) {
            let mut breaker = Breaker::default();
            let mut now = Instant::now();
            let mut probe: Option<Instant> = None;
            for step in steps {
                let was_closed = breaker.is_closed();
                match step {
                    Step::Admit => match breaker.admit(now, PATIENCE) {
                        Admission::Go if !was_closed => {
                            prop_assert!(probe.is_none_or(|until| until <= now), "two probes");
                            probe = Some(now + PATIENCE);
                        }
                        Admission::Go => {}
                        Admission::At(at) => {
                            prop_assert!(!was_closed && at > now);
                            prop_assert!(at - now <= LONGEST_OPEN.max(PATIENCE));
                            // Whoever waits until then goes.
                            let mut later = Breaker { state: breaker.state, weight: 0, opened: 0 };
                            prop_assert_eq!(later.admit(at, PATIENCE), Admission::Go);
                        }
                    },
                    Step::Succeed => {
                        prop_assert_eq!(breaker.succeeded(), !was_closed);
                        prop_assert!(breaker.is_closed());
                        probe = None;
                    }
                    Step::Fail(class) => {
                        let opened = breaker.failed(class, now, 0.5);
                        prop_assert_eq!(opened, was_closed && !breaker.is_closed());
                        let final_class = matches!(class, ErrorClass::Denied | ErrorClass::Rejected);
                        prop_assert!(!final_class || !breaker.is_closed());
                        probe = None;
                    }
                    Step::Wait(ms) => now += Duration::from_millis(ms),
                }
            }
        }
    }

    #[test]
    fn it_opens_at_the_16th_transient_failure_and_at_the_3rd_outage() {
        for (class, limit) in [(ErrorClass::Transient, 16), (ErrorClass::Outage, 3)] {
            let mut breaker = Breaker::default();
            for n in 1..=limit {
                assert_eq!(
                    breaker.failed(class, Instant::now(), 0.0),
                    n == limit,
                    "{class} {n}"
                );
            }
        }
    }
}
