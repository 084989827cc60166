//! Step 6 of the consumers' walk, first half: what is due to be committed.
//!
//! In: [`Watermark`]s, from any task, as often as they like. Out: at most five commits a second for
//! all partitions together (sooner after 10,000 settled offsets): the poll thread asks for them
//! (`commit_loop`), a thread of their own sends them (`commit_thread`).
//!
//! Promises: only what this process owns in this very epoch is committed, and within an epoch
//! never backwards. Brokers check neither: they accept a lower offset, and an offset for a
//! partition that another live member owns.

use super::poll::Control;
use super::tracker::{Epoch, Watermark};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, mpsc};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// How often commits are sent.
const INTERVAL: Duration = Duration::from_millis(200);
/// Settled offsets after which one is sent at once.
const SOON: i64 = 10_000;
/// How long one commit may stay unanswered before the next is sent.
pub(crate) const UNANSWERED: Duration = Duration::from_secs(10);

/// Takes watermarks. Clones lead to the same consumer.
#[derive(Clone)]
pub struct Committer {
    table: Arc<Mutex<CommitTable>>,
    control: mpsc::SyncSender<Control>,
}

/// Why a watermark was not committed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// The partition moved on; whoever has it now reads from the last committed offset.
    #[error("partition {partition} is not ours any more (epoch {epoch})")]
    NotOwned {
        /// The partition.
        partition: i32,
        /// The assignment that the watermark belongs to.
        epoch: Epoch,
    },
    /// Kafka did not take the commit; the same one may succeed later.
    #[error("the commit of offset {offset} of partition {partition} failed: {reason}")]
    Failed {
        /// The partition.
        partition: i32,
        /// The offset.
        offset: i64,
        /// What Kafka says.
        reason: String,
    },
    /// The consumer has ended.
    #[error("the consumer is closed")]
    Closed,
}

/// What is owned, settled, sent and confirmed. Pure.
#[derive(Debug)]
pub(crate) struct CommitTable {
    partitions: BTreeMap<i32, Entry>,
    in_flight: Option<(BTreeMap<i32, i64>, Instant)>,
    last_sent: Instant,
}

#[derive(Debug)]
struct Entry {
    epoch: Epoch,
    /// Where the reading started.
    start: i64,
    /// The newest watermark.
    settled: i64,
    /// Up to here a commit is on its way or confirmed.
    sent: Option<i64>,
    /// Up to here the group's offset stands, with our metadata.
    confirmed: Option<i64>,
}

// === impl Committer ===

impl Committer {
    pub(crate) fn new(table: Arc<Mutex<CommitTable>>, control: mpsc::SyncSender<Control>) -> Self {
        Self { table, control }
    }

    /// Takes note of `watermark`; it is committed within about 0.2 s. Never blocks; only the
    /// newest one of a partition counts. One of an earlier assignment is ignored.
    pub fn submit(&self, watermark: Watermark) {
        self.table.lock().submit(watermark);
    }

    /// Commits `watermark` now and waits for Kafka's answer, at most about 10 s. A watermark that
    /// stands already is answered at once.
    ///
    /// # Errors
    /// [`CommitError`]; the offset may have been committed all the same unless it says
    /// [`CommitError::NotOwned`].
    pub async fn commit_now(&self, watermark: Watermark) -> Result<(), CommitError> {
        let (reply, answered) = oneshot::channel();
        let request = Control::CommitNow { watermark, reply };
        let failed = |reason: &str| CommitError::Failed {
            partition: watermark.partition(),
            offset: watermark.offset(),
            reason: reason.to_owned(),
        };
        self.control
            .try_send(request)
            .map_err(|error| match error {
                mpsc::TrySendError::Full(_) => failed("too many commits wait already"),
                mpsc::TrySendError::Disconnected(_) => CommitError::Closed,
            })?;
        // The poll thread answers within UNANSWERED; the rest is for its own work in between.
        match tokio::time::timeout(UNANSWERED * 2, answered).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(CommitError::Closed),
            Err(_) => Err(failed("no answer in time")),
        }
    }
}

impl fmt::Debug for Committer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Committer").finish_non_exhaustive()
    }
}

// === impl CommitTable ===

