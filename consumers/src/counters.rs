//! What one destination's consumer has done, as numbers.
//!
//! In `batch` mode updated once a segment. They are the program's own word: a ledger is
//! made from the log and the destinations instead.

use crate::sink::ErrorClass;
use cloudsync::identity::Id16;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// One of each class of failures.
pub(crate) const CLASSES: [ErrorClass; 5] = [
    ErrorClass::Transient,
    ErrorClass::Throttled(Duration::ZERO),
    ErrorClass::Outage,
    ErrorClass::Denied,
    ErrorClass::Rejected,
];

/// The counters of one destination in this process. All but two only grow.
#[derive(Debug, Default)]
pub struct Counters {
    /// Records taken from the log.
    pub polled: AtomicU64,
    /// Records that the destination confirmed.
    pub delivered: AtomicU64,
    /// Records that name an effect delivered before.
    pub duplicates: AtomicU64,
    /// Records met again at a place in the log that was settled before.
    pub redelivered: AtomicU64,
    /// Records produced to the dead-letter topic.
    pub dead_lettered: AtomicU64,
    /// Records that name other destinations.
    pub not_addressed: AtomicU64,
    /// Records not looked up, and ids dropped unmarked, because the dedupe store was away.
    pub dedupe_bypassed: AtomicU64,
    /// Segments created.
    pub segments: AtomicU64,
    /// Segments found in place and recognised as this log's.
    pub adopted: AtomicU64,
    /// Bytes of the segments created.
    pub bytes: AtomicU64,
    /// Attempts to write that failed and were made again.
    pub retries: AtomicU64,
    /// Retries that had to wait for the destination's budget, counted each time they asked.
    pub retries_delayed: AtomicU64,
    /// Attempts that ended, and how long they took together, in milliseconds.
    pub attempts: AtomicU64,
    /// See [`Self::attempts`].
    pub attempt_millis: AtomicU64,
    /// How often the breaker opened.
    pub breaker_opened: AtomicU64,
    /// 0 the breaker is closed, 1 half-open, 2 open. The only one that goes back, with the next.
    pub breaker_state: AtomicU64,
    /// 1 while the destination is waited for because it will not let us in.
    pub denied: AtomicU64,
    /// Attempts that failed, by class, in the order of [`CLASSES`].
    failed: [AtomicU64; 5],
    tally: Mutex<IdTally>,
}

/// A count of ids and their sum as 128-bit numbers, wrapping: the same for the same ids in any
/// order, so that what arrived can be compared with what was sent without keeping either.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IdTally {
    /// How many.
    pub count: u64,
    /// Their sum.
    pub sum: u128,
}

// === impl Counters ===

impl Counters {
    /// Adds `n` to one of the counters.
    pub(crate) fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }

    /// An attempt ended after `took`.
    pub(crate) fn attempt(&self, took: Duration) {
        Self::add(&self.attempts, 1);
        let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        Self::add(&self.attempt_millis, millis);
    }

    /// An attempt failed.
    pub(crate) fn failed(&self, class: ErrorClass) {
        Self::add(self.failed_as(class), 1);
    }

    /// Attempts that failed as `class`.
    pub(crate) fn failed_as(&self, class: ErrorClass) -> &AtomicU64 {
        match class {
            ErrorClass::Transient => &self.failed[0],
            ErrorClass::Throttled(_) => &self.failed[1],
            ErrorClass::Outage => &self.failed[2],
            ErrorClass::Denied => &self.failed[3],
            ErrorClass::Rejected => &self.failed[4],
        }
    }

    /// Tally of the ids in every object that a create made.
    #[must_use]
    pub fn tally(&self) -> IdTally {
        *self.tally.lock()
    }

    pub(crate) fn add_tally(&self, more: IdTally) {
        let mut tally = self.tally.lock();
        tally.count += more.count;
        tally.sum = tally.sum.wrapping_add(more.sum);
    }
}

// === impl IdTally ===

impl IdTally {
    /// Counts one id.
    pub fn add(&mut self, id: Id16) {
        self.count += 1;
        self.sum = self.sum.wrapping_add(u128::from_le_bytes(id.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_tally_does_not_depend_on_the_order(
            ids in proptest::collection::vec(any::<[u8; 16]>(), 0..9)
        ) {
            let (mut forward, mut backward) = (IdTally::default(), IdTally::default());
            ids.iter().for_each(|id| forward.add(Id16(*id)));
            ids.iter().rev().for_each(|id| backward.add(Id16(*id)));
            prop_assert_eq!(forward, backward);
        }
    }
}
