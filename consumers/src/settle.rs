//! Step 5 of the walk: a segment that the destination holds → its offsets settled by its receipt,
//! the watermark on its way to the log. Marks that did not hold are tried again here.
//!
//! Promises: only a segment that lies at the destination settles anything, and always whole, so
//! the watermark stands on a chain boundary; an id whose mark does not hold yet stays with its
//! partition, to be marked later, as far as there is room.

use crate::chain::ClosedSegment;
use crate::counters::Counters;
use crate::dedupe::Dedupe;
use cloudsync_dedupe::Subject;
use cloudsync_kafka::{CommitTracker, Committer, Receipt, Watermark};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The settling of one partition's segments.
#[derive(Debug)]
pub struct Settle {
    tracker: CommitTracker,
    committer: Committer,
    dedupe: Arc<Dedupe>,
    counters: Arc<Counters>,
    unmarked: Vec<Subject>,
    /// When they are tried again.
    unmarked_at: Instant,
}

/// How often marks that wait are tried.
const AGAIN: Duration = Duration::from_secs(1);

/// Ids that count as seen no longer.
#[must_use = "the chain must be told to forget them"]
#[derive(Debug, Default)]
pub struct Released(pub Vec<Subject>);

// === impl Settle ===

impl Settle {
    /// Settles what `tracker` tracks, with `committer`.
    #[must_use]
    pub fn new(
        tracker: CommitTracker,
        committer: Committer,
        dedupe: Arc<Dedupe>,
        counters: Arc<Counters>,
    ) -> Self {
        Self {
            tracker,
            committer,
            dedupe,
            counters,
            unmarked: Vec::new(),
            unmarked_at: Instant::now(),
        }
    }

    /// What is settled now.
    #[must_use]
    pub fn watermark(&self) -> Watermark {
        self.tracker.watermark()
    }

    /// Takes note that of `subjects`, written at the destination, the first `marked` are marked.
    /// The rest waits for its marks; those from before are tried now.
    pub async fn marked(&mut self, mut subjects: Vec<Subject>, marked: usize) -> Released {
        let rest = subjects.split_off(marked.min(subjects.len()));
        if rest.is_empty() {
            subjects.extend(self.mark_waiting().await.0);
        }
        let kept = self.dedupe.keep_unmarked(rest.len());
        subjects.extend_from_slice(&rest[kept..]);
        self.unmarked.extend_from_slice(&rest[..kept]);
        self.unmarked_at = Instant::now() + AGAIN;
        Released(subjects)
    }

    /// When to call [`mark_waiting`](Self::mark_waiting), if nothing is settled before.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        (!self.unmarked.is_empty()).then_some(self.unmarked_at)
    }

    /// Tries the marks that wait.
    pub async fn mark_waiting(&mut self) -> Released {
        if self.unmarked.is_empty() {
            return Released::default();
        }
        let marked = self.dedupe.mark(&self.unmarked).await;
        self.unmarked_at = Instant::now() + AGAIN;
        self.dedupe.release_unmarked(marked, false);
        Released(self.unmarked.drain(..marked).collect())
    }

    /// Settles every record of `segment`, which this process created, by its receipt.
    pub fn created(&mut self, segment: &ClosedSegment, bytes: u64) {
        let receipt = segment.receipt();
        let tallies = segment.tallies();
        let counters = &self.counters;
        Counters::add(&counters.segments, 1);
        Counters::add(&counters.bytes, bytes);
        Counters::add(&counters.polled, segment.entries.len() as u64);
        Counters::add(&counters.delivered, tallies.delivered);
        Counters::add(&counters.duplicates, tallies.duplicates);
        Counters::add(&counters.redelivered, tallies.redelivered);
        Counters::add(&counters.not_addressed, tallies.not_addressed);
        Counters::add(&counters.dead_lettered, tallies.dead_lettered);
        counters.add_tally(segment.id_tally());
        self.cover(segment.end, receipt);
    }

    /// Settles everything below `end`: a segment that was found covers it, with `records` of what
    /// the log holds.
    pub fn adopted(&mut self, end: i64, receipt: Receipt, records: u64) {
        Counters::add(&self.counters.adopted, 1);
        Counters::add(&self.counters.polled, records);
        Counters::add(&self.counters.redelivered, records);
        self.cover(end, receipt);
    }

    fn cover(&mut self, end: i64, receipt: Receipt) {
        self.tracker.cover(end, receipt);
        self.committer.submit(self.tracker.watermark());
    }
}

impl Drop for Settle {
    fn drop(&mut self) {
        self.dedupe.release_unmarked(self.unmarked.len(), true);
    }
}
