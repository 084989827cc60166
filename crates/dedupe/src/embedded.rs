//! The store on this machine's disk: what [`memory`](crate::memory) is, and it outlives the process.
//!
//! In: calls of [`DedupeStore`], and a directory. Out: answers from memory; marks in files.
//! Promises, beyond the laws: `complete`, `dead_letter` and `forget` answer Ok when what they did is
//! synced to the disk, and an error when it may not be; a directory has one store at a time; the
//! memory stays within [`MemoryLimits`], the files within what was marked in a window.
//!
//! ```text
//! DIR/DESTINATION/lock                          which process has it
//! DIR/DESTINATION/00000000000000000000.marks    marks, oldest file first
//! ```
//! A call marks in memory (`tables`, `table`) and hands a record for each mark to the thread that
//! writes (`log`), which syncs whatever came meanwhile at once (`segments`, `block`). Look-ups see a
//! mark from when it is in memory on, a moment before it is durable: it states a fact, which a crash
//! makes no less true. Claims are in memory only: a process that ended holds nothing. Opening reads
//! the files (`opening`); `clock` tells how old their marks are.

use crate::claim::{Claim, Found, Lookup, Subject, Token};
use crate::settings::OpenError;
use crate::store::{DedupeStore, Stats, StoreError};
use crate::table::{Full, MarkKind};
use crate::tables::{MemoryLimits, Tables};
use async_trait::async_trait;
use block::{Fact, Record};
use clock::Clock;
use log::{Log, MOST_AT_ONCE};
use parking_lot::RwLock;
use segments::Segments;
use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

mod block;
mod clock;
mod log;
mod opening;
mod segments;

/// The durable [`DedupeStore`] of one destination on this machine.
///
/// Dropping it waits for what is on its way to the disk. It makes no other call of it wait for the
/// disk but `complete`, `dead_letter` and `forget`.
#[derive(Debug)]
pub struct EmbeddedStore {
    directory: PathBuf,
    clock: Clock,
    tables: Arc<Tables>,
    /// Ends before the lock does.
    log: Log,
    /// Marks go into memory and into the log side by side; between the two of one that forgets,
    /// none may stand.
    forgetting: RwLock<()>,
    /// Held for its lock.
    _lock: opening::Lock,
}

// === impl EmbeddedStore ===

/// A window in which nothing ends.
const LONGER_THAN_ANY: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

impl EmbeddedStore {
    /// Opens the store of `destination` below `directory`, making it if there is none. Reads
    /// all that it holds: to be called where waiting for the disk does no harm.
    ///
    /// # Errors
    /// [`OpenError`]: another process has it, another version wrote it, or the disk refuses.
    pub fn open(
        directory: &Path,
        destination: &str,
        limits: MemoryLimits,
    ) -> Result<Self, OpenError> {
        Self::open_with_clock(directory, destination, limits, SystemTime::now)
    }

    /// As [`EmbeddedStore::open`], to be looked at: makes no directory, and forgets nothing, however
    /// few ids and however short a window the limits allow.
    ///
    /// # Errors
    /// As [`EmbeddedStore::open`]; also where there is none.
    pub fn open_to_look(
        directory: &Path,
        destination: &str,
        limits: MemoryLimits,
    ) -> Result<Self, OpenError> {
        let place = opening::place(directory, destination)?;
        if !place.is_dir() {
            let none = std::io::ErrorKind::NotFound.into();
            return Err(opening::failed("find the directory", &place)(none));
        }
        let limits = MemoryLimits {
            max_entries: u64::MAX,
            max_memory: None,
            window: LONGER_THAN_ANY,
            ..limits
        };
        Self::open(directory, destination, limits)
    }

    /// As [`EmbeddedStore::open`], with a wall clock that may be wrong.
    ///
    /// # Errors
    /// As [`EmbeddedStore::open`].
    pub fn open_with_clock(
        directory: &Path,
        destination: &str,
        limits: MemoryLimits,
        wall: impl Fn() -> SystemTime + Send + Sync + 'static,
    ) -> Result<Self, OpenError> {
        let began = Instant::now();
        let directory = opening::place(directory, destination)?;
        let lock = opening::lock(&directory)?;
        let tables = Arc::new(Tables::new(limits, 0));
        let known = opening::read(&directory, &tables)?;
        let clock = Clock::new(&known.past, Box::new(wall));
        let now = clock.time();
        let held = tables.stats(now);
        let read = tables.reset_counts();
        tracing::info!(
            directory = %directory.display(),
            files = known.segments.len(),
            records = known.records,
            ids = held.entries,
            ended = read.expired,
            without_room = read.evicted,
            faults = known.faults,
            took = ?began.elapsed(),
            "opened the dedupe store"
        );
        let mut segments = Segments::new(&directory, limits.window, known.segments);
        segments.drop_needless(now, tables.oldest_since());
        let log = Log::start(segments, Arc::clone(&tables)).map_err(opening::failed(
            "start the thread that writes to",
            &directory,
        ))?;
        Ok(Self {
            directory,
            clock,
            tables,
            log,
            forgetting: RwLock::new(()),
            _lock: lock,
        })
    }

