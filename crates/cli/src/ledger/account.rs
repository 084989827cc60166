//! What one destination has, held against the log and against what was sent.
//!
//! In: every line that lies at the destination. Out: a [`DestinationLedger`] and the faults, each
//! with its id. Promises: a line counts as what it is, wherever it lies; a place of the log is
//! counted in exactly one column, or it is a fault.

use super::book::{Book, Place, Standing};
use super::expected::Expected;
use super::{DestinationLedger, Fault, FaultKind, Faults, LogPosition};
use crate::demo::journal::Sent;
use cloudsync::identity::Id16;

/// One line, as it was read back.
#[derive(Clone, Debug)]
pub struct ReadLine<'a> {
    /// Where it says that it comes from.
    pub position: LogPosition,
    /// It says that it comes from another log or topic.
    pub foreign: bool,
    /// What it says, computed from its content.
    pub sent: Sent,
    /// Its request id.
    pub request_id: &'a str,
    /// The fingerprint that it states is the one of its content.
    pub fingerprint_holds: bool,
}

/// The account of one destination.
#[derive(Debug)]
pub struct Account<'a> {
    expected: &'a Expected,
    book: &'a Book,
    index: usize,
    ledger: DestinationLedger,
    faults: Faults,
    /// For each place of the log: a line of it was found.
    found: Vec<bool>,
    /// For each of [`Expected::known`]: how many places of it were found.
    copies: Vec<u32>,
    /// For the first content of each identity: what is known about that identity.
    identities: Vec<Identity>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Identity {
    copies: u32,
    acked: bool,
    dead_lettered: bool,
    /// Its first place in the log that goes to this destination.
    addressed_at: Option<LogPosition>,
    in_log: bool,
}

// === impl Identity ===

impl Identity {
    /// Acknowledged, and neither here nor set aside nor for others.
    fn is_lost(&self) -> bool {
        let for_others = self.in_log && self.addressed_at.is_none();
        self.acked && self.copies == 0 && !self.dead_lettered && !for_others
    }
}

// === impl Account ===

impl<'a> Account<'a> {
    /// The account of the destination `name`, the `index`-th of `book`.
    #[must_use]
    pub fn open(name: &str, index: usize, expected: &'a Expected, book: &'a Book) -> Self {
        let known = expected.known();
        Self {
            expected,
            book,
            index,
            ledger: DestinationLedger {
                name: name.to_owned(),
                ..DestinationLedger::default()
            },
            faults: Faults::default(),
            found: vec![false; usize::try_from(book.records()).unwrap_or(usize::MAX)],
            copies: vec![0; known.len()],
            identities: vec![Identity::default(); known.len()],
        }
    }

    /// Takes one line of the destination.
    pub fn line(&mut self, line: &ReadLine<'_>) {
        let found = if line.foreign {
            None
        } else {
            self.book.find(line.position)
        };
        let Some((number, place)) = found else {
            // Its place may be among those that cannot be read; what it says was sent.
            if self.book.is_torn() && !line.foreign && self.expected.find(&line.sent).is_some() {
                self.count_copy(line);
                return;
            }
            self.altered(
                line,
                match line.foreign {
                    true => "it says that it comes from another log",
                    false => "it says that it comes from a place that the log does not have",
                },
            );
            self.count_copy(line);
            return;
        };
        if std::mem::replace(&mut self.found[number], true) {
            self.doubled(line, "its place in the log lies here twice");
            return;
        }
        match place.standing() {
            Standing::Known(known) if self.expected.known()[known].sent == line.sent => {
                if !place.is_addressed_to(self.index) {
                    self.altered(line, "it names other destinations than this one");
                } else if !line.fingerprint_holds {
                    self.altered(line, "its stated fingerprint is not the one of its content");
                }
            }
            Standing::Known(known) => {
                let there = &self.expected.known()[known].sent;
                let what = match there.id == line.sent.id {
                    true => "its content is not what was sent".to_owned(),
                    false => format!("the log has the identity {} at its place", there.id),
                };
                self.altered(line, what);
            }
            Standing::Stranger => {}
            Standing::Undecodable => {
                self.altered(line, "what the log has at its place cannot be decoded");
            }
        }
        self.count_copy(line);
    }

    /// One more place of that identity lies here.
    fn count_copy(&mut self, line: &ReadLine<'_>) {
        if let Some(known) = self.expected.find(&line.sent) {
            self.copies[known] += 1;
        }
        let Some(slot) = self.expected.slot(line.sent.id) else {
            return;
        };
        self.identities[slot].copies += 1;
        if self.identities[slot].copies > 1 {
            self.doubled(line, "it lies here under another place of the log, too");
        }
    }

