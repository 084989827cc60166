//! Step 4 of the walk: records that go to the log together.
//!
//! In: a submission. Out: a [`Batch`]: its valid records, those of one partition side by side,
//! and the refused ones. Promises: every record of the submission is in exactly one of the two,
//! under its place; records of one partition, so of one key, keep their order; the clock is read
//! once.

use crate::admit::Submission;
use crate::validate::{Record, Refused, Validator};
use cloudsync::wire::Time;
use cloudsync_kafka::ProduceRecord;

/// The records of one submission, judged.
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
    /// Judges every record of `submission`; those that pass were accepted at `accept_time`.
    pub(crate) fn of(submission: &Submission, validator: &Validator, accept_time: Time) -> Self {
        let count = submission.records.len();
        let mut batch = Self {
            count,
            records: Vec::with_capacity(count),
            refused: Vec::new(),
        };
        let mut malformed = submission.malformed.iter().peekable();
        for (index, encoded) in (0u32..).zip(&submission.records) {
            if let Some((_, refusal)) = malformed.next_if(|(at, _)| *at == index) {
                let refusal = refusal.clone();
                batch.refused.push(Refused {
                    index,
                    request_id: String::new(),
                    refusal,
                });
                continue;
            }
            match validator.record(index, encoded, accept_time) {
                Ok(record) => batch.records.push(record),
                Err(refused) => batch.refused.push(refused),
            }
        }
        // Stable, so the order inside a partition stays.
        batch.records.sort_by_key(|record| record.partition);
        batch
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
