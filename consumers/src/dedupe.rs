//! Step 2 of the walk: records → what the dedupe store knows of their ids.
//!
//! In `batch` mode the store is asked before and told after; the chain decides. So a store that
//! is away stops nothing: its records count as not looked up, its marks are kept by their
//! partition to be set later, and every record and id that it never hears of is counted. Only
//! `dedupe.on_unavailable = pause` lets look-ups wait for it. While it is away it is asked again
//! once in a while, not for each batch.

use crate::counters::Counters;
use crate::deliver::{Admission, Breaker};
use crate::health::Health;
use crate::parse::{Content, Polled};
use crate::sink::ErrorClass;
use crate::store::asks_again;
use cloudsync_dedupe::{DedupeStore, Lookup, OnUnavailable, StoreError, Subject};
use parking_lot::Mutex;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

/// Wait before a look-up is tried again that has to wait for the store.
const AGAIN: Duration = Duration::from_millis(250);
/// Subjects in one call.
const CALL: usize = 1_024;
/// Ids of the whole process that may wait for their marks.
pub const MAX_UNMARKED: usize = 1_000_000;

/// The store of one destination, as the chains use it.
#[derive(Debug)]
pub struct Dedupe {
    store: Arc<dyn DedupeStore>,
    breaker: Mutex<Breaker>,
    counters: Arc<Counters>,
    unmarked: AtomicUsize,
    /// Look-ups wait for the store, and this says so.
    pauses: Option<Health>,
}

// === impl Dedupe ===

impl Dedupe {
    /// Uses `store`. While it is away its look-ups wait or do not, as `on_unavailable` says, and
    /// `health` says so.
    #[must_use]
    pub fn new(
        store: Arc<dyn DedupeStore>,
        counters: Arc<Counters>,
        on_unavailable: OnUnavailable,
        health: Health,
    ) -> Self {
        let pauses = match on_unavailable {
            OnUnavailable::Pause => Some(health),
            // The chain tells what it has written.
            OnUnavailable::Auto | OnUnavailable::Continue => None,
        };
        Self {
            store,
            breaker: Mutex::default(),
            counters,
            unmarked: AtomicUsize::new(0),
            pauses,
        }
    }

    /// What is known of each of `records`, in order; `None` where nothing was asked (not for this
    /// destination, undecodable) or could be. Nothing at all: `give_up` was given while the store
    /// was waited for.
    pub async fn look_up(
        &self,
        partition: i32,
        records: &[Polled],
        give_up: &CancellationToken,
    ) -> Option<Vec<Option<Lookup>>> {
        let subjects: Vec<_> = records
            .iter()
            .filter_map(|r| subject_of(partition, r))
            .collect();
        let mut answers = Vec::with_capacity(subjects.len());
        for chunk in subjects.chunks(CALL) {
            match self.ask(chunk, give_up).await? {
                Some(found) if found.len() == chunk.len() => {
                    answers.extend(found.into_iter().map(Some));
                }
                _ => {
                    Counters::add(&self.counters.dedupe_bypassed, chunk.len() as u64);
                    answers.extend(chunk.iter().map(|_| None));
                }
            }
        }
        let mut answers = answers.into_iter();
        let asked = |record: &Polled| subject_of(partition, record).is_some();
        let known = records
            .iter()
            .map(|r| asked(r).then(|| answers.next().flatten()).flatten());
        Some(known.collect())
    }

    /// The answer to one call, if the store gives one, or until it does. Nothing at all: `give_up`
    /// was given.
    async fn ask(
        &self,
        chunk: &[Subject],
        give_up: &CancellationToken,
    ) -> Option<Option<Vec<Lookup>>> {
        loop {
            let found = self.call(self.store.lookup(chunk)).await;
            if found.is_some() || self.pauses.is_none() {
                return Some(found);
            }
            tokio::select! {
                () = sleep(AGAIN) => {}
                () = give_up.cancelled() => return None,
            }
        }
    }

    /// Marks `subjects` done. Out: how many of them, from the first on, are marked.
    pub async fn mark(&self, subjects: &[Subject]) -> usize {
        let mut marked = 0;
        for chunk in subjects.chunks(CALL) {
            if self.call(self.store.complete(chunk)).await.is_none() {
                break;
            }
            marked += chunk.len();
        }
        marked
    }

    /// Room for up to `wanted` ids that wait for their marks; out: for how many there is.
    pub fn keep_unmarked(&self, wanted: usize) -> usize {
        let mut kept = 0;
        let more = |now: usize| {
            kept = wanted.min(MAX_UNMARKED.saturating_sub(now));
            Some(now + kept)
        };
        let order = Ordering::Relaxed;
        let _before = self.unmarked.fetch_update(order, order, more);
        Counters::add(&self.counters.dedupe_bypassed, (wanted - kept) as u64);
        kept
    }

    /// So many ids wait no longer: they are marked, or (`dropped`) never will be.
    pub fn release_unmarked(&self, count: usize, dropped: bool) {
        self.unmarked.fetch_sub(count, Ordering::Relaxed);
        if dropped {
            Counters::add(&self.counters.dedupe_bypassed, count as u64);
        }
    }

    async fn call<T>(&self, call: impl Future<Output = Result<T, StoreError>>) -> Option<T> {
        let patience = self.store.patience();
        let began = Instant::now();
        let Admission::Go(ticket) = self.breaker.lock().admit(began) else {
            return None;
        };
        let error = match timeout(patience, call).await {
            Ok(Ok(answer)) => {
                let now = Instant::now();
                let is_back = self.breaker.lock().succeeded(ticket, now, now - began);
                if is_back {
                    tracing::info!("the dedupe store is back");
                    if let Some(health) = &self.pauses {
                        health.store_goes_on();
                    }
                }
                return Some(answer);
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {patience:?}"),
        };
        // One failure is enough: going on without it costs nothing but duplicates.
        let class = ErrorClass::Denied;
        let first = self
            .breaker
            .lock()
            .failed(ticket, class, Instant::now(), rand::random());
        let goes_on = self.pauses.is_none();
        if first {
            tracing::warn!(%error, goes_on, "the dedupe store is away");
        }
        if let Some(health) = &self.pauses {
            let why = format!("the dedupe store: {error}");
            health.store_waits(why, asks_again(&*self.store));
        }
        None
    }
}

fn subject_of(partition: i32, polled: &Polled) -> Option<Subject> {
    match &polled.content {
        Content::Record {
            named,
            addressed: true,
        } => Some(crate::chain::closed::subject(
            *named,
            partition,
            polled.offset(),
        )),
        Content::Record {
            addressed: false, ..
        }
        | Content::Undecodable { .. } => None,
    }
}
