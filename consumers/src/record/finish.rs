//! Step 5 of the walk, `record` mode: a record that the destination has → its id marked, its
//! offset settled, the watermark on its way to the log.
//!
//! Marks go in batches: at 64 ids, 5 ms after the first, or as soon as no further write may start
//! before one is marked. Promises: an offset settles only by an outcome. Where nothing is written
//! without a claim it settles only once the mark holds: the mark is tried until it does, the
//! watermark waits, and a partition that is taken away tries for as long as its leases keep others
//! from writing the same. Elsewhere the mark may come later, as far as there is room for the ids.

use super::Walk;
use super::attempt::Met;
use super::in_flight::Pass;
use super::lease::{Away, Held};
use crate::counters::{Counters, IdTally};
use crate::deliver::Backoff;
use cloudsync_dedupe::Subject;
use cloudsync_kafka::{CommitTracker, Outcome, Receipt};
use cloudsync_runtime::{Moment, kill_point};
use futures::future::BoxFuture;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep_until};

/// Ids after which marks are set at once.
const MARKS: usize = 64;
/// Longest that a mark waits for others.
const LINGER: Duration = Duration::from_millis(5);
/// Most marks of before in one call, and how often they are tried.
const LATE: usize = 1_024;
const LATE_EVERY: Duration = Duration::from_secs(1);

/// A record that the destination has, and that is not marked yet. Until it is, nobody else in
/// this process works on its id, and it counts as a write that runs.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) subject: Subject,
    pub(super) offset: i64,
    pub(super) met: Met,
    pub(super) receipt: Receipt,
    /// The lease under which it was written.
    pub(super) held: Option<Held>,
    pub(super) _pass: Pass,
    pub(super) _permit: OwnedSemaphorePermit,
}

/// The end of the walk for one partition.
pub(super) struct Finish {
    walk: Arc<Walk>,
    tracker: CommitTracker,
    /// Duplicates at or above the watermark. Whoever has the partition next meets those again, so
    /// they count once the watermark is past them.
    duplicates: BTreeSet<i64>,
    unmarked: Vec<Written>,
    /// When the first of them came.
    since: Option<Instant>,
    marking: Option<BoxFuture<'static, Marked>>,
    /// After a failure that has to be made good: not before.
    retry_at: Option<Instant>,
    backoff: Backoff,
    /// Settled, but not marked: the store was away.
    late: Vec<Subject>,
    late_at: Instant,
}

struct Marked {
    written: Vec<Written>,
    late: Vec<Subject>,
    result: Result<(), Away>,
}

// === impl Finish ===

impl Finish {
    pub(super) fn new(walk: Arc<Walk>, tracker: CommitTracker) -> Self {
        Self {
            walk,
            tracker,
            duplicates: BTreeSet::new(),
            unmarked: Vec::new(),
            since: None,
            marking: None,
            retry_at: None,
            backoff: failures(),
            late: Vec::new(),
            late_at: Instant::now(),
        }
    }

    /// Takes note of a record of the log. `false`: it was met before, in this assignment.
    pub(super) fn polled(&mut self, offset: i64) -> bool {
        self.tracker.polled(offset).unwrap_or_else(|error| {
            tracing::error!(%error, "a record was met out of order");
            false
        })
    }

    /// Offsets that wait for one before them, and that one.
    pub(super) fn span(&self) -> usize {
        self.tracker.len()
    }

    /// Settles one record.
    pub(super) fn settle(&mut self, offset: i64, outcome: Outcome) {
        Counters::add(&self.walk.context.counters.polled, 1);
        if let Err(error) = self.tracker.settle(offset, outcome) {
            tracing::error!(%error, "a record was settled that was not polled");
        }
    }

    /// Settles one record that names an effect made before, from another place in the log.
    pub(super) fn duplicate(&mut self, offset: i64) {
        self.duplicates.insert(offset);
        self.settle(offset, Outcome::Duplicate);
    }

    /// Lets the log know how far everything is settled.
    pub(super) fn commit(&mut self) {
        let watermark = self.tracker.watermark();
        let ahead = self.duplicates.split_off(&watermark.offset());
        let passed = std::mem::replace(&mut self.duplicates, ahead);
        Counters::add(&self.walk.context.counters.duplicates, passed.len() as u64);
        self.walk.context.committer.submit(watermark);
    }

    /// The destination has a record.
    pub(super) fn written(&mut self, written: Written) {
        self.since.get_or_insert_with(Instant::now);
        self.unmarked.push(written);
    }

