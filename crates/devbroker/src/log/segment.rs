//! One segment: batches back to back in a file or in memory, with a sparse index.
//!
//! In: placed batches. Out: bytes by position, and positions by offset or time. Files are named
//! by the offset they begin at; only the last one of a partition is kept open.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;

use super::batch::{BatchHeader, HEADER_BYTES, Placed};
use super::index::Known;
use crate::files;

/// Log bytes between two index entries.
const INDEX_INTERVAL: u64 = 16 << 10;
/// Batches at the end of an open segment whose place is known without reading.
const RECENT: usize = 256;
const EXTENSION: &str = "log";

/// A run of batches without a gap in their offsets.
#[derive(Debug)]
pub(crate) struct Segment {
    /// Offset of its first record, given or to come.
    pub(crate) base: i64,
    /// Bytes of whole batches.
    pub(crate) size: u64,
    pub(crate) max_timestamp: i64,
    /// Of the first batch that has one; -1 for none.
    first_timestamp: i64,
    /// When it was made, its file last written, or a batch without a timestamp appended (ms): the
    /// age of such records.
    touched: i64,
    data: Data,
    index: Vec<IndexEntry>,
    recent: VecDeque<Recent>,
}

#[derive(Debug, Clone, Copy)]
struct Recent {
    base: i64,
    last: i64,
    position: u64,
}

#[derive(Debug)]
enum Data {
    /// `open` only while batches are appended.
    File {
        path: PathBuf,
        open: Option<Arc<File>>,
    },
    Memory(Vec<(u64, Bytes)>),
}

/// A region of batches: from `position` to the next entry.
#[derive(Debug, Clone, Copy)]
pub(super) struct IndexEntry {
    pub(super) base: i64,
    pub(super) position: u64,
    pub(super) max_timestamp: i64,
}

impl Segment {
    /// A new segment in memory.
    pub(crate) fn in_memory(base: i64) -> Self {
        Self::new(base, Data::Memory(Vec::new()))
    }

    /// Creates the segment's file, empty. The caller syncs the folder.
    pub(crate) fn create(dir: &Path, base: i64) -> io::Result<Self> {
        let path = path(dir, base);
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)?;
        Ok(Self::new(
            base,
            Data::File {
                path,
                open: Some(Arc::new(file)),
            },
        ))
    }

    /// Opens an existing file; recovery then tells it of each batch with [`Segment::note`].
    pub(crate) fn open(dir: &Path, base: i64) -> io::Result<(Self, Arc<File>)> {
        let path = path(dir, base);
        let file = Arc::new(File::options().read(true).write(true).open(&path)?);
        let data = Data::File {
            path,
            open: Some(Arc::clone(&file)),
        };
        let touched = files::millis(file.metadata()?.modified()?);
        let segment = Self {
            touched,
            ..Self::new(base, data)
        };
        Ok((segment, file))
    }

    /// A closed segment, as its index knows it.
    pub(super) fn known(dir: &Path, known: &mut Known) -> io::Result<Self> {
        let path = path(dir, known.base);
        let touched = files::millis(fs::metadata(&path)?.modified()?);
        Ok(Self {
            size: known.size,
            max_timestamp: known.max_timestamp,
            first_timestamp: known.first_timestamp,
            touched,
            index: std::mem::take(&mut known.entries),
            ..Self::new(known.base, Data::File { path, open: None })
        })
    }

    pub(super) fn index(&self) -> &[IndexEntry] {
        &self.index
    }

    pub(super) fn first_timestamp(&self) -> i64 {
        self.first_timestamp
    }

    /// As [`Segment::open`], for a file that is only read.
    pub(crate) fn open_read_only(dir: &Path, base: i64) -> io::Result<(Self, File)> {
        let path = path(dir, base);
        let file = File::open(&path)?;
        Ok((Self::new(base, Data::File { path, open: None }), file))
    }

    fn new(base: i64, data: Data) -> Self {
        Self {
            base,
            size: 0,
            max_timestamp: -1,
            first_timestamp: -1,
            touched: files::millis(SystemTime::now()),
            data,
            index: Vec::new(),
            recent: VecDeque::new(),
        }
    }

    /// Writes one placed batch behind the last. After an error the segment is as before.
    pub(crate) fn append(&mut self, header: &BatchHeader, batch: &Placed<'_>) -> io::Result<()> {
        match &mut self.data {
            Data::Memory(chunks) => chunks.push((self.size, batch.parts().concat().into())),
            Data::File {
                open: Some(file), ..
            } => {
                if let Err(error) = files::write_all_at(file, batch.parts(), self.size) {
                    // Recovery would cut the fragment as well; this frees its space at once.
                    if let Err(cut) = file.set_len(self.size) {
                        tracing::warn!(error = %cut, "a failed write could not be cut off");
                    }
                    return Err(error);
                }
            }
            Data::File { path, open: None } => {
                let closed = format!("segment {} is closed", path.display());
                return Err(io::Error::other(closed));
            }
        }
        if header.max_timestamp < 0 {
            self.touched = files::millis(SystemTime::now());
        }
        self.note(header);
        Ok(())
    }

    /// Takes note of a batch that stands at the end of the data.
    pub(crate) fn note(&mut self, header: &BatchHeader) {
        let position = self.size;
        match self.index.last_mut() {
            Some(entry) if position - entry.position < INDEX_INTERVAL => {
                entry.max_timestamp = entry.max_timestamp.max(header.max_timestamp);
            }
            _ => self.index.push(IndexEntry {
                base: header.base_offset,
                position,
                max_timestamp: header.max_timestamp,
            }),
        }
        self.max_timestamp = self.max_timestamp.max(header.max_timestamp);
        if self.first_timestamp < 0 {
            self.first_timestamp = header.max_timestamp;
        }
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        let (base, last) = (header.base_offset, header.last_offset());
        self.recent.push_back(Recent {
            base,
            last,
            position,
        });
        self.size += header.size as u64;
    }

    /// The time (ms) of its newest record, or where none has a timestamp, of its last write.
    pub(crate) fn newest(&self) -> i64 {
        if self.max_timestamp >= 0 {
            self.max_timestamp
        } else {
            self.touched
        }
    }

    /// Milliseconds from its first record to one of `timestamp`; 0 where that is not known.
    pub(crate) fn spans_until(&self, timestamp: i64) -> i64 {
        if self.first_timestamp < 0 {
            return 0;
        }
        timestamp.saturating_sub(self.first_timestamp)
    }

    /// Its file; `None` in memory.
    pub(crate) fn file_path(&self) -> Option<&Path> {
        match &self.data {
            Data::Memory(_) => None,
            Data::File { path, .. } => Some(path),
        }
    }

    /// Closes the file for writing and hands it out, to be synced.
    pub(crate) fn seal(&mut self) -> Option<Arc<File>> {
        self.recent = VecDeque::new();
        match &mut self.data {
            Data::Memory(_) => None,
            Data::File { open, .. } => open.take(),
        }
    }

    /// The file being appended to.
    pub(crate) fn file(&self) -> Option<Arc<File>> {
        match &self.data {
            Data::Memory(_) => None,
            Data::File { open, .. } => open.clone(),
        }
    }

    /// Exactly `length` bytes from `position` on, which must lie inside.
    pub(crate) fn read(&self, position: u64, length: usize) -> io::Result<Bytes> {
        match &self.data {
            Data::Memory(chunks) => read_chunks(chunks, position, length),
            Data::File { path, open } => {
                let bytes = match open {
                    Some(file) => files::read_exactly_at(file, position, length)?,
                    None => files::read_exactly_at(&File::open(path)?, position, length)?,
                };
                Ok(Bytes::from(bytes))
            }
        }
    }

    /// Position of the first batch whose last offset is not below `offset`.
    pub(crate) fn find_offset(&self, offset: i64) -> io::Result<Option<u64>> {
        if self
            .recent
            .front()
            .is_some_and(|oldest| oldest.base <= offset)
        {
            let at = self.recent.partition_point(|batch| batch.last < offset);
            return Ok(self.recent.get(at).map(|batch| batch.position));
        }
        let after = self.index.partition_point(|entry| entry.base <= offset);
        let start = after.checked_sub(1).map_or(0, |at| self.index[at].position);
        let found = self.find(start, |header| header.last_offset() >= offset)?;
        Ok(found.map(|(position, _)| position))
    }

    /// Position behind which the first batch with a record of `timestamp` or later stands.
    pub(crate) fn region_of(&self, timestamp: i64) -> u64 {
        let mut regions = self.index.iter();
        let region = regions.find(|entry| entry.max_timestamp >= timestamp);
        region.map_or(self.size, |region| region.position)
    }

    /// The first batch from `position` on that is `wanted` by its header, and where it stands.
    pub(crate) fn find(
        &self,
        mut position: u64,
        wanted: impl Fn(&BatchHeader) -> bool,
    ) -> io::Result<Option<(u64, BatchHeader)>> {
        while position < self.size {
            let bytes = self.read(position, HEADER_BYTES)?;
            let header = BatchHeader::parse(&bytes).ok_or_else(changed)?;
            if wanted(&header) {
                return Ok(Some((position, header)));
            }
            position += header.size as u64;
        }
        Ok(None)
    }
}

