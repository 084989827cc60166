//! How much memory a store takes for a rate and a window.
//!
//! In: ids a second, the window. Out: a [`Need`] for each store and layout. Promises: bytes an id
//! are measured ones; what is told is the most that is there at one time, in the long run.
//!
//! Measured with 1,000,000 ids: the table of this process by its own account; Redis 7.0.15 by
//! `used_memory`, with ids spread over 12 shards (docs/dedupe-redis.md).

use std::time::Duration;

/// What one store needs for one destination; or the receipts, for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// The scheme of `dedupe.url`, with the layout of a shared store.
    pub store: &'static str,
    /// Memory of one id, in tenths of a byte.
    pub tenths_of_a_byte: u64,
    /// Ids that it knows at most at one time.
    pub ids: u64,
    /// Memory of all of them, in bytes.
    pub memory: u64,
    /// Bytes on disk, where the store keeps any itself.
    pub disk: u64,
}

/// A mark of the log on disk: 37 bytes, in files that go when all of their marks have ended, each
/// a sixteenth of the window long.
const MARK_ON_DISK: u64 = 37;

/// A row: the store, tenths of a byte an id, half windows for which an id stays, bytes on disk.
const ROWS: [(&str, u64, u64, u64); 5] = [
    ("memory:", 380, 2, 0),
    ("file:", 380, 2, MARK_ON_DISK),
    // An id stays until the generation after its own has ended: at most two windows.
    ("redis, layout buckets", 989, 4, 0),
    ("redis, layout keys", 2_249, 2, 0),
    // What gateways share, whatever the layout; once, and not for each destination.
    ("receipts (once), redis", 1_149, 4, 0),
];

/// What each store needs, for `rate` new ids a second remembered for `window`.
#[must_use]
pub fn needs(rate: u64, window: Duration) -> Vec<Need> {
    let of_a_window = u128::from(rate).saturating_mul(window.as_millis()) / 1_000;
    let fits = |value: u128| u64::try_from(value).unwrap_or(u64::MAX);
    let need = |(store, tenths, halves, mark): (&'static str, u64, u64, u64)| {
        let ids = of_a_window.saturating_mul(u128::from(halves)) / 2;
        Need {
            store,
            tenths_of_a_byte: tenths,
            ids: fits(ids),
            memory: fits(ids.saturating_mul(u128::from(tenths)) / 10),
            disk: fits(ids.saturating_mul(u128::from(mark) * 17) / 16),
        }
    };
    ROWS.into_iter().map(need).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_thousand_a_second_for_an_hour() {
        let needs = needs(10_000, Duration::from_secs(3_600));
        let memory: Vec<u64> = needs.iter().map(|need| need.memory / 1_000_000).collect();
        assert_eq!(memory, [1_368, 1_368, 7_120, 8_096, 8_272]);
        assert_eq!(needs[1].disk / 1_000_000, 1_415);
        assert_eq!(needs[0].ids, 36_000_000);
        assert_eq!(needs[2].ids, 72_000_000);
    }

    #[test]
    fn no_rate_is_too_high() {
        let all = needs(u64::MAX, Duration::MAX);
        assert!(
            all.iter()
                .all(|need| need.memory == u64::MAX || need.memory > 0)
        );
    }
}