impl CommitTable {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            partitions: BTreeMap::new(),
            in_flight: None,
            last_sent: now,
        }
    }

    /// `partition` is ours from `start` on. `confirmed`: what the group's offset is, if our
    /// metadata stands beside it.
    pub(crate) fn assign(
        &mut self,
        partition: i32,
        epoch: Epoch,
        start: i64,
        confirmed: Option<i64>,
    ) {
        let confirmed = confirmed.filter(|offset| *offset == start);
        let entry = Entry {
            epoch,
            start,
            settled: start,
            sent: confirmed,
            confirmed,
        };
        self.partitions.insert(partition, entry);
    }

    /// `partition` is not ours any more.
    pub(crate) fn retire(&mut self, partition: i32) {
        self.partitions.remove(&partition);
    }

    /// Whether a commit is on its way.
    pub(crate) fn is_sending(&self, now: Instant) -> bool {
        self.in_flight
            .as_ref()
            .is_some_and(|(_, since)| now - *since < UNANSWERED)
    }

    /// Whether `watermark` belongs to what is ours now.
    pub(crate) fn owns(&self, watermark: &Watermark) -> bool {
        let entry = self.partitions.get(&watermark.partition());
        entry.is_some_and(|entry| entry.epoch == watermark.epoch())
    }

    pub(crate) fn submit(&mut self, watermark: Watermark) {
        if let Some(entry) = self.partitions.get_mut(&watermark.partition())
            && entry.epoch == watermark.epoch()
        {
            entry.settled = entry.settled.max(watermark.offset());
        }
    }

    /// Whether `watermark` stands.
    pub(crate) fn is_confirmed(&self, watermark: &Watermark) -> bool {
        let entry = self.partitions.get(&watermark.partition());
        entry
            .and_then(|entry| entry.confirmed)
            .is_some_and(|at| at >= watermark.offset())
    }

    /// What is to be sent, if it is time, and nothing is on its way.
    pub(crate) fn due(&mut self, now: Instant) -> Option<BTreeMap<i32, i64>> {
        match &self.in_flight {
            Some((_, since)) if now - *since < UNANSWERED => return None,
            Some((offsets, _)) => {
                tracing::warn!(
                    partitions = offsets.len(),
                    "a commit was not answered in time"
                );
                let failed: Vec<_> = offsets.keys().copied().collect();
                self.answered(&failed, false);
            }
            None => {}
        }
        let unsent: i64 = self.partitions.values().map(Entry::unsent).sum();
        if unsent == 0 || (unsent < SOON && now - self.last_sent < INTERVAL) {
            return None;
        }
        let moved = self
            .partitions
            .iter()
            .filter(|(_, entry)| entry.unsent() > 0);
        let offsets: BTreeMap<_, _> = moved.map(|(p, entry)| (*p, entry.settled)).collect();
        self.sending(&offsets, now);
        Some(offsets)
    }

    /// What is to be sent for `partitions` whatever the time: all that is not confirmed. With
    /// `origins`, also where nothing has settled yet.
    pub(crate) fn unconfirmed(
        &mut self,
        partitions: &[i32],
        origins: bool,
        now: Instant,
    ) -> BTreeMap<i32, i64> {
        let wanted = partitions
            .iter()
            .filter_map(|p| Some((*p, self.partitions.get(p)?)));
        let behind = wanted.filter(|(_, entry)| match entry.confirmed {
            Some(at) => at < entry.settled,
            None => origins || entry.settled > entry.start,
        });
        let offsets: BTreeMap<_, _> = behind.map(|(p, entry)| (p, entry.settled)).collect();
        if !offsets.is_empty() {
            self.sending(&offsets, now);
        }
        offsets
    }

    fn sending(&mut self, offsets: &BTreeMap<i32, i64>, now: Instant) {
        for (partition, offset) in offsets {
            if let Some(entry) = self.partitions.get_mut(partition) {
                entry.sent = Some(*offset);
            }
        }
        self.last_sent = now;
        self.in_flight = Some((offsets.clone(), now));
    }

    /// Kafka answered for `partition`: `offset` stands.
    pub(crate) fn confirmed(&mut self, partition: i32, offset: i64) {
        if let Some(entry) = self.partitions.get_mut(&partition)
            // An answer to a commit of an earlier epoch says nothing about this one.
            && entry.sent.is_some_and(|sent| offset <= sent)
        {
            entry.confirmed = entry.confirmed.max(Some(offset));
        }
    }

    /// A commit of `partitions` was answered; what failed is sent again with the next one.
    pub(crate) fn answered(&mut self, partitions: &[i32], all_taken: bool) {
        if !all_taken {
            for partition in partitions {
                if let Some(entry) = self.partitions.get_mut(partition) {
                    entry.sent = entry.confirmed;
                }
            }
        }
        if let Some((offsets, _)) = &mut self.in_flight {
            offsets.retain(|partition, _| !partitions.contains(partition));
            if offsets.is_empty() {
                self.in_flight = None;
            }
        }
    }
}

// === impl Entry ===

impl Entry {
    /// Offsets settled since the last commit was sent; an origin alone does not count.
    fn unsent(&self) -> i64 {
        self.settled - self.sent.unwrap_or(self.start)
    }
}

#[cfg(test)]
mod tests;
