//! What was found, on disk, sorted roughly by id: so that memory does not grow with the records.
//!
//! In: entries, in any order. Out: all entries of one id together, id by id. Promises: 4 MiB of
//! buffers while it takes, at most 64 MiB of one part while it gives; what was flushed is found
//! again by a later process that knows the lengths.

use super::entry::{ENTRY_BYTES, Entry};
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};

/// Files; an id lies in that of its last byte.
const PARTS: usize = 256;
/// A part's buffer, in bytes.
const BUFFER: usize = 341 * ENTRY_BYTES;
/// A file beyond this is divided once more before it is read into memory, in bytes.
const IN_MEMORY: u64 = 64 << 20;
/// An id has no more bytes to divide by.
const DEEPEST: usize = 15;

/// Entries on disk.
#[derive(Debug)]
pub struct Spill {
    directory: PathBuf,
    parts: Vec<Part>,
}

#[derive(Debug)]
struct Part {
    file: File,
    length: u64,
    buffer: Vec<u8>,
}

// === impl Spill ===

impl Spill {
    /// Begins in `directory`, which must be there, or goes on where a process before had flushed:
    /// `lengths` is what [`Self::flush`] said then.
    ///
    /// # Errors
    /// What the file system says; a file shorter than it should be.
    pub fn open(directory: &Path, lengths: &[u64]) -> io::Result<Self> {
        let part = |number| {
            let length = lengths.get(number).copied().unwrap_or(0);
            Part::open(&directory.join(format!("ids-{number:02x}")), length)
        };
        Ok(Self {
            directory: directory.to_owned(),
            parts: (0..PARTS).map(part).collect::<io::Result<_>>()?,
        })
    }

    /// Takes an entry.
    ///
    /// # Errors
    /// What the file system says.
    pub fn add(&mut self, entry: &Entry) -> io::Result<()> {
        self.parts[usize::from(entry.id.0[DEEPEST])].add(&entry.encode())
    }

    /// Writes what is in memory; out: the length of each file.
    ///
    /// # Errors
    /// What the file system says.
    pub fn flush(&mut self) -> io::Result<Vec<u64>> {
        self.parts.iter_mut().map(Part::flush).collect()
    }

    /// Gives all entries of each id to `visit`, id by id, and tells `progress` how many entries
    /// that was by now.
    ///
    /// # Errors
    /// What the file system says.
    pub fn each_id(
        mut self,
        visit: &mut dyn FnMut(&mut [Entry]) -> io::Result<()>,
        progress: &dyn Fn(u64),
    ) -> io::Result<()> {
        self.flush()?;
        let mut done = 0;
        for number in 0..self.parts.len() {
            let path = self.directory.join(format!("ids-{number:02x}"));
            done += each_id_of(&path, DEEPEST, visit)?;
            progress(done);
        }
        Ok(())
    }
}

/// Gives the ids in the file `path`, which have all bytes from `depth` on in common. Out: how many
/// entries there were.
fn each_id_of(
    path: &Path,
    depth: usize,
    visit: &mut dyn FnMut(&mut [Entry]) -> io::Result<()>,
) -> io::Result<u64> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    if length > IN_MEMORY && depth > 0 {
        return divided(path, file, depth - 1, visit);
    }
    let mut entries = Vec::with_capacity(usize::try_from(length).unwrap_or(0) / ENTRY_BYTES);
    each_entry(file, |entry| {
        entries.push(entry);
        Ok(())
    })?;
    entries.sort_unstable_by_key(|entry| entry.id.0);
    for group in entries.chunk_by_mut(|a, b| a.id == b.id) {
        visit(group)?;
    }
    Ok(length / ENTRY_BYTES as u64)
}

