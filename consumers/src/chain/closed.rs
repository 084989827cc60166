//! A closed segment: what it covers, and what became of each record.
//!
//! In: entries in order of offset. Out: the header, the ids to mark, the receipt that settles what
//! it covers. Promises: it never changes any more, so every attempt creates the same bytes.

use super::name::SegmentName;
use super::segment::{Digest, Header, KIND, VERSION};
use crate::counters::IdTally;
use crate::parse::Named;
use cloudsync_dedupe::{LogPosition, Subject};
use cloudsync_kafka::{Cause, PolledRecord, Reason, Receipt};

/// A record that a segment covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its offset.
    pub offset: i64,
    /// What it is.
    pub what: What,
    /// What becomes of it.
    pub verdict: Verdict,
    /// Size of its value, in bytes.
    pub bytes: u32,
    /// Length of its line, in bytes; 0 if it is not written.
    pub line: u32,
}

/// What a record is, as far as a digest knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A record with its names.
    Named(Named),
    /// Undecodable: XXH3-128 of its bytes, little-endian.
    Undecodable([u8; 16]),
}

/// What becomes of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is written in the segment.
    Written,
    /// Its effect was delivered from another place in the log.
    Duplicate,
    /// It was delivered itself, before this reading.
    Redelivered,
    /// It names other destinations.
    NotAddressed,
    /// It goes to the dead-letter topic.
    DeadLetter(Reason),
}

/// A record for the dead-letter topic.
#[derive(Clone, Debug)]
pub struct Fault {
    /// As the log has it.
    pub record: PolledRecord,
    /// Why, for a program.
    pub reason: Reason,
    /// Why, for a person.
    pub detail: String,
    /// What was tried before.
    pub cause: Cause,
}

/// A segment that takes no more records.
#[derive(Clone, Debug)]
pub struct ClosedSegment {
    /// Where it goes.
    pub name: SegmentName,
    /// First offset behind those covered.
    pub end: i64,
    /// The records covered, in order of offset.
    pub entries: Vec<Entry>,
    /// Those of them that go to the dead-letter topic.
    pub faults: Vec<Fault>,
}

/// How many records of a segment came to which end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tallies {
    /// Written.
    pub delivered: u64,
    /// Duplicates.
    pub duplicates: u64,
    /// Met again at their own place.
    pub redelivered: u64,
    /// For other destinations.
    pub not_addressed: u64,
    /// Dead-lettered.
    pub dead_lettered: u64,
}

// === impl Entry ===

impl Entry {
    /// As the dedupe store sees it, in `partition`; `None` if it is undecodable.
    #[must_use]
    pub fn subject(&self, partition: i32) -> Option<Subject> {
        match self.what {
            What::Named(named) => Some(subject(named, partition, self.offset)),
            What::Undecodable(_) => None,
        }
    }
}

/// A record as the dedupe store sees it.
#[must_use]
pub fn subject(named: Named, partition: i32, offset: i64) -> Subject {
    let position = LogPosition { partition, offset };
    Subject {
        id: named.id,
        fingerprint: named.fingerprint,
        shard: named.shard,
        position,
    }
}

// === impl ClosedSegment ===

impl ClosedSegment {
    /// What the segment says of itself.
    #[must_use]
    pub fn header(&self) -> Header {
        let mut digest = Digest::default();
        for entry in &self.entries {
            match entry.what {
                What::Named(named) => digest.record(entry.offset, named.id, named.fingerprint),
                What::Undecodable(hash) => digest.undecodable(entry.offset, hash),
            }
        }
        Header {
            cloudsync: KIND.to_owned(),
            version: VERSION,
            log: self.name.chain.log.as_ref().to_owned(),
            topic: self.name.chain.topic.as_ref().to_owned(),
            partition: self.name.chain.partition,
            start: self.name.start,
            end: self.end,
            lines: self.written().count() as u64,
            records: self.entries.len() as u64,
            digest: digest.text(),
        }
    }

    /// The records that are written in it, as the dedupe store sees them.
    #[must_use]
    pub fn subjects(&self) -> Vec<Subject> {
        self.written()
            .filter_map(|entry| entry.subject(self.name.chain.partition))
            .collect()
    }

    /// Tally of the ids that are written in it.
    #[must_use]
    pub fn id_tally(&self) -> IdTally {
        let mut tally = IdTally::default();
        for entry in self.written() {
            if let What::Named(named) = entry.what {
                tally.add(named.id);
            }
        }
        tally
    }

    /// How many records came to which end.
    #[must_use]
    pub fn tallies(&self) -> Tallies {
        let mut tallies = Tallies::default();
        for entry in &self.entries {
            *match entry.verdict {
                Verdict::Written => &mut tallies.delivered,
                Verdict::Duplicate => &mut tallies.duplicates,
                Verdict::Redelivered => &mut tallies.redelivered,
                Verdict::NotAddressed => &mut tallies.not_addressed,
                Verdict::DeadLetter(_) => &mut tallies.dead_lettered,
            } += 1;
        }
        tallies
    }

    /// What the destination confirms by taking it.
    #[must_use]
    pub fn receipt(&self) -> Receipt {
        Receipt::new(self.name.to_string())
    }

    fn written(&self) -> impl Iterator<Item = &Entry> {
        self.entries
            .iter()
            .filter(|entry| entry.verdict == Verdict::Written)
    }
}
