//! What a store in this process knows: tables, each behind a lock, and their bounds.
//!
//! In: batches of subjects and the time. Out: the tables' answers. Promises: never more than
//! [`MemoryLimits::max_entries`] ids nor, by an upper estimate, more than
//! [`MemoryLimits::max_memory`] bytes. When it is full the oldest mark goes, never a running lease;
//! when nothing but running leases is left, a new claim is refused until one ends.
//!
//! Ids are spread over the tables by a byte of the id, which is a hash: they fill evenly, so the
//! oldest mark of a full table is as old as the oldest of all. Tables are small, so a lock is not
//! held for long even when a table grows. Ended marks and leases are cleared away by the first call
//! after each clean-up interval; no task of its own is needed.

use crate::claim::{Claim, Found, Lookup, Subject, Token};
use crate::settings::DedupeSettings;
use crate::store::Stats;
use crate::table::{
    FIXED_BYTES, Full, HELD_BYTES, MARK_BYTES, MAX_MARKS, MarkKind, Table, TableLimits,
};
use cloudsync::identity::Id16;
use parking_lot::{Mutex, MutexGuard};
use std::time::Duration;

/// Tables of a large store; a small one is a single table.
pub(crate) const TABLES: u64 = 64;
const FEW_TABLES: u64 = 8;

/// Bounds of a store that lives in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryLimits {
    /// Most ids.
    pub max_entries: u64,
    /// Most bytes; `None` where the number of ids alone decides.
    pub max_memory: Option<u64>,
    /// How long marks are remembered.
    pub window: Duration,
    /// How long a claim holds.
    pub lease: Duration,
    /// How often ended marks and leases are cleared away.
    pub cleanup_interval: Duration,
}

#[derive(Debug)]
pub(crate) struct Tables {
    tables: Vec<Mutex<Table>>,
    max_entries: u64,
    window: Duration,
}

/// Which of so many tables the id lies in: by a byte that decides neither of its homes in the index
/// there, or the ids of a table would share a few.
pub(crate) fn place(id: &Id16, tables: usize) -> usize {
    usize::from(id.0[0]) % tables.max(1)
}

// === impl MemoryLimits ===

impl MemoryLimits {
    /// The limits that `settings` ask for.
    #[must_use]
    pub fn of(settings: &DedupeSettings) -> Self {
        Self {
            max_entries: settings.max_entries,
            max_memory: settings.max_memory,
            window: settings.window,
            lease: settings.lease,
            cleanup_interval: settings.cleanup_interval,
        }
    }

    /// Most bytes that a store within these limits takes for its marks, by an upper estimate. A
    /// claim in progress takes more than a mark, but claims are few.
    #[must_use]
    pub fn most_bytes(&self) -> u64 {
        let tables = tables_for(self.max_entries);
        let by_entries = self.max_entries.saturating_mul(MARK_BYTES) + tables * FIXED_BYTES;
        self.max_memory
            .map_or(by_entries, |most| most.min(by_entries))
    }
}

// === impl Tables ===

impl Tables {
    /// Empty, for calls from `now` on.
    pub(crate) fn new(limits: MemoryLimits, now: u64) -> Self {
        let most = limits.max_memory.unwrap_or(u64::MAX);
        let wanted = limits.max_entries.min(most / MARK_BYTES).max(1);
        let tables = tables_for(wanted);
        // Room for one claim at the least: a store that can hold nothing would refuse everything.
        let bytes = (most / tables).saturating_sub(FIXED_BYTES).max(HELD_BYTES);
        let entries = (wanted / tables)
            .min(bytes / MARK_BYTES)
            .clamp(1, MAX_MARKS as u64);
        let of_a_table = TableLimits {
            entries: usize::try_from(entries).unwrap_or(MAX_MARKS),
            bytes,
            window: micros(limits.window),
            lease: limits.lease,
            cleanup_interval: micros(limits.cleanup_interval),
        };
        Self {
            tables: (0..tables)
                .map(|_| Mutex::new(Table::new(of_a_table, now)))
                .collect(),
            max_entries: entries * tables,
            window: limits.window,
        }
    }

    pub(crate) fn lookup(&self, now: u64, subjects: &[Subject]) -> Vec<Lookup> {
        self.each(now, subjects, Table::lookup)
    }

    pub(crate) fn inspect(&self, now: u64, subjects: &[Subject]) -> Vec<Option<Found>> {
        self.each(now, subjects, |table, now, subject| {
            table.found(now, subject)
        })
    }

