//! What became of all records of a stream.

use super::{StreamStats, Verdict};
use crate::v1::Rejection;

/// Most rejections that a [`Summary`] names.
pub const MAX_NAMED_REJECTIONS: usize = 100;

/// What became of the records of a stream.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Summary {
    /// Records that are durable.
    pub acked: u64,
    /// Records refused for good.
    pub rejected: u64,
    /// The first [`MAX_NAMED_REJECTIONS`] of those: which record of the stream, from 0, and why.
    pub rejections: Vec<(u64, Rejection)>,
    /// Of the acked ones, duplicates at the gateway.
    pub duplicates: u64,
    /// Records sent once more.
    pub resent: u64,
    /// Times that the stream was opened.
    pub connections: u64,
}

// === impl Summary ===

impl Summary {
    /// Records that have their verdict.
    pub(super) fn settled(&self) -> u64 {
        self.acked + self.rejected
    }

    pub(super) fn note(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Acked(range) => self.acked += range.end - range.start,
            Verdict::Rejected {
                sequence,
                rejection,
            } => {
                self.rejected += 1;
                if self.rejections.len() < MAX_NAMED_REJECTIONS {
                    self.rejections.push((sequence, *rejection));
                }
            }
        }
    }

    pub(super) fn with(mut self, stats: StreamStats) -> Self {
        self.duplicates = stats.duplicates;
        self.resent = stats.resent;
        self.connections = stats.connections;
        self
    }
}
