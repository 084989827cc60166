//! Step 5 of the consumers' walk, its end: which offset of a partition may be committed.
//!
//! In: offsets as they are polled, and each one's [`Outcome`], in any order; or the [`Receipt`] of a
//! segment, for all that it covers. Out: a [`Watermark`], the lowest offset that is not settled yet.
//! Pure; one tracker for one assignment of one partition.
//!
//! Promises: a watermark never passes an offset that was polled and not settled, and never
//! decreases. Offsets may have gaps (compaction, transaction markers): the tracker counts what
//! was polled, it does no arithmetic on offsets. There is no other way to make a [`Watermark`],
//! and nothing else can be committed.

use super::outcome::{Outcome, Receipt};
use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// One assignment of a partition to this process. A partition that comes back has another epoch,
/// so that what is left of the earlier assignment cannot touch the later one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(u64);

/// Everything below `offset` of a partition is settled, in one epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watermark {
    partition: i32,
    epoch: Epoch,
    offset: i64,
}

/// Why an offset was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TrackerError {
    /// Offsets of a partition only grow.
    #[error("partition {partition}: offset {offset} was polled after {last}")]
    OutOfOrder {
        /// The partition.
        partition: i32,
        /// The offset polled.
        offset: i64,
        /// The one polled before it.
        last: i64,
    },
    /// Only what was polled can be settled.
    #[error("partition {partition}: offset {offset} is settled but was never polled")]
    NotPolled {
        /// The partition.
        partition: i32,
        /// The offset.
        offset: i64,
    },
}

/// The unsettled span of one partition in one epoch.
pub struct CommitTracker {
    partition: i32,
    epoch: Epoch,
    /// Everything below is settled.
    settled_below: i64,
    /// The next offset that may be polled is at least this.
    next: i64,
    /// Polled, from the lowest unsettled one on; true = settled behind a gap.
    span: VecDeque<(i64, bool)>,
}

// === impl Epoch ===

impl Epoch {
    /// The epoch of that number.
    #[must_use]
    pub fn new(number: u64) -> Self {
        Self(number)
    }

    /// One that no other assignment in this process has, of whichever consumer.
    pub(crate) fn next() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Self(LAST.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Its number.
    #[must_use]
    pub fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

// === impl Watermark ===

impl Watermark {
    /// The partition.
    #[must_use]
    pub fn partition(&self) -> i32 {
        self.partition
    }

    /// The assignment that it belongs to.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The next offset to read after a restart.
    #[must_use]
    pub fn offset(&self) -> i64 {
        self.offset
    }
}

// === impl CommitTracker ===

impl CommitTracker {
    /// A tracker of `partition` in `epoch`, whose reading starts at `start`: everything below
    /// counts as settled.
    #[must_use]
    pub fn new(partition: i32, epoch: Epoch, start: i64) -> Self {
        Self {
            partition,
            epoch,
            settled_below: start,
            next: start,
            span: VecDeque::new(),
        }
    }

    /// Takes note of a polled offset. Returns false when it is settled already, being covered.
    ///
    /// # Errors
    /// [`TrackerError::OutOfOrder`], when it is not above the last one.
    pub fn polled(&mut self, offset: i64) -> Result<bool, TrackerError> {
        if offset < self.next {
            let last = self.next - 1;
            return Err(TrackerError::OutOfOrder {
                partition: self.partition,
                offset,
                last,
            });
        }
        self.next = offset.saturating_add(1);
        if offset < self.settled_below {
            return Ok(false);
        }
        self.span.push_back((offset, false));
        Ok(true)
    }

    /// Settles one polled offset. Settling it again changes nothing.
    ///
    /// # Errors
    /// [`TrackerError::NotPolled`], when it is none.
    pub fn settle(&mut self, offset: i64, outcome: Outcome) -> Result<(), TrackerError> {
        // Used up: it settles one offset, once.
        drop(outcome);
        if offset < self.settled_below {
            return Ok(());
        }
        let not_polled = TrackerError::NotPolled {
            partition: self.partition,
            offset,
        };
        let at = self
            .span
            .binary_search_by_key(&offset, |(polled, _)| *polled);
        let entry = at
            .ok()
            .and_then(|at| self.span.get_mut(at))
            .ok_or(not_polled)?;
        entry.1 = true;
        self.advance();
        Ok(())
    }

    /// Settles everything below `end`, polled or not: the destination holds a segment, named by
    /// its receipt, that covers the offsets up to there.
    pub fn cover(&mut self, end: i64, receipt: Receipt) {
        // Used up: it covers one range, once.
        drop(receipt);
        self.settled_below = self.settled_below.max(end);
        while self.span.front().is_some_and(|(offset, _)| *offset < end) {
            self.span.pop_front();
        }
        self.advance();
    }

    fn advance(&mut self) {
        while let Some((offset, true)) = self.span.front() {
            self.settled_below = offset.saturating_add(1);
            self.span.pop_front();
        }
    }

    /// What may be committed now.
    #[must_use]
    pub fn watermark(&self) -> Watermark {
        Watermark {
            partition: self.partition,
            epoch: self.epoch,
            offset: self.settled_below,
        }
    }

    /// Polled offsets from the lowest unsettled one on, settled ones behind it included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.span.len()
    }

    /// Whether everything polled is settled.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.span.is_empty()
    }

