//! Reading a partition by offset, in whole batches.

use std::io;

use bytes::Bytes;

use super::batch::{BatchHeader, HEADER_BYTES};
use super::{PartitionLog, segment};

/// Why nothing could be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("offset is outside the log")]
    OutOfRange,
    /// Under its names there may be the files of a topic made anew.
    #[error("topic is deleted")]
    Deleted,
    #[error("read failed")]
    Io(#[from] io::Error),
}

impl PartitionLog {
    /// Whole batches from the one that holds `offset` on, at most `max_bytes` of them; with
    /// `at_least_one` the first batch comes whatever its size. Empty at the high watermark.
    pub(crate) fn read(
        &self,
        offset: i64,
        max_bytes: usize,
        at_least_one: bool,
    ) -> Result<Bytes, ReadError> {
        if self.deleted {
            return Err(ReadError::Deleted);
        }
        if offset < self.start() || offset > self.end {
            return Err(ReadError::OutOfRange);
        }
        let watermark = self.high_watermark();
        if offset >= watermark {
            return Ok(Bytes::new());
        }
        let Some((at, position)) = self.locate(offset)? else {
            return Ok(Bytes::new());
        };
        let segment = &self.segments[at];
        let stored = segment.size - position;
        let length = usize::try_from(stored).unwrap_or(usize::MAX).min(max_bytes);
        let bytes = segment.read(position, length)?;
        let whole = whole_batches(&bytes, watermark);
        if whole > 0 || !at_least_one {
            return Ok(bytes.slice(..whole));
        }
        let first = segment.read(position, HEADER_BYTES)?;
        let header = BatchHeader::parse(&first).ok_or_else(segment::changed)?;
        if header.base_offset >= watermark {
            return Ok(Bytes::new());
        }
        Ok(segment.read(position, header.size)?)
    }

    /// About how many bytes a reader at `offset` could get.
    pub(crate) fn readable(&self, offset: i64) -> Result<u64, ReadError> {
        if self.deleted {
            return Err(ReadError::Deleted);
        }
        if offset < self.start() || offset > self.end {
            return Err(ReadError::OutOfRange);
        }
        if offset >= self.high_watermark() {
            return Ok(0);
        }
        let Some((at, position)) = self.locate(offset)? else {
            return Ok(0);
        };
        let stored: u64 = self
            .segments
            .iter()
            .skip(at)
            .map(|segment| segment.size)
            .sum();
        Ok(stored - position)
    }

    /// Index of the segment and position in it of the first batch at or behind `offset`.
    fn locate(&self, offset: i64) -> io::Result<Option<(usize, u64)>> {
        let after = self
            .segments
            .partition_point(|segment| segment.base <= offset);
        for at in after.saturating_sub(1)..self.segments.len() {
            if let Some(position) = self.segments[at].find_offset(offset)? {
                return Ok(Some((at, position)));
            }
        }
        Ok(None)
    }
}

/// Bytes of the whole batches at the front whose records lie below `watermark`.
pub(super) fn whole_batches(bytes: &[u8], watermark: i64) -> usize {
    let mut end = 0;
    while let Some(header) = bytes.get(end..).and_then(BatchHeader::parse) {
        if header.size > bytes.len() - end || header.base_offset >= watermark {
            break;
        }
        end += header.size;
    }
    end
}
