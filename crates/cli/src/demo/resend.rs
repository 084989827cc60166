//! Which records are sent again, and when (pure, no I/O).
//!
//! In: each record, when it has been sent. Out: the same record again, at its time: half of them
//! at once, so that both meet in what the consumer has open, the others later, so that the second
//! one meets what the gateway remembers (`gateway.recent_ids`), or else the dedupe store.
//! Promises: of `n` records, `share × n` go again, rounded down; it holds at most [`MAX_HELD`]
//! records.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Most records held back at a time; the next one to go again then goes at once.
pub const MAX_HELD: usize = 16_384;
/// Farthest distance, in records, between a record and its repetition.
const FAR: u64 = 50_000;
/// Farthest distance of those that go again at once.
const NEAR: u64 = 16;

/// Keeps what is to be sent again until its time.
#[derive(Debug)]
pub struct Resend<T> {
    share: f64,
    picked: u64,
    seen: u64,
    held: BinaryHeap<Reverse<Held<T>>>,
}

#[derive(Debug)]
struct Held<T> {
    due: u64,
    order: u64,
    record: T,
}

// === impl Resend ===

impl<T: Clone> Resend<T> {
    /// Sends `share` (0 to 1) of all records again.
    #[must_use]
    pub fn new(share: f64) -> Self {
        Self {
            share,
            picked: 0,
            seen: 0,
            held: BinaryHeap::new(),
        }
    }

    /// `record` has been sent for the first time.
    pub fn sent(&mut self, record: &T) {
        self.seen += 1;
        // The small addend makes up for shares such as 0.2, which no binary fraction is.
        let owed = (self.seen as f64).mul_add(self.share, 1e-6) as u64;
        if owed <= self.picked {
            return;
        }
        let spread = self.picked.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
        let distance = if self.picked.is_multiple_of(2) {
            spread % NEAR
        } else {
            spread % FAR
        };
        let due = self.seen + distance;
        self.held.push(Reverse(Held {
            due,
            order: self.picked,
            record: record.clone(),
        }));
        self.picked += 1;
    }

    /// The next record whose time has come.
    pub fn due(&mut self) -> Option<T> {
        let full = self.held.len() > MAX_HELD;
        let due = self
            .held
            .peek()
            .is_some_and(|Reverse(next)| next.due <= self.seen);
        if full || due { self.rest() } else { None }
    }

    /// The next record whatever its time: for the end.
    pub fn rest(&mut self) -> Option<T> {
        self.held.pop().map(|Reverse(held)| held.record)
    }
}

impl<T> PartialEq for Held<T> {
    fn eq(&self, other: &Self) -> bool {
        (self.due, self.order) == (other.due, other.order)
    }
}

impl<T> Eq for Held<T> {}

impl<T> PartialOrd for Held<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Held<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.due, self.order).cmp(&(other.due, other.order))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_goes_again_near_and_far_and_memory_stays_bounded() {
        for (share, expected) in [(0.0, 0), (0.2, 40_000), (0.5, 100_000), (1.0, 200_000)] {
            let mut resend = Resend::new(share);
            let mut distances = Vec::new();
            for n in 1..=200_000u64 {
                resend.sent(&n);
                while let Some(record) = resend.due() {
                    distances.push(n - record);
                }
                assert!(resend.held.len() <= MAX_HELD);
            }
            while let Some(record) = resend.rest() {
                distances.push(200_000 - record);
            }
            assert_eq!(distances.len(), expected, "{share}");
            if expected > 0 {
                let near = distances
                    .iter()
                    .filter(|distance| **distance < NEAR)
                    .count();
                assert!(
                    near * 10 >= distances.len() * 4,
                    "{near} of {}",
                    distances.len()
                );
                assert!(distances.iter().any(|distance| *distance > 1_000));
            }
        }
    }
}
