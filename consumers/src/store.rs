//! The dedupe store of a destination: waited for at the start, then looked at once a second.
//!
//! In: the store, and the counters that `/metrics` shows. Out: `/readyz` and `/metrics` say how it
//! is; one line in the log every `dedupe.stats_interval`, and one at the end; a warning instead,
//! where the store forgot ids before their window ended, because then an id that is sent again
//! within the window counts as new. Promises: nobody waits for a store without an end, and one
//! that will refuse for ever is told from one that is away.

use crate::counters::Counters;
use crate::deliver::LONGEST_OPEN;
use crate::health::Health;
use cloudsync_dedupe::{DedupeStore, Stats, StoreError};
use cloudsync_runtime::{Condition, Readiness, Shutdown};
use parking_lot::Mutex;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// How long a start waits for a store that is away, before it goes on without.
const AT_THE_START: Duration = Duration::from_secs(10);
/// How long between two questions at the start.
const AGAIN: Duration = Duration::from_millis(250);
/// How often the store is asked whether it is there.
const EVERY: Duration = Duration::from_secs(1);
/// How often it is asked what it holds.
const COUNT: Duration = Duration::from_secs(5);

/// The store of one destination, and what was last seen of it.
#[derive(Debug)]
pub(crate) struct Watched {
    destination: String,
    store: Arc<dyn DedupeStore>,
    condition: Condition,
    health: Health,
    last: Mutex<Stats>,
    up: AtomicBool,
}

// === impl Watched ===

impl Watched {
    /// Nothing is asked before [`Self::wait`].
    pub(crate) fn new(
        destination: &str,
        store: Arc<dyn DedupeStore>,
        readiness: &Readiness,
        health: Health,
    ) -> Self {
        let name = format!("dedupe store of {destination}");
        Self {
            destination: destination.to_owned(),
            store,
            condition: readiness.condition(name, "its first answer"),
            health,
            last: Mutex::default(),
            up: AtomicBool::new(false),
        }
    }

    /// What it said last.
    pub(crate) fn last(&self) -> Stats {
        *self.last.lock()
    }

    /// Whether it answered the last question.
    pub(crate) fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }

    /// Waits until the store answers, for [`AT_THE_START`] at most: ids that are not looked up are
    /// duplicates that nobody recognises, and a store that starts beside us is there soon.
    ///
    /// # Errors
    /// What a store says that does not fit the settings. Everything else may change while we run:
    /// then it counts as away.
    pub(crate) async fn wait(&self, shutdown: &Shutdown) -> Result<(), StoreError> {
        let (destination, until) = (&self.destination, Instant::now() + AT_THE_START);
        let mut waits = false;
        while let Err(error) = self.ask(self.store.ready()).await {
            if Instant::now() >= until || shutdown.is_draining() {
                if matches!(error, StoreError::Unfit { .. }) {
                    return Err(error);
                }
                tracing::warn!(destination, %error, "the dedupe store is still away");
                return Ok(());
            }
            if !waits {
                tracing::warn!(destination, %error, "waiting for the dedupe store");
            }
            waits = true;
            tokio::select! {
                () = sleep(AGAIN) => {}
                () = shutdown.draining() => {}
            }
        }
        Ok(())
    }

    /// Looks at the store, and every `interval` says what it holds and what `counters` have of
    /// duplicates, until the process drains.
    pub(crate) async fn report(
        self: Arc<Self>,
        counters: Arc<Counters>,
        interval: Duration,
        shutdown: Shutdown,
    ) {
        let (mut evicted, mut said, mut counted) = (0, Instant::now(), Instant::now());
        loop {
            let ends = timeout(EVERY, shutdown.draining()).await.is_ok();
            let due = said.elapsed() >= interval;
            if !ends && !due && counted.elapsed() < COUNT {
                // An answer is all that is wanted; the readiness tells of it.
                let _told = self.ask(self.store.ready()).await.is_ok();
                continue;
            }
            if let Ok(stats) = self.ask(self.store.stats()).await {
                *self.last.lock() = stats;
                counted = Instant::now();
                if ends || due {
                    said = counted;
                    say(&self.destination, &stats, &counters, evicted);
                    evicted = stats.evicted;
                }
            }
            if ends {
                return;
            }
        }
    }

    /// The answer, in time; the readiness says what came of it.
    async fn ask<T>(
        &self,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let patience = self.store.patience();
        let answer = timeout(patience, call).await.unwrap_or_else(|_| {
            Err(StoreError::Unavailable {
                store: format!("of {}", self.destination),
                reason: format!("no answer within {patience:?}"),
            })
        });
        self.up.store(answer.is_ok(), Ordering::Relaxed);
        match &answer {
            // Somebody has to act. While it is only away, the destinations that pause say so.
            Err(error) if !error.is_retryable() => self.condition.waiting(error.to_string()),
            Ok(_) | Err(_) => self.condition.ready(),
        }
        self.health.refresh(Instant::now());
        answer
    }
}

/// When somebody who was refused by `store` has asked it again for sure: a breaker opens, a call
/// takes its time, and so does the worker that makes it.
pub(crate) fn asks_again(store: &dyn DedupeStore) -> Instant {
    let of_a_worker = Duration::from_secs(10);
    Instant::now() + LONGEST_OPEN + store.patience() + of_a_worker
}

fn say(destination: &str, stats: &Stats, counters: &Counters, evicted_before: u64) {
    // The store counts answers to claims, of which `batch` mode makes none: what the destination's
    // consumer counts is what a reader means.
    let Stats {
        entries,
        in_progress,
        bytes,
        evicted,
        busy,
        taken_over,
        memory_losses,
        ..
    } = *stats;
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let duplicates = count(&counters.duplicates);
    let redelivered = count(&counters.redelivered);
    let bypassed = count(&counters.dedupe_bypassed);
    let polled = count(&counters.polled).max(1);
    #[expect(clippy::cast_precision_loss, reason = "a share with three digits")]
    let duplicate_rate = format!("{:.3}", duplicates as f64 / polled as f64);
    let window_s = stats.window.as_secs();
    let effective_window_s = stats.effective_window.map(|window| window.as_secs());
    if evicted > evicted_before {
        tracing::warn!(
            destination,
            entries,
            window_s,
            effective_window_s,
            evicted,
            "the dedupe store is full and forgets ids before their window ends: raise \
             dedupe.max_entries or dedupe.max_memory, or lower dedupe.window"
        );
    } else {
        tracing::info!(
            destination,
            entries,
            in_progress,
            bytes,
            window_s,
            effective_window_s,
            evicted,
            duplicates,
            duplicate_rate,
            redelivered,
            bypassed,
            busy,
            taken_over,
            memory_losses,
            "what the dedupe store holds, and what was recognised since the start"
        );
    }
}
