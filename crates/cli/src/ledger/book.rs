//! What the log has: each place, which of the sent records stands there, and for whom.
//!
//! In: every record of the data topic and of the dead-letter topic, as read. Out: one entry a
//! place (24 bytes), in the order of the log.

use super::expected::Expected;
use super::{Fault, FaultKind, Faults, LogPosition};
use crate::demo::journal::{ContentHash, Sent};
use cloudsync::identity::Id16;
use cloudsync::wire::RecordView;
use std::collections::{BTreeMap, HashSet};

/// What stands at a place of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// A record that was sent, as it was sent: its index in [`Expected::known`].
    Known(usize),
    /// A record that was never sent, or not like this.
    Stranger,
    /// Nothing that can be decoded.
    Undecodable,
}

/// One place of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its offset.
    pub offset: i64,
    known: u32,
    /// Bit `n`: the record goes to destination `n`.
    addressed: u64,
}

/// Every place of the log, and every dead letter.
#[derive(Debug, Default)]
pub struct Book {
    names: Vec<String>,
    partitions: BTreeMap<i32, Vec<Place>>,
    dead: HashSet<(usize, LogPosition)>,
    /// Parts of the log cannot be read.
    torn: bool,
    /// Records that were never sent.
    pub faults: Faults,
}

const STRANGER: u32 = u32::MAX;
const UNDECODABLE: u32 = u32::MAX - 1;

// === impl Book ===

impl Book {
    /// An empty book for these destinations, at most 64.
    #[must_use]
    pub fn new(names: Vec<String>) -> Self {
        Self {
            names,
            ..Self::default()
        }
    }

    /// The book of a log of which parts cannot be read.
    #[must_use]
    pub fn of_torn_log(names: Vec<String>) -> Self {
        Self {
            torn: true,
            ..Self::new(names)
        }
    }

    /// Whether the log may have had places that this book has not.
    #[must_use]
    pub fn is_torn(&self) -> bool {
        self.torn
    }

    /// Takes the next record of the data topic. `for_one`: the destination that it was redriven
    /// for, which leaves out the others.
    pub fn record(
        &mut self,
        expected: &Expected,
        at: LogPosition,
        value: Option<&[u8]>,
        for_one: Option<&str>,
    ) {
        let concerned = match for_one {
            None => u64::MAX,
            Some(name) => self.index_of(name).map_or(0, bit),
        };
        let view = value.and_then(|value| RecordView::parse(value).ok());
        let place = match view {
            None => Place {
                offset: at.offset,
                known: UNDECODABLE,
                addressed: concerned,
            },
            Some(view) => {
                let sent = Sent {
                    id: Id16::of(view.tenant, view.key, view.request_id),
                    content: ContentHash::of(view.payload, view.content_type),
                };
                let known = expected.find(&sent).and_then(|at| u32::try_from(at).ok());
                if known.is_none() {
                    self.stranger(expected, at, &sent, view.request_id);
                }
                let addressed = self.addressed(&view) & concerned;
                Place {
                    offset: at.offset,
                    known: known.unwrap_or(STRANGER),
                    addressed,
                }
            }
        };
        self.partitions.entry(at.partition).or_default().push(place);
    }

    /// Takes a dead letter: what stood at `at` was set aside for `destination`.
    pub fn dead_letter(&mut self, destination: &str, at: LogPosition) {
        if let Some(index) = self.index_of(destination) {
            self.dead.insert((index, at));
        }
    }

    fn stranger(&mut self, expected: &Expected, at: LogPosition, sent: &Sent, request_id: &str) {
        let known_id = expected.slot(sent.id).is_some();
        self.faults.add(|| Fault {
            place: "log".to_owned(),
            kind: if known_id {
                FaultKind::Altered
            } else {
                FaultKind::NotSent
            },
            id: Some(sent.id),
            request_id: Some(request_id.to_owned()),
            position: Some(at),
            what: match known_id {
                true => "its content in the log is not what was sent".to_owned(),
                false => "the log has a record that the journal does not".to_owned(),
            },
        });
    }

    fn addressed(&self, view: &RecordView<'_>) -> u64 {
        if view.destination_count == 0 {
            return u64::MAX;
        }
        let named = self
            .names
            .iter()
            .enumerate()
            .filter(|(_, name)| view.is_addressed_to(name));
        named.fold(0, |bits, (index, _)| bits | bit(index))
    }

    /// Number of the destination `name`.
    #[must_use]
    pub fn index_of(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|known| known == name)
    }

    /// How many records the log has.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.partitions
            .values()
            .map(|places| places.len() as u64)
            .sum()
    }

    /// Every place, in the order of the log.
    pub fn places(&self) -> impl Iterator<Item = (LogPosition, &Place)> {
        self.partitions.iter().flat_map(|(partition, places)| {
            let position = |place: &Place| LogPosition {
                partition: *partition,
                offset: place.offset,
            };
            places.iter().map(move |place| (position(place), place))
        })
    }

    /// Number of the place `at` in the order of the log, and what stands there.
    #[must_use]
    pub fn find(&self, at: LogPosition) -> Option<(usize, &Place)> {
        let before: usize = self
            .partitions
            .range(..at.partition)
            .map(|(_, places)| places.len())
            .sum();
        let places = self.partitions.get(&at.partition)?;
        let index = places
            .binary_search_by_key(&at.offset, |place| place.offset)
            .ok()?;
        Some((before + index, places.get(index)?))
    }

    /// Whether what stands at `at` was set aside for destination `index`.
    #[must_use]
    pub fn is_dead(&self, index: usize, at: LogPosition) -> bool {
        self.dead.contains(&(index, at))
    }

    /// How often each record of [`Expected::known`] stands in the log.
    #[must_use]
    pub fn occurrences(&self, expected: &Expected) -> Vec<u32> {
        let mut counts = vec![0u32; expected.known().len()];
        for (_, place) in self.places() {
            if let Standing::Known(known) = place.standing()
                && let Some(count) = counts.get_mut(known)
            {
                *count += 1;
            }
        }
        counts
    }
}

// === impl Place ===

impl Place {
    /// What stands here.
    #[must_use]
    pub fn standing(&self) -> Standing {
        match self.known {
            STRANGER => Standing::Stranger,
            UNDECODABLE => Standing::Undecodable,
            known => Standing::Known(known as usize),
        }
    }

    /// Whether it goes to destination `index`.
    #[must_use]
    pub fn is_addressed_to(&self, index: usize) -> bool {
        self.addressed & bit(index) != 0
    }
}

fn bit(index: usize) -> u64 {
    u32::try_from(index)
        .ok()
        .and_then(|index| 1u64.checked_shl(index))
        .unwrap_or(0)
}
