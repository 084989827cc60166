//! The one way to a destination, for all partitions.
//!
//! In: attempts. Out: how they went. What is decided here: whether one may begin (breaker, a wait
//! that the destination asked for, the budget of retries, how many run at once), how long it may
//! take, and what its end says of the destination.

use super::alone::Lonely;
use super::backoff::Backoff;
use super::breaker::{Admission, Breaker, LONGEST_OPEN, Ticket};
use super::budget::RetryBudget;
use crate::counters::Counters;
use crate::health::Health;
use crate::sink::{ErrorClass, SinkError};
use parking_lot::Mutex;
use std::future::Future;
use std::mem::discriminant;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

/// First bound of the waits between attempts.
const BASE: Duration = Duration::from_millis(50);
/// Last bound of them.
const CAP: Duration = Duration::from_secs(10);
/// Longest that a whole destination is left alone because it asked for time once.
const LONGEST_FLOOR: Duration = Duration::from_secs(60);

/// What bounds the attempts at a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long each may take.
    pub attempt_timeout: Duration,
    /// How many [`Gate::until_done`] lets run at once.
    pub concurrency: usize,
    /// Failures in a hundred attempts that open the breaker.
    pub failure_percent: u32,
    /// Retries for a hundred successes.
    pub retry_percent: u32,
}

/// The one way to a destination, for all partitions.
#[derive(Debug)]
pub struct Gate {
    state: Mutex<State>,
    /// Tells those who wait that the breaker has closed.
    closed: Notify,
    /// Attempts of [`Self::until_done`].
    slots: Semaphore,
    /// Attempts that the destination took.
    taken: AtomicU64,
    /// Records that fail alone, while others are taken.
    lonely: Lonely,
    attempt_timeout: Duration,
    counters: Arc<Counters>,
    health: Health,
}

#[derive(Debug)]
struct State {
    breaker: Breaker,
    budget: RetryBudget,
    /// The destination asked not to be spoken to before.
    floor: Option<Instant>,
}

/// What a failed attempt says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// The destination, as far as is known.
    Destination,
    /// What was written, if it fails like that: so it failed before, and others were taken since.
    Itself(ErrorClass),
}

// === impl Gate: may an attempt begin ===

impl Gate {
    /// A gate with these `limits`.
    #[must_use]
    pub fn new(limits: Limits, counters: Arc<Counters>, health: Health) -> Self {
        let state = State {
            breaker: Breaker::new(limits.failure_percent),
            budget: RetryBudget::new(limits.retry_percent, Instant::now()),
            floor: None,
        };
        Self {
            state: Mutex::new(state),
            closed: Notify::new(),
            slots: Semaphore::new(limits.concurrency.clamp(1, Semaphore::MAX_PERMITS)),
            taken: AtomicU64::new(0),
            lonely: Lonely::default(),
            attempt_timeout: limits.attempt_timeout,
            counters,
            health,
        }
    }

    /// Whether an attempt may begin now, and if not, when to ask again. Whoever is let through
    /// makes it, by [`Self::once`].
    pub fn admit(&self) -> Admission {
        let now = Instant::now();
        let mut state = self.state.lock();
        let admission = match state.floor(now) {
            Some(at) => Admission::At(at),
            None => state.breaker.admit(now),
        };
        self.show(&state);
        admission
    }

    /// When an attempt may begin, if for sure none may now.
    #[must_use]
    pub fn waits(&self) -> Option<Instant> {
        let now = Instant::now();
        let mut state = self.state.lock();
        state.floor(now).max(state.breaker.waits(now))
    }

    /// Takes a retry out of the destination's budget. While the breaker is not closed it rations
    /// the attempts, and none is taken.
    ///
    /// # Errors
    /// When to ask again.
    pub fn retry(&self) -> Result<(), Instant> {
        let mut state = self.state.lock();
        if !state.breaker.is_closed() {
            return Ok(());
        }
        let taken = state.budget.take(Instant::now());
        if taken.is_err() {
            Counters::add(&self.counters.retries_delayed, 1);
        }
        taken
    }

    /// Whether the breaker lets everything through.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.state.lock().breaker.is_closed()
    }

    /// The records that fail alone.
    pub fn lonely(&self) -> &Lonely {
        &self.lonely
    }

    /// How many attempts the destination has taken so far.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }
}

// === impl Gate: attempts ===

