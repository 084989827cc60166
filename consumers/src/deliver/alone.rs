//! Records that fail alone, while others are taken.
//!
//! In: each of them, for as long as it does. Out: whether they are few. Promises: a part of a
//! destination that is away, or closed to a part of the records, is not taken for so many records
//! that are at fault.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// So many of them at most: with more it is the destination after all.
const FEW: usize = 8;

/// Those of one destination, in this process.
#[derive(Debug, Default)]
pub struct Lonely(Arc<AtomicUsize>);

/// One of them. It counts until it is dropped.
#[derive(Debug)]
pub struct Alone(Arc<AtomicUsize>);

// === impl Lonely ===

impl Lonely {
    /// One more from now on.
    #[must_use]
    pub fn one(&self) -> Alone {
        self.0.fetch_add(1, Ordering::Relaxed);
        Alone(Arc::clone(&self.0))
    }

    /// Whether they are so few that each may be at fault itself.
    #[must_use]
    pub fn are_few(&self) -> bool {
        self.0.load(Ordering::Relaxed) <= FEW
    }
}

// === impl Alone ===

impl Drop for Alone {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_count_while_they_are_held() {
        let lonely = Lonely::default();
        let mut held: Vec<_> = (0..FEW).map(|_| lonely.one()).collect();
        assert!(lonely.are_few());
        held.push(lonely.one());
        assert!(!lonely.are_few());
        held.pop();
        assert!(lonely.are_few());
    }
}
