//! A segment that lies where ours should go: ours, or another log's?
//!
//! In: the segment found, and the records that the log holds in its range. Out: ours, or foreign.
//! Promises: a segment is taken for ours only if the log says the same: its digest is equal, or
//! the log has lost records of that range (retention, compaction, power cut) and agrees with
//! every line of a record that it still holds. Whoever asks has read the log on to the segment's
//! end, or has learnt that it reaches there and brings no more.

use super::closed::{Entry, What};
use super::name::SegmentName;
use super::reader::{SegmentError, SegmentReader};
use super::segment::{Digest, Header};
use crate::parse::Named;
use cloudsync_dedupe::{Subject, shard_of};

/// A segment that lies at the destination.
#[derive(Clone, Debug)]
pub struct Found {
    /// What it says of itself.
    pub header: Header,
    /// Its lines.
    pub lines: Vec<FoundLine>,
}

/// A line of a segment that lies at the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundLine {
    /// Offset of the record.
    pub offset: i64,
    /// Its names.
    pub named: Named,
}

/// Why what lies at a segment's place cannot be read as that segment.
#[derive(Debug, thiserror::Error)]
pub enum FoundError {
    /// It is no whole segment.
    #[error(transparent)]
    Segment(#[from] SegmentError),
    /// It is the copy of another one.
    #[error("it says that it is {0}")]
    Renamed(String),
    /// A line states no fingerprint.
    #[error("the line of offset {0} states no fingerprint")]
    NoFingerprint(i64),
}

/// The comparison of a found segment with the log, record by record.
#[derive(Debug)]
pub struct Adoption {
    found: Found,
    digest: Digest,
    records: u64,
    next_line: usize,
    read_to: i64,
    disagreement: Option<String>,
}

/// Whose a found segment is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whose {
    /// This log's: go on behind it.
    Ours,
    /// Another log's: touch nothing. Why.
    Foreign(String),
}

// === impl Found ===

impl Found {
    /// Reads the segment `object` that lies under `name`; its ids lie in `shards` shards.
    ///
    /// # Errors
    /// [`FoundError`], when it is not that segment, whole.
    pub fn read(name: &SegmentName, object: &[u8], shards: u32) -> Result<Self, FoundError> {
        let reader = SegmentReader::open(object)?;
        if reader.header.name() != *name {
            return Err(FoundError::Renamed(reader.header.name().to_string()));
        }
        let mut lines = Vec::new();
        let mut nameless = None;
        let header = reader.for_each(|identified| {
            let line = identified.line;
            let Some(fingerprint) = line.fingerprint() else {
                nameless = Some(line.offset);
                return;
            };
            let key = if line.key.is_empty() {
                &line.id
            } else {
                &line.key
            };
            let shard = shard_of(key.as_bytes(), shards);
            let named = Named {
                id: identified.id,
                fingerprint,
                shard,
            };
            lines.push(FoundLine {
                offset: line.offset,
                named,
            });
        })?;
        match nameless {
            Some(offset) => Err(FoundError::NoFingerprint(offset)),
            None => Ok(Self { header, lines }),
        }
    }

    /// The records that are written in it, as the dedupe store sees them.
    #[must_use]
    pub fn subjects(&self) -> Vec<Subject> {
        let partition = self.header.partition;
        let subject = |line: &FoundLine| super::closed::subject(line.named, partition, line.offset);
        self.lines.iter().map(subject).collect()
    }
}

// === impl Adoption ===

impl Adoption {
    /// Begins with the records in hand, which come from the segment's start on.
    pub fn begin<'a>(found: Found, in_hand: impl Iterator<Item = &'a Entry>) -> Self {
        let mut adoption = Self {
            read_to: found.header.start,
            found,
            digest: Digest::default(),
            records: 0,
            next_line: 0,
            disagreement: None,
        };
        for entry in in_hand {
            adoption.observe(entry.offset, entry.what);
        }
        adoption
    }

    /// First offset behind the segment.
    #[must_use]
    pub fn end(&self) -> i64 {
        self.found.header.end
    }

    /// Whether the log has been read on to the segment's end.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.read_to >= self.end()
    }

    /// Offset behind the last record observed.
    #[must_use]
    pub fn read_to(&self) -> i64 {
        self.read_to
    }

    /// The log holds `what` at `offset`. In order; those behind the end tell that it is reached.
    pub fn observe(&mut self, offset: i64, what: What) {
        self.read_to = self.read_to.max(offset.saturating_add(1));
        if offset < self.found.header.start || offset >= self.end() {
            return;
        }
        self.records += 1;
        match what {
            What::Named(named) => self.digest.record(offset, named.id, named.fingerprint),
            What::Undecodable(hash) => self.digest.undecodable(offset, hash),
        }
        while let Some(line) = self.found.lines.get(self.next_line) {
            if line.offset > offset {
                break;
            }
            self.next_line += 1;
            if line.offset == offset && !says(what, line.named) {
                self.disagreement.get_or_insert_with(|| {
                    format!("at offset {offset} the log holds another record than the segment")
                });
            }
        }
    }

    /// The verdict. `high_watermark`: the offset behind the log's last record, needed where the
    /// log brought nothing more before the segment's end.
    #[must_use]
    pub fn verdict(&self, high_watermark: Option<i64>) -> Whose {
        let Header {
            end,
            records,
            digest,
            ..
        } = &self.found.header;
        if !self.is_complete() && high_watermark.is_none_or(|reached| reached < *end) {
            let reached = high_watermark.unwrap_or(self.read_to);
            return Whose::Foreign(format!("the log ends at {reached}, the segment at {end}"));
        }
        if self.records == *records && self.digest.text() == *digest {
            return Whose::Ours;
        }
        if self.records >= *records {
            let why = self.disagreement.clone();
            let other = || format!("the log holds other records in {}..{end}", self.start());
            return Whose::Foreign(why.unwrap_or_else(other));
        }
        // The log has lost records of this range: what it still holds decides.
        self.disagreement
            .clone()
            .map_or(Whose::Ours, Whose::Foreign)
    }

    /// The segment, to go on behind it.
    #[must_use]
    pub fn into_found(self) -> Found {
        self.found
    }

    /// Records observed in the segment's range.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.records
    }

    fn start(&self) -> i64 {
        self.found.header.start
    }
}

fn says(what: What, named: Named) -> bool {
    match what {
        What::Named(here) => here.id == named.id && here.fingerprint == named.fingerprint,
        What::Undecodable(_) => false,
    }
}

#[cfg(test)]
mod tests;
