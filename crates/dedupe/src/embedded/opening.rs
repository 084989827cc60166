//! From a directory to a store: lock, files, marks.
//!
//! In: the directory of one destination. Out: its lock, what it knows, and its files. Promises: a
//! directory is open once at a time; every sound block counts, and of what is not sound a line
//! in the log names file and byte; what a crash tore off is cut, so it is told once. What a
//! damaged block said is forgotten, which can only make a duplicate. A file of another version is
//! refused: what it says, nobody here can tell.

use super::block::{
    Fact, FileHeader, Found, RECORD_BYTES, Record, VERSION, parse, read_file_header,
};
use super::clock::Past;
use super::segments::{self, Segment};
use crate::settings::OpenError;
use crate::table::{MarkKind, Table};
use crate::tables::Tables;
use std::collections::VecDeque;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::thread;

/// Fewer records are filled in by one thread sooner.
const WORTH_A_THREAD: usize = 50_000;

/// What the files of a store say.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) past: Past,
    pub(super) segments: VecDeque<Segment>,
    /// Sound records.
    pub(super) records: u64,
    /// Places that were not sound.
    pub(super) faults: u64,
}

/// The directory of `destination` below `directory`.
pub(super) fn place(directory: &Path, destination: &str) -> Result<PathBuf, OpenError> {
    let harmless = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let is_name = destination.chars().all(harmless) && !destination.starts_with('.');
    if destination.is_empty() || !is_name {
        return Err(OpenError::Destination {
            name: destination.to_owned(),
        });
    }
    Ok(directory.join(destination))
}

/// A directory that no other process can open, until this is dropped.
#[derive(Debug)]
pub(super) struct Lock(File);

impl Drop for Lock {
    /// By name: closing it is not enough while a process that is being started still has a copy.
    fn drop(&mut self) {
        // The system does it at the end of the process, if it does not now.
        let _free = self.0.unlock().is_ok();
    }
}

/// Makes the directory and those above it, each synced into the one it lies in: marks in a
/// directory that a power cut takes away were not kept.
fn make(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    let above = directory.parent().filter(|it| !it.as_os_str().is_empty());
    above.map_or(Ok(()), make)?;
    match fs::create_dir(directory) {
        // Another process may have been first.
        Err(error) if !directory.is_dir() => return Err(error),
        _ => {}
    }
    segments::sync(above.unwrap_or_else(|| Path::new(".")))
}

