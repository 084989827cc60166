//! What happens to a consumer, as one enum.

use super::partition::PartitionRecords;
use super::tracker::Epoch;
use crate::KafkaError;
use std::fmt;
use std::sync::mpsc;

/// What the poll thread has to say. The channel must be read promptly: rebalances wait for it.
#[derive(Debug)]
pub enum Event {
    /// These partitions are ours now; their records follow through them.
    Assigned {
        /// The partitions.
        partitions: Vec<AssignedPartition>,
    },
    /// These partitions move on. No more records come; finish what is being written, mark and
    /// settle it, submit the watermarks, then let `done` go. The wait is bounded (10 s, or a
    /// quarter of `max.poll.interval.ms` if that is less).
    Revoking {
        /// The partitions.
        partitions: Vec<i32>,
        /// Lets the rebalance go on.
        done: RevokeAck,
    },
    /// These partitions are someone else's already. What is being written may be finished and
    /// marked, but is not committed. May follow a [`Event::Revoking`] of the same partitions.
    Lost {
        /// The partitions.
        partitions: Vec<i32>,
    },
    /// Nothing comes until something outside is there; the consumer goes on by itself.
    Waiting {
        /// For what, as part of a sentence.
        for_what: String,
    },
    /// Brokers and topic are there, for the first time or again.
    Ready,
    /// The consumer has ended and must be started anew.
    Failed {
        /// Why.
        error: KafkaError,
    },
}

/// A partition that became ours.
#[derive(Debug)]
pub struct AssignedPartition {
    /// Its number.
    pub partition: i32,
    /// This assignment of it.
    pub epoch: Epoch,
    /// What the group committed last, if anything.
    pub committed: Option<Committed>,
    /// The first offset that the log holds.
    pub log_start: i64,
    /// The offset behind the last one that the log held at that moment.
    pub log_end: i64,
    /// Where the reading starts: at the committed offset, or at `log_start` when there is none or
    /// the log does not reach to it any more.
    pub start: i64,
    /// Its records.
    pub records: PartitionRecords,
}

/// A committed offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The next offset to read.
    pub offset: i64,
    /// What stood beside it; empty when nothing did.
    pub metadata: String,
}

/// Lets a rebalance go on: by [`RevokeAck::done`], or by being dropped.
pub struct RevokeAck {
    _dropped: mpsc::SyncSender<()>,
}

// === impl RevokeAck ===

impl RevokeAck {
    /// An acknowledgement, and the end that sees it being dropped.
    pub(crate) fn new() -> (Self, mpsc::Receiver<()>) {
        let (dropped, seen) = mpsc::sync_channel(1);
        (Self { _dropped: dropped }, seen)
    }

    /// Everything in flight has ended and the watermarks are submitted.
    pub fn done(self) {
        drop(self);
    }
}

impl fmt::Debug for RevokeAck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RevokeAck")
    }
}
