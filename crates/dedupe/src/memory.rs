//! The store that lives in one process: exact, bounded, forgotten when the process ends.
//!
//! In: calls of [`DedupeStore`]. Out: their answers, at once. Promises, beyond the laws: the bounds
//! of [`MemoryLimits`].

use crate::claim::{Claim, Found, Lookup, Subject, Token};
use crate::store::{DedupeStore, Stats, StoreError};
use crate::table::{Full, MarkKind};
use crate::tables::{Tables, micros};
use async_trait::async_trait;
use tokio::time::Instant;

pub use crate::tables::MemoryLimits;

/// The in-memory [`DedupeStore`] of one destination.
#[derive(Debug)]
pub struct MemoryStore {
    name: String,
    opened: Instant,
    tables: Tables,
}

// === impl MemoryStore ===

impl MemoryStore {
    /// An empty store for `destination`, the name in its messages.
    #[must_use]
    pub fn new(destination: &str, limits: MemoryLimits) -> Self {
        Self {
            name: format!("memory of {destination}"),
            opened: Instant::now(),
            tables: Tables::new(limits, 0),
        }
    }

    fn now(&self) -> u64 {
        micros(self.opened.elapsed())
    }

    fn mark(&self, kind: MarkKind, subjects: &[Subject]) -> Result<(), StoreError> {
        let marked = self.tables.mark(self.now(), kind, subjects, |_| {});
        marked.map_err(|Full| self.full())
    }

    fn full(&self) -> StoreError {
        StoreError::Unavailable {
            store: self.name.clone(),
            reason: self.tables.full(),
        }
    }
}

#[async_trait]
impl DedupeStore for MemoryStore {
    async fn lookup(&self, subjects: &[Subject]) -> Result<Vec<Lookup>, StoreError> {
        Ok(self.tables.lookup(self.now(), subjects))
    }

    async fn inspect(&self, subjects: &[Subject]) -> Result<Vec<Option<Found>>, StoreError> {
        Ok(self.tables.inspect(self.now(), subjects))
    }

    async fn claim(&self, token: Token, subjects: &[Subject]) -> Result<Vec<Claim>, StoreError> {
        let claims = self.tables.claim(self.now(), token, subjects);
        claims.map_err(|Full| self.full())
    }

    async fn complete(&self, subjects: &[Subject]) -> Result<(), StoreError> {
        self.mark(MarkKind::Done, subjects)
    }

    async fn release(&self, token: Token, subjects: &[Subject]) -> Result<(), StoreError> {
        self.tables.release(self.now(), token, subjects);
        Ok(())
    }

    async fn renew(&self, token: Token, subjects: &[Subject]) -> Result<Vec<bool>, StoreError> {
        Ok(self.tables.renew(self.now(), token, subjects))
    }

    async fn dead_letter(
        &self,
        token: Option<Token>,
        subjects: &[Subject],
    ) -> Result<(), StoreError> {
        self.mark(MarkKind::DeadLettered(token), subjects)
    }

    async fn reopen(&self, subjects: &[Subject]) -> Result<(), StoreError> {
        self.tables.reopen(self.now(), subjects);
        Ok(())
    }

    async fn forget(&self, subjects: &[Subject]) -> Result<(), StoreError> {
        self.tables.forget(self.now(), subjects);
        Ok(())
    }

    async fn stats(&self) -> Result<Stats, StoreError> {
        Ok(self.tables.stats(self.now()))
    }
}
