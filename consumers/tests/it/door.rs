//! A dedupe store that is the real one behind a door that a test can watch, delay and shut.

use async_trait::async_trait;
use cloudsync_dedupe::memory::MemoryLimits;
use cloudsync_dedupe::{
    Claim, DedupeSettings, DedupeStore, Found, Health, Lookup, MemoryStore, Stats, StoreError,
    Subject, Token,
};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::sleep;

/// The store and its door.
#[derive(Debug)]
pub(crate) struct Door {
    pub(crate) store: MemoryStore,
    pub(crate) shut: AtomicBool,
    /// What it answers when it is asked for its state; and how often it was asked.
    pub(crate) unready: Mutex<Option<StoreError>>,
    pub(crate) asked: AtomicU64,
    /// Claims are answered so many ms late.
    pub(crate) late: AtomicU64,
    pub(crate) renewals: AtomicU64,
    pub(crate) takeovers: AtomicU64,
    pub(crate) refuse_renewals: AtomicBool,
    pub(crate) refuse_marks: AtomicBool,
    pub(crate) refused_marks: AtomicU64,
    /// How often it says that it has forgotten everything.
    pub(crate) losses: AtomicU64,
    pub(crate) claims: AtomicU64,
    /// In the order in which they were marked.
    pub(crate) completed: Mutex<Vec<Subject>>,
}

impl Door {
    pub(crate) fn new(lease: Duration) -> Arc<Self> {
        let limits = MemoryLimits {
            lease,
            ..MemoryLimits::of(&DedupeSettings::default())
        };
        Arc::new(Self {
            store: MemoryStore::new("aws", limits),
            shut: AtomicBool::new(false),
            unready: Mutex::default(),
            asked: AtomicU64::new(0),
            late: AtomicU64::new(0),
            renewals: AtomicU64::new(0),
            takeovers: AtomicU64::new(0),
            refuse_renewals: AtomicBool::new(false),
            refuse_marks: AtomicBool::new(false),
            refused_marks: AtomicU64::new(0),
            losses: AtomicU64::new(0),
            claims: AtomicU64::new(0),
            completed: Mutex::default(),
        })
    }

    fn open(&self) -> Result<(), StoreError> {
        Self::unless(&self.shut)
    }

    fn unless(shut: &AtomicBool) -> Result<(), StoreError> {
        if shut.load(Ordering::Relaxed) {
            let (store, reason) = ("door".to_owned(), "shut".to_owned());
            return Err(StoreError::Unavailable { store, reason });
        }
        Ok(())
    }
}

#[async_trait]
impl DedupeStore for Door {
    async fn lookup(&self, subjects: &[Subject]) -> Result<Vec<Lookup>, StoreError> {
        self.open()?;
        self.store.lookup(subjects).await
    }

    async fn inspect(&self, subjects: &[Subject]) -> Result<Vec<Option<Found>>, StoreError> {
        self.open()?;
        self.store.inspect(subjects).await
    }

    async fn claim(&self, token: Token, subjects: &[Subject]) -> Result<Vec<Claim>, StoreError> {
        self.open()?;
        self.claims.fetch_add(1, Ordering::Relaxed);
        let claims = self.store.claim(token, subjects).await?;
        let taken = claims
            .iter()
            .filter(|claim| matches!(claim, Claim::TakenOver(_)))
            .count();
        self.takeovers.fetch_add(taken as u64, Ordering::Relaxed);
        sleep(Duration::from_millis(self.late.load(Ordering::Relaxed))).await;
        Ok(claims)
    }

    async fn complete(&self, subjects: &[Subject]) -> Result<(), StoreError> {
        self.open()?;
        if self.refuse_marks.load(Ordering::Relaxed) {
            self.refused_marks.fetch_add(1, Ordering::Relaxed);
        }
        Self::unless(&self.refuse_marks)?;
        self.store.complete(subjects).await?;
        self.completed.lock().extend_from_slice(subjects);
        Ok(())
    }

    async fn release(&self, token: Token, subjects: &[Subject]) -> Result<(), StoreError> {
        self.open()?;
        self.store.release(token, subjects).await
    }

    async fn renew(&self, token: Token, subjects: &[Subject]) -> Result<Vec<bool>, StoreError> {
        self.open()?;
        self.renewals.fetch_add(1, Ordering::Relaxed);
        if self.refuse_renewals.load(Ordering::Relaxed) {
            return Ok(vec![false; subjects.len()]);
        }
        self.store.renew(token, subjects).await
    }

    async fn dead_letter(
        &self,
        token: Option<Token>,
        subjects: &[Subject],
    ) -> Result<(), StoreError> {
        self.open()?;
        self.store.dead_letter(token, subjects).await
    }

    async fn reopen(&self, subjects: &[Subject]) -> Result<(), StoreError> {
        self.open()?;
        self.store.reopen(subjects).await
    }

    async fn forget(&self, subjects: &[Subject]) -> Result<(), StoreError> {
        self.store.forget(subjects).await
    }

    async fn ready(&self) -> Result<(), StoreError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.unready.lock().clone().map_or(Ok(()), Err)
    }

    fn health(&self) -> Health {
        let mut health = Health::default();
        health.memory_losses = self.losses.load(Ordering::Relaxed);
        health
    }

    async fn stats(&self) -> Result<Stats, StoreError> {
        self.ready().await?;
        self.store.stats().await
    }
}
