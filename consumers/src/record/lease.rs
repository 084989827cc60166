//! Claims in the dedupe store, and when a lease allows an attempt.
//!
//! In: subjects. Out: claims with the moment until which each may be relied on; marks. Promises:
//! no attempt starts unless its whole time and a margin fit into what is left of the lease,
//! counted from before the claim was sent; a lease is renewed at half of its life; a store that is
//! away is asked again once in a while, not for each record. Where nothing is written without a
//! claim, readiness says so while the store is away; and where a second write is a second effect,
//! nothing is claimed for one lease after the store has forgotten what it was told, so that whoever
//! held a forgotten claim has ended.

use crate::decisions::Decisions;
use crate::deliver::{Admission, Breaker};
use crate::health::Health;
use crate::sink::{ErrorClass, Idempotence};
use crate::store::asks_again;
use cloudsync_dedupe::{Claim, DedupeStore, Lease, OnUnavailable, StoreError, Subject, Token};
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
    rules: Rules,
    health: Health,
    decisions: Arc<Decisions>,
    breaker: Mutex<Breaker>,
    memory: Mutex<Memory>,
}

/// What is done when claims cannot be relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Nothing is written without a claim: what waits, waits for the store.
    pub pauses: bool,
    /// How long to claim nothing after the store has forgotten what it was told; `None` where a
    /// second write does no harm.
    pub after_loss: Option<Duration>,
}

/// What befell the store, as far as we have heard.
#[derive(Debug, Default)]
struct Memory {
    losses: u64,
    /// Nothing is claimed until then.
    wait_until: Option<Instant>,
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

