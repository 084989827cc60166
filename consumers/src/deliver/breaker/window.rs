//! How the attempts of the last seconds went, counted in slices of time.

use std::time::Duration;
use tokio::time::Instant;

/// Slices of the window, and how long one is.
const SLICES: usize = 10;
const SLICE: Duration = Duration::from_secs(1);
/// With fewer attempts a share says nothing: chance alone makes it.
const ENOUGH: u32 = 100;

/// A sliding window of [`SLICES`] slices.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Window {
    /// The window's first moment.
    began: Option<Instant>,
    slices: [Slice; SLICES],
}

#[derive(Clone, Copy, Debug, Default)]
struct Slice {
    /// Which one it is, counted from the first moment.
    number: u64,
    attempts: u32,
    failed: u32,
}

// === impl Window ===

impl Window {
    /// An attempt ended at `now`.
    pub(super) fn add(&mut self, now: Instant, failed: bool) {
        let number = self.number(now);
        let at = usize::try_from(number % SLICES as u64).unwrap_or_default();
        let slice = &mut self.slices[at];
        if slice.number != number {
            *slice = Slice {
                number,
                ..Slice::default()
            };
        }
        slice.attempts = slice.attempts.saturating_add(1);
        slice.failed = slice.failed.saturating_add(failed.into());
    }

    /// Whether of enough attempts `percent` in a hundred have failed.
    pub(super) fn failed(&mut self, now: Instant, percent: u32) -> bool {
        let number = self.number(now);
        let counted = self.slices.iter();
        let counted = counted.filter(|slice| slice.number + SLICES as u64 > number);
        let (attempts, failed) = counted.fold((0u64, 0u64), |(attempts, failed), slice| {
            let more = (u64::from(slice.attempts), u64::from(slice.failed));
            (attempts + more.0, failed + more.1)
        });
        attempts >= u64::from(ENOUGH) && failed * 100 >= attempts * u64::from(percent)
    }

    fn number(&mut self, now: Instant) -> u64 {
        let began = *self.began.get_or_insert(now);
        let passed = now.saturating_duration_since(began);
        passed.as_secs() / SLICE.as_secs()
    }
}