    /// Counts every place of the log and every acknowledged id, when all lines have been taken.
    #[must_use]
    pub fn close(mut self) -> (DestinationLedger, Faults, Option<String>) {
        let book = self.book;
        book.places()
            .for_each(|(position, place)| self.note(position, place));
        for (at, known) in self.expected.known().iter().enumerate() {
            if let Some(slot) = self.expected.slot(known.sent.id) {
                debug_assert!(slot <= at, "the slot is the first entry of an identity");
                self.identities[slot].acked |= known.acks > 0;
            }
        }
        for (number, (position, place)) in book.places().enumerate() {
            self.place(number, position, place);
        }
        for slot in self.lost_in_log_order() {
            self.name_lost(slot);
        }
        let Self { ledger, faults, .. } = self;
        let covered =
            ledger.delivered + ledger.duplicates + ledger.dead_lettered + ledger.not_addressed;
        let problem = (covered != book.records()).then(|| {
            format!(
                "the sum of {} does not hold: the log has {} records, but {} are delivered, {} \
                 duplicates, {} dead-lettered and {} not addressed",
                ledger.name,
                book.records(),
                ledger.delivered,
                ledger.duplicates,
                ledger.dead_lettered,
                ledger.not_addressed,
            )
        });
        (ledger, faults, problem)
    }

    /// What a place of the log says about the identity that stands there.
    fn note(&mut self, position: LogPosition, place: &Place) {
        let Some(slot) = self.slot_of(place) else {
            return;
        };
        let dead = self.book.is_dead(self.index, position);
        let identity = &mut self.identities[slot];
        identity.in_log = true;
        identity.dead_lettered |= dead;
        if place.is_addressed_to(self.index) && identity.addressed_at.is_none() {
            identity.addressed_at = Some(position);
        }
    }

    fn slot_of(&self, place: &Place) -> Option<usize> {
        match place.standing() {
            Standing::Known(known) => self.expected.slot(self.expected.known()[known].sent.id),
            Standing::Stranger | Standing::Undecodable => None,
        }
    }

    /// Counts one place of the log in the one column that it belongs to.
    fn place(&mut self, number: usize, position: LogPosition, place: &Place) {
        let same_content_is_here = match place.standing() {
            Standing::Known(known) => self.copies[known] > 0,
            Standing::Stranger | Standing::Undecodable => false,
        };
        if self.found[number] {
            self.ledger.delivered += 1;
        } else if !place.is_addressed_to(self.index) {
            self.ledger.not_addressed += 1;
        } else if self.book.is_dead(self.index, position) {
            self.ledger.dead_lettered += 1;
        } else if same_content_is_here {
            self.ledger.duplicates += 1;
        } else {
            let slot = self.slot_of(place);
            // A lost identity is named once, by `name_lost`, not at each of its places.
            if slot.is_none_or(|slot| !self.identities[slot].is_lost()) {
                let id = slot.map(|slot| self.expected.known()[slot].sent.id);
                self.missing(id, position);
            }
        }
    }

    /// The lost identities; the first of the log first, since only the first ones are named.
    fn lost_in_log_order(&self) -> Vec<usize> {
        let mut lost: Vec<usize> = (0..self.identities.len())
            .filter(|&slot| self.identities[slot].is_lost())
            .collect();
        lost.sort_unstable_by_key(|&slot| {
            let place = self.identities[slot].addressed_at;
            (place.is_none(), place, slot)
        });
        lost
    }

    fn name_lost(&mut self, slot: usize) {
        let identity = self.identities[slot];
        self.ledger.lost += 1;
        let place = self.ledger.name.clone();
        let id = self.expected.known()[slot].sent.id;
        self.faults.add(|| Fault {
            place,
            kind: FaultKind::Lost,
            id: Some(id),
            request_id: None,
            position: identity.addressed_at,
            what: match identity.in_log {
                true => "acknowledged and in the log, but no line of it lies here".to_owned(),
                false => "acknowledged, but neither in the log nor here".to_owned(),
            },
        });
    }

    fn missing(&mut self, id: Option<Id16>, position: LogPosition) {
        let place = self.ledger.name.clone();
        self.faults.add(|| Fault {
            place,
            kind: FaultKind::Missing,
            id,
            request_id: None,
            position: Some(position),
            what: "in the log, but no line of it lies here".to_owned(),
        });
    }

    fn altered(&mut self, line: &ReadLine<'_>, what: impl Into<String>) {
        self.ledger.altered += 1;
        self.fault(FaultKind::Altered, line, what.into());
    }

    fn doubled(&mut self, line: &ReadLine<'_>, what: &str) {
        self.ledger.doubled += 1;
        self.fault(FaultKind::Doubled, line, what.to_owned());
    }

    fn fault(&mut self, kind: FaultKind, line: &ReadLine<'_>, what: String) {
        let place = self.ledger.name.clone();
        self.faults.add(|| Fault {
            place,
            kind,
            id: Some(line.sent.id),
            request_id: Some(line.request_id.to_owned()),
            position: Some(line.position),
            what,
        });
    }
}

#[cfg(test)]
mod tests;
