//! The header of a record batch (format version 2), read in place.
//!
//! In: bytes of a batch. Out: a [`BatchHeader`], or why they are not an acceptable batch.
//! Records themselves stay compressed and unread.
//! Layout: <https://kafka.apache.org/documentation/#recordbatch>.

use std::ops::Range;

/// Bytes before the records.
pub(crate) const HEADER_BYTES: usize = 61;
/// Bytes that the length field does not count: base offset and the length itself.
const UNCOUNTED: usize = 12;
const MAGIC_AT: usize = 16;
const CRC_START: usize = 21;
const MAGIC: u8 = 2;

const CODEC_MASK: i16 = 0x07;
const LAST_CODEC: i16 = ZSTD;
const ZSTD: i16 = 4;
const LOG_APPEND_TIME: i16 = 0x08;
const TRANSACTIONAL: i16 = 0x10;
const CONTROL: i16 = 0x20;

/// How the records of a batch are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Codec {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

/// What the log needs to know of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BatchHeader {
    /// Offset of the first record; a producer's own is meaningless.
    pub(crate) base_offset: i64,
    /// Whole batch, header included, in bytes.
    pub(crate) size: usize,
    pub(crate) leader_epoch: i32,
    pub(crate) crc: u32,
    pub(crate) attributes: i16,
    pub(crate) last_offset_delta: i32,
    pub(crate) base_timestamp: i64,
    pub(crate) max_timestamp: i64,
    /// -1 without idempotence.
    pub(crate) producer_id: i64,
    pub(crate) producer_epoch: i16,
    pub(crate) base_sequence: i32,
    pub(crate) record_count: i32,
}

/// Why a produced batch is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BatchFault {
    #[error("record batch has a size or format that none has")]
    Size,
    #[error("request holds no whole record batch for a partition")]
    Partial,
    #[error("record batch has an unsupported format version")]
    Magic,
    #[error("record batch fails its checksum")]
    Checksum,
    #[error("request holds more than one record batch for a partition")]
    MoreThanOne,
    #[error("record batch is larger than the topic's max.message.bytes")]
    TooLarge,
    #[error("record count does not agree with the last offset delta")]
    Count,
    #[error("record batch has an unknown compression codec")]
    Codec,
    #[error("record batch claims log append time")]
    TimestampType,
    #[error("record batch is transactional")]
    Transactional,
    #[error("record batch is a control batch")]
    Control,
    #[error("record batch has a producer id without epoch or sequence")]
    Sequence,
}

impl BatchHeader {
    /// Reads a header; `None` where the bytes cannot be one.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let header: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
        if header[MAGIC_AT] != MAGIC {
            return None;
        }
        let size = usize::try_from(i32_at(header, 8))
            .ok()?
            .checked_add(UNCOUNTED)?;
        if size < HEADER_BYTES {
            return None;
        }
        Some(Self {
            base_offset: i64_at(header, 0),
            size,
            leader_epoch: i32_at(header, 12),
            crc: i32_at(header, 17).cast_unsigned(),
            attributes: i16_at(header, 21),
            last_offset_delta: i32_at(header, 23),
            base_timestamp: i64_at(header, 27),
            max_timestamp: i64_at(header, 35),
            producer_id: i64_at(header, 43),
            producer_epoch: i16_at(header, 51),
            base_sequence: i32_at(header, 53),
            record_count: i32_at(header, 57),
        })
    }

    /// How its records are compressed. Of an unknown codec none is ever stored.
    pub(crate) fn codec(&self) -> Codec {
        match self.attributes & CODEC_MASK {
            1 => Codec::Gzip,
            2 => Codec::Snappy,
            3 => Codec::Lz4,
            ZSTD => Codec::Zstd,
            _ => Codec::None,
        }
    }

    /// Offset of the last record.
    pub(crate) fn last_offset(&self) -> i64 {
        self.base_offset
            .saturating_add(i64::from(self.last_offset_delta))
    }

    /// Offset behind the last record.
    pub(crate) fn next_offset(&self) -> i64 {
        self.last_offset().saturating_add(1)
    }

    /// Sequence number of the last record; sequences wrap at 2^31.
    pub(crate) fn last_sequence(&self) -> i32 {
        self.base_sequence.wrapping_add(self.last_offset_delta) & i32::MAX
    }

    /// Whether a whole batch carries the checksum of its bytes.
    pub(crate) fn checksum_holds(&self, batch: &[u8]) -> bool {
        batch
            .get(CRC_START..self.size)
            .is_some_and(|bytes| crc32c::crc32c(bytes) == self.crc)
    }
}

