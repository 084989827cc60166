//! How many retries a destination is given, all partitions together.
//!
//! A bucket of tokens: each success earns a part of one, each retry takes one. So retries are a
//! share of what succeeds, however many records fail at once, and a destination that is unwell is
//! not beaten with the same records again and again. Some tokens come with time alone: where
//! nothing succeeds, retries still go on, slowly, and nothing waits for ever. Pure.

use std::time::Duration;
use tokio::time::Instant;

/// The retries of one destination.
#[derive(Debug)]
pub struct RetryBudget {
    /// Thousandths of a token.
    tokens: u64,
    per_success: u64,
    /// Until when time has brought its tokens.
    at: Instant,
}

/// Retries for each hundred successes, if nothing else is set.
pub const RETRY_PERCENT: u32 = 50;

/// One retry.
const TOKEN: u64 = 1_000;
/// What the bucket begins with, and gets at least when a destination is back.
const RESERVE: u64 = 20 * TOKEN;
/// What it holds at most.
const MOST: u64 = 200 * TOKEN;
/// Tokens that come in a second.
const EACH_SECOND: u64 = 10;

// === impl RetryBudget ===

impl RetryBudget {
    /// `percent` retries for each hundred successes, and 10 a second in any case.
    #[must_use]
    pub fn new(percent: u32, now: Instant) -> Self {
        Self {
            tokens: RESERVE,
            per_success: u64::from(percent) * TOKEN / 100,
            at: now,
        }
    }

    /// An attempt succeeded.
    pub fn earn(&mut self) {
        self.tokens = (self.tokens + self.per_success).min(MOST);
    }

    /// The destination is back: what waited meanwhile is not held up by what failed before.
    pub fn renew(&mut self) {
        self.tokens = self.tokens.max(RESERVE);
    }

    /// Takes the token for a retry.
    ///
    /// # Errors
    /// The time until which there is none, if nothing succeeds before.
    pub fn take(&mut self, now: Instant) -> Result<(), Instant> {
        let passed = now.saturating_duration_since(self.at);
        let passed = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX);
        // A thousandth of ten tokens in a millisecond; what is less than that comes later.
        let more = passed.saturating_mul(EACH_SECOND);
        self.tokens = self.tokens.saturating_add(more).min(MOST);
        self.at += Duration::from_millis(passed);
        match self.tokens.checked_sub(TOKEN) {
            Some(left) => {
                self.tokens = left;
                Ok(())
            }
            None => {
                let missing = (TOKEN - self.tokens).div_ceil(EACH_SECOND);
                Err(self.at + Duration::from_millis(missing))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Never more than a share of the successes beside what time and the reserve bring; and
        /// whoever comes back when told, and alone, is let through.
        #[test]
        fn retries_are_a_share_of_the_successes(
            percent in 1u32..=100,
            steps in proptest::collection::vec((0u64..200, 0u64..20, 0u64..20), 1..100),
        ) {
            let began = Instant::now();
            let (mut budget, mut now) = (RetryBudget::new(percent, began), began);
            let (mut earned, mut taken) = (0u64, 0u32);
            for (ms, successes, retries) in steps {
                now += Duration::from_millis(ms);
                (0..successes).for_each(|_| budget.earn());
                earned += successes;
                for _ in 0..retries {
                    match budget.take(now) {
                        Ok(()) => taken += 1,
                        Err(at) => {
                            prop_assert!(at > now && at - now <= Duration::from_millis(101));
                            now = at;
                            prop_assert_eq!(budget.take(now), Ok(()));
                            taken += 1;
                        }
                    }
                }
                let by_time = (now - began).as_secs_f64() * EACH_SECOND as f64;
                let allowed = (RESERVE / TOKEN) as f64 + by_time + 0.01 * f64::from(percent) * earned as f64;
                prop_assert!(f64::from(taken) <= allowed + 1e-6, "{} of {}", taken, allowed);
            }
        }
    }

    /// The share that a destination may fail and still keep its pace.
    #[test]
    fn a_quarter_may_fail_and_nobody_waits() {
        let now = Instant::now();
        let mut budget = RetryBudget::new(RETRY_PERCENT, now);
        for n in 0..100_000 {
            match n % 4 {
                0 => assert_eq!(budget.take(now), Ok(()), "{n}"),
                _ => budget.earn(),
            }
        }
    }
}