/// The same, one file for each value of the byte `depth` of an id, one after the other.
fn divided(
    path: &Path,
    file: File,
    depth: usize,
    visit: &mut dyn FnMut(&mut [Entry]) -> io::Result<()>,
) -> io::Result<u64> {
    let directory = path.with_extension("divided");
    std::fs::create_dir_all(&directory)?;
    let name = |number: usize| directory.join(format!("{number:02x}"));
    let mut parts = Vec::with_capacity(PARTS);
    for number in 0..PARTS {
        parts.push(Part::open(&name(number), 0)?);
    }
    each_entry(file, |entry| {
        parts[usize::from(entry.id.0[depth])].add(&entry.encode())
    })?;
    for part in &mut parts {
        part.flush()?;
    }
    drop(parts);
    let mut entries = 0;
    for number in 0..PARTS {
        entries += each_id_of(&name(number), depth, visit)?;
        std::fs::remove_file(name(number))?;
    }
    std::fs::remove_dir(&directory)?;
    Ok(entries)
}

fn each_entry(file: File, mut visit: impl FnMut(Entry) -> io::Result<()>) -> io::Result<()> {
    let mut reader = BufReader::with_capacity(BUFFER, file);
    let mut bytes = [0; ENTRY_BYTES];
    loop {
        match reader.read_exact(&mut bytes) {
            Ok(()) => visit(Entry::decode(&bytes))?,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

// === impl Part ===

impl Part {
    fn open(path: &Path, length: u64) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let file = options.create(true).read(true).append(true).open(path)?;
        if file.metadata()?.len() < length {
            let why = format!("{} is shorter than it was", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        // What came behind the last flush is read again.
        file.set_len(length)?;
        let buffer = Vec::new();
        Ok(Self {
            file,
            length,
            buffer,
        })
    }

    fn add(&mut self, entry: &[u8; ENTRY_BYTES]) -> io::Result<()> {
        self.buffer.extend_from_slice(entry);
        if self.buffer.len() >= BUFFER {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<u64> {
        self.file.write_all(&self.buffer)?;
        self.length += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::entry::Voice;
    use cloudsync::identity::{Fingerprint, Id16};
    use std::collections::BTreeMap;

    fn entry(number: u32, side: u8) -> Entry {
        let id = Id16::of("default", "", &number.to_string());
        Entry::new(Voice::Side(side), id, Fingerprint(1), 0).at(0, 0, i64::from(number))
    }

    fn ids(spill: Spill) -> BTreeMap<[u8; 16], usize> {
        let mut found = BTreeMap::new();
        let mut visit = |group: &mut [Entry]| {
            assert!(group.iter().all(|it| it.id == group[0].id));
            assert_eq!(found.insert(group[0].id.0, group.len()), None, "met twice");
            Ok(())
        };
        spill.each_id(&mut visit, &|_| {}).unwrap();
        found
    }

    #[test]
    fn each_id_comes_once_and_what_was_not_flushed_is_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let mut spill = Spill::open(directory.path(), &[]).unwrap();
        for number in 0..5_000 {
            spill.add(&entry(number, 0)).unwrap();
        }
        let lengths = spill.flush().unwrap();
        for number in 0..200_000 {
            spill.add(&entry(number, 1)).unwrap();
        }
        drop(spill);
        let mut spill = Spill::open(directory.path(), &lengths).unwrap();
        for number in 4_000..6_000 {
            spill.add(&entry(number, 1)).unwrap();
        }
        let found = ids(spill);
        assert_eq!(found.len(), 6_000);
        assert_eq!(found.values().filter(|count| **count == 2).count(), 1_000);
    }

    #[test]
    fn a_file_that_is_too_large_is_divided_and_nothing_is_left_of_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ids-00");
        let mut part = Part::open(&path, 0).unwrap();
        for number in 0..3_000 {
            part.add(&entry(number, 0).encode()).unwrap();
        }
        part.flush().unwrap();
        let mut ids = 0;
        let mut visit = |group: &mut [Entry]| {
            ids += group.len();
            Ok(())
        };
        let file = File::open(&path).unwrap();
        let divided = divided(&path, file, 14, &mut visit).unwrap();
        assert_eq!((divided, ids), (3_000, 3_000));
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
