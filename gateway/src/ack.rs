//! Step 6 of the walk: what the client is told.
//!
//! In: a batch and the log's answers. Out: an [`Ack`], and for a stream the answers that
//! [`StreamAcks`] makes of its acks. Promises: only a record that the log acknowledged, now or
//! before, counts as accepted; on a stream the acked count never decreases, passes a record only
//! when it and all before it have their verdict, and each rejection and each made-up id is named
//! exactly once, before the count passes it; an answer stays far below the size of a message. Who
//! is told each record's place, or works on HTTP, gets [`verdicts`] instead.

mod verdicts;

pub(crate) use verdicts::{Accepted, Verdict, verdicts};

use crate::batch::Batch;
use crate::validate::too_large;
use cloudsync::ErrorReason;
use cloudsync::limits::MAX_BATCH_RECORDS;
use cloudsync::reason::Refusal;
use cloudsync::v1::{AssignedRequestId, Rejection, SyncDataStreamResponse};
use cloudsync::wire::RecordView;
use cloudsync_kafka::{ProduceError, Produced};
use std::collections::VecDeque;
use std::time::Duration;

/// How long a client is asked to wait when the log does not answer.
const LOG_DELAY: Duration = Duration::from_secs(1);
/// Records that a stream may have unanswered.
pub(crate) const STREAM_WINDOW: u64 = 16_384;
/// Submissions that a stream may have unanswered.
const STREAM_SUBMISSIONS: usize = 64;

/// The verdict on every record of a submission. Indexes count from the submission's first record.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Ack {
    /// Number of records.
    pub(crate) count: u64,
    /// The refused ones, ascending.
    pub(crate) rejections: Vec<Rejection>,
    /// Ids made for accepted ones, ascending.
    pub(crate) assigned: Vec<AssignedRequestId>,
    /// Of the accepted ones, those that were acknowledged before and not written again.
    pub(crate) duplicates: u64,
}

/// The verdicts of one stream, given in any order, told in its order.
#[derive(Debug, Default)]
pub(crate) struct StreamAcks {
    /// Submissions that are not answered completely, the oldest first.
    slots: VecDeque<Slot>,
    /// Number of the first of `slots`.
    first_slot: u64,
    /// Records read and records told.
    read: u64,
    acked: u64,
    /// Of the records told, duplicates.
    duplicates: u64,
    draining: bool,
    /// Something has to be said even if no verdict is new.
    due: bool,
}

#[derive(Debug)]
enum Slot {
    /// No verdict yet.
    Open,
    Judged(Ack),
    /// `left` records, all refused for the same reason.
    AllRefused {
        left: u64,
        refusal: Refusal,
    },
}

// === impl Ack ===

impl Ack {
    /// Puts the log's answers, one for each of `batch.records`, beside its refusals.
    pub(crate) fn of(batch: &Batch, results: &[Produced]) -> Self {
        let mut ack = Self {
            count: batch.count as u64,
            duplicates: batch.known.len() as u64,
            ..Self::default()
        };
        for refused in &batch.refused {
            ack.rejections.push(rejection(
                u64::from(refused.index),
                refused.request_id.clone(),
                &refused.refusal,
            ));
        }
        for known in batch.known.iter().filter(|known| known.assigned) {
            ack.assigned.push(AssignedRequestId {
                index: u64::from(known.index),
                request_id: known.request_id.clone(),
            });
        }
        for (place, record) in batch.records.iter().enumerate() {
            let index = u64::from(record.index);
            match (results.get(place), &record.assigned_id) {
                (Some(Ok(_)), None) => {}
                (Some(Ok(_)), Some(id)) => {
                    ack.assigned.push(AssignedRequestId {
                        index,
                        request_id: id.clone(),
                    });
                }
                (Some(Err(error)), _) => {
                    let id = request_id_of(batch.to_produce.value(place));
                    ack.rejections
                        .push(rejection(index, id, &refusal_of(error)));
                }
                (None, _) => {
                    let id = request_id_of(batch.to_produce.value(place));
                    ack.rejections.push(rejection(index, id, &no_answer()));
                }
            }
        }
        ack.rejections.sort_by_key(|rejection| rejection.index);
        ack.assigned.sort_by_key(|assigned| assigned.index);
        ack
    }

    /// Records that are durable.
    pub(crate) fn accepted(&self) -> u64 {
        self.count.saturating_sub(self.rejections.len() as u64)
    }
}

/// The request id of a record of ours, as it stands in the log.
pub(crate) fn request_id_of(value: &[u8]) -> String {
    RecordView::parse(value)
        .map(|view| view.request_id.to_owned())
        .unwrap_or_default()
}

/// What a client is told when the log did not take its record.
pub(crate) fn refusal_of(error: &ProduceError) -> Refusal {
    match error {
        ProduceError::TooLarge { bytes, limit } => too_large(*bytes, *limit),
        ProduceError::Unavailable { reason } => Refusal::retryable(
            ErrorReason::LogUnavailable,
            LOG_DELAY,
            format!(
                "the log did not acknowledge the record ({reason}); it may be in it or not: send \
                 it again under the same request id"
            ),
        ),
        ProduceError::Refused { reason } => Refusal::permanent(
            ErrorReason::Internal,
            format!("the log refuses the record for good ({reason}); tell the gateway's operator"),
        ),
    }
}