    /// When it ends, unless it is renewed.
    #[must_use]
    pub fn ends(&self) -> Instant {
        self.until
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

// === impl Rules ===

impl Rules {
    /// The rules for a destination that is `idempotence`, where claims hold for `lease`.
    #[must_use]
    pub fn new(on_unavailable: OnUnavailable, idempotence: Idempotence, lease: Duration) -> Self {
        let pauses = match on_unavailable {
            OnUnavailable::Auto => !idempotence.has_one_effect(),
            OnUnavailable::Continue => false,
            OnUnavailable::Pause => true,
        };
        // Whoever goes on without claims has nothing to wait for.
        let waits = pauses && !idempotence.has_one_effect();
        Self {
            pauses,
            after_loss: waits.then_some(lease),
        }
    }
}

// === impl Claims ===

impl Claims {
    /// Claims in `store` as the process `token`; `health` says when that stops the destination.
    #[must_use]
    pub(crate) fn new(
        store: Arc<dyn DedupeStore>,
        token: Token,
        rules: Rules,
        health: Health,
        decisions: Arc<Decisions>,
    ) -> Self {
        let losses = store.health().memory_losses;
        Self {
            store,
            token,
            rules,
            health,
            decisions,
            breaker: Mutex::default(),
            memory: Mutex::new(Memory {
                losses,
                wait_until: None,
            }),
        }
    }

    /// Whether nothing is written without a claim.
    #[must_use]
    pub fn pauses(&self) -> bool {
        self.rules.pauses
    }

    /// Claims `subjects`.
    ///
    /// # Errors
    /// [`Away`]; also while the store's answers cannot be relied on yet.
    pub async fn claim(&self, subjects: &[Subject]) -> Result<Vec<Claim>, Away> {
        if self.waits_out_a_loss() {
            return Err(Away);
        }
        let claims = self.call(self.store.claim(self.token, subjects)).await?;
        if self.waits_out_a_loss() {
            // It forgot during this very call: what it granted may be somebody else's.
            self.release(subjects).await;
            return Err(Away);
        }
        // An answer for each, or none that could be relied on.
        if claims.len() == subjects.len() {
            self.decisions.claimed(subjects, &claims);
            Ok(claims)
        } else {
            Err(Away)
        }
    }

    /// Makes the dead letters of before unknown, of `subjects` that were redriven.
    ///
    /// # Errors
    /// [`Away`].
    pub async fn reopen(&self, subjects: &[Subject]) -> Result<(), Away> {
        if subjects.is_empty() {
            return Ok(());
        }
        self.call(self.store.reopen(subjects)).await
    }

    /// Marks `subjects` done.
    ///
    /// # Errors
    /// [`Away`].
    pub async fn complete(&self, subjects: &[Subject]) -> Result<(), Away> {
        // An empty call asks nobody, so its answer would say nothing of the store.
        if subjects.is_empty() {
            return Ok(());
        }
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
        if subjects.is_empty() {
            return;
        }
        match self.call(self.store.release(self.token, subjects)).await {
            Ok(()) => self.decisions.released(subjects),
            Err(Away) => tracing::debug!(
                ids = subjects.len(),
                "claims were not released; their leases end"
            ),
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

    /// Whether the store has forgotten what it was told, so lately that a holder of a forgotten
    /// claim may still be writing.
    fn waits_out_a_loss(&self) -> bool {
        let Some(lease) = self.rules.after_loss else {
            return false;
        };
        let (losses, now) = (self.store.health().memory_losses, Instant::now());
        let mut memory = self.memory.lock();
        if losses > memory.losses {
            memory.losses = losses;
            memory.wait_until = Some(now + lease);
            tracing::warn!(
                destination = self.health.name(),
                wait = ?lease,
                "the dedupe store has forgotten what it was told; nothing is claimed until all \
                 earlier leases have ended"
            );
            self.waits_for_leases(now + lease);
        }
        let waits = memory.wait_until.is_some_and(|until| now < until);
        let over = !waits && memory.wait_until.take().is_some();
        // A store that is away is said to be so, or to be back, where it is noticed.
        if over && self.breaker.lock().is_closed() {
            self.health.store_goes_on();
        }
        waits
    }

    fn waits_for_leases(&self, until: Instant) {
        let why = "one lease to pass, since the dedupe store forgot".to_owned();
        self.health.store_waits(why, until);
    }

    /// A call has failed; `first`: and none did before it.
    fn is_away(&self, error: &str, first: bool) {
        if first {
            tracing::warn!(destination = self.health.name(), %error, "the dedupe store is away");
        }
        if self.rules.pauses {
            let why = format!("the dedupe store, without which nothing is written here: {error}");
            self.health.store_waits(why, asks_again(&*self.store));
        }
    }

    fn is_back(&self) {
        tracing::info!(destination = self.health.name(), "the dedupe store is back");
        match self.memory.lock().wait_until {
            Some(until) => self.waits_for_leases(until),
            None => self.health.store_goes_on(),
        }
    }

    async fn call<T>(&self, call: impl Future<Output = Result<T, StoreError>>) -> Result<T, Away> {
        let patience = self.store.patience();
        let began = Instant::now();
        let Admission::Go(ticket) = self.breaker.lock().admit(began) else {
            return Err(Away);
        };
        let error = match timeout(patience, call).await {
            Ok(Ok(answer)) => {
                let now = Instant::now();
                let is_back = self.breaker.lock().succeeded(ticket, now, now - began);
                if is_back {
                    self.is_back();
                }
                return Ok(answer);
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {patience:?}"),
        };
        // One failure is enough: a call that hangs would hold every lane for its patience.
        let class = ErrorClass::Denied;
        let first = self
            .breaker
            .lock()
            .failed(ticket, class, Instant::now(), rand::random());
        self.is_away(&error, first);
        Err(Away)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_where_a_second_write_does_harm_is_a_store_that_is_away_waited_for() {
        use Idempotence::{Conditional, Keyed, Plain};
        let lease = Duration::from_secs(30);
        for (on_unavailable, idempotence, pauses, after_loss) in [
            (OnUnavailable::Auto, Conditional, false, None),
            (OnUnavailable::Auto, Keyed, false, None),
            (OnUnavailable::Auto, Plain, true, Some(lease)),
            (OnUnavailable::Continue, Keyed, false, None),
            (OnUnavailable::Continue, Plain, false, None),
            (OnUnavailable::Pause, Conditional, true, None),
            (OnUnavailable::Pause, Keyed, true, None),
            (OnUnavailable::Pause, Plain, true, Some(lease)),
        ] {
            let expected = Rules { pauses, after_loss };
            let found = Rules::new(on_unavailable, idempotence, lease);
            assert_eq!(found, expected, "{on_unavailable:?} {idempotence:?}");
        }
    }

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
