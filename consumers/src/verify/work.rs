//! A comparison under way: what was read so far, in a directory.
//!
//! In: entries, and what is wrong with whole objects. Out: the same, also for a later process that
//! goes on where this one was interrupted. Promises: what [`Work::done`] was told of is not read
//! again (but for the last second of a process that was killed), and what was read behind it is forgotten; another question than the one the directory
//! was begun with is refused.

use super::VerifyError;
use super::entry::{Entry, Places};
use super::judge::Kind;
use super::scope::Scope;
use super::spill::Spill;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::Instant;

/// Something that is wrong with a whole object.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Fault {
    /// The number of the destination.
    pub side: u8,
    /// What: missing, altered or extra.
    pub kind: Kind,
    /// Its name; of a range that no segment covers, the name of the first one that should.
    pub name: String,
    /// The number of its chain's place, for a segment.
    pub place: Option<u32>,
    /// First offset that it should cover, for a segment.
    pub start: i64,
    /// First offset behind; `None` where nothing tells.
    pub end: Option<i64>,
    /// What is wrong, in words.
    pub why: String,
}

/// What was read of a destination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Tally {
    /// Objects that hold records.
    pub objects: u64,
    /// Records in them.
    pub records: u64,
}

/// What a later process has to know.
#[derive(Debug, Deserialize, Serialize)]
struct Saved {
    format: u32,
    /// What was asked for, in words; another question begins anew elsewhere.
    question: String,
    scope: Scope,
    places: Places,
    done: BTreeSet<String>,
    lengths: Vec<u64>,
    tallies: [Tally; 2],
    in_log: u64,
    dead_letters: u64,
    faults: Vec<Fault>,
    fault_count: u64,
}

/// A comparison under way.
#[derive(Debug)]
pub struct Work {
    directory: PathBuf,
    saved: Saved,
    spill: Spill,
    /// When [`FILE`] was written.
    written: Instant,
}

/// How often [`FILE`] is written while parts are read: so much is read again at most.
const WRITE: Duration = Duration::from_secs(1);
/// The version of [`Saved`] and of the files beside it.
const FORMAT: u32 = 1;
/// The file of [`Saved`].
const FILE: &str = "verify.json";
/// Most faults of objects that are kept; repairing them makes room for the others.
const KEPT: usize = 100_000;

// === impl Work ===

impl Work {
    /// Goes on with what lies in `directory`, if something does.
    ///
    /// # Errors
    /// [`VerifyError::State`], also when it was begun with another `question`.
    pub fn resume(directory: &Path, question: &str) -> Result<Option<Self>, VerifyError> {
        let failed = |error: io::Error| VerifyError::state(directory, error);
        let bytes = match std::fs::read(directory.join(FILE)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let saved: Saved = serde_json::from_slice(&bytes)
            .map_err(|error| failed(io::Error::new(io::ErrorKind::InvalidData, error)))?;
        if saved.format != FORMAT || saved.question != question {
            return Err(VerifyError::OtherQuestion {
                directory: directory.to_owned(),
                before: saved.question,
            });
        }
        let spill = Spill::open(directory, &saved.lengths).map_err(failed)?;
        Ok(Some(Self {
            directory: directory.to_owned(),
            saved,
            spill,
            written: Instant::now(),
        }))
    }

    /// Begins in `directory`, which is made.
    ///
    /// # Errors
    /// [`VerifyError::State`].
    pub fn begin(directory: &Path, question: &str, scope: Scope) -> Result<Self, VerifyError> {
        let failed = |error| VerifyError::state(directory, error);
        std::fs::create_dir_all(directory).map_err(failed)?;
        let mut work = Self {
            directory: directory.to_owned(),
            spill: Spill::open(directory, &[]).map_err(failed)?,
            written: Instant::now(),
            saved: Saved {
                format: FORMAT,
                question: question.to_owned(),
                scope,
                places: Places::default(),
                done: BTreeSet::new(),
                lengths: Vec::new(),
                tallies: [Tally::default(); 2],
                in_log: 0,
                dead_letters: 0,
                faults: Vec::new(),
                fault_count: 0,
            },
        };
        work.write()?;
        Ok(work)
    }

    /// What is compared.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        &self.saved.scope
    }

    /// Says where the log begins: its records are compared as well.
    pub fn with_starts(&mut self, starts: std::collections::BTreeMap<i32, i64>) {
        if let Some(log) = &mut self.saved.scope.log {
            log.starts = Some(starts);
        }
    }

    /// Every place.
    pub fn places(&mut self) -> &mut Places {
        &mut self.saved.places
    }

    /// What was read of each destination.
    #[must_use]
    pub fn tallies(&self) -> [Tally; 2] {
        self.saved.tallies
    }

    /// Counts what was read of destination `side`.
    pub fn count(&mut self, side: u8, objects: u64, records: u64) {
        let tally = &mut self.saved.tallies[usize::from(side & 1)];
        tally.objects += objects;
        tally.records += records;
    }

    /// Counts what was read of the log, and of its dead letters.
    pub fn count_log(&mut self, records: u64, dead_letters: u64) {
        self.saved.in_log += records;
        self.saved.dead_letters += dead_letters;
    }

    /// Records that were read of the log, and dead letters.
    #[must_use]
    pub fn of_log(&self) -> (u64, u64) {
        (self.saved.in_log, self.saved.dead_letters)
    }

    /// Takes an entry.
    ///
    /// # Errors
    /// [`VerifyError::State`].
    pub fn add(&mut self, entry: &Entry) -> Result<(), VerifyError> {
        let added = self.spill.add(entry);
        added.map_err(|error| VerifyError::state(&self.directory, error))
    }

    /// Takes a fault of a whole object.
    pub fn fault(&mut self, fault: Fault) {
        self.saved.fault_count += 1;
        if self.saved.faults.len() < KEPT {
            self.saved.faults.push(fault);
        }
    }

    /// Whether the part `name` has been read.
    #[must_use]
    pub fn is_done(&self, name: &str) -> bool {
        self.saved.done.contains(name)
    }

    /// The part `name` has been read: it is never read again.
    ///
    /// # Errors
    /// [`VerifyError::State`].
    pub fn done(&mut self, name: String) -> Result<(), VerifyError> {
        self.saved.done.insert(name);
        let flushed = self.spill.flush();
        self.saved.lengths = flushed.map_err(|error| VerifyError::state(&self.directory, error))?;
        match self.written.elapsed() >= WRITE {
            true => self.write(),
            false => Ok(()),
        }
    }

    /// Keeps every part that is done for a later process.
    ///
    /// # Errors
    /// [`VerifyError::State`].
    pub fn keep(&mut self) -> Result<(), VerifyError> {
        self.write()
    }

    /// Where it is kept.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Everything has been read: the entries, to be judged, the faults and how many there are, and
    /// the places.
    #[must_use]
    pub fn close(self) -> (Spill, Vec<Fault>, u64, Places) {
        let Saved {
            faults,
            fault_count,
            places,
            ..
        } = self.saved;
        (self.spill, faults, fault_count, places)
    }

    fn write(&mut self) -> Result<(), VerifyError> {
        let write = || {
            let json = serde_json::to_vec(&self.saved)?;
            let beside = self.directory.join("verify.json.new");
            std::fs::write(&beside, json)?;
            std::fs::rename(&beside, self.directory.join(FILE))
        };
        self.written = Instant::now();
        write().map_err(|error: io::Error| VerifyError::state(&self.directory, error))
    }
}