    /// The partition.
    #[must_use]
    pub fn partition(&self) -> i32 {
        self.partition
    }

    /// The assignment.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }
}

impl fmt::Debug for CommitTracker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CommitTracker")
            .field("partition", &self.partition)
            .field("epoch", &self.epoch)
            .field("settled_below", &self.settled_below)
            .field("span", &self.span.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[derive(Debug, Clone)]
    enum Step {
        Poll {
            gap: i64,
        },
        Settle {
            which: prop::sample::Index,
        },
        Cover {
            which: prop::sample::Index,
            beyond: i64,
        },
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (0i64..4).prop_map(|gap| Step::Poll { gap }),
            4 => any::<prop::sample::Index>().prop_map(|which| Step::Settle { which }),
            1 => (any::<prop::sample::Index>(), 0i64..6)
                .prop_map(|(which, beyond)| Step::Cover { which, beyond }),
        ]
    }

    /// The definition, without cleverness.
    #[derive(Default)]
    struct BruteForce {
        polled: BTreeSet<i64>,
        settled: BTreeSet<i64>,
        covered: i64,
    }

    impl BruteForce {
        fn watermark(&self, start: i64) -> i64 {
            let done = |o: &&i64| self.settled.contains(o) || **o < self.covered;
            let passed: Vec<_> = self.polled.iter().take_while(done).collect();
            passed
                .last()
                .map_or(start, |last| *last + 1)
                .max(self.covered)
                .max(start)
        }
    }

    proptest! {
        #[test]
        fn the_watermark_is_the_lowest_unsettled_offset(
            start in 0i64..1_000,
            steps in prop::collection::vec(step(), 0..200),
        ) {
            let mut tracker = CommitTracker::new(3, Epoch::new(7), start);
            let mut truth = BruteForce::default();
            let (mut next, mut last) = (start, start);
            for step in steps {
                match step {
                    Step::Poll { gap } => {
                        let new = tracker.polled(next + gap).unwrap();
                        prop_assert_eq!(new, next + gap >= truth.covered.max(start));
                        truth.polled.insert(next + gap);
                        next += gap + 1;
                    }
                    Step::Settle { which } if !truth.polled.is_empty() => {
                        let polled: Vec<_> = truth.polled.iter().copied().collect();
                        let offset = *which.get(&polled);
                        prop_assert_eq!(tracker.settle(offset, Outcome::Duplicate), Ok(()));
                        truth.settled.insert(offset);
                    }
                    Step::Cover { which, beyond } if !truth.polled.is_empty() => {
                        let polled: Vec<_> = truth.polled.iter().copied().collect();
                        let end = *which.get(&polled) + beyond;
                        tracker.cover(end, Receipt::new("segment"));
                        truth.covered = truth.covered.max(end);
                    }
                    Step::Settle { .. } | Step::Cover { .. } => {}
                }
                let watermark = tracker.watermark().offset();
                prop_assert_eq!(watermark, truth.watermark(start));
                prop_assert!(watermark >= last);
                last = watermark;
                let unsettled = truth.polled.iter().filter(|o| **o >= watermark).count();
                prop_assert_eq!(tracker.len(), unsettled);
            }
        }

        #[test]
        fn any_order_of_settling_ends_at_the_end(
            order in Just((0..64i64).collect::<Vec<_>>()).prop_shuffle()
        ) {
            let mut tracker = CommitTracker::new(0, Epoch::new(0), 0);
            for offset in 0..64 {
                tracker.polled(offset * 3).unwrap();
            }
            for (done, offset) in order.iter().enumerate() {
                prop_assert_eq!(tracker.watermark().offset() == 190, done == 64);
                tracker.settle(offset * 3, Outcome::NotAddressed).unwrap();
            }
            prop_assert_eq!(tracker.watermark().offset(), 190);
            prop_assert!(tracker.is_empty());
        }
    }

    #[test]
    fn what_was_never_polled_cannot_be_settled() {
        let mut tracker = CommitTracker::new(0, Epoch::new(0), 10);
        tracker.polled(10).unwrap();
        tracker.polled(20).unwrap();
        assert!(matches!(
            tracker.settle(15, Outcome::Duplicate),
            Err(TrackerError::NotPolled { offset: 15, .. })
        ));
        assert!(matches!(
            tracker.polled(20),
            Err(TrackerError::OutOfOrder { last: 20, .. })
        ));
        assert_eq!(tracker.watermark().offset(), 10);
    }
}
