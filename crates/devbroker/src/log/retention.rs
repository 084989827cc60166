//! Dropping records from the front of a partition: what may go, and how it goes.
//!
//! In: a topic's limits, or an offset. Out: whole segments gone, and a log that begins later. The
//! rules are Kafka's (<https://kafka.apache.org/documentation/#topicconfigs_retention.ms>): from the
//! oldest segment on, each whose newest record is too old, or without which the limit of bytes is
//! still reached.

use std::fs;
use std::io;
use std::path::PathBuf;

use super::segment::Segment;
use super::{Partition, PartitionLog, index, start};
use crate::files;

/// What a topic keeps; `None` for all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Retention {
    /// Milliseconds that a record is kept.
    pub(crate) ms: Option<i64>,
    /// Bytes that a partition keeps, at least.
    pub(crate) bytes: Option<u64>,
}

/// A segment as retention sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) base: i64,
    /// Behind its last offset.
    pub(crate) end: i64,
    pub(crate) bytes: u64,
    /// Time of its newest record in ms.
    pub(crate) newest: i64,
}

/// How many segments at the front are not to be kept at the time `now` (ms).
pub(crate) fn expired(spans: &[Span], retention: Retention, now: i64) -> usize {
    let mut kept: u64 = spans.iter().map(|span| span.bytes).sum();
    let goes = |span: &&Span| {
        let too_old = |ms| now.saturating_sub(span.newest) > ms;
        let enough_without = |limit| kept - span.bytes >= limit;
        let goes = span.bytes > 0
            && (retention.ms.is_some_and(too_old) || retention.bytes.is_some_and(enough_without));
        kept -= span.bytes;
        goes
    };
    spans.iter().take_while(goes).count()
}

/// What dropping records came to.
#[derive(Debug, Default)]
struct Gone {
    files: Vec<PathBuf>,
    /// Not all of them are there.
    indexes: Vec<PathBuf>,
    dir: Option<PathBuf>,
}

impl PartitionLog {
    pub(super) fn is_closed(&self) -> bool {
        self.broken || self.deleted
    }

    /// Its segments, oldest first; the last one takes appends. Empty where nothing may be dropped.
    pub(crate) fn spans(&self) -> Vec<Span> {
        if self.is_closed() {
            return Vec::new();
        }
        let bases = self.segments.iter().map(|segment| segment.base);
        let ends = bases.skip(1).chain([self.end]);
        let span = |(segment, end): (&Segment, i64)| Span {
            base: segment.base,
            end,
            bytes: segment.size,
            newest: segment.newest(),
        };
        self.segments.iter().zip(ends).map(span).collect()
    }

    /// Segments, and their bytes.
    pub(crate) fn stored(&self) -> (usize, u64) {
        let bytes = self.segments.iter().map(|segment| segment.size).sum();
        (self.segments.len(), bytes)
    }

    /// Shows nothing below `to` any more, and lets go of the segments that lie below as a whole.
    /// On disk the new start is written already.
    fn drop_below(&mut self, to: i64) -> Gone {
        self.start = self.start.max(to);
        let has_records = self.segments.back().is_some_and(|active| active.size > 0);
        if self.start == self.end
            && has_records
            && let Err(error) = self.roll()
        {
            // It is in the way of nothing; the next time it goes.
            tracing::warn!(%error, "a segment without a record that is kept stays");
        }
        let mut gone = Gone {
            dir: self.disk.as_ref().map(|disk| disk.dir.clone()),
            ..Gone::default()
        };
        while self
            .segments
            .get(1)
            .is_some_and(|next| next.base <= self.start)
        {
            let Some(segment) = self.segments.pop_front() else {
                break;
            };
            if self.disk.is_none() {
                self.give_back(segment.size);
            }
            if let Some(path) = segment.file_path() {
                gone.files.push(path.to_owned());
                gone.indexes.push(path.with_extension(index::EXTENSION));
            }
        }
        gone
    }
}

impl Partition {
    /// Has the log begin at `to`: for ever, once this returns. Blocks for the disk. False, and
    /// nothing done, where it begins there or later already, or `to` is beyond what readers see.
    pub(crate) fn raise_start(&self, to: i64) -> io::Result<bool> {
        let _turn = self.start_turn.lock();
        let dir = {
            let log = self.log();
            if to <= log.start() || to > log.high_watermark() {
                return Ok(false);
            }
            if log.is_closed() {
                return Err(io::Error::other("the log takes no changes"));
            }
            log.disk.as_ref().map(|disk| disk.dir.clone())
        };
        if let Some(dir) = dir {
            start::write(&dir, to)?;
        }
        let gone = self.log().drop_below(to);
        self.wake_readers();
        gone.delete();
        Ok(true)
    }

    /// The topic is deleted, or with false is not after all. Nothing touches the files meanwhile:
    /// a topic made anew has them under the same names.
    pub(crate) fn set_deleted(&self, deleted: bool) {
        let _turn = self.start_turn.lock();
        self.log().deleted = deleted;
    }
}

impl Gone {
    /// What cannot be deleted stays until the next start; nobody reads it.
    fn delete(self) {
        for path in &self.files {
            if let Err(error) = fs::remove_file(path) {
                tracing::warn!(file = %path.display(), %error, "a segment that is not kept stays");
            }
        }
        for path in &self.indexes {
            // The next start removes what it finds of no segment.
            if let Err(error) = fs::remove_file(path) {
                tracing::debug!(file = %path.display(), %error, "an index stays");
            }
        }
        if let Some(dir) = self.dir.filter(|_| !self.files.is_empty())
            && let Err(error) = files::sync_dir(&dir)
        {
            tracing::debug!(folder = %dir.display(), %error, "deleted segments not synced");
        }
    }
}
