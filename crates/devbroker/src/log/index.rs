//! What is known of a closed segment, kept beside it, so that a start need not read it.
//!
//! In: a segment that is synced, and the producers up to its end. Out: a file with a checksum, and
//! both again. It is only ever a copy of what the segment says: missing, damaged or of another
//! length of the segment, it is made anew by reading that.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::producer_state::ProducerStates;
use super::segment::{IndexEntry, Segment};

const MAGIC: &[u8; 8] = b"csindex1";
pub(super) const EXTENSION: &str = "index";

/// A segment's index, to be written once the segment is on the disk.
#[derive(Debug, Clone)]
pub(super) struct IndexFile {
    path: PathBuf,
    bytes: Vec<u8>,
}

/// What an index file says.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) base: i64,
    /// Bytes of the segment.
    pub(super) size: u64,
    /// Behind its last offset.
    pub(super) end: i64,
    pub(super) first_timestamp: i64,
    pub(super) max_timestamp: i64,
    pub(super) entries: Vec<IndexEntry>,
    pub(super) producers: ProducerStates,
}

/// What stands where an index file should.
#[derive(Debug)]
pub(super) enum Found {
    Sound(Box<Known>),
    Missing,
    Damaged,
}

pub(super) fn path(dir: &Path, base: i64) -> PathBuf {
    dir.join(format!("{base:020}.{EXTENSION}"))
}

/// Reads the index of the segment that begins at `base`.
pub(super) fn read(dir: &Path, base: i64) -> io::Result<Found> {
    let bytes = match fs::read(path(dir, base)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Missing),
        Err(error) => return Err(error),
    };
    let known = parse(&bytes).filter(|known| known.base == base);
    Ok(known.map_or(Found::Damaged, |known| Found::Sound(Box::new(known))))
}

/// Removes it, if it is there: what it says may not hold any more.
pub(super) fn remove(dir: &Path, base: i64) -> io::Result<()> {
    match fs::remove_file(path(dir, base)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn parse(bytes: &[u8]) -> Option<Known> {
    let (content, checksum) = bytes.split_last_chunk()?;
    if crc32c::crc32c(content) != u32::from_le_bytes(*checksum) {
        return None;
    }
    let mut left = Fields(content.strip_prefix(MAGIC)?);
    let [base, size, end, first_timestamp, max_timestamp, count] = left.numbers()?;
    let mut entries = Vec::new();
    for _ in 0..count {
        let [base, position, max_timestamp] = left.numbers()?;
        entries.push(IndexEntry {
            base,
            position: position.cast_unsigned(),
            max_timestamp,
        });
    }
    let producers = ProducerStates::restore(&mut left)?;
    left.0.is_empty().then_some(Known {
        base,
        size: size.cast_unsigned(),
        end,
        first_timestamp,
        max_timestamp,
        entries,
        producers,
    })
}

/// Numbers of 64 bits, in a row.
pub(super) struct Fields<'a>(&'a [u8]);

// === impl Fields ===

impl Fields<'_> {
    pub(super) fn numbers<const N: usize>(&mut self) -> Option<[i64; N]> {
        let mut numbers = [0; N];
        for number in &mut numbers {
            let (first, rest) = self.0.split_first_chunk()?;
            *number = i64::from_le_bytes(*first);
            self.0 = rest;
        }
        Some(numbers)
    }
}

/// Writes numbers as [`Fields`] reads them.
pub(super) fn put(out: &mut Vec<u8>, numbers: &[i64]) {
    for number in numbers {
        out.extend_from_slice(&number.to_le_bytes());
    }
}

// === impl IndexFile ===

impl IndexFile {
    /// The index of a segment whose last batch ends before offset `end`; `None` in memory.
    pub(super) fn of(segment: &Segment, end: i64, producers: &ProducerStates) -> Option<Self> {
        let path = segment.file_path()?.with_extension(EXTENSION);
        let entries = segment.index();
        let mut bytes = MAGIC.to_vec();
        let count = i64::try_from(entries.len()).ok()?;
        put(
            &mut bytes,
            &[
                segment.base,
                segment.size.cast_signed(),
                end,
                segment.first_timestamp(),
                segment.max_timestamp,
                count,
            ],
        );
        for entry in entries {
            let position = entry.position.cast_signed();
            put(&mut bytes, &[entry.base, position, entry.max_timestamp]);
        }
        producers.save(&mut bytes);
        let checksum = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        Some(Self { path, bytes })
    }

    /// Writes it. Where that fails the next start reads the segment instead.
    pub(super) fn write(&self) {
        if let Err(error) = fs::write(&self.path, &self.bytes) {
            tracing::warn!(file = %self.path.display(), %error, "an index was not written; the next start reads the segment instead");
        }
    }
}
