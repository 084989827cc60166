//! How long to wait before the next attempt.
//!
//! Full jitter: anything between nothing and a bound that doubles with each attempt up to a cap,
//! so that many who failed together do not come back together. Pure: randomness comes in.

use std::time::Duration;

/// The waits of one delivery.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
    attempts: u32,
}

impl Backoff {
    /// Waits of up to `base`, then up to twice that, and so on, never longer than `cap`.
    #[must_use]
    pub fn new(base: Duration, cap: Duration) -> Self {
        Self {
            base,
            cap,
            attempts: 0,
        }
    }

    /// The next wait; `random` is in 0..=1. Not shorter than `at_least`, whatever the cap.
    pub fn next(&mut self, random: f64, at_least: Duration) -> Duration {
        let factor = 2f64.powi(i32::try_from(self.attempts.min(30)).unwrap_or(30));
        let bound = self.base.mul_f64(factor).min(self.cap);
        self.attempts = self.attempts.saturating_add(1);
        bound.mul_f64(random.clamp(0.0, 1.0)).max(at_least)
    }

    /// How many waits were asked for.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.attempts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_wait_lies_between_the_hint_and_a_doubling_bound(
            base in 1u64..1_000, cap in 1u64..100_000, random in 0.0..=1.0f64, hint in 0u64..5_000,
            attempts in 0u32..100,
        ) {
            let ms = Duration::from_millis;
            let mut backoff = Backoff::new(ms(base), ms(cap));
            for attempt in 0..attempts {
                let bound = base.saturating_mul(1u64 << attempt.min(40)).min(cap);
                let wait = backoff.next(random, ms(hint));
                prop_assert!(wait >= ms(hint));
                prop_assert!(wait <= ms(bound.max(hint)) + Duration::from_micros(1));
            }
            prop_assert_eq!(backoff.attempts(), attempts);
        }
    }
}