/// The log changed behind the broker's back.
pub(crate) fn changed() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "log file was changed while open",
    )
}

fn read_chunks(chunks: &[(u64, Bytes)], position: u64, length: usize) -> io::Result<Bytes> {
    let mut at = chunks
        .partition_point(|(start, _)| *start <= position)
        .saturating_sub(1);
    let mut buffer = Vec::new();
    let mut wanted = position;
    while let Some((start, bytes)) = chunks.get(at) {
        let from = usize::try_from(wanted - start).map_err(io::Error::other)?;
        let missing = length - buffer.len();
        let to = bytes.len().min(from.saturating_add(missing));
        let part = bytes.get(from..to).ok_or_else(changed)?;
        if part.len() == length {
            return Ok(bytes.slice(from..to));
        }
        buffer.reserve_exact(if buffer.is_empty() { length } else { 0 });
        buffer.extend_from_slice(part);
        if buffer.len() == length {
            return Ok(Bytes::from(buffer));
        }
        wanted += part.len() as u64;
        at += 1;
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}

/// The file of the segment that begins at `base`.
pub(crate) fn path(dir: &Path, base: i64) -> PathBuf {
    dir.join(format!("{base:020}.{EXTENSION}"))
}

/// Whether any segment of a folder has a byte in it, or had one.
pub(crate) fn holds_records(dir: &Path) -> io::Result<bool> {
    // One that begins later had others before it.
    if list(dir)?.iter().any(|base| *base > 0) {
        return Ok(true);
    }
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let path = entry.path();
        let of_a_segment = path
            .extension()
            .is_some_and(|it| it == EXTENSION || it == "cut");
        if of_a_segment && entry.metadata()?.len() > 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Base offsets of the segment files in a folder, ascending.
pub(crate) fn list(dir: &Path) -> io::Result<Vec<i64>> {
    let mut bases = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let base = path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .filter(|stem| stem.len() == 20);
        if path
            .extension()
            .is_some_and(|extension| extension == EXTENSION)
            && let Some(base) = base.and_then(|stem| stem.parse().ok())
        {
            bases.push(base);
        }
    }
    bases.sort_unstable();
    Ok(bases)
}
