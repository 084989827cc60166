//! Where a mark's record stands, and what the mark says, in 8 bytes.
//!
//! In: a position, and done or dead-lettered. Out: both again. Promises: exact, or [`Place::pack`]
//! says that it is not, and the position is kept elsewhere. Partitions below 16,383 with offsets
//! below 2^48 (ten thousand records a second for 890 years) fit.

use crate::claim::LogPosition;

const DONE: u64 = 1 << 63;
const STALE: u64 = 1 << 62;
const OFFSET_BITS: u32 = 48;
const OFFSET: u64 = (1 << OFFSET_BITS) - 1;
/// A partition that no position has: the position lies elsewhere.
const WIDE: u64 = (1 << 14) - 1;

/// A position and a state, packed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place(u64);

impl Place {
    pub(super) const EMPTY: Self = Self(0);

    /// Packs what fits; of a position that does not only that it lies elsewhere.
    pub(super) fn pack(position: LogPosition, done: bool) -> Self {
        let partition = u64::try_from(position.partition).unwrap_or(WIDE);
        let offset = u64::try_from(position.offset).unwrap_or(u64::MAX);
        let place = if partition < WIDE && offset <= OFFSET {
            partition << OFFSET_BITS | offset
        } else {
            WIDE << OFFSET_BITS
        };
        Self(place | if done { DONE } else { 0 })
    }

    /// The position; `None` where it lies elsewhere.
    pub(super) fn position(self) -> Option<LogPosition> {
        let partition = self.0 >> OFFSET_BITS & WIDE;
        (partition != WIDE).then(|| LogPosition {
            // Below 2^14 and 2^48.
            partition: i32::try_from(partition).unwrap_or_default(),
            offset: i64::try_from(self.0 & OFFSET).unwrap_or_default(),
        })
    }

    pub(super) fn is_done(self) -> bool {
        self.0 & DONE != 0
    }

    /// Whether the mark is no longer what is known of its id.
    pub(super) fn is_stale(self) -> bool {
        self.0 & STALE != 0
    }

    pub(super) fn make_stale(&mut self) {
        self.0 |= STALE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_place_is_exact_or_says_that_it_is_not(
            partition in prop_oneof![0..20_000i32, any::<i32>()],
            offset in prop_oneof![0..1i64 << 49, any::<i64>()],
            done: bool,
        ) {
            let position = LogPosition { partition, offset };
            let mut place = Place::pack(position, done);
            let fits = (0..16_383).contains(&partition) && (0..1 << 48).contains(&offset);
            prop_assert_eq!(place.position(), fits.then_some(position));
            prop_assert_eq!(place.is_done(), done);
            prop_assert!(!place.is_stale());
            place.make_stale();
            prop_assert!(place.is_stale());
            prop_assert_eq!((place.position(), place.is_done()), (fits.then_some(position), done));
        }
    }
}
