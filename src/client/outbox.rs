//! Verdicts that their reader has not taken yet.
//!
//! In: verdicts, as they fall. Out: the same, in their order, neighbours joined. Promises: a reader
//! who is slow, or asleep, does not hold up the stream: acknowledgements in a row are one verdict.
//! What does not join is bounded: when [`Outbox::is_full`], no answer is to be read.

use super::{ClientError, Verdict};
use std::collections::VecDeque;
use tokio::sync::{mpsc, watch};

/// Most verdicts that wait for their reader, behind those of the channel.
const MOST: usize = 1_024;

pub(super) struct Outbox {
    to: mpsc::Sender<Result<Verdict, ClientError>>,
    waiting: VecDeque<Verdict>,
    /// Records whose verdict the reader can take.
    told: watch::Sender<u64>,
}

// === impl Outbox ===

impl Outbox {
    pub(super) fn new(
        to: mpsc::Sender<Result<Verdict, ClientError>>,
        told: watch::Sender<u64>,
    ) -> Self {
        Self {
            to,
            waiting: VecDeque::new(),
            told,
        }
    }

    pub(super) fn push(&mut self, verdict: Verdict) {
        if let (Some(Verdict::Acked(last)), Verdict::Acked(range)) =
            (self.waiting.back_mut(), &verdict)
            && last.end == range.start
        {
            last.end = range.end;
            return;
        }
        self.waiting.push_back(verdict);
    }

    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() >= MOST
    }

    /// Delivers one verdict, or waits for as long as there is none; `false`: nobody listens any
    /// more. Cancel-safe.
    pub(super) async fn deliver(&mut self) -> bool {
        if self.waiting.is_empty() {
            self.to.closed().await;
            return false;
        }
        let Ok(room) = self.to.reserve().await else {
            return false;
        };
        if let Some(verdict) = self.waiting.pop_front() {
            let records = match &verdict {
                Verdict::Acked(range) => range.end - range.start,
                Verdict::Rejected { .. } => 1,
            };
            room.send(Ok(verdict));
            // Behind the verdict: who flushed finds it.
            self.told.send_modify(|told| *told += records);
        }
        true
    }

    /// Delivers everything, and the last word behind it.
    pub(super) async fn end(&mut self, last: Option<ClientError>) {
        while !self.waiting.is_empty() && self.deliver().await {}
        if let Some(error) = last
            && self.to.send(Err(error)).await.is_err()
        {
            tracing::debug!("a stream ended with nobody listening");
        }
    }
}