impl Gate {
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
            let waited = tokio::select! {
                slot = self.slots.acquire() => slot.ok(),
                () = give_up.cancelled() => None,
            };
            let slot = waited?;
            let ticket = self.admission(give_up).await?;
            let error = match self.once(ticket, About::Destination, attempt()).await {
                Ok(done) => return Some(done),
                Err(error) => error,
            };
            drop(slot);
            Counters::add(&self.counters.retries, 1);
            let asked = asked_for(error.class);
            // While the destination takes nothing its breaker says when to try again.
            let mut wait = if self.is_closed() {
                backoff.next(rand::random(), asked)
            } else {
                asked
            };
            loop {
                tokio::select! {
                    () = sleep(wait) => {}
                    () = give_up.cancelled() => return None,
                }
                match self.retry() {
                    Ok(()) => break,
                    Err(at) => wait = at.saturating_duration_since(Instant::now()),
                }
            }
        }
    }

    /// One attempt, in time, with its result told to breaker and budget. `about`: what a failure
    /// says. `ticket`: the answer of [`Self::admit`].
    ///
    /// # Errors
    /// Those of the attempt; [`ErrorClass::Outage`] if it was not over in time.
    pub async fn once<T>(
        &self,
        ticket: Ticket,
        about: About,
        attempt: impl Future<Output = Result<T, SinkError>> + Send,
    ) -> Result<T, SinkError> {
        let began = Instant::now();
        let (limit, in_time) = {
            let State { breaker, .. } = &*self.state.lock();
            let limit = breaker.time_for(ticket, self.attempt_timeout);
            (limit, breaker.in_time(self.attempt_timeout))
        };
        let mut attempt = pin!(timeout(limit, attempt));
        let ended = tokio::select! {
            biased;
            ended = &mut attempt => ended,
            () = sleep(in_time) => {
                if !about.is_itself(ErrorClass::Outage) {
                    self.is_late(ticket, in_time);
                }
                attempt.await
            }
        };
        let result = ended.unwrap_or_else(|elapsed| {
            let action = format!("finish an attempt in {limit:?}");
            Err(SinkError::new(ErrorClass::Outage, action, elapsed))
        });
        let took = began.elapsed();
        self.counters.attempt(took);
        match &result {
            Ok(_) => self.succeeded(ticket, took),
            Err(error) => self.failed(ticket, about, error),
        }
        result
    }

    async fn admission(&self, give_up: &CancellationToken) -> Option<Ticket> {
        loop {
            if give_up.is_cancelled() {
                return None;
            }
            let closed = self.closed.notified();
            match self.admit() {
                Admission::Go(ticket) => return Some(ticket),
                Admission::At(at) => tokio::select! {
                    () = sleep_until(at) => {}
                    () = closed => {}
                    () = give_up.cancelled() => return None,
                },
            }
        }
    }
}

// === impl Gate: what the end of an attempt says ===

impl Gate {
    fn succeeded(&self, ticket: Ticket, took: Duration) {
        self.taken.fetch_add(1, Ordering::Relaxed);
        let mut state = self.state.lock();
        state.budget.earn();
        if state.breaker.succeeded(ticket, Instant::now(), took) {
            state.budget.renew();
            self.show(&state);
            self.counters.denied.store(0, Ordering::Relaxed);
            drop(state);
            tracing::info!(destination = self.health.name(), "the destination is back");
            self.health.destination(None);
            self.closed.notify_waiters();
        }
    }

    fn is_late(&self, ticket: Ticket, after: Duration) {
        let mut state = self.state.lock();
        let now = Instant::now();
        if state.breaker.is_late(ticket, now, rand::random()) {
            self.show(&state);
            drop(state);
            let why = format!("attempts are not over after {after:?}");
            self.opened(ErrorClass::Outage, &why);
            self.waits_until(why, now, Duration::ZERO);
        }
    }

    fn failed(&self, ticket: Ticket, about: About, error: &SinkError) {
        let now = Instant::now();
        let asked = asked_for(error.class);
        self.counters.failed(error.class);
        let alone = about.is_itself(error.class);
        // The breaker counts it, and does not open for it at once.
        let class = if alone {
            ErrorClass::Transient
        } else {
            error.class
        };
        let (opened, closed) = {
            let mut state = self.state.lock();
            if !alone && !asked.is_zero() {
                let floor = now + asked.min(LONGEST_FLOOR);
                state.floor = state.floor.max(Some(floor));
            }
            let opened = state.breaker.failed(ticket, class, now, rand::random());
            self.show(&state);
            (opened, state.breaker.is_closed())
        };
        let text = error.chain();
        if opened {
            self.opened(class, &text);
        } else {
            tracing::debug!(destination = self.health.name(), error = %text, "attempt failed");
        }
        if !closed {
            let denied = u64::from(class == ErrorClass::Denied);
            self.counters.denied.store(denied, Ordering::Relaxed);
            self.waits_until(text, now, asked);
        }
    }

    fn opened(&self, class: ErrorClass, error: &str) {
        let what = match class {
            ErrorClass::Denied => "the breaker opened; the partitions wait until somebody acts",
            ErrorClass::Transient
            | ErrorClass::Throttled(_)
            | ErrorClass::Outage
            | ErrorClass::Rejected => "the breaker opened; the partitions wait",
        };
        tracing::error!(destination = self.health.name(), %class, %error, "{what}");
        Counters::add(&self.counters.breaker_opened, 1);
    }

    fn waits_until(&self, why: String, now: Instant, asked: Duration) {
        // Whoever still has something for it has tried again by then.
        let tried_again = now + LONGEST_OPEN + CAP.max(asked) + 2 * self.attempt_timeout;
        self.health.destination_waits(why, tried_again);
    }

    fn show(&self, state: &State) {
        let number = state.breaker.number();
        self.counters.breaker_state.store(number, Ordering::Relaxed);
    }
}

// === impl About ===

impl About {
    /// Whether a failure of `class` speaks of what was written alone.
    #[must_use]
    pub fn is_itself(self, class: ErrorClass) -> bool {
        match self {
            Self::Destination => false,
            Self::Itself(before) => discriminant(&before) == discriminant(&class),
        }
    }
}

// === impl State ===

impl State {
    /// When the destination may be spoken to again, if it asked to be left alone until later.
    fn floor(&mut self, now: Instant) -> Option<Instant> {
        self.floor.take_if(|at| *at <= now);
        self.floor
    }
}

/// The wait that a failed attempt asked for.
fn asked_for(class: ErrorClass) -> Duration {
    match class {
        ErrorClass::Throttled(after) => after,
        ErrorClass::Transient | ErrorClass::Outage | ErrorClass::Denied | ErrorClass::Rejected => {
            Duration::ZERO
        }
    }
}

#[cfg(test)]
mod tests;