    async fn mark(&self, kind: MarkKind, subjects: &[Subject]) -> Result<(), StoreError> {
        let fact = match kind {
            MarkKind::Done => Fact::Done,
            MarkKind::DeadLettered(_) => Fact::DeadLettered,
        };
        for subjects in subjects.chunks(MOST_AT_ONCE) {
            let room = self.log.room(subjects.len()).await;
            let room = room.map_err(|_| self.unavailable(ENDED))?;
            let (marked, answer) = {
                let _no_forgetting = self.forgetting.read();
                let at = self.clock.now();
                with_scratch(|records| {
                    let marked = self.tables.mark(at.time, kind, subjects, |subject| {
                        let subject = *subject;
                        Record { fact, subject }.put(records);
                    });
                    (marked, self.log.append(room, at, records))
                })
            };
            self.durable(answer.await)?;
            marked.map_err(|Full| self.unavailable(self.tables.full()))?;
        }
        Ok(())
    }

    fn durable(
        &self,
        answer: Result<log::Answer, tokio::sync::oneshot::error::RecvError>,
    ) -> Result<(), StoreError> {
        match answer {
            Ok(answer) => answer.map_err(|why| self.unavailable(why)),
            Err(_) => Err(self.unavailable(ENDED)),
        }
    }

    fn unavailable(&self, reason: impl Into<String>) -> StoreError {
        StoreError::Unavailable {
            store: self.directory.display().to_string(),
            reason: reason.into(),
        }
    }
}

/// An empty buffer, one for each thread: a new one for each call would leave holes between the
/// marks, which stay.
fn with_scratch<T>(work: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    thread_local! {
        static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    SCRATCH.with_borrow_mut(|records| {
        records.clear();
        work(records)
    })
}

const ENDED: &str = "the thread that writes its marks has ended";

#[async_trait]
impl DedupeStore for EmbeddedStore {
    async fn lookup(&self, subjects: &[Subject]) -> Result<Vec<Lookup>, StoreError> {
        Ok(self.tables.lookup(self.clock.time(), subjects))
    }

    async fn inspect(&self, subjects: &[Subject]) -> Result<Vec<Option<Found>>, StoreError> {
        Ok(self.tables.inspect(self.clock.time(), subjects))
    }

    async fn claim(&self, token: Token, subjects: &[Subject]) -> Result<Vec<Claim>, StoreError> {
        let claims = self.tables.claim(self.clock.time(), token, subjects);
        claims.map_err(|Full| self.unavailable(self.tables.full()))
    }

    async fn complete(&self, subjects: &[Subject]) -> Result<(), StoreError> {
        self.mark(MarkKind::Done, subjects).await
    }

    async fn release(&self, token: Token, subjects: &[Subject]) -> Result<(), StoreError> {
        self.tables.release(self.clock.time(), token, subjects);
        Ok(())
    }

    async fn renew(&self, token: Token, subjects: &[Subject]) -> Result<Vec<bool>, StoreError> {
        Ok(self.tables.renew(self.clock.time(), token, subjects))
    }

    async fn dead_letter(
        &self,
        token: Option<Token>,
        subjects: &[Subject],
    ) -> Result<(), StoreError> {
        self.mark(MarkKind::DeadLettered(token), subjects).await
    }

    /// Not in the log on disk: after a start the mark is back, and so is the record that reopened
    /// it, unless its own mark stands behind.
    async fn reopen(&self, subjects: &[Subject]) -> Result<(), StoreError> {
        self.tables.reopen(self.clock.time(), subjects);
        Ok(())
    }

    async fn forget(&self, subjects: &[Subject]) -> Result<(), StoreError> {
        for subjects in subjects.chunks(MOST_AT_ONCE) {
            let room = self.log.room(subjects.len()).await;
            let room = room.map_err(|_| self.unavailable(ENDED))?;
            let answer = {
                let _alone = self.forgetting.write();
                let at = self.clock.now();
                self.tables.forget(at.time, subjects);
                with_scratch(|records| {
                    for subject in subjects {
                        let (fact, subject) = (Fact::Forgotten, *subject);
                        Record { fact, subject }.put(records);
                    }
                    self.log.append(room, at, records)
                })
            };
            self.durable(answer.await)?;
        }
        Ok(())
    }

    async fn stats(&self) -> Result<Stats, StoreError> {
        let now = self.clock.now();
        self.log.tidy(now);
        Ok(self.tables.stats(now.time))
    }
}
