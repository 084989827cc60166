//! Step 4 of the walk: records that go to the log together.
//!
//! In: a submission's records, judged. Out: a [`Batch`]: those for the log, each partition's side
//! by side, those that were acknowledged before, and the refused ones. Promises: records of one
//! partition, so of one key, keep their order.

use crate::recent::{Effect, Known};
use crate::validate::{Judged, Record, Refused};
use cloudsync_kafka::{ProduceBatch, ProduceEntry};

/// The records of one submission.
#[derive(Debug)]
pub(crate) struct Batch {
    /// Number of records in the submission.
    pub(crate) count: usize,
    /// Records for the log, by partition and in each in the order of the submission.
    pub(crate) records: Vec<Record>,
    /// The same, as the producer takes them.
    pub(crate) to_produce: ProduceBatch,
    /// What each record of the submission asks for, by its place there, if it is to be remembered.
    pub(crate) effects: Vec<Option<Effect>>,
    /// Those that are in the log already.
    pub(crate) known: Vec<Known>,
    /// The others.
    pub(crate) refused: Vec<Refused>,
}

impl Batch {
    /// Puts the records of each partition side by side.
    pub(crate) fn of(judged: Judged) -> Self {
        let Judged {
            bytes,
            mut records,
            effects,
            known,
            refused,
        } = judged;
        let count = records.len() + known.len() + refused.len();
        // Stable, so the order inside a partition stays.
        records.sort_by_key(|record| record.partition);
        let entry = |record: &Record| ProduceEntry {
            partition: record.partition,
            key: Some(record.key.clone()),
            value: Some(record.value.clone()),
        };
        let to_produce = ProduceBatch::new(bytes, records.iter().map(entry).collect());
        Self {
            count,
            records,
            to_produce,
            effects,
            known,
            refused,
        }
    }
}
