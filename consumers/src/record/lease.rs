//! Claims in the dedupe store, and when a lease allows an attempt.
//!
//! In: subjects. Out: claims with the moment until which each may be relied on; marks. Promises:
//! no attempt starts unless its whole time and a margin fit into what is left of the lease,
//! counted from before the claim was sent; a lease is renewed at half of its life; a store that is
//! away is asked again once in a while, not for each record.

use crate::deliver::{Admission, Breaker};
use crate::sink::ErrorClass;
use cloudsync_dedupe::{Claim, DedupeStore, Lease, StoreError, Subject, Token};
use parking_lot::Mutex;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// Left of a lease when the longest attempt has ended.
const MARGIN: Duration = Duration::from_secs(1);

/// The store of one destination, with the token of this process.
#[derive(Debug)]
pub struct Claims {
    store: Arc<dyn DedupeStore>,
    token: Token,
    breaker: Mutex<Breaker>,
}

/// A lease in our hands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    until: Instant,
    length: Duration,
}

/// The store is away. What the call has done is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Away;

// === impl Held ===

impl Held {
    /// A lease that was asked for at `before_sending`.
    #[must_use]
    pub fn new(lease: Lease, before_sending: Instant) -> Self {
        Self {
            until: lease.deadline(before_sending),
            length: lease.length,
        }
    }

    /// How long an attempt under it may take, if `wanted` is what it should have: never more than
    /// half of a lease, so that it fits into a fresh one with any setting.
    #[must_use]
    pub fn attempt_time(&self, wanted: Duration) -> Duration {
        wanted.min(self.length / 2)
    }

    /// Whether an attempt of [`Self::attempt_time`] may start now.
    #[must_use]
    pub fn allows(&self, wanted: Duration, now: Instant) -> bool {
        let margin = MARGIN.min(self.length / 4);
        self.until.saturating_duration_since(now) >= self.attempt_time(wanted) + margin
    }

    /// Whether half of its life is over.
    #[must_use]
    pub fn is_half_over(&self, now: Instant) -> bool {
        self.until.saturating_duration_since(now) <= self.length / 2
    }

    /// When half of its life will be over.
    #[must_use]
    pub fn half_life(&self) -> Instant {
        self.until - self.length / 2
    }
}

// === impl Claims ===

impl Claims {
    /// Claims in `store` as the process `token`.
    #[must_use]
    pub fn new(store: Arc<dyn DedupeStore>, token: Token) -> Self {
        Self {
            store,
            token,
            breaker: Mutex::default(),
        }
    }

    /// Claims `subjects`.
    ///
    /// # Errors
    /// [`Away`].
    pub async fn claim(&self, subjects: &[Subject]) -> Result<Vec<Claim>, Away> {
        let claims = self.call(self.store.claim(self.token, subjects)).await?;
        // An answer for each, or none that could be relied on.
        if claims.len() == subjects.len() {
            Ok(claims)
        } else {
            Err(Away)
        }
    }

    /// Marks `subjects` done.
    ///
    /// # Errors
    /// [`Away`].
    pub async fn complete(&self, subjects: &[Subject]) -> Result<(), Away> {
        self.call(self.store.complete(subjects)).await
    }

    /// Marks `subject`, which this process holds, dead-lettered.
    ///
    /// # Errors
    /// [`Away`].
    pub async fn dead_letter(&self, subject: Subject) -> Result<(), Away> {
        self.call(self.store.dead_letter(Some(self.token), &[subject]))
            .await
    }

    /// Gives up what this process holds of `subjects`. If the store is away the leases end by
    /// themselves.
    pub async fn release(&self, subjects: &[Subject]) {
        if !subjects.is_empty()
            && self
                .call(self.store.release(self.token, subjects))
                .await
                .is_err()
        {
            tracing::debug!(
                ids = subjects.len(),
                "claims were not released; their leases end"
            );
        }
    }

    /// Renews `held` on `subject`. `Ok(None)`: it is ours no longer.
    ///
    /// # Errors
    /// [`Away`]: the lease runs on as it was.
    pub async fn renew(&self, subject: Subject, held: Held) -> Result<Option<Held>, Away> {
        let before_sending = Instant::now();
        let renewed = self.call(self.store.renew(self.token, &[subject])).await?;
        let lease = Lease {
            length: held.length,
        };
        Ok((renewed.first() == Some(&true)).then(|| Held::new(lease, before_sending)))
    }

    async fn call<T>(&self, call: impl Future<Output = Result<T, StoreError>>) -> Result<T, Away> {
        let patience = self.store.patience();
        let admission = self.breaker.lock().admit(Instant::now(), patience);
        if admission != Admission::Go {
            return Err(Away);
        }
        let error = match timeout(patience, call).await {
            Ok(Ok(answer)) => {
                if self.breaker.lock().succeeded() {
                    tracing::info!("the dedupe store is back");
                }
                return Ok(answer);
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {patience:?}"),
        };
        // One failure is enough: a call that hangs would hold every lane for its patience.
        if self
            .breaker
            .lock()
            .failed(ErrorClass::Denied, Instant::now(), rand::random())
        {
            tracing::warn!(%error, "the dedupe store is away");
        }
        Err(Away)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_attempt_that_starts_ends_inside_the_lease(
            length in 1_000u64..100_000, wanted in 1u64..60_000, late in 0u64..120_000
        ) {
            let ms = Duration::from_millis;
            let sent = Instant::now();
            let held = Held::new(Lease { length: ms(length) }, sent);
            let now = sent + ms(late);
            let time = held.attempt_time(ms(wanted));
            prop_assert!(held.allows(ms(wanted), sent), "a fresh lease allows an attempt");
            if held.allows(ms(wanted), now) {
                prop_assert!(now + time < sent + ms(length));
            } else {
                prop_assert!(now + time + MARGIN.min(ms(length) / 4) > sent + ms(length));
            }
            prop_assert_eq!(held.is_half_over(now), held.half_life() <= now);
        }
    }
}