    pub(crate) fn claim(
        &self,
        now: u64,
        token: Token,
        subjects: &[Subject],
    ) -> Result<Vec<Claim>, Full> {
        let answers = self.each(now, subjects, |table, now, subject| {
            table.claim(now, token, subject)
        });
        let claims: Result<Vec<Claim>, Full> = answers.iter().copied().collect();
        if claims.is_err() {
            // Nobody will hear of what was granted, so it shall not take room until its lease ends.
            let granted = subjects.iter().zip(&answers);
            for (subject, _) in granted.filter(|(_, a)| matches!(a, Ok(Claim::Granted(_)))) {
                self.table_of(now, subject).release(token, subject);
            }
        }
        claims
    }

    /// Marks all that there is room for; `marked` hears of each, in order.
    pub(crate) fn mark(
        &self,
        now: u64,
        kind: MarkKind,
        subjects: &[Subject],
        mut marked: impl FnMut(&Subject),
    ) -> Result<(), Full> {
        let mut result = Ok(());
        for subject in subjects {
            match self.table_of(now, subject).mark(now, kind, subject) {
                Ok(true) => marked(subject),
                Ok(false) => {}
                Err(Full) => result = Err(Full),
            }
        }
        result
    }

    pub(crate) fn release(&self, now: u64, token: Token, subjects: &[Subject]) {
        self.each(now, subjects, |table, _, subject| {
            table.release(token, subject);
        });
    }

    pub(crate) fn renew(&self, now: u64, token: Token, subjects: &[Subject]) -> Vec<bool> {
        self.each(now, subjects, |table, now, subject| {
            table.renew(now, token, subject)
        })
    }

    pub(crate) fn reopen(&self, now: u64, subjects: &[Subject]) {
        self.each(now, subjects, Table::reopen);
    }

    pub(crate) fn forget(&self, now: u64, subjects: &[Subject]) {
        self.each(now, subjects, |table, _, subject| table.forget(subject));
    }

    pub(crate) fn stats(&self, now: u64) -> Stats {
        let mut sum = Stats {
            max_entries: Some(self.max_entries),
            window: self.window,
            ..Stats::default()
        };
        for table in &self.tables {
            let mut table = table.lock();
            table.clean_up(now);
            table.add_to(now, &mut sum);
        }
        sum
    }

    /// When the oldest mark was set, at the earliest; `None` without marks. What was written
    /// before it nobody needs to read again.
    pub(crate) fn oldest_since(&self) -> Option<u64> {
        let oldest = |table: &Mutex<Table>| table.lock().oldest_since();
        self.tables.iter().filter_map(oldest).min()
    }

    /// Counts from here on. Out: what was counted so far.
    pub(crate) fn reset_counts(&self) -> Stats {
        let mut sum = Stats::default();
        for table in &self.tables {
            let counted = table.lock().reset_counts();
            sum.evicted += counted.evicted;
            sum.expired += counted.expired;
            sum.marked += counted.marked;
        }
        sum
    }

    /// Why a store that is full cannot do more.
    pub(crate) fn full(&self) -> String {
        let entries = self.max_entries;
        format!("all of its {entries} entries are claims in progress")
    }

    pub(crate) fn count(&self) -> usize {
        self.tables.len()
    }

    /// Which table the id lies in.
    pub(crate) fn place(&self, id: &Id16) -> usize {
        place(id, self.tables.len())
    }

    /// The table with that number, to be filled when a store is opened.
    pub(crate) fn table(&self, place: usize) -> Option<MutexGuard<'_, Table>> {
        self.tables.get(place).map(Mutex::lock)
    }

    fn table_of(&self, now: u64, subject: &Subject) -> MutexGuard<'_, Table> {
        let mut table = self.tables[self.place(&subject.id)].lock();
        table.clean_up_if_due(now);
        table
    }

    /// Answers each subject by `ask`, in their order. A lock that nobody waits for costs less than
    /// sorting the subjects by table.
    fn each<Answer>(
        &self,
        now: u64,
        subjects: &[Subject],
        mut ask: impl FnMut(&mut Table, u64, &Subject) -> Answer,
    ) -> Vec<Answer> {
        let answers = subjects.iter();
        answers
            .map(|subject| ask(&mut self.table_of(now, subject), now, subject))
            .collect()
    }
}

/// As many as leave a table some thousand entries: each has its own slack.
fn tables_for(entries: u64) -> u64 {
    match entries {
        0..16_384 => 1,
        16_384..262_144 => FEW_TABLES,
        _ => TABLES,
    }
}

pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
