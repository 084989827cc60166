//! What a destination's dedupe store holds, said once in a while.
//!
//! In: the store. Out: one line in the log every `dedupe.stats_interval`, and one at the end; a
//! warning instead, where the store forgot ids before their window ended, because then an id that
//! is sent again within the window counts as new.

use cloudsync_dedupe::{DedupeStore, Stats};
use cloudsync_runtime::Shutdown;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// Says what `store` holds, every `interval`, until the process drains.
pub(crate) async fn report(
    destination: String,
    store: Arc<dyn DedupeStore>,
    interval: Duration,
    shutdown: Shutdown,
) {
    let mut evicted = 0;
    loop {
        let ends = timeout(interval, shutdown.draining()).await.is_ok();
        match store.stats().await {
            Ok(stats) => {
                say(&destination, &stats, evicted);
                evicted = stats.evicted;
            }
            Err(error) => tracing::debug!(destination, %error, "no dedupe statistics"),
        }
        if ends {
            return;
        }
    }
}

fn say(destination: &str, stats: &Stats, evicted_before: u64) {
    let Stats {
        entries,
        in_progress,
        bytes,
        duplicates,
        redeliveries,
        conflicts,
        evicted,
        ..
    } = *stats;
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
            duplicates,
            redeliveries,
            conflicts,
            evicted,
            "what the dedupe store holds"
        );
    }
}
