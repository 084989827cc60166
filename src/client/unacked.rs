//! What has been given to a stream and has no verdict yet (pure, no I/O).
//!
//! In: records, answers of the gateway, losses of the connection. Out: what to send next, and
//! exactly one [`Verdict`] for each record. Promises: a record is dropped only with its verdict;
//! after a lost connection everything without one is sent again, in the old order, in front of
//! what is new; a record that the gateway refused for now goes once more.

use crate::v1::{Rejection, SyncDataStreamResponse};
use bytes::Bytes;
use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;
use tokio::time::Instant;

/// What became of records. Sequence numbers count the records of a stream from 0 in the order of
/// [`RecordSender::send`](super::RecordSender::send).
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// These are durable in the log.
    Acked(Range<u64>),
    /// This one was refused and will never be accepted as it is.
    Rejected {
        /// Which record.
        sequence: u64,
        /// Why.
        rejection: Box<Rejection>,
    },
}

/// A record on its way.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub(super) sequence: u64,
    /// Encoded once; every attempt sends the same bytes.
    pub(super) encoded: Bytes,
    /// When it went on the wire, the last time.
    pub(super) sent_at: Option<Instant>,
}

/// What an answer meant.
#[derive(Debug, Default)]
pub(super) struct Answered {
    pub(super) verdicts: Vec<Verdict>,
    /// Encoded bytes of each record that got its verdict: room in the window again.
    pub(super) settled: Vec<usize>,
    /// Records that the gateway refused for now, and the longest wait it asks for.
    pub(super) retry: Option<Duration>,
    pub(super) draining: bool,
    /// When the first of the records with a verdict went on the wire.
    pub(super) oldest: Option<Instant>,
}

/// The gateway broke the contract.
#[derive(Debug, thiserror::Error)]
#[error("the gateway acknowledged {acked} records of a stream that carried {sent}")]
pub(super) struct AckedTooMuch {
    acked: u64,
    sent: u64,
}

#[derive(Debug, Default)]
pub(super) struct Unacked {
    /// To be sent on this connection, in order.
    waiting: VecDeque<Pending>,
    /// Sent on this connection, in order; the first has the stream's index `answered`.
    in_flight: VecDeque<Pending>,
    answered: u64,
    credit: u64,
    /// Refused records whose index `answered` has not passed yet.
    refused: VecDeque<Rejection>,
    /// Refused for now; sent again when the wait is over.
    retrying: Vec<Pending>,
    duplicates_on_connection: u64,
    pub(super) duplicates: u64,
    pub(super) resent: u64,
}

impl Unacked {
    pub(super) fn push(&mut self, sequence: u64, encoded: Bytes) {
        self.waiting.push_back(Pending {
            sequence,
            encoded,
            sent_at: None,
        });
    }

    /// Records without a verdict.
    pub(super) fn len(&self) -> usize {
        self.waiting.len() + self.in_flight.len() + self.retrying.len()
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// How many records the gateway would still take on this connection.
    pub(super) fn credit_left(&self) -> usize {
        let sent = self.answered + self.in_flight.len() as u64;
        usize::try_from(self.credit.saturating_sub(sent)).unwrap_or(usize::MAX)
    }

    /// The next batch: as much as waits, as the credit allows, and as one message holds.
    pub(super) fn next_batch(
        &mut self,
        most: usize,
        most_bytes: usize,
        now: Instant,
    ) -> Vec<Bytes> {
        let most = most.min(self.credit_left()).min(self.waiting.len());
        let mut batch = Vec::with_capacity(most);
        let mut bytes = 0;
        while batch.len() < most {
            let Some(next) = self.waiting.front() else {
                break;
            };
            // Tag and length of each record in the message.
            bytes += next.encoded.len() + 6;
            if bytes > most_bytes && !batch.is_empty() {
                break;
            }
            let Some(mut pending) = self.waiting.pop_front() else {
                break;
            };
            self.resent += u64::from(pending.sent_at.replace(now).is_some());
            batch.push(pending.encoded.clone());
            self.in_flight.push_back(pending);
        }
        batch
    }

    pub(super) fn answer(
        &mut self,
        answer: SyncDataStreamResponse,
    ) -> Result<Answered, AckedTooMuch> {
        let sent = self.answered + self.in_flight.len() as u64;
        if answer.acked_count > sent {
            return Err(AckedTooMuch {
                acked: answer.acked_count,
                sent,
            });
        }
        self.credit = self.credit.max(answer.credit_count);
        self.refused.extend(answer.rejections);
        self.refused
            .make_contiguous()
            .sort_by_key(|rejection| rejection.index);
        let duplicates = answer.duplicate_count.max(self.duplicates_on_connection);
        self.duplicates += duplicates - self.duplicates_on_connection;
        self.duplicates_on_connection = duplicates;
        let mut answered = Answered {
            draining: answer.draining,
            ..Answered::default()
        };
        while self.answered < answer.acked_count {
            let Some(pending) = self.in_flight.pop_front() else {
                break;
            };
            let refused = self
                .refused
                .front()
                .is_some_and(|first| first.index == self.answered);
            let rejection = if refused {
                self.refused.pop_front()
            } else {
                None
            };
            self.answered += 1;
            answered.oldest = answered.oldest.or(pending.sent_at);
            self.settle(pending, rejection, &mut answered);
        }
        Ok(answered)
    }

    fn settle(&mut self, pending: Pending, rejection: Option<Rejection>, answered: &mut Answered) {
        let Pending {
            sequence,
            ref encoded,
            ..
        } = pending;
        match rejection {
            Some(Rejection {
                retry_delay: Some(delay),
                ..
            }) => {
                let delay = Duration::try_from(delay).unwrap_or_default();
                answered.retry = Some(answered.retry.unwrap_or_default().max(delay));
                self.retrying.push(pending);
            }
            Some(rejection) => {
                answered.settled.push(encoded.len());
                let rejection = Box::new(rejection);
                answered.verdicts.push(Verdict::Rejected {
                    sequence,
                    rejection,
                });
            }
            None => {
                answered.settled.push(encoded.len());
                match answered.verdicts.last_mut() {
                    Some(Verdict::Acked(range)) if range.end == sequence => range.end += 1,
                    _ => answered
                        .verdicts
                        .push(Verdict::Acked(sequence..sequence + 1)),
                }
            }
        }
    }

    /// The wait is over: what was refused for now goes in front again.
    pub(super) fn retry_now(&mut self) {
        let mut again: VecDeque<_> = self.retrying.drain(..).collect();
        again.append(&mut self.waiting);
        self.waiting = again;
    }

    /// The connection is gone, and with it every answer that was on its way.
    pub(super) fn disconnected(&mut self) {
        let mut again = std::mem::take(&mut self.in_flight);
        again.append(&mut self.waiting);
        self.waiting = again;
        self.answered = 0;
        self.credit = 0;
        self.refused.clear();
        self.duplicates_on_connection = 0;
        self.retry_now();
    }
}

#[cfg(test)]
mod tests;