    /// When to call [`Self::mark_if_due`] again, if nothing else happens.
    pub(super) fn deadline(&self) -> Option<Instant> {
        if self.marking.is_some() {
            return None;
        }
        let fresh = self.since.map(|since| since + LINGER).max(self.retry_at);
        let late = (!self.late.is_empty()).then_some(self.late_at);
        let fresh = fresh.filter(|_| !self.unmarked.is_empty());
        fresh.into_iter().chain(late).min()
    }

    /// Begins to mark what is due.
    pub(super) fn mark_if_due(&mut self, now: Instant) {
        let held_up = self.walk.shared.writes.available_permits() == 0;
        let full = !self.unmarked.is_empty() && (held_up || self.unmarked.len() >= MARKS);
        let may = self.retry_at.is_none_or(|at| at <= now);
        if (full && may) || self.deadline().is_some_and(|deadline| deadline <= now) {
            self.mark();
        }
    }

    fn mark(&mut self) {
        if self.marking.is_some() {
            return;
        }
        let written = std::mem::take(&mut self.unmarked);
        let late = self.late.split_off(self.late.len().saturating_sub(LATE));
        self.since = None;
        let walk = Arc::clone(&self.walk);
        self.marking = Some(Box::pin(async move {
            let fresh = written.iter().map(|written| written.subject);
            let subjects: Vec<Subject> = fresh.chain(late.iter().copied()).collect();
            let result = walk.shared.claims.complete(&subjects).await;
            Marked {
                written,
                late,
                result,
            }
        }));
    }

    /// Waits for the marks under way, if any, and settles what is marked. Dropping it loses
    /// nothing.
    pub(super) async fn marked(&mut self) {
        match &mut self.marking {
            Some(marking) => {
                let marked = marking.await;
                self.marking = None;
                self.take(marked);
            }
            None => futures::future::pending().await,
        }
    }

    fn take(&mut self, marked: Marked) {
        let Marked {
            written,
            late,
            result,
        } = marked;
        let now = Instant::now();
        self.late_at = now + LATE_EVERY;
        match result {
            Ok(()) => {
                self.walk.context.dedupe.release_unmarked(late.len(), false);
                (self.retry_at, self.backoff) = (None, failures());
                kill_point(Moment::BetweenMarkAndCommit);
            }
            Err(Away) if !self.walk.shared.claims.pauses() => {
                // The destination remembers, and the marks only spare it the question; or somebody
                // decided that it goes on without them.
                self.late.extend(late);
                let kept = self.walk.context.dedupe.keep_unmarked(written.len());
                self.late
                    .extend(written.iter().take(kept).map(|written| written.subject));
            }
            Err(Away) => {
                self.late.extend(late);
                self.since = Some(now);
                self.retry_at = Some(now + self.backoff.next(rand::random(), LINGER));
                self.unmarked.splice(0..0, written);
                return;
            }
        }
        self.settle_written(written);
    }

    fn settle_written(&mut self, written: Vec<Written>) {
        let (mut created, mut itself) = (0, 0);
        let mut tally = IdTally::default();
        for Written {
            subject,
            offset,
            met,
            receipt,
            ..
        } in written
        {
            match met {
                Met::Nothing => {
                    created += 1;
                    tally.add(subject.id);
                    self.settle(offset, Outcome::Delivered(receipt));
                }
                Met::Itself => {
                    itself += 1;
                    self.settle(offset, Outcome::Delivered(receipt));
                }
                Met::Another { .. } => self.duplicate(offset),
            }
        }
        let counters = &self.walk.context.counters;
        Counters::add(&counters.delivered, created);
        Counters::add(&counters.redelivered, itself);
        counters.add_tally(tally);
        self.commit();
    }

    /// Marks and settles all that the destination has, as far as the store lets us while our
    /// leases last.
    pub(super) async fn drain(&mut self) {
        if self.marking.is_some() {
            self.marked().await;
        }
        let held = self.unmarked.iter().filter_map(|written| written.held);
        let last = held.map(|held| held.ends()).max();
        self.mark();
        self.marked().await;
        while !self.unmarked.is_empty()
            && let Some(at) = self.retry_at
            && last.is_some_and(|last| at < last)
        {
            sleep_until(at).await;
            self.mark();
            self.marked().await;
        }
        self.commit();
    }
}

impl Drop for Finish {
    fn drop(&mut self) {
        self.walk
            .context
            .dedupe
            .release_unmarked(self.late.len(), true);
    }
}

fn failures() -> Backoff {
    Backoff::new(Duration::from_millis(50), Duration::from_secs(2))
}
