//! Looking up a partition by time.
//!
//! In: a timestamp. Out: the offset and the timestamp of one record. The batch that holds it is
//! found by the headers, and that one alone is decoded.

use std::io;

use super::PartitionLog;
use super::batch::BatchHeader;
use super::records;
use super::segment::Segment;

/// Offset and timestamp of a record.
type Found = Option<(i64, i64)>;

impl PartitionLog {
    /// The first record of `timestamp` (ms) or later.
    pub(crate) fn find_timestamp(&self, timestamp: i64) -> io::Result<Found> {
        for segment in &self.segments {
            if segment.max_timestamp < timestamp {
                continue;
            }
            let mut from = segment.region_of(timestamp);
            while let Some((position, header)) =
                segment.find(from, |header| header.max_timestamp >= timestamp)?
            {
                if header.base_offset >= self.high_watermark() {
                    return Ok(None);
                }
                let found = self.record_in(segment, position, &header, timestamp)?;
                if found.is_some() {
                    return Ok(found);
                }
                from = position + header.size as u64;
            }
        }
        Ok(None)
    }

    /// The first of the records with the latest timestamp there is.
    pub(crate) fn find_latest(&self) -> io::Result<Found> {
        let times = self.segments.iter().map(|segment| segment.max_timestamp);
        match times.max() {
            Some(latest) if latest >= 0 => self.find_timestamp(latest),
            Some(_) | None => Ok(None),
        }
    }

    /// The first record of `timestamp` or later in a batch that holds one, if it can be read. One
    /// whose records cannot be decoded stands for all of them: a reader that starts at its first
    /// record misses nothing.
    fn record_in(
        &self,
        segment: &Segment,
        position: u64,
        header: &BatchHeader,
        timestamp: i64,
    ) -> io::Result<Found> {
        let start = self.start();
        if header.last_offset() < start {
            return Ok(None);
        }
        let batch = segment.read(position, header.size)?;
        let wanted = |offset: i64, time: i64| offset >= start && time >= timestamp;
        match records::find(header, &batch, wanted) {
            Ok(found) => Ok(found),
            Err(error) => {
                let offset = header.base_offset;
                tracing::debug!(offset, %error, "batch looked up by its header only");
                let is_early = header.base_timestamp < timestamp;
                let time = if is_early {
                    header.max_timestamp
                } else {
                    header.base_timestamp
                };
                Ok(Some((offset.max(start), time)))
            }
        }
    }
}
