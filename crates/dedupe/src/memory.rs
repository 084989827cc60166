//! The store that lives in one process: exact, bounded, forgotten when the process ends.
//!
//! In: calls of [`DedupeStore`]. Out: their answers, at once. Promises, beyond the laws: it never
//! holds more than [`MemoryLimits::max_entries`] ids nor, by an upper estimate, more than
//! [`MemoryLimits::max_memory`] bytes. When it is full the oldest mark goes, never a running
//! lease; when nothing but running leases is left, a new claim is refused until one ends.
//!
//! Ids are spread over a few tables by a byte of the id, which is a hash: they fill evenly, so
//! the oldest mark of a full table is as old as the oldest of all. A table's lock is taken once a
//! call and held for the subjects that lie in it. Ended marks and leases are cleared away by the
//! first call after each clean-up interval; no task of its own is needed.

use crate::claim::{Claim, Lookup, Subject, Token};
use crate::settings::DedupeSettings;
use crate::store::{DedupeStore, Stats, StoreError};
use async_trait::async_trait;
use parking_lot::Mutex;
use std::time::Duration;
use table::{ENTRY_BYTES, Full, MarkKind, Table, TableLimits};
use tokio::time::Instant;

mod table;

/// Tables of a large store; a small one is a single table.
const TABLES: u64 = 8;
const SMALL: u64 = 16_384;

/// Bounds of a [`MemoryStore`].
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

/// The in-memory [`DedupeStore`] of one destination.
#[derive(Debug)]
pub struct MemoryStore {
    name: String,
    opened: Instant,
    window: Duration,
    max_entries: u64,
    tables: Vec<Mutex<Table>>,
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

    /// Most bytes that a store within these limits takes, by an upper estimate.
    #[must_use]
    pub fn most_bytes(&self) -> u64 {
        let by_entries = self.max_entries.saturating_mul(ENTRY_BYTES);
        self.max_memory
            .map_or(by_entries, |most| most.min(by_entries))
    }
}

// === impl MemoryStore ===

impl MemoryStore {
    /// An empty store for `destination`, the name in its messages.
    #[must_use]
    pub fn new(destination: &str, limits: MemoryLimits) -> Self {
        let by_memory = limits
            .max_memory
            .map_or(u64::MAX, |bytes| bytes / ENTRY_BYTES);
        let wanted = limits.max_entries.min(by_memory).max(1);
        let tables = if wanted < SMALL { 1 } else { TABLES };
        let of_a_table = TableLimits {
            entries: usize::try_from(wanted / tables).unwrap_or(usize::MAX),
            window: micros(limits.window),
            lease: limits.lease,
            cleanup_interval: micros(limits.cleanup_interval),
        };
        Self {
            name: format!("memory of {destination}"),
            opened: Instant::now(),
            window: limits.window,
            max_entries: wanted / tables * tables,
            tables: (0..tables)
                .map(|_| Mutex::new(Table::new(of_a_table)))
                .collect(),
        }
    }

    fn table_of(&self, subject: &Subject) -> usize {
        usize::from(subject.id.0[15]) % self.tables.len()
    }

    /// Answers each subject by `ask`, locking each table at most once, and in the order of the
    /// subjects within a table: equal ids lie in the same one.
    fn each<Answer>(
        &self,
        subjects: &[Subject],
        mut ask: impl FnMut(&mut Table, u64, &Subject) -> Answer,
    ) -> Vec<Option<Answer>> {
        let mut answers: Vec<Option<Answer>> = Vec::new();
        answers.resize_with(subjects.len(), || None);
        let now = micros(self.opened.elapsed());
        for (index, table) in self.tables.iter().enumerate() {
            let mut open = None;
            for (subject, answer) in subjects.iter().zip(&mut answers) {
                if self.table_of(subject) == index {
                    let table = open.get_or_insert_with(|| {
                        let mut table = table.lock();
                        table.clean_up_if_due(now);
                        table
                    });
                    *answer = Some(ask(table, now, subject));
                }
            }
        }
        answers
    }

    fn mark(&self, kind: MarkKind, subjects: &[Subject]) -> Result<(), StoreError> {
        let marked = self.each(subjects, |table, now, subject| {
            table.mark(now, kind, subject)
        });
        let all = marked
            .into_iter()
            .flatten()
            .collect::<Result<Vec<()>, Full>>();
        all.map(|_| ()).map_err(|Full| self.full())
    }

    fn full(&self) -> StoreError {
        StoreError::Unavailable {
            store: self.name.clone(),
            reason: format!(
                "all of its {} entries are claims in progress",
                self.max_entries
            ),
        }
    }
}

#[async_trait]
impl DedupeStore for MemoryStore {
    async fn lookup(&self, subjects: &[Subject]) -> Result<Vec<Lookup>, StoreError> {
        let answers = self.each(subjects, Table::lookup);
        Ok(answers.into_iter().flatten().collect())
    }

    async fn claim(&self, token: Token, subjects: &[Subject]) -> Result<Vec<Claim>, StoreError> {
        let answers = self.each(subjects, |table, now, subject| {
            table.claim(now, token, subject)
        });
        let claims: Result<Vec<Claim>, Full> = answers.iter().flatten().copied().collect();
        claims.map_err(|Full| {
            // Nobody will hear of what was granted, so it shall not take room until its lease ends.
            let granted = subjects.iter().zip(&answers);
            let granted = granted.filter(|(_, a)| matches!(a, Some(Ok(Claim::Granted(_)))));
            let granted: Vec<Subject> = granted.map(|(subject, _)| *subject).collect();
            self.each(&granted, |table, _, subject| table.release(token, subject));
            self.full()
        })
    }

    async fn complete(&self, subjects: &[Subject]) -> Result<(), StoreError> {
        self.mark(MarkKind::Done, subjects)
    }

    async fn release(&self, token: Token, subjects: &[Subject]) -> Result<(), StoreError> {
        self.each(subjects, |table, _, subject| table.release(token, subject));
        Ok(())
    }

    async fn renew(&self, token: Token, subjects: &[Subject]) -> Result<Vec<bool>, StoreError> {
        let answers = self.each(subjects, |table, now, subject| {
            table.renew(now, token, subject)
        });
        Ok(answers.into_iter().flatten().collect())
    }

    async fn dead_letter(
        &self,
        token: Option<Token>,
        subjects: &[Subject],
    ) -> Result<(), StoreError> {
        self.mark(MarkKind::DeadLettered(token), subjects)
    }

    async fn forget(&self, subjects: &[Subject]) -> Result<(), StoreError> {
        self.each(subjects, |table, _, subject| table.forget(subject));
        Ok(())
    }

    async fn stats(&self) -> Result<Stats, StoreError> {
        let now = micros(self.opened.elapsed());
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
        Ok(sum)
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
