//! What has been given to a stream and has no verdict yet (pure, no I/O).
//!
//! In: records, answers of the gateway, losses of the connection. Out: what to send next, and
//! exactly one [`Verdict`] for each record. Promises: a record is dropped only with its verdict;
//! after a lost connection everything without one is sent again, in the order in which it was
//! given; a record that the gateway refused for now goes once more.

use super::error::LONGEST_PUSHBACK;
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
    /// Since when the gateway refuses it for now.
    refused_since: Option<Instant>,
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
pub(super) enum BrokenContract {
    #[error("the gateway acknowledged {acked} records of a stream that carried {sent}")]
    AckedTooMuch { acked: u64, sent: u64 },
    #[error("the gateway refused record {index}, which has its verdict, or was never sent")]
    RefusedNoneOfThese { index: u64 },
}

#[derive(Debug, Default)]
pub(super) struct Unacked {
    /// To be sent on this connection, in order.
    waiting: VecDeque<Pending>,
    /// Their encoded size.
    waiting_bytes: usize,
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
        self.waiting_bytes += encoded.len();
        self.waiting.push_back(Pending {
            sequence,
            encoded,
            sent_at: None,
            refused_since: None,
        });
    }

    /// Records without a verdict.
    pub(super) fn len(&self) -> usize {
        self.waiting.len() + self.in_flight.len() + self.retrying.len()
    }

    /// Records sent on this connection and not answered.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Whether what waits fills a batch.
    pub(super) fn fills(&self, most: usize, most_bytes: usize) -> bool {
        self.waiting.len() >= most || self.waiting_bytes >= most_bytes
    }

    /// Since when some record is refused for now, again and again.
    pub(super) fn refused_since(&self) -> Option<Instant> {
        self.retrying.iter().filter_map(|it| it.refused_since).min()
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
            self.waiting_bytes -= pending.encoded.len();
            self.resent += u64::from(pending.sent_at.replace(now).is_some());
            batch.push(pending.encoded.clone());
            self.in_flight.push_back(pending);
        }
        batch
    }

    pub(super) fn answer(
        &mut self,
        answer: SyncDataStreamResponse,
    ) -> Result<Answered, BrokenContract> {
        let sent = self.answered + self.in_flight.len() as u64;
        let acked = answer.acked_count;
        if acked > sent {
            return Err(BrokenContract::AckedTooMuch { acked, sent });
        }
        self.credit = self.credit.max(answer.credit_count);
        self.refuse(answer.rejections, sent)?;
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

    /// Keeps `rejections` until their records are answered, in the order of the stream.
    fn refuse(&mut self, rejections: Vec<Rejection>, sent: u64) -> Result<(), BrokenContract> {
        if rejections.is_empty() {
            return Ok(());
        }
        self.refused.extend(rejections);
        let refused = self.refused.make_contiguous();
        refused.sort_by_key(|rejection| rejection.index);
        let mut next = self.answered;
        for rejection in refused {
            let index = rejection.index;
            if index < next || index >= sent {
                return Err(BrokenContract::RefusedNoneOfThese { index });
            }
            next = index + 1;
        }
        Ok(())
    }

    fn settle(
        &mut self,
        mut pending: Pending,
        rejection: Option<Rejection>,
        answered: &mut Answered,
    ) {
        let sequence = pending.sequence;
        match rejection {
            Some(Rejection {
                retry_delay: Some(delay),
                ..
            }) => {
                let delay = Duration::try_from(delay).unwrap_or_default();
                let delay = delay.min(LONGEST_PUSHBACK);
                answered.retry = Some(answered.retry.unwrap_or_default().max(delay));
                pending.refused_since = pending.refused_since.or(pending.sent_at);
                self.retrying.push(pending);
            }
            Some(rejection) => {
                answered.settled.push(pending.encoded.len());
                let rejection = Box::new(rejection);
                answered.verdicts.push(Verdict::Rejected {
                    sequence,
                    rejection,
                });
            }
            None => {
                answered.settled.push(pending.encoded.len());
                match answered.verdicts.last_mut() {
                    Some(Verdict::Acked(range)) if range.end == sequence => range.end += 1,
                    _ => answered
                        .verdicts
                        .push(Verdict::Acked(sequence..sequence + 1)),
                }
            }
        }
    }

    /// The wait is over: what was refused for now goes again.
    pub(super) fn retry_now(&mut self) {
        let again = std::mem::take(&mut self.retrying);
        self.again(again);
    }

    /// The connection is gone, and with it every answer that was on its way.
    pub(super) fn disconnected(&mut self) {
        let mut again = std::mem::take(&mut self.retrying);
        again.extend(self.in_flight.drain(..));
        self.answered = 0;
        self.credit = 0;
        self.refused.clear();
        self.duplicates_on_connection = 0;
        self.again(again);
    }

    /// Puts records among those that wait, in the order in which they were given.
    fn again(&mut self, again: Vec<Pending>) {
        self.waiting_bytes += again.iter().map(|it| it.encoded.len()).sum::<usize>();
        self.waiting.extend(again);
        let waiting = self.waiting.make_contiguous();
        waiting.sort_by_key(|pending| pending.sequence);
    }
}

#[cfg(test)]
mod tests;
