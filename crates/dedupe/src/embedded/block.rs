//! How marks lie in a file: records of 37 bytes in blocks of up to 4,096, each with its sums.
//!
//! In: records, and the moment at which they were marked. Out: bytes; and back. Promises: what was
//! written is read; what a crash tore or a disk changed is not, and the sound blocks behind it are
//! found again.
//!
//! ```text
//! file    "csdedupe", version u32, CRC32C of both u32, then blocks
//! block   "csDB", records u32, time u64, wall u64, CRC32C of the records u32,
//!         CRC32C of the header so far u32, then the records
//! record  fact u8, id 16 bytes, fingerprint u64, partition i32, offset i64
//! ```
//! Numbers are little-endian. `time` is the store's own (µs), `wall` the wall clock's (ms since
//! 1970): see [`clock`](super::clock). A block without records only tells the time.

use super::clock::Moment;
use crate::claim::{LogPosition, Subject};
use cloudsync::identity::{Fingerprint, Id16};

pub(super) const RECORD_BYTES: usize = 37;
pub(super) const FILE_HEADER_BYTES: usize = 16;
/// The format of the files that this program writes.
pub(super) const VERSION: u32 = 1;
const FILE_MAGIC: [u8; 8] = *b"csdedupe";
const BLOCK_HEADER_BYTES: usize = 32;
const BLOCK_MAGIC: [u8; 4] = *b"csDB";
/// Most records of a block, and so most marks that one flipped bit takes away.
const MAX_RECORDS: usize = 4_096;

/// What became of an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fact {
    Done,
    DeadLettered,
    Forgotten,
}

/// What becomes of the subject's id. Its shard is not kept: a file knows none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) fact: Fact,
    pub(super) subject: Subject,
}

/// How a file begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileHeader {
    Ours,
    /// Of a program that is newer, or older than any.
    OtherVersion(u32),
    /// Cut short or changed. What lies behind it may be sound.
    Damaged,
}

/// What [`parse`] meets.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found<'a> {
    /// A sound block.
    Block { at: Moment, records: &'a [u8] },
    /// Bytes that are no block, with a sound one behind them.
    Damage { from: usize, to: usize },
    /// Bytes that are no block, up to the end.
    Tail { from: usize },
}

// === impl Record ===

impl Record {
    /// Puts the record behind what is there.
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        let Subject {
            id,
            fingerprint,
            position,
            ..
        } = self.subject;
        out.push(match self.fact {
            Fact::Done => 1,
            Fact::DeadLettered => 2,
            Fact::Forgotten => 3,
        });
        out.extend_from_slice(&id.0);
        out.extend_from_slice(&fingerprint.0.to_le_bytes());
        out.extend_from_slice(&position.partition.to_le_bytes());
        out.extend_from_slice(&position.offset.to_le_bytes());
    }

    /// `None` for what nobody wrote: another length, another fact.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let (fact, rest) = bytes.split_first()?;
        let fact = match fact {
            1 => Fact::Done,
            2 => Fact::DeadLettered,
            3 => Fact::Forgotten,
            _ => return None,
        };
        let (id, rest) = rest.split_first_chunk()?;
        let (fingerprint, rest) = rest.split_first_chunk()?;
        let (partition, rest) = rest.split_first_chunk()?;
        let position = LogPosition {
            partition: i32::from_le_bytes(*partition),
            offset: i64::from_le_bytes(rest.try_into().ok()?),
        };
        let subject = Subject {
            id: Id16(*id),
            fingerprint: Fingerprint(u64::from_le_bytes(*fingerprint)),
            shard: 0,
            position,
        };
        Some(Self { fact, subject })
    }
}

// === files and blocks ===

/// How each file begins.
pub(super) fn file_header() -> [u8; FILE_HEADER_BYTES] {
    let mut header = [0; FILE_HEADER_BYTES];
    header[..8].copy_from_slice(&FILE_MAGIC);
    header[8..12].copy_from_slice(&VERSION.to_le_bytes());
    let sum = crc32c::crc32c(&header[..12]);
    header[12..].copy_from_slice(&sum.to_le_bytes());
    header
}