/// A record for which the producer gave no answer at all, which it promises never to do.
fn no_answer() -> Refusal {
    refusal_of(&ProduceError::Unavailable {
        reason: "no answer for this record".into(),
    })
}

fn rejection(index: u64, request_id: String, refusal: &Refusal) -> Rejection {
    Rejection {
        index,
        request_id,
        reason: refusal.reason.into(),
        message: refusal.message.clone(),
        retry_delay: refusal.retry_delay.and_then(|delay| delay.try_into().ok()),
    }
}

// === impl StreamAcks ===

impl StreamAcks {
    /// Of a stream that has just begun: its first answer grants the first credits.
    pub(crate) fn new() -> Self {
        Self {
            due: true,
            ..Self::default()
        }
    }

    /// Whether more of the stream may be read.
    pub(crate) fn has_room(&self) -> bool {
        self.slots.len() < STREAM_SUBMISSIONS && self.read - self.acked < STREAM_WINDOW
    }

    /// A submission of `count` records was read. Returns the number under which its ack is given.
    pub(crate) fn open(&mut self, count: u64) -> u64 {
        self.push(count, Slot::Open)
    }

    /// A submission of `count` records was read, and all of them are refused.
    pub(crate) fn refuse_all(&mut self, count: u64, refusal: Refusal) {
        self.push(
            count,
            Slot::AllRefused {
                left: count,
                refusal,
            },
        );
    }

    /// The submission `slot` has its verdict.
    pub(crate) fn close(&mut self, slot: u64, ack: Ack) {
        let place = slot
            .checked_sub(self.first_slot)
            .and_then(|at| usize::try_from(at).ok());
        if let Some(open) = place.and_then(|at| self.slots.get_mut(at)) {
            *open = Slot::Judged(ack);
        }
    }

    /// From now on every answer says that the stream is about to end.
    pub(crate) fn drain(&mut self) {
        self.draining = true;
        self.due = true;
    }

    /// Whether there is something to tell.
    pub(crate) fn has_answer(&self) -> bool {
        self.due || !matches!(self.slots.front(), None | Some(Slot::Open))
    }

    /// The next answer: all verdicts that are known in the order of the stream, until it names
    /// [`MAX_BATCH_RECORDS`] records; then there is another one.
    pub(crate) fn next_answer(&mut self) -> Option<SyncDataStreamResponse> {
        if !self.has_answer() {
            return None;
        }
        self.due = false;
        let mut answer = SyncDataStreamResponse::default();
        while answer.rejections.len() + answer.assigned_request_ids.len() < MAX_BATCH_RECORDS {
            match self.slots.pop_front() {
                None => break,
                Some(Slot::Open) => {
                    self.slots.push_front(Slot::Open);
                    break;
                }
                Some(Slot::Judged(ack)) => {
                    self.first_slot += 1;
                    self.tell(ack, &mut answer);
                }
                Some(Slot::AllRefused { left, refusal }) => {
                    self.first_slot += 1;
                    self.tell_refused(left, refusal, &mut answer);
                }
            }
        }
        answer.acked_count = self.acked;
        answer.duplicate_count = self.duplicates;
        answer.credit_count = self.acked + STREAM_WINDOW;
        answer.draining = self.draining;
        Some(answer)
    }

    fn push(&mut self, count: u64, slot: Slot) -> u64 {
        self.read += count;
        // Also a batch without records gets an answer.
        self.due |= count == 0;
        self.slots.push_back(slot);
        self.first_slot + self.slots.len() as u64 - 1
    }

    fn tell(&mut self, ack: Ack, answer: &mut SyncDataStreamResponse) {
        let first = self.acked;
        answer
            .rejections
            .extend(ack.rejections.into_iter().map(|mut rejection| {
                rejection.index += first;
                rejection
            }));
        answer
            .assigned_request_ids
            .extend(ack.assigned.into_iter().map(|mut assigned| {
                assigned.index += first;
                assigned
            }));
        self.acked += ack.count;
        self.duplicates += ack.duplicates;
    }

    /// Refuses as many of `left` records as the answer has room for, and keeps the rest.
    fn tell_refused(&mut self, left: u64, refusal: Refusal, answer: &mut SyncDataStreamResponse) {
        let named = answer.rejections.len() + answer.assigned_request_ids.len();
        let now = left.min(MAX_BATCH_RECORDS.saturating_sub(named) as u64);
        for index in self.acked..self.acked + now {
            answer
                .rejections
                .push(rejection(index, String::new(), &refusal));
        }
        self.acked += now;
        if now < left {
            self.first_slot -= 1;
            self.slots.push_front(Slot::AllRefused {
                left: left - now,
                refusal,
            });
        }
    }
}

#[cfg(test)]
mod tests;
