//! One record as verify remembers it: 48 bytes, whatever its payload.
//!
//! In: a line of a destination, a record of the log, or a dead letter. Out: an [`Entry`], as bytes
//! and back. Promises: what parses back is what was written; a place is named once, by a number.

use crate::chain::{ChainName, SegmentName};
use crate::record::name::ObjectName;
use cloudsync::identity::{Fingerprint, Id16};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// Bytes of an entry.
pub const ENTRY_BYTES: usize = 48;

/// Who says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Voice {
    /// It lies at the destination of this number, 0 or 1.
    Side(u8),
    /// It stands in the log.
    Log,
    /// It was set aside; [`Entry::is_addressed_to`] says for which destination.
    DeadLetter,
}

/// What is known of a record at one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Which effect.
    pub id: Id16,
    /// Which content, computed from what lies there.
    pub fingerprint: Fingerprint,
    /// Its offset; for a dead letter that of its origin.
    pub offset: i64,
    /// Start of the segment that it lies in; else its partition.
    pub within: i64,
    /// Number of its [`Place`].
    pub place: u32,
    /// Flags, and who says it.
    flags: u32,
}

/// At or above the offset that both groups have committed: it counts, but nothing is said of it.
pub const ABOVE: u32 = 1 << 2;
/// Outside the times that were asked for: likewise.
pub const OUTSIDE: u32 = 1 << 3;
/// It states another fingerprint than it has.
pub const ALTERED: u32 = 1 << 4;
/// The log was read, and still has this place.
pub const IN_LOG_RANGE: u32 = 1 << 5;
/// It lies in an object that is not whole: of two contents, the other one is right.
pub const SUSPECT: u32 = 1 << 8;
/// Destination 0 shall have it; the next bit says it of destination 1.
const ADDRESSED: u32 = 1 << 6;
/// Both destinations shall have it.
pub const TO_BOTH: u32 = ADDRESSED | ADDRESSED << 1;

/// The flag of a record that destination `side` shall have.
#[must_use]
pub fn addressed(side: u8) -> u32 {
    ADDRESSED << u32::from(side & 1)
}

/// Where records lie together.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub enum Place {
    /// A chain of segments: topic, log, partition.
    Chain(String, String, i32),
    /// The objects of a tenant, as their names have it.
    Tenant(String),
    /// A partition of the log that was asked.
    Log(i32),
}

/// Every place, by its number.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(from = "Vec<Place>", into = "Vec<Place>")]
pub struct Places {
    all: Vec<Place>,
    numbers: HashMap<Place, u32>,
}

// === impl Entry ===

impl Entry {
    /// What `voice` says.
    #[must_use]
    pub fn new(voice: Voice, id: Id16, fingerprint: Fingerprint, flags: u32) -> Self {
        let voice = match voice {
            Voice::Side(side) => u32::from(side & 1),
            Voice::Log => 2,
            Voice::DeadLetter => 3,
        };
        Self {
            id,
            fingerprint,
            offset: -1,
            within: -1,
            place: u32::MAX,
            flags: flags & !3 | voice,
        }
    }

    /// The same, at this place.
    #[must_use]
    pub fn at(mut self, place: u32, within: i64, offset: i64) -> Self {
        (self.place, self.within, self.offset) = (place, within, offset);
        self
    }

    /// The same, with these flags as well.
    #[must_use]
    pub fn with(mut self, flags: u32) -> Self {
        self.flags |= flags & !3;
        self
    }

    /// Who says it.
    #[must_use]
    pub fn voice(&self) -> Voice {
        match self.flags & 3 {
            0 => Voice::Side(0),
            1 => Voice::Side(1),
            2 => Voice::Log,
            _ => Voice::DeadLetter,
        }
    }

    /// Whether `flag` is set.
    #[must_use]
    pub fn is(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    /// Whether destination `side` shall have it.
    #[must_use]
    pub fn is_addressed_to(&self, side: u8) -> bool {
        self.is(addressed(side))
    }

    /// Whether something may be said of it.
    #[must_use]
    pub fn counts(&self) -> bool {
        !self.is(ABOVE | OUTSIDE)
    }

    /// As bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; ENTRY_BYTES] {
        let mut out = [0; ENTRY_BYTES];
        out[..16].copy_from_slice(&self.id.0);
        out[16..24].copy_from_slice(&self.fingerprint.0.to_le_bytes());
        out[24..32].copy_from_slice(&self.offset.to_le_bytes());
        out[32..40].copy_from_slice(&self.within.to_le_bytes());
        out[40..44].copy_from_slice(&self.place.to_le_bytes());
        out[44..].copy_from_slice(&self.flags.to_le_bytes());
        out
    }

