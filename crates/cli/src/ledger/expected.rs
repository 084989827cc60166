//! What was sent, from the journal: each (identity, content) once, with how often it was sent and
//! acknowledged.
//!
//! Kept as a sorted list of 48 bytes an entry, so a few million records fit in memory.

use crate::demo::journal::{self, ContentHash, Entry, Sent};
use cloudsync::identity::Id16;
use std::io;
use std::path::Path;

/// One identity with one content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// What was sent.
    pub sent: Sent,
    /// How often.
    pub sends: u32,
    /// How many of those sends were acknowledged.
    pub acks: u32,
}

/// Everything that was sent, sorted by identity, then content.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    known: Vec<Known>,
    /// Sends, repetitions included.
    pub sent: u64,
    /// Sends that were repetitions on purpose.
    pub resent: u64,
    /// Sends that were acknowledged.
    pub acked: u64,
    /// Sends that were refused.
    pub refused: u64,
}

#[derive(Clone, Copy)]
struct Send {
    sent: Sent,
    acked: bool,
}

// === impl Expected ===

impl Expected {
    /// Reads the journal at `path`.
    ///
    /// # Errors
    /// The system's, or that it is no journal.
    pub fn read(path: &Path) -> io::Result<Self> {
        let mut sends = Sends::default();
        journal::read(path, |entry| sends.take(&entry))?;
        Ok(sends.finish())
    }

    /// Takes `entries` as a journal's.
    #[must_use]
    pub fn from_entries(entries: &[Entry]) -> Self {
        let mut sends = Sends::default();
        entries.iter().for_each(|entry| sends.take(entry));
        sends.finish()
    }

    /// All of it.
    #[must_use]
    pub fn known(&self) -> &[Known] {
        &self.known
    }

    /// Where `sent` stands in [`Expected::known`], if it was sent with just this content.
    #[must_use]
    pub fn find(&self, sent: &Sent) -> Option<usize> {
        self.known
            .binary_search_by(|known| known.sent.cmp(sent))
            .ok()
    }

    /// Where the first content of `id` stands: the slot of that identity.
    #[must_use]
    pub fn slot(&self, id: Id16) -> Option<usize> {
        let least = Sent {
            id,
            content: ContentHash(0),
        };
        let at = self.known.partition_point(|known| known.sent < least);
        self.known
            .get(at)
            .is_some_and(|known| known.sent.id == id)
            .then_some(at)
    }
}

#[derive(Default)]
struct Sends {
    sends: Vec<Send>,
    resent: u64,
    acked: u64,
    refused: u64,
}

impl Sends {
    fn take(&mut self, entry: &Entry) {
        match entry {
            Entry::Sent { sent, again } => {
                self.resent += u64::from(*again);
                self.sends.push(Send {
                    sent: *sent,
                    acked: false,
                });
            }
            Entry::Acked(range) => {
                let index = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
                let range = index(range.start)..index(range.end);
                for send in self.sends.get_mut(range).unwrap_or_default() {
                    self.acked += u64::from(!send.acked);
                    send.acked = true;
                }
            }
            Entry::Rejected(_) => self.refused += 1,
        }
    }

    fn finish(mut self) -> Expected {
        let sent = self.sends.len() as u64;
        self.sends.sort_unstable_by_key(|send| send.sent);
        let mut known: Vec<Known> = Vec::new();
        for send in self.sends {
            match known.last_mut().filter(|last| last.sent == send.sent) {
                Some(last) => {
                    last.sends += 1;
                    last.acks += u32::from(send.acked);
                }
                None => known.push(Known {
                    sent: send.sent,
                    sends: 1,
                    acks: u32::from(send.acked),
                }),
            }
        }
        let Self {
            resent,
            acked,
            refused,
            ..
        } = self;
        Expected {
            known,
            sent,
            resent,
            acked,
            refused,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sends_of_one_effect_are_one_entry() {
        let sent = |id: &str, payload: &[u8]| Sent::of("k", id, payload, "");
        let entry = |sent, again| Entry::Sent { sent, again };
        let (one, two, other) = (sent("1", b"a"), sent("2", b"a"), sent("1", b"b"));
        let entries = [
            entry(one, false),
            entry(two, false),
            entry(one, true),
            Entry::Acked(1..3),
            entry(other, false),
            Entry::Rejected(0),
            Entry::Acked(2..4),
            // Nothing that was sent.
            Entry::Acked(9..12),
        ];
        let expected = Expected::from_entries(&entries);
        assert_eq!((expected.sent, expected.resent), (4, 1));
        assert_eq!((expected.acked, expected.refused), (3, 1));
        let known = |sent: &Sent| {
            let known = &expected.known()[expected.find(sent).unwrap()];
            (known.sends, known.acks)
        };
        assert_eq!(
            (known(&one), known(&two), known(&other)),
            ((2, 1), (1, 1), (1, 1))
        );
        let slot = expected.slot(one.id).unwrap();
        assert_eq!(expected.known()[slot].sent.id, one.id);
        assert_eq!(expected.known()[slot + 1].sent.id, one.id);
        assert_eq!(expected.slot(sent("3", b"a").id), None);
        assert_eq!(expected.find(&sent("2", b"b")), None);
    }
}
