//! What lies in the dead-letter topic, as one reads it: entries, and markers that settle them.
//!
//! In: records of the topic, in the order of each partition, the partitions in any. Out: which
//! entries there are, and which are still open. Promises: the same record set aside twice for a
//! destination, after a redelivery, is one entry; a marker settles it wherever it is met, before or
//! behind; nothing of an entry is kept but its id, its place and its state (about 100 bytes).

use super::again::Redrive;
use super::headers::DeadLetterHeaders;
use crate::consumer::partition::PolledRecord;
use crate::position::Position;
use crate::producer::batch::Headers;
use crate::record::RecordHeaders;
use bytes::Bytes;
use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry as Place;
use std::fmt;
use std::time::SystemTime;
use xxhash_rust::xxh3::Xxh3Default;

/// Which entry: XXH3-128 of destination, origin, key and value. Equal for the same record set
/// aside twice. 32 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntryId(pub u128);

/// A dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetterEntry {
    /// Which one.
    pub id: EntryId,
    /// Partition and offset in the dead-letter topic.
    pub at: (i32, i64),
    /// What was written down when it was set aside.
    pub headers: DeadLetterHeaders,
    /// The record: key, value and headers as they were at its origin.
    pub original: PolledRecord,
    /// How often it had been redriven before it failed here.
    pub redrives: u32,
}

/// How an entry was settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// It lies in the log again.
    Redriven,
    /// Somebody decided that it is not needed.
    Dropped,
}

/// A record of the dead-letter topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// A dead letter.
    Entry(Box<DeadLetterEntry>),
    /// An entry is settled.
    Marker(EntryId, Settled),
    /// Nothing that this version knows.
    Foreign,
}

/// All entries of the topic, each once.
#[derive(Debug, Default)]
pub struct Fold {
    entries: HashMap<EntryId, Slot>,
    foreign: u64,
}

#[derive(Debug, Default)]
struct Slot {
    /// Its first place; `None` while only a marker was met.
    at: Option<(i32, i64)>,
    settled: Option<Settled>,
}

const SETTLES: &str = "cloudsync.dlq.settles";
const HOW: &str = "cloudsync.dlq.how";
const SETTLED_AT: &str = "cloudsync.dlq.settled_at";

// === impl EntryId ===

impl EntryId {
    /// The entry of a record with `key` and `value`, read at `origin`, that `destination` did not
    /// get.
    #[must_use]
    pub fn of(
        destination: &str,
        origin: &Position,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) -> Self {
        let mut hasher = Xxh3Default::new();
        let mut part = |bytes: Option<&[u8]>| {
            // No part, an empty one, and one that runs into the next are told apart.
            let length = bytes.map_or(u64::MAX, |bytes| bytes.len() as u64);
            hasher.update(&length.to_le_bytes());
            hasher.update(bytes.unwrap_or_default());
        };
        part(Some(destination.as_bytes()));
        part(Some(origin.topic.as_bytes()));
        part(Some(&origin.partition.to_le_bytes()));
        part(Some(&origin.offset.to_le_bytes()));
        part(key);
        part(value);
        Self(hasher.digest128())
    }

    fn read(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok().filter(|it| it.len() == 32)?;
        u128::from_str_radix(text, 16).ok().map(Self)
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EntryId({self})")
    }
}

// === impl Settled ===

impl Settled {
    /// Its word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Redriven => "redriven",
            Self::Dropped => "dropped",
        }
    }

    fn from_word(word: &[u8]) -> Option<Self> {
        let all = [Self::Redriven, Self::Dropped];
        all.into_iter().find(|it| it.as_str().as_bytes() == word)
    }

    /// The headers of the marker that settles `entry` so.
    pub(super) fn marker(self, entry: EntryId, at: SystemTime) -> Headers {
        let at = jiff::Timestamp::try_from(at).unwrap_or_default();
        let named = |name, text: String| (Cow::Borrowed(name), Some(Bytes::from(text)));
        vec![
            named(SETTLES, entry.to_string()),
            named(HOW, self.as_str().to_owned()),
            named(SETTLED_AT, at.to_string()),
        ]
    }
}

// === impl Line ===

impl Line {
    /// What `record`, which lies in `partition` of the dead-letter topic, is.
    #[must_use]
    pub fn read(partition: i32, mut record: PolledRecord) -> Self {
        let Some(headers) = record.headers.take() else {
            return Self::Foreign;
        };
        let Some((found, own)) = DeadLetterHeaders::of(&headers) else {
            let id = headers.last(SETTLES).and_then(|text| EntryId::read(text));
            let how = headers.last(HOW).and_then(|word| Settled::from_word(word));
            return match (id, how) {
                (Some(id), Some(how)) => Self::Marker(id, how),
                _ => Self::Foreign,
            };
        };
        let mut theirs = RecordHeaders::default();
        for (name, value) in headers.iter().take(own) {
            theirs.push(name, value.map(AsRef::as_ref));
        }
        let (key, value) = (record.key.as_deref(), record.value.as_deref());
        let id = EntryId::of(&found.destination, &found.origin, key, value);
        let redrives = Redrive::of(&theirs).map_or(0, |redrive| redrive.count);
        let at = (partition, record.offset);
        record.headers = (!theirs.is_empty()).then(|| Box::new(theirs));
        Self::Entry(Box::new(DeadLetterEntry {
            id,
            at,
            headers: found,
            original: record,
            redrives,
        }))
    }
}

// === impl Fold ===

impl Fold {
    /// Takes note of `line`.
    pub fn take(&mut self, line: &Line) {
        match line {
            Line::Entry(entry) => match self.entries.entry(entry.id) {
                Place::Occupied(mut known) => {
                    let slot = known.get_mut();
                    let before = slot.at.unwrap_or(entry.at);
                    slot.at = Some(before.min(entry.at));
                }
                Place::Vacant(new) => {
                    new.insert(Slot {
                        at: Some(entry.at),
                        settled: None,
                    });
                }
            },
            // Redriven and dropped: whatever stands there, it is not open.
            Line::Marker(id, how) => {
                self.entries.entry(*id).or_default().settled = Some(*how);
            }
            Line::Foreign => self.foreign += 1,
        }
    }

    /// Whether `entry` is met at its own place, and not where it was set aside once more.
    #[must_use]
    pub fn is_first(&self, entry: &DeadLetterEntry) -> bool {
        self.entries
            .get(&entry.id)
            .is_some_and(|slot| slot.at == Some(entry.at))
    }

    /// How the entry `id` was settled; `None` while it is open, or unknown.
    #[must_use]
    pub fn settled(&self, id: EntryId) -> Option<Settled> {
        self.entries.get(&id)?.settled
    }

    /// Ids of all entries.
    pub fn ids(&self) -> impl Iterator<Item = EntryId> {
        let entries = self.entries.iter();
        entries
            .filter(|(_, slot)| slot.at.is_some())
            .map(|(id, _)| *id)
    }

    /// Records of the topic that are neither entry nor marker.
    #[must_use]
    pub fn foreign(&self) -> u64 {
        self.foreign
    }
}
