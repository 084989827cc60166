//! Step 4 of the walk: an attempt to be made at the destination → made, until it succeeds.
//!
//! Owns the retries (full-jitter backoff), the time-out of an attempt, and the breaker that all
//! partitions of a destination share. Promises: what goes through here is never given up because
//! of the destination; it waits. While it waits its partition fills up and takes no more, so the
//! poll loop pauses it, and `/readyz` says for what. Only a revoked partition ends the waiting,
//! between two attempts. (`record` mode asks for one attempt at a time, keeps its own retries, and
//! sets a record aside after 16 failures: `record/attempt.rs`.)

mod backoff;
mod breaker;

use crate::counters::Counters;
use crate::health::Health;
use crate::sink::{ErrorClass, SinkError};
pub use backoff::Backoff;
pub use breaker::{Admission, Breaker, LONGEST_OPEN};
use parking_lot::Mutex;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

/// First bound of the waits between attempts.
const BASE: Duration = Duration::from_millis(50);
/// Last bound of them.
const CAP: Duration = Duration::from_secs(10);

/// The one way to a destination, for all partitions.
#[derive(Debug)]
pub struct Gate {
    breaker: Mutex<Breaker>,
    /// Tells those who wait that the breaker has closed.
    closed: Notify,
    attempt_timeout: Duration,
    counters: Arc<Counters>,
    health: Health,
}

// === impl Gate ===

impl Gate {
    /// A gate whose attempts may each take `attempt_timeout`.
    #[must_use]
    pub fn new(attempt_timeout: Duration, counters: Arc<Counters>, health: Health) -> Self {
        Self {
            breaker: Mutex::default(),
            closed: Notify::new(),
            attempt_timeout,
            counters,
            health,
        }
    }

    /// Makes attempts until one succeeds. `None`: `give_up` was given between two of them.
    pub async fn until_done<T, F>(
        &self,
        give_up: &CancellationToken,
        mut attempt: impl FnMut() -> F + Send,
    ) -> Option<T>
    where
        F: Future<Output = Result<T, SinkError>> + Send,
    {
        let mut backoff = Backoff::new(BASE, CAP);
        loop {
            self.admission(give_up).await?;
            let error = match self.once(&mut attempt).await {
                Ok(done) => return Some(done),
                Err(error) => error,
            };
            let hint = match error.class {
                ErrorClass::Throttled(after) => after,
                ErrorClass::Transient
                | ErrorClass::Outage
                | ErrorClass::Denied
                | ErrorClass::Rejected => Duration::ZERO,
            };
            Counters::add(&self.counters.retries, 1);
            let wait = backoff.next(rand::random(), hint);
            tokio::select! {
                () = sleep(wait) => {}
                () = give_up.cancelled() => return None,
            }
        }
    }

    /// One attempt, in time, with its result told to the breaker. Ask [`Self::admission`] first.
    ///
    /// # Errors
    /// Those of the attempt; [`ErrorClass::Outage`] if it was not over in time.
    pub async fn once<T, F>(&self, attempt: &mut (impl FnMut() -> F + Send)) -> Result<T, SinkError>
    where
        F: Future<Output = Result<T, SinkError>> + Send,
    {
        let result = timeout(self.attempt_timeout, attempt())
            .await
            .unwrap_or_else(|elapsed| {
                let action = format!("finish an attempt in {:?}", self.attempt_timeout);
                Err(SinkError::new(ErrorClass::Outage, action, elapsed))
            });
        match &result {
            Ok(_) => self.succeeded(),
            Err(error) => self.failed(error),
        }
        result
    }

    /// Waits until the breaker admits an attempt; `None` when `give_up` was given.
    pub async fn admission(&self, give_up: &CancellationToken) -> Option<()> {
        loop {
            if give_up.is_cancelled() {
                return None;
            }
            let closed = self.closed.notified();
            // A probe that is dropped half-way is given up for lost a little after its time.
            let patience = self.attempt_timeout + Duration::from_secs(1);
            let admission = self.breaker.lock().admit(Instant::now(), patience);
            match admission {
                Admission::Go => return Some(()),
                Admission::At(at) => tokio::select! {
                    () = sleep_until(at) => {}
                    () = closed => {}
                    () = give_up.cancelled() => return None,
                },
            }
        }
    }

    /// Whether the breaker lets everything through.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.breaker.lock().is_closed()
    }

    fn succeeded(&self) {
        if self.breaker.lock().succeeded() {
            tracing::info!(destination = self.health.name(), "the destination is back");
            self.health.destination(None);
            self.closed.notify_waiters();
        }
    }

    fn failed(&self, error: &SinkError) {
        let now = Instant::now();
        let (opened, closed) = {
            let mut breaker = self.breaker.lock();
            let opened = breaker.failed(error.class, now, rand::random());
            (opened, breaker.is_closed())
        };
        let text = error.chain();
        if opened {
            tracing::error!(
                destination = self.health.name(),
                class = %error.class,
                error = %text,
                "the breaker opened; the partitions wait"
            );
            Counters::add(&self.counters.breaker_opened, 1);
        } else {
            tracing::debug!(destination = self.health.name(), error = %text, "attempt failed");
        }
        if !closed {
            let asked_for = match error.class {
                ErrorClass::Throttled(after) => after,
                _ => Duration::ZERO,
            };
            // Whoever still has something for it has tried again by then.
            let tried_again = now + LONGEST_OPEN + CAP.max(asked_for) + 2 * self.attempt_timeout;
            self.health.destination_waits(text, tried_again);
        }
    }
}
