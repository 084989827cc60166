//! What a gateway has done since it was bound, counted in records.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts of records. At every moment of rest, received = acked + refused, and those whose client
/// went away before its answer (the log may have them or not).
#[derive(Debug, Default)]
pub struct Counters {
    received: AtomicU64,
    acked: AtomicU64,
    refused: AtomicU64,
    duplicates: AtomicU64,
}

impl Counters {
    /// Records that clients sent.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Records that are durable in the log.
    #[must_use]
    pub fn acked(&self) -> u64 {
        self.acked.load(Ordering::Relaxed)
    }

    /// Records that were refused, or that the log did not acknowledge.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Of the acked records, those that were acknowledged before and not written again.
    #[must_use]
    pub fn duplicates_at_gateway(&self) -> u64 {
        self.duplicates.load(Ordering::Relaxed)
    }

    pub(crate) fn add_received(&self, records: u64) {
        self.received.fetch_add(records, Ordering::Relaxed);
    }

    pub(crate) fn add_acked(&self, records: u64) {
        self.acked.fetch_add(records, Ordering::Relaxed);
    }

    pub(crate) fn add_duplicates(&self, records: u64) {
        self.duplicates.fetch_add(records, Ordering::Relaxed);
    }

    pub(crate) fn add_refused(&self, records: u64) {
        self.refused.fetch_add(records, Ordering::Relaxed);
    }
}
