//! Step 4 of the walk: records that go to the log together.
//!
//! In: a submission's records, judged. Out: a [`Batch`]: those for the log, each partition's side by
//! side, and the refused ones. Promises: records of one partition, so of one key, keep their order.

use crate::validate::{Judged, Record, Refused};
use cloudsync_kafka::ProduceRecord;

/// The records of one submission.
#[derive(Debug)]
pub(crate) struct Batch {
    /// Number of records in the submission.
    pub(crate) count: usize,
    /// Records for the log, by partition and in each in the order of the submission.
    pub(crate) records: Vec<Record>,
    /// The others.
    pub(crate) refused: Vec<Refused>,
}

impl Batch {
    /// Puts the records of each partition side by side.
    pub(crate) fn of(judged: Judged) -> Self {
        let Judged {
            mut records,
            refused,
        } = judged;
        let count = records.len() + refused.len();
        // Stable, so the order inside a partition stays.
        records.sort_by_key(|record| record.partition);
        Self {
            count,
            records,
            refused,
        }
    }

    /// What the producer takes: one entry for each of `records`. No bytes are copied.
    pub(crate) fn to_produce(&self) -> Vec<ProduceRecord> {
        let entry = |record: &Record| ProduceRecord {
            partition: record.partition,
            key: record.key.clone(),
            value: record.value.clone(),
        };
        self.records.iter().map(entry).collect()
    }
}
