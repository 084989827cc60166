//! Back-pressure: which partitions are paused.
//!
//! In: how full the queues are. Out: partitions paused and resumed, with a wide gap between the
//! two. A pause throws away what librdkafka has fetched ahead, so before one the poll thread
//! waits a moment, as long as no other partition's reader runs dry by it.

use super::partition::Fill;
use super::poll::PollLoop;
use rdkafka::consumer::Consumer;
use rdkafka::topic_partition_list::Offset;
use std::time::Duration;
use tokio::time::Instant;

/// How much may lie between the poll thread and the readers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueLimits {
    /// Records of one partition. Default 8,192.
    pub records: usize,
    /// Bytes of one partition. Default 8 MiB.
    pub bytes: usize,
    /// Bytes of all partitions together. Default 24 MiB.
    pub total_bytes: usize,
}

/// Longest wait before a pause.
const HOLD: Duration = Duration::from_millis(250);
/// One slice of it.
const SLICE: Duration = Duration::from_millis(10);

// === impl QueueLimits ===

impl Default for QueueLimits {
    fn default() -> Self {
        Self {
            records: 8_192,
            bytes: 8 << 20,
            total_bytes: 24 << 20,
        }
    }
}

impl QueueLimits {
    /// A partition is full by its own limits, or when all together are over theirs and it has
    /// more than its share.
    fn is_full(&self, fill: Fill, total: usize, partitions: usize) -> bool {
        let over_share = fill.bytes > self.total_bytes / partitions.max(1);
        fill.records >= self.records
            || fill.bytes >= self.bytes
            || (total >= self.total_bytes && over_share)
    }

    /// A paused partition goes on at half of what would pause it.
    fn may_resume(&self, fill: Fill, total: usize, partitions: usize) -> bool {
        let half = Self {
            records: self.records / 2,
            bytes: self.bytes / 2,
            total_bytes: self.total_bytes / 2,
        };
        fill == Fill::default()
            || !Self {
                records: half.records + 1,
                ..half
            }
            .is_full(fill, total, partitions)
    }
}

// === impl PollLoop ===

impl PollLoop {
    /// Pauses what is full and resumes what has room again.
    pub(super) fn balance(&mut self) {
        let held_since = Instant::now();
        while self.any_full() && self.nobody_starves() && held_since.elapsed() < HOLD {
            self.drained.wait(SLICE);
        }
        let (total, count) = self.fill();
        let (mut pause, mut resume) = (Vec::new(), Vec::new());
        for (partition, part) in self.parts.iter_mut().filter(|(_, part)| part.intake) {
            let fill = part.queue.fill();
            if !part.paused && self.limits.is_full(fill, total, count) {
                part.paused = true;
                pause.push(*partition);
            } else if part.paused && self.limits.may_resume(fill, total, count) {
                part.paused = false;
                resume.push(*partition);
            }
        }
        self.set_paused(&pause, true);
        self.set_paused(&resume, false);
    }

    fn set_paused(&self, partitions: &[i32], paused: bool) {
        if partitions.is_empty() {
            return;
        }
        tracing::trace!(?partitions, paused, "back-pressure");
        let list = crate::client::list_of(&self.settings.topic, partitions, Offset::Invalid);
        let done = list.and_then(|list| {
            if paused {
                self.consumer.pause(&list)
            } else {
                self.consumer.resume(&list)
            }
        });
        if let Err(error) = done {
            tracing::warn!(%error, ?partitions, paused, "cannot pause or resume partitions");
        }
    }

    fn fill(&self) -> (usize, usize) {
        let total = self
            .parts
            .values()
            .map(|part| part.queue.fill().bytes)
            .sum();
        (total, self.parts.len())
    }

    fn any_full(&self) -> bool {
        let (total, count) = self.fill();
        let mut open = self
            .parts
            .values()
            .filter(|part| part.intake && !part.paused);
        open.any(|part| self.limits.is_full(part.queue.fill(), total, count))
    }

    fn nobody_starves(&self) -> bool {
        // With a rebalance under way, or a paused partition that has room again, polling goes on.
        let (total, count) = self.fill();
        !self.is_rebalancing()
            && self.parts.values().filter(|part| part.intake).all(|part| {
                let fill = part.queue.fill();
                if part.paused {
                    !self.limits.may_resume(fill, total, count)
                } else {
                    fill.records > 0
                }
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Otherwise a partition would flap between the two at every step.
        #[test]
        fn what_may_resume_is_at_most_half_full(
            records in 0usize..20_000, bytes in 0usize..20_000_000, others in 0usize..100_000_000,
            partitions in 1usize..20,
        ) {
            let (limits, fill) = (QueueLimits::default(), Fill { records, bytes });
            let total = bytes + others;
            if limits.may_resume(fill, total, partitions) && records + bytes > 0 {
                prop_assert!(!limits.is_full(fill, total, partitions));
                prop_assert!(records <= limits.records / 2 && bytes <= limits.bytes / 2);
            }
        }

        /// Otherwise an empty partition could wait for ever.
        #[test]
        fn an_empty_partition_may_always_resume(total in 0usize..usize::MAX, records in 1usize..9) {
            let limits = QueueLimits { records, bytes: 1, total_bytes: 1 };
            prop_assert!(limits.may_resume(Fill::default(), total, 12));
        }
    }
}