/// Checks what a producer sent for one partition: exactly one sound batch.
pub(crate) fn validate(records: &[u8], max_bytes: usize) -> Result<BatchHeader, BatchFault> {
    check_whole(records)?;
    if records[MAGIC_AT] != MAGIC {
        return Err(BatchFault::Magic);
    }
    let header = BatchHeader::parse(records).ok_or(BatchFault::Size)?;
    if header.size < records.len() {
        return Err(BatchFault::MoreThanOne);
    }
    if header.size > max_bytes {
        return Err(BatchFault::TooLarge);
    }
    if !header.checksum_holds(records) {
        return Err(BatchFault::Checksum);
    }
    let delta_agrees = header.record_count.checked_sub(1) == Some(header.last_offset_delta);
    if header.record_count < 1 || !delta_agrees {
        return Err(BatchFault::Count);
    }
    check_attributes(header.attributes)?;
    let idempotent = header.producer_id >= 0;
    if idempotent && (header.producer_epoch < 0 || header.base_sequence < 0) {
        return Err(BatchFault::Sequence);
    }
    Ok(header)
}

/// Whether the bytes hold one whole batch of any format, in the order in which Kafka finds out
/// (<https://github.com/apache/kafka/blob/4.0/clients/src/main/java/org/apache/kafka/common/record/ByteBufferLogInputStream.java>).
fn check_whole(records: &[u8]) -> Result<(), BatchFault> {
    /// Of the oldest format, uncounted bytes not counted.
    const SMALLEST: usize = 14;
    let length = records.get(8..UNCOUNTED).and_then(<[u8]>::first_chunk);
    let length = i32::from_be_bytes(*length.ok_or(BatchFault::Partial)?);
    let length = usize::try_from(length).unwrap_or(0);
    if length < SMALLEST {
        return Err(BatchFault::Size);
    }
    let magic = *records.get(MAGIC_AT).ok_or(BatchFault::Partial)?;
    if magic > MAGIC {
        return Err(BatchFault::Size);
    }
    if records.len() - UNCOUNTED < length {
        return Err(BatchFault::Partial);
    }
    Ok(())
}

fn check_attributes(attributes: i16) -> Result<(), BatchFault> {
    if attributes & CODEC_MASK > LAST_CODEC {
        return Err(BatchFault::Codec);
    }
    if attributes & LOG_APPEND_TIME != 0 {
        return Err(BatchFault::TimestampType);
    }
    if attributes & TRANSACTIONAL != 0 {
        return Err(BatchFault::Transactional);
    }
    if attributes & CONTROL != 0 {
        return Err(BatchFault::Control);
    }
    Ok(())
}

/// A batch under its offset in the log, leader epoch 0. Neither field is under the checksum, so all
/// behind them stays as it came, uncopied.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Placed<'a> {
    head: [u8; MAGIC_AT],
    rest: &'a [u8],
}

impl<'a> Placed<'a> {
    /// `batch` is a whole one, header included.
    pub(crate) fn new(batch: &'a [u8], base_offset: i64) -> Self {
        let mut head = [0; MAGIC_AT];
        head[..8].copy_from_slice(&base_offset.to_be_bytes());
        head[8..12].copy_from_slice(&batch[8..12]);
        let rest = &batch[MAGIC_AT..];
        Self { head, rest }
    }

    /// Its bytes, in two parts.
    pub(crate) fn parts(&self) -> [&[u8]; 2] {
        [&self.head, self.rest]
    }
}

/// A batch without records over the offsets from `start` to below `end`, as far as one batch
/// reaches: whoever reads steps over them. Kafka's log cleaner leaves such batches, too
/// (<https://github.com/apache/kafka/blob/4.0/clients/src/main/java/org/apache/kafka/common/record/DefaultRecordBatch.java>).
pub(crate) fn empty(start: i64, end: i64) -> [u8; HEADER_BYTES] {
    let delta = i32::try_from(end - start - 1).unwrap_or(i32::MAX);
    let none = -1_i64;
    let mut out = [0; HEADER_BYTES];
    out[..8].copy_from_slice(&start.to_be_bytes());
    let length = HEADER_BYTES - UNCOUNTED;
    out[8..12].copy_from_slice(&(length as u32).to_be_bytes());
    out[MAGIC_AT] = MAGIC;
    out[23..27].copy_from_slice(&delta.to_be_bytes());
    // Neither a time nor a producer.
    for at in [27, 35, 43] {
        out[at..at + 8].copy_from_slice(&none.to_be_bytes());
    }
    out[51..57].fill(0xFF);
    let crc = crc32c::crc32c(&out[CRC_START..]);
    out[17..CRC_START].copy_from_slice(&crc.to_be_bytes());
    out
}

