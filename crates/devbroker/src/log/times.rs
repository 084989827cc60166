//! Looking up a partition by time.
//!
//! In: a timestamp. Out: the offset and the timestamp of one record. The batch that holds it is
//! found by the headers, and that one alone is decoded, while the log goes on without us. Headers
//! may lie about what is in their batches, so that many are decoded for nothing: only as many as
//! the request may ([`Decoding`]).

use std::io;

use bytes::Bytes;

use super::batch::BatchHeader;
use super::records;
use super::segment::Segment;
use super::{Partition, PartitionLog};
use crate::budget::Decoding;

/// Offset and timestamp of a record.
type Found = Option<(i64, i64)>;

/// A batch that holds a record of the time, if its header is right.
struct Candidate {
    header: BatchHeader,
    /// Where it may be decoded.
    batch: Option<Bytes>,
    /// The first offset kept.
    start: i64,
}

impl Partition {
    /// The first record of `timestamp` (ms) or later. Takes its time, but not the log's.
    pub(crate) fn find_timestamp(
        &self,
        timestamp: i64,
        decoding: &mut Decoding,
    ) -> io::Result<Found> {
        search(timestamp, decoding, |from, decodes| {
            self.log().candidate(timestamp, from, decodes)
        })
    }

    /// The first of the records with the latest timestamp there is.
    pub(crate) fn find_latest(&self, decoding: &mut Decoding) -> io::Result<Found> {
        let latest = {
            let log = self.log();
            let times = log.segments.iter().map(|segment| segment.max_timestamp);
            times.max()
        };
        match latest {
            Some(latest) if latest >= 0 => self.find_timestamp(latest, decoding),
            Some(_) | None => Ok(None),
        }
    }
}

/// Goes through the batches that `next` finds from an offset on, with their bytes if they are to
/// be decoded.
fn search(
    timestamp: i64,
    decoding: &mut Decoding,
    next: impl Fn(i64, bool) -> io::Result<Option<Candidate>>,
) -> io::Result<Found> {
    let mut from = 0;
    while let Some(candidate) = next(from, decoding.begin())? {
        let found = candidate.find(timestamp, decoding);
        if found.is_some() {
            return Ok(found);
        }
        from = candidate.header.next_offset();
    }
    Ok(None)
}

impl PartitionLog {
    /// The first batch from offset `from` on that by its header holds a record of `timestamp` or
    /// later.
    fn candidate(&self, timestamp: i64, from: i64, decodes: bool) -> io::Result<Option<Candidate>> {
        let start = self.start();
        let from = from.max(start);
        let segments = &self.segments;
        let after = segments.partition_point(|segment| segment.base <= from);
        for segment in segments.iter().skip(after.saturating_sub(1)) {
            if segment.region_of(timestamp) >= segment.size {
                continue;
            }
            let Some((position, header)) = first_in(segment, timestamp, from)? else {
                continue;
            };
            if header.base_offset >= self.high_watermark() {
                return Ok(None);
            }
            let batch = decodes.then(|| segment.read(position, header.size));
            return Ok(Some(Candidate {
                header,
                batch: batch.transpose()?,
                start,
            }));
        }
        Ok(None)
    }

    /// As [`Partition::find_timestamp`], for a log that nobody shares.
    #[cfg(test)]
    pub(crate) fn find_timestamp(&self, timestamp: i64) -> io::Result<Found> {
        let mut decoding = Decoding::of_test();
        search(timestamp, &mut decoding, |from, decodes| {
            self.candidate(timestamp, from, decodes)
        })
    }
}

/// The first such batch of a segment. Of its regions only those are walked that hold one: each
/// costs a read a batch.
fn first_in(
    segment: &Segment,
    timestamp: i64,
    from: i64,
) -> io::Result<Option<(u64, BatchHeader)>> {
    let is_it =
        |header: &BatchHeader| header.max_timestamp >= timestamp && header.last_offset() >= from;
    let index = segment.index();
    let after = index.partition_point(|region| region.base <= from);
    let mut regions = index.iter().skip(after.saturating_sub(1)).peekable();
    while let Some(region) = regions.next() {
        let end = regions.peek().map_or(i64::MAX, |next| next.base);
        if region.max_timestamp < timestamp {
            continue;
        }
        let is_behind = |header: &BatchHeader| header.base_offset >= end;
        let found = segment.find(region.position, |header| is_behind(header) || is_it(header))?;
        if let Some((_, header)) = &found
            && !is_behind(header)
        {
            return Ok(found);
        }
    }
    Ok(None)
}

