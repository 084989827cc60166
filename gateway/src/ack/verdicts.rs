//! Step 6 of the walk: a verdict for each record of a submission, for those who are told each one.
//!
//! In: a batch and the log's answers. Out: one [`Verdict`] a record, in the order in which the
//! records came. Promises: only a record that the log acknowledged, now or before, is accepted;
//! every record has exactly one verdict.

use super::{no_answer, refusal_of, request_id_of};
use crate::batch::Batch;
use crate::validate::Refused;
use cloudsync_kafka::{Position, Produced};
use std::sync::Arc;

/// What became of one record.
pub(crate) type Verdict = Result<Accepted, Refused>;

/// A record that is durable.
#[derive(Debug)]
pub(crate) struct Accepted {
    /// The id under which it stands.
    pub(crate) request_id: String,
    /// Where it lies, if the log said so.
    pub(crate) position: Option<Position>,
    /// It was acknowledged before, and not written again.
    pub(crate) duplicate: bool,
}

/// Puts the log's answers, one for each of `batch.records`, beside its refusals. The records are in
/// `topic`.
pub(crate) fn verdicts(batch: Batch, results: Vec<Produced>, topic: &Arc<str>) -> Vec<Verdict> {
    let mut results = results.into_iter();
    let mut all = Vec::with_capacity(batch.count);
    let position = |partition, offset: Option<i64>| {
        offset.map(|offset| Position {
            topic: Arc::clone(topic),
            partition,
            offset,
        })
    };
    for (place, record) in batch.records.into_iter().enumerate() {
        let index = record.index;
        let request_id = record
            .assigned_id
            .unwrap_or_else(|| request_id_of(batch.to_produce.value(place)));
        let refusal = match results.next() {
            Some(Ok(offset)) => {
                let accepted = Accepted {
                    request_id,
                    position: position(record.partition, offset),
                    duplicate: false,
                };
                all.push((index, Ok(accepted)));
                continue;
            }
            Some(Err(error)) => refusal_of(&error),
            None => no_answer(),
        };
        let refused = Refused {
            index,
            request_id,
            refusal,
        };
        all.push((index, Err(refused)));
    }
    all.extend(batch.known.into_iter().map(|known| {
        let accepted = Accepted {
            request_id: known.request_id,
            position: position(known.partition, known.offset),
            duplicate: true,
        };
        (known.index, Ok(accepted))
    }));
    let refused = batch.refused.into_iter();
    all.extend(refused.map(|refused| (refused.index, Err(refused))));
    // A batch is sorted by partition.
    all.sort_by_key(|(index, _)| *index);
    all.into_iter().map(|(_, verdict)| verdict).collect()
}
