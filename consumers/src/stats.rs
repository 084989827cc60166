//! What a destination's dedupe store holds, and what was recognised with it, said once in a while.
//!
//! In: the store, and the counters that `/metrics` shows. Out: one line in the log every
//! `dedupe.stats_interval`, and one at the end; a warning instead, where the store forgot ids before
//! their window ended, because then an id that is sent again within the window counts as new.

use crate::counters::Counters;
use cloudsync_dedupe::{DedupeStore, Stats};
use cloudsync_runtime::Shutdown;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::timeout;

/// Says what `store` holds and what `counters` have of duplicates, every `interval`, until the
/// process drains.
pub(crate) async fn report(
    destination: String,
    store: Arc<dyn DedupeStore>,
    counters: Arc<Counters>,
    interval: Duration,
    shutdown: Shutdown,
) {
    let mut evicted = 0;
    loop {
        let ends = timeout(interval, shutdown.draining()).await.is_ok();
        match store.stats().await {
            Ok(stats) => {
                say(&destination, &stats, &counters, evicted);
                evicted = stats.evicted;
            }
            Err(error) => tracing::debug!(destination, %error, "no dedupe statistics"),
        }
        if ends {
            return;
        }
    }
}

fn say(destination: &str, stats: &Stats, counters: &Counters, evicted_before: u64) {
    // What is a duplicate the destination's consumer counts: a store meets some more than once.
    // Only claims are busy or taken over, and `batch` mode makes none.
    let Stats {
        entries,
        in_progress,
        bytes,
        evicted,
        busy,
        taken_over,
        ..
    } = *stats;
    let duplicates = counters.duplicates.load(Ordering::Relaxed);
    let redelivered = counters.redelivered.load(Ordering::Relaxed);
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
            redelivered,
            busy,
            taken_over,
            "what the dedupe store holds, and what was recognised since the start"
        );
    }
}