impl Candidate {
    /// The first record of `timestamp` or later in it, if it can be read. One whose records cannot
    /// or may not be decoded stands for all of them: a reader that starts at its first record
    /// misses nothing.
    fn find(&self, timestamp: i64, decoding: &mut Decoding) -> Found {
        let Some(batch) = &self.batch else {
            return Some(self.by_header(timestamp));
        };
        let wanted = |offset: i64, time: i64| offset >= self.start && time >= timestamp;
        match records::find(&self.header, batch, &mut decoding.left, wanted) {
            Ok(found) => found,
            Err(error) => {
                let offset = self.header.base_offset;
                tracing::debug!(offset, %error, "batch looked up by its header only");
                Some(self.by_header(timestamp))
            }
        }
    }

    fn by_header(&self, timestamp: i64) -> (i64, i64) {
        let header = &self.header;
        let is_early = header.base_timestamp < timestamp;
        let time = if is_early {
            header.max_timestamp
        } else {
            header.base_timestamp
        };
        (header.base_offset.max(self.start), time)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicU64;

    use super::*;
    use crate::budget::{BATCH_DECODED, DECODED};
    use crate::log::LogOptions;
    use crate::log::batch::{self, tests::batch};

    const LIE: i64 = 1_000_000;

    /// A record at time 5.
    const RECORD: [u8; 8] = [14, 0, 0, 0, 1, 2, b'v', 0];

    fn partition(batches: impl Iterator<Item = Vec<u8>>) -> Partition {
        let mut log = PartitionLog::in_memory(LogOptions {
            segment_bytes: 8 << 20,
            segment_ms: i64::MAX,
            reservation_step: 100,
            sync_always: false,
            memory_left: Arc::new(AtomicU64::new(64 << 20)),
        });
        for bytes in batches {
            let header = batch::validate(&bytes, 1 << 20).unwrap();
            log.append(&header, &bytes).unwrap();
        }
        Partition::new(log)
    }

    /// A batch whose one record is from time 5, and whose header says [`LIE`].
    fn lying() -> Vec<u8> {
        let mut bytes = batch((-1, -1, -1), 1, 5, &RECORD);
        bytes[35..43].copy_from_slice(&LIE.to_be_bytes());
        let crc = crc32c::crc32c(&bytes[21..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        bytes
    }

    #[test]
    fn headers_that_lie_have_so_many_batches_decoded_and_no_more() {
        let most = i64::try_from(DECODED / BATCH_DECODED).unwrap();
        let partition = partition((0..2 * most).map(|_| lying()));
        let mut decoding = Decoding::of_test();
        let found = partition.find_timestamp(LIE, &mut decoding).unwrap();
        // Up to here each was decoded; this one stands for what is behind it.
        let (offset, time) = found.unwrap();
        assert!((most / 2..most).contains(&offset), "{offset} of {most}");
        assert_eq!((time, decoding.left), (LIE, 0));
        // For all look-ups of a request together.
        let found = partition.find_timestamp(LIE, &mut decoding).unwrap();
        assert_eq!(found, Some((0, LIE)));
        assert_eq!(partition.find_timestamp(6, &mut decoding).unwrap(), found);
    }

    #[test]
    fn a_record_behind_batches_that_lie_is_found() {
        let honest = batch((-1, -1, -1), 1, LIE, &RECORD);
        let quiet = || batch((-1, -1, -1), 1, 5, &RECORD);
        let batches = (0..3_000).map(|at| match at {
            2_000 => honest.clone(),
            _ if at % 200 == 0 => lying(),
            _ => quiet(),
        });
        let partition = partition(batches);
        let found = partition.find_timestamp(LIE, &mut Decoding::of_test());
        assert_eq!(found.unwrap(), Some((2_000, LIE)));
        let latest = partition.find_latest(&mut Decoding::of_test());
        assert_eq!(latest.unwrap(), Some((2_000, LIE)));
    }
}