/// How `bytes`, a file from its first byte on, begin.
pub(super) fn read_file_header(bytes: &[u8]) -> FileHeader {
    let Some(header) = bytes.first_chunk::<FILE_HEADER_BYTES>() else {
        return FileHeader::Damaged;
    };
    let sum = crc32c::crc32c(&header[..12]);
    if header[..8] != FILE_MAGIC || header[12..] != sum.to_le_bytes() {
        return FileHeader::Damaged;
    }
    match u32_at(header, 8) {
        VERSION => FileHeader::Ours,
        other => FileHeader::OtherVersion(other),
    }
}

/// Puts `records` (whole ones, as [`Record::put`] makes them) as blocks behind what is there; one
/// block that only tells the time where there are none.
pub(super) fn put_blocks(out: &mut Vec<u8>, at: Moment, records: &[u8]) {
    if records.is_empty() {
        put_block(out, at, records);
    }
    for records in records.chunks(MAX_RECORDS * RECORD_BYTES) {
        put_block(out, at, records);
    }
}

fn put_block(out: &mut Vec<u8>, at: Moment, records: &[u8]) {
    // At most MAX_RECORDS.
    let count = u32::try_from(records.len() / RECORD_BYTES).unwrap_or_default();
    let start = out.len();
    out.extend_from_slice(&BLOCK_MAGIC);
    out.extend_from_slice(&count.to_le_bytes());
    out.extend_from_slice(&at.time.to_le_bytes());
    out.extend_from_slice(&at.wall.to_le_bytes());
    out.extend_from_slice(&crc32c::crc32c(records).to_le_bytes());
    let sum = crc32c::crc32c(&out[start..]);
    out.extend_from_slice(&sum.to_le_bytes());
    out.extend_from_slice(records);
}

/// Walks through `bytes`, a file from its first byte on. Out: behind its last sound block.
pub(super) fn parse<'a>(bytes: &'a [u8], mut each: impl FnMut(Found<'a>)) -> usize {
    let mut at = match read_file_header(bytes) {
        FileHeader::Ours | FileHeader::OtherVersion(_) => FILE_HEADER_BYTES,
        FileHeader::Damaged => 0,
    };
    while at < bytes.len() {
        if let Some((block, end)) = block_at(bytes, at) {
            each(block);
            at = end;
            continue;
        }
        let next = (at + 1..bytes.len()).find(|next| block_at(bytes, *next).is_some());
        let Some(next) = next else {
            each(Found::Tail { from: at });
            break;
        };
        each(Found::Damage { from: at, to: next });
        at = next;
    }
    at
}

/// The sound block that begins there, and where it ends.
fn block_at(bytes: &[u8], at: usize) -> Option<(Found<'_>, usize)> {
    let (header, rest) = bytes.get(at..)?.split_first_chunk::<BLOCK_HEADER_BYTES>()?;
    if header[..4] != BLOCK_MAGIC || u32_at(header, 28) != crc32c::crc32c(&header[..28]) {
        return None;
    }
    let count = usize::try_from(u32_at(header, 4)).ok()?;
    if count > MAX_RECORDS {
        return None;
    }
    let records = rest.get(..count * RECORD_BYTES)?;
    if u32_at(header, 24) != crc32c::crc32c(records) {
        return None;
    }
    let moment = Moment {
        time: u64_at(header, 8),
        wall: u64_at(header, 16),
    };
    let block = Found::Block {
        at: moment,
        records,
    };
    Some((block, at + BLOCK_HEADER_BYTES + records.len()))
}