    /// From bytes.
    #[must_use]
    pub fn decode(bytes: &[u8; ENTRY_BYTES]) -> Self {
        let part = |at: usize| {
            let mut eight = [0; 8];
            eight.copy_from_slice(&bytes[at..at + 8]);
            eight
        };
        let mut id = [0; 16];
        id.copy_from_slice(&bytes[..16]);
        let last = u64::from_le_bytes(part(40));
        Self {
            id: Id16(id),
            fingerprint: Fingerprint(u64::from_le_bytes(part(16))),
            offset: i64::from_le_bytes(part(24)),
            within: i64::from_le_bytes(part(32)),
            place: (last & u64::from(u32::MAX)) as u32,
            flags: (last >> 32) as u32,
        }
    }
}

// === impl Places ===

impl Places {
    /// The number of `place`.
    pub fn number(&mut self, place: &Place) -> u32 {
        if let Some(number) = self.numbers.get(place) {
            return *number;
        }
        let number = u32::try_from(self.all.len()).unwrap_or(u32::MAX);
        self.all.push(place.clone());
        self.numbers.insert(place.clone(), number);
        number
    }

    /// The place of a number.
    #[must_use]
    pub fn get(&self, number: u32) -> Option<&Place> {
        self.all.get(usize::try_from(number).ok()?)
    }

    /// Every place with its number.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &Place)> {
        (0..).zip(&self.all)
    }

    /// The name of the object that `entry` lies in; `None` if it lies in the log.
    #[must_use]
    pub fn object_of(&self, entry: &Entry) -> Option<String> {
        match self.get(entry.place)? {
            place @ Place::Chain(..) => Some(place.segment(entry.within)?.to_string()),
            Place::Tenant(tenant) => {
                let (tenant, id) = (tenant.clone(), entry.id);
                Some(ObjectName { tenant, id }.to_string())
            }
            Place::Log(_) => None,
        }
    }

    /// The partition of `entry`; `None` if nothing says it.
    #[must_use]
    pub fn partition_of(&self, entry: &Entry) -> Option<i32> {
        match self.get(entry.place)? {
            Place::Chain(_, _, partition) | Place::Log(partition) => Some(*partition),
            Place::Tenant(_) => i32::try_from(entry.within).ok().filter(|it| *it >= 0),
        }
    }
}

impl From<Vec<Place>> for Places {
    fn from(all: Vec<Place>) -> Self {
        let numbers = (0..)
            .zip(&all)
            .map(|(number, place)| (place.clone(), number));
        Self {
            numbers: numbers.collect(),
            all,
        }
    }
}

impl From<Places> for Vec<Place> {
    fn from(places: Places) -> Self {
        places.all
    }
}

// === impl Place ===

impl Place {
    /// The place of a chain.
    #[must_use]
    pub fn of_chain(chain: &ChainName) -> Self {
        Self::Chain(
            chain.topic.as_ref().to_owned(),
            chain.log.as_ref().to_owned(),
            chain.partition,
        )
    }

    /// The chain, if it is one.
    #[must_use]
    pub fn chain(&self) -> Option<ChainName> {
        match self {
            Self::Chain(topic, log, partition) => Some(ChainName {
                topic: topic.as_str().into(),
                log: log.as_str().into(),
                partition: *partition,
            }),
            Self::Tenant(_) | Self::Log(_) => None,
        }
    }

    /// The segment of this chain that starts at `start`.
    #[must_use]
    pub fn segment(&self, start: i64) -> Option<SegmentName> {
        Some(self.chain()?.segment(start))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_entry_comes_back(
            id in any::<[u8; 16]>(), fp in any::<u64>(), offset in any::<i64>(),
            within in any::<i64>(), place in any::<u32>(), voice in 0u8..4, flags in 0u32..512,
        ) {
            let voice = match voice {
                0 | 1 => Voice::Side(voice),
                2 => Voice::Log,
                _ => Voice::DeadLetter,
            };
            let entry = Entry::new(voice, Id16(id), Fingerprint(fp), flags)
                .at(place, within, offset);
            prop_assert_eq!(Entry::decode(&entry.encode()), entry);
            prop_assert_eq!(entry.voice(), voice);
            prop_assert_eq!(entry.is(ALTERED), flags & ALTERED != 0);
        }
    }
}
