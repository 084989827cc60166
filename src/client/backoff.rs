//! How long to wait before the next attempt: exponential, capped, full jitter.
//!
//! Full jitter (any time between nothing and the cap) keeps clients that were cut off together
//! from coming back together.

use std::time::Duration;

#[derive(Clone, Debug)]
pub(super) struct Backoff {
    start: Duration,
    limit: Duration,
    attempt: u32,
}

impl Backoff {
    pub(super) fn new(start: Duration, limit: Duration) -> Self {
        Self {
            start,
            limit,
            attempt: 0,
        }
    }

    /// The longest that the next wait can be.
    fn ceiling(&self) -> Duration {
        let doubled = self.start.saturating_mul(2u32.saturating_pow(self.attempt));
        doubled.min(self.limit)
    }

    /// The next wait, for a `fraction` drawn from 0 to 1.
    pub(super) fn next(&mut self, fraction: f64) -> Duration {
        let wait = self.ceiling().mul_f64(fraction.clamp(0.0, 1.0));
        self.attempt = self.attempt.saturating_add(1);
        wait
    }

    /// The next wait when somebody `asked` for one: no less, and again not together with others who
    /// were asked the same.
    pub(super) fn next_after(&mut self, asked: Duration, fraction: f64) -> Duration {
        let own = self.next(fraction);
        own.max(spread(asked, fraction))
    }

    pub(super) fn reset(&mut self) {
        self.attempt = 0;
    }
}

/// `asked`, or up to half as long again.
pub(super) fn spread(asked: Duration, fraction: f64) -> Duration {
    asked + (asked / 2).mul_f64(fraction.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn waits_grow_to_the_limit_and_never_pass_it(
            start in 1..1_000u64, limit in 1..60_000u64, fraction in 0.0..=1.0f64, attempts in 1..80usize,
        ) {
            let (start, limit) = (Duration::from_millis(start), Duration::from_millis(limit));
            let mut backoff = Backoff::new(start, limit);
            let mut before = Duration::ZERO;
            for _ in 0..attempts {
                let ceiling = backoff.ceiling();
                prop_assert!(ceiling >= before && ceiling <= limit);
                prop_assert!(backoff.next(fraction) <= ceiling);
                let asked = backoff.clone().next_after(limit, fraction);
                prop_assert!(asked >= limit && asked <= limit * 3 / 2 + Duration::from_nanos(2));
                before = ceiling;
            }
            backoff.reset();
            prop_assert_eq!(backoff.ceiling(), start.min(limit));
        }
    }
}