fn field<const N: usize>(header: &[u8; HEADER_BYTES], at: usize) -> [u8; N] {
    let range: Range<usize> = at..at + N;
    let mut out = [0; N];
    out.copy_from_slice(&header[range]);
    out
}

fn i64_at(header: &[u8; HEADER_BYTES], at: usize) -> i64 {
    i64::from_be_bytes(field(header, at))
}

fn i32_at(header: &[u8; HEADER_BYTES], at: usize) -> i32 {
    i32::from_be_bytes(field(header, at))
}

fn i16_at(header: &[u8; HEADER_BYTES], at: usize) -> i16 {
    i16::from_be_bytes(field(header, at))
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A batch whose records are `body`, with a right checksum.
    pub(crate) fn batch(
        producer: (i64, i16, i32),
        count: i32,
        timestamp: i64,
        body: &[u8],
    ) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(&0_i64.to_be_bytes());
        let length = i32::try_from(HEADER_BYTES - UNCOUNTED + body.len()).unwrap();
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&(-1_i32).to_be_bytes());
        out.push(MAGIC);
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&0_i16.to_be_bytes());
        out.extend_from_slice(&(count - 1).to_be_bytes());
        out.extend_from_slice(&timestamp.to_be_bytes());
        out.extend_from_slice(&timestamp.to_be_bytes());
        out.extend_from_slice(&producer.0.to_be_bytes());
        out.extend_from_slice(&producer.1.to_be_bytes());
        out.extend_from_slice(&producer.2.to_be_bytes());
        out.extend_from_slice(&count.to_be_bytes());
        out.extend_from_slice(body);
        let crc = crc32c::crc32c(&out[CRC_START..]);
        out[17..21].copy_from_slice(&crc.to_be_bytes());
        out
    }

    #[test]
    fn each_fault_is_named() {
        let good = batch((-1, -1, -1), 3, 5, b"records");
        let header = validate(&good, 1 << 20).unwrap();
        assert_eq!((header.record_count, header.size), (3, good.len()));
        assert_eq!(validate(&good, good.len() - 1), Err(BatchFault::TooLarge));
        assert_eq!(
            validate(&good[..good.len() - 1], 1 << 20),
            Err(BatchFault::Partial)
        );
        assert_eq!(validate(&[0; 70], 1 << 20), Err(BatchFault::Size));
        assert_eq!(validate(&[], 1 << 20), Err(BatchFault::Partial));
        assert_eq!(
            validate(&[good.clone(), good.clone()].concat(), 1 << 20),
            Err(BatchFault::MoreThanOne)
        );
        assert_eq!(
            validate(&batch((-1, -1, -1), 0, 5, b"r"), 1 << 20),
            Err(BatchFault::Count)
        );
        assert_eq!(
            validate(&batch((4, 0, -1), 1, 5, b"r"), 1 << 20),
            Err(BatchFault::Sequence)
        );
        let mut old = good;
        old[MAGIC_AT] = 1;
        assert_eq!(validate(&old, 1 << 20), Err(BatchFault::Magic));
        assert_eq!(
            check_attributes(TRANSACTIONAL),
            Err(BatchFault::Transactional)
        );
        assert_eq!(check_attributes(7), Err(BatchFault::Codec));
    }

    proptest! {
        #[test]
        fn a_flipped_bit_under_the_checksum_is_seen(at in CRC_START..80usize, bit in 0..8u8) {
            let mut bytes = batch((7, 0, 0), 2, 9, &[1; 40]);
            bytes[at] ^= 1 << bit;
            prop_assert!(validate(&bytes, 1 << 20).is_err());
        }

        #[test]
        fn any_bytes_are_judged(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(validate(&bytes, 1 << 20).is_err());
        }
    }
}
