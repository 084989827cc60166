//! No dedupe at all: what `cloudsync bench pipeline --dedupe off` runs with.

use crate::claim::{Claim, Found, Lease, Lookup, Subject, Token};
use crate::store::{DedupeStore, Stats, StoreError};
use async_trait::async_trait;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Longer than any bench.
const LEASE: Duration = Duration::from_secs(86_400);

/// Keeps no promise of a store: it grants everything and remembers nothing, at no cost.
#[derive(Debug, Default)]
pub struct Nothing {
    lookups: AtomicU64,
}

#[async_trait]
impl DedupeStore for Nothing {
    async fn lookup(&self, subjects: &[Subject]) -> Result<Vec<Lookup>, StoreError> {
        let asked = subjects.len() as u64;
        self.lookups.fetch_add(asked, Ordering::Relaxed);
        Ok(vec![Lookup::Unknown; subjects.len()])
    }

    async fn inspect(&self, subjects: &[Subject]) -> Result<Vec<Option<Found>>, StoreError> {
        Ok(subjects.iter().map(|_| None).collect())
    }

    async fn claim(&self, _: Token, subjects: &[Subject]) -> Result<Vec<Claim>, StoreError> {
        Ok(vec![
            Claim::Granted(Lease { length: LEASE });
            subjects.len()
        ])
    }

    async fn complete(&self, _: &[Subject]) -> Result<(), StoreError> {
        Ok(())
    }

    async fn release(&self, _: Token, _: &[Subject]) -> Result<(), StoreError> {
        Ok(())
    }

    async fn renew(&self, _: Token, subjects: &[Subject]) -> Result<Vec<bool>, StoreError> {
        Ok(vec![true; subjects.len()])
    }

    async fn dead_letter(&self, _: Option<Token>, _: &[Subject]) -> Result<(), StoreError> {
        Ok(())
    }

    async fn reopen(&self, _: &[Subject]) -> Result<(), StoreError> {
        Ok(())
    }

    async fn forget(&self, _: &[Subject]) -> Result<(), StoreError> {
        Ok(())
    }

    async fn stats(&self) -> Result<Stats, StoreError> {
        Ok(Stats {
            lookups: self.lookups.load(Ordering::Relaxed),
            ..Stats::default()
        })
    }
}