/// 0 where there are too few bytes, which callers rule out.
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let number = bytes.get(at..).and_then(|bytes| bytes.first_chunk());
    number.map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let number = bytes.get(at..).and_then(|bytes| bytes.first_chunk());
    number.map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record() -> impl Strategy<Value = Record> {
        let fact = prop::sample::select(vec![Fact::Done, Fact::DeadLettered, Fact::Forgotten]);
        (fact, any::<([u8; 16], u64, i32, i64)>()).prop_map(
            |(fact, (id, fingerprint, partition, offset))| Record {
                fact,
                subject: Subject {
                    id: Id16(id),
                    fingerprint: Fingerprint(fingerprint),
                    shard: 0,
                    position: LogPosition { partition, offset },
                },
            },
        )
    }

    type Block = (Moment, Vec<Record>);

    fn file(blocks: &[Block]) -> Vec<u8> {
        let mut bytes = file_header().to_vec();
        for (at, records) in blocks {
            let mut encoded = Vec::new();
            records.iter().for_each(|record| record.put(&mut encoded));
            put_blocks(&mut bytes, *at, &encoded);
        }
        bytes
    }

    fn read(bytes: &[u8]) -> (Vec<Block>, Vec<String>) {
        let (mut blocks, mut faults) = (Vec::new(), Vec::new());
        let end = parse(bytes, |found| match found {
            Found::Block { at, records } => {
                let records = records.chunks(RECORD_BYTES).map(Record::read);
                blocks.push((at, records.map(Option::unwrap).collect()));
            }
            fault => faults.push(format!("{fault:?}")),
        });
        let torn = faults.last().is_some_and(|it| it.starts_with("Tail"));
        assert_eq!(torn, end < bytes.len(), "{end}");
        (blocks, faults)
    }

    fn blocks() -> impl Strategy<Value = Vec<Block>> {
        let moment = any::<(u64, u64)>().prop_map(|(time, wall)| Moment { time, wall });
        prop::collection::vec((moment, prop::collection::vec(record(), 0..5)), 1..5)
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(blocks in blocks()) {
            prop_assert_eq!(read(&file(&blocks)), (blocks, vec![]));
        }

        #[test]
        fn of_a_changed_byte_one_block_is_missing(blocks in blocks(), at: usize, by in 1u8..) {
            let mut bytes = file(&blocks);
            let at = at % bytes.len();
            bytes[at] ^= by;
            let (found, faults) = read(&bytes);
            let in_header = at < FILE_HEADER_BYTES;
            if in_header {
                prop_assert_eq!(read_file_header(&bytes), FileHeader::Damaged);
            }
            prop_assert_eq!(faults.len(), 1);
            let missing = if in_header { 0 } else { 1 };
            prop_assert_eq!(found.len(), blocks.len() - missing);
            let mut left = found.iter().peekable();
            for block in &blocks {
                left.next_if_eq(&block);
            }
            prop_assert_eq!(left.count(), 0, "what is there was written, in this order");
        }

        #[test]
        fn of_a_cut_file_the_whole_blocks_are_read(blocks in blocks(), at: usize) {
            let bytes = file(&blocks);
            let at = at % bytes.len();
            let (found, _) = read(&bytes[..at]);
            prop_assert_eq!(&found[..], &blocks[..found.len()]);
            let whole = file(&blocks[..found.len()]).len();
            prop_assert!(whole <= at || at < FILE_HEADER_BYTES);
            let next = file(&blocks[..(found.len() + 1).min(blocks.len())]).len();
            prop_assert!(at < next || found.len() == blocks.len());
        }

        #[test]
        fn anything_at_all_is_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _end = parse(&bytes, |_| {});
            let _record = Record::read(&bytes);
        }
    }

    #[test]
    fn many_records_are_several_blocks() {
        let mut records = Vec::new();
        let record = Record {
            fact: Fact::Done,
            subject: Subject {
                id: Id16([7; 16]),
                fingerprint: Fingerprint(1),
                shard: 0,
                position: LogPosition {
                    partition: 1,
                    offset: 2,
                },
            },
        };
        (0..10_000).for_each(|_| record.put(&mut records));
        let mut bytes = file_header().to_vec();
        put_blocks(&mut bytes, Moment { time: 1, wall: 2 }, &records);
        let (found, faults) = read(&bytes);
        let sizes: Vec<usize> = found.iter().map(|(_, records)| records.len()).collect();
        assert_eq!((sizes, faults), (vec![4_096, 4_096, 1_808], vec![]));
    }

    #[test]
    fn another_version_is_told_from_damage() {
        let mut header = file_header();
        header[8] = 9;
        assert_eq!(read_file_header(&header), FileHeader::Damaged);
        let sum = crc32c::crc32c(&header[..12]);
        header[12..].copy_from_slice(&sum.to_le_bytes());
        assert_eq!(read_file_header(&header), FileHeader::OtherVersion(9));
    }
}