/// Makes the directory, if there is none, and takes it for this process.
pub(super) fn lock(directory: &Path) -> Result<Lock, OpenError> {
    make(directory).map_err(failed("make the directory", directory))?;
    let path = directory.join("lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(&path)
        .map_err(failed("open", &path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(OpenError::InUse {
                directory: directory.to_owned(),
                owner: owner(&file),
            });
        }
        Err(TryLockError::Error(error)) => return Err(failed("lock", &path)(error)),
    }
    // For the message of whoever comes second; the lock does not depend on it.
    let _named = file.set_len(0).is_ok() && writeln!(&file, "{}", std::process::id()).is_ok();
    Ok(Lock(file))
}

/// Reads all files into `tables`, oldest first, and cuts what a crash tore off.
pub(super) fn read(directory: &Path, tables: &Tables) -> Result<Known, OpenError> {
    let mut known = Known::default();
    let mut bytes = Vec::new();
    let numbers = segments::list(directory).map_err(failed("list", directory))?;
    expect(directory, &numbers, tables);
    for number in numbers {
        let last = known.segments.back().map(|last| last.number);
        if let Some(last) = last.filter(|last| last + 1 != number) {
            let directory = directory.display();
            let (from, to) = (last + 1, number - 1);
            tracing::warn!(%directory, from, to, "files of marks are missing: their ids are forgotten");
            known.faults += 1;
        }
        let path = segments::path(directory, number);
        bytes.clear();
        let mut file = File::options()
            .read(true)
            .write(true)
            .open(&path)
            .map_err(failed("open", &path))?;
        file.read_to_end(&mut bytes)
            .map_err(failed("read", &path))?;
        if let FileHeader::OtherVersion(found) = read_file_header(&bytes) {
            return Err(OpenError::Version {
                path,
                found,
                expected: VERSION,
            });
        }
        let sound = known.take(&path, &bytes, tables);
        if sound < bytes.len() {
            file.set_len(sound as u64)
                .and_then(|()| file.sync_all())
                .map_err(failed("cut", &path))?;
        }
        known.segments.push_back(Segment {
            number,
            newest: known.past.newest(),
        });
    }
    Ok(known)
}

// === impl Known ===

impl Known {
    /// Takes in what a file says. Out: behind its last sound block.
    fn take(&mut self, path: &Path, bytes: &[u8], tables: &Tables) -> usize {
        let file = path.display();
        // Table by table: one that is being filled stays in the processor's cache.
        let mut of_table: Vec<Vec<(u64, &[u8])>> = Vec::new();
        let each = bytes.len() / RECORD_BYTES / tables.count();
        of_table.resize_with(tables.count(), || Vec::with_capacity(each + each / 8));
        let sound = parse(bytes, |found| match found {
            Found::Block { at, records } => {
                self.past.add(at);
                self.records += (records.len() / RECORD_BYTES) as u64;
                for bytes in records.chunks_exact(RECORD_BYTES) {
                    if let Some(record) = Record::read(bytes) {
                        let place = tables.place(&record.subject.id);
                        of_table[place].push((self.past.newest(), bytes));
                    }
                }
            }
            Found::Damage { from, to } => {
                self.faults += 1;
                tracing::warn!(%file, from, to, "marks are damaged from one byte to the other: they are passed over, and their ids forgotten");
            }
            Found::Tail { from } => {
                self.faults += 1;
                let bytes = bytes.len() - from;
                tracing::warn!(%file, from, bytes, "marks are cut off at their last sound byte: what lies behind was torn by a crash, or damaged");
            }
        });
        fill(tables, &of_table);
        sound
    }
}

/// Lets the tables make room at once for what the files hold at most.
fn expect(directory: &Path, numbers: &[u64], tables: &Tables) {
    let length = |number: &u64| fs::metadata(segments::path(directory, *number)).ok();
    let bytes: u64 = numbers.iter().filter_map(length).map(|it| it.len()).sum();
    let records = usize::try_from(bytes).unwrap_or(usize::MAX) / RECORD_BYTES;
    let each = records / tables.count();
    for place in 0..tables.count() {
        if let Some(mut table) = tables.table(place) {
            table.expect(each + each / 32);
        }
    }
}

/// Puts the records of each table into it, on as many threads as there are cores, up to four.
fn fill(tables: &Tables, of_table: &[Vec<(u64, &[u8])>]) {
    let records: usize = of_table.iter().map(Vec::len).sum();
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let threads = if records < WORTH_A_THREAD {
        1
    } else {
        cores.min(4)
    };
    let part = |first: usize| {
        for (place, records) in of_table.iter().enumerate().skip(first).step_by(threads) {
            if let Some(mut table) = tables.table(place) {
                records
                    .iter()
                    .filter_map(|(time, bytes)| Some((*time, Record::read(bytes)?)))
                    .for_each(|(time, record)| apply(time, &record, &mut table));
            }
        }
    };
    thread::scope(|scope| {
        (1..threads).for_each(|first| {
            let part = &part;
            scope.spawn(move || part(first));
        });
        part(0);
    });
}

fn apply(time: u64, record: &Record, table: &mut Table) {
    let kind = match record.fact {
        Fact::Done => MarkKind::Done,
        Fact::DeadLettered => MarkKind::DeadLettered(None),
        Fact::Forgotten => return table.forget(&record.subject),
    };
    // Nothing is in progress yet, so there is room.
    let _room = table.mark(time, kind, &record.subject).is_ok();
}

/// Who has the lock, as far as it can be told.
fn owner(lock: &File) -> String {
    let mut text = String::new();
    let read = lock.take(16).read_to_string(&mut text);
    match text.trim().parse::<u32>() {
        Ok(process) if read.is_ok() => format!("process {process}"),
        _ => "another process".to_owned(),
    }
}

pub(super) fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OpenError {
    let path = path.to_owned();
    move |error| OpenError::Files {
        action,
        path,
        reason: error.to_string(),
    }
}
