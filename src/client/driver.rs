//! The task of one stream: connects, sends batches, takes answers, and connects again.
//!
//! In: encoded records from the sender. Out: verdicts. Promises: it sends no more than the
//! gateway's credits allow; after a lost connection it sends everything without a verdict again;
//! a gateway that drains gets nothing more, and the next connection is made as soon as what went
//! there has its verdict, not before, since what is new would overtake it and keys lose their order;
//! it ends when all records of a finished stream have their verdict, when nobody listens to
//! verdicts any more, when the gateway refuses the stream for good, or when nothing got a verdict
//! for as long as the settings allow.

use super::backoff::{Backoff, spread};
use super::connection::{Connection, DRAIN, Loss};
use super::outbox::Outbox;
use super::pool::Pool;
use super::stream::Shared;
use super::unacked::{Answered, Unacked};
use super::{ClientError, ClientMetrics, ClientSettings, TraceContext, Verdict};
use crate::v1::SyncDataStreamResponse;
use crate::wire::SyncDataStreamRequest;
use bytes::Bytes;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tonic::Status;

/// Sends the records of one stream.
pub(super) struct Driver {
    settings: Arc<ClientSettings>,
    pool: Arc<Pool>,
    /// The trace of whoever opened the stream.
    trace: Option<TraceContext>,
    incoming: mpsc::Receiver<(u64, Bytes)>,
    /// The sender is gone: nothing more comes.
    finished: bool,
    outbox: Outbox,
    shared: Shared,
    unacked: Unacked,
    /// When records that were refused for now go again.
    retry_at: Option<Instant>,
    last_progress: Instant,
}

/// Why there is nothing more to do on a connection.
enum Over {
    /// Every record has its verdict.
    Done,
    /// Nobody wants to know of verdicts.
    Unheard,
    Lost(Loss),
}

enum Step {
    Incoming(Option<(u64, Bytes)>),
    Answer(Result<Option<SyncDataStreamResponse>, Status>),
    /// The connection takes another batch.
    Room,
    Retry,
    /// A verdict was delivered, or nobody listens.
    Delivered(bool),
    DrainedTooLong,
    GiveUp,
}

// === impl Driver ===

impl Driver {
    pub(super) fn new(
        settings: Arc<ClientSettings>,
        pool: Arc<Pool>,
        incoming: mpsc::Receiver<(u64, Bytes)>,
        outbox: Outbox,
        shared: Shared,
    ) -> Self {
        Self {
            trace: settings.trace_context(),
            settings,
            pool,
            incoming,
            finished: false,
            outbox,
            shared,
            unacked: Unacked::default(),
            retry_at: None,
            last_progress: Instant::now(),
        }
    }

    pub(super) async fn run(mut self) {
        let last = self.run_to_the_end().await;
        self.outbox.end(last).await;
        self.shared.counters.ended.store(true, Ordering::Relaxed);
    }

    /// Returns the error with which the stream ends, if it does not end well.
    async fn run_to_the_end(&mut self) -> Option<ClientError> {
        let mut backoff = Backoff::new(self.settings.backoff_start, self.settings.backoff_limit);
        while self.has_work().await {
            let before = self.last_progress;
            let loss = match self.attempt().await {
                Over::Done | Over::Unheard => return None,
                Over::Lost(loss) => loss,
            };
            self.unacked.disconnected();
            self.retry_at = None;
            if let Some(status) = loss.refusal() {
                return Some(ClientError::Refused(Box::new(status.clone())));
            }
            if self.last_progress > before {
                backoff.reset();
            }
            let wait = backoff.next_after(loss.pushback(), rand::random());
            if !self.pause(wait).await {
                return None;
            }
            if self.is_too_late() {
                return Some(self.gave_up(&loss));
            }
        }
        None
    }

    /// Waits for a first record; a stream without one needs no connection.
    async fn has_work(&mut self) -> bool {
        while self.unacked.len() == 0 && !self.finished {
            tokio::select! {
                next = self.incoming.recv() => self.take(next),
                listens = self.outbox.deliver() => if !listens { return false },
            }
        }
        self.unacked.len() > 0
    }

    /// One connection, from its opening to its end.
    async fn attempt(&mut self) -> Over {
        let connection = match self.connect().await {
            Ok(connection) => connection,
            Err(over) => return over,
        };
        let over = self.converse(connection).await;
        let reason = match &over {
            Over::Done | Over::Unheard => "the stream is at its end".to_owned(),
            Over::Lost(loss) => loss.describe(),
        };
        tracing::debug!(%reason, "stream over");
        self.tell(|metrics| metrics.disconnected(&reason));
        over
    }

    async fn connect(&mut self) -> Result<Connection, Over> {
        // However late it is: what the attempt itself fails of is worth knowing.
        let least = Instant::now() + self.settings.connect_timeout;
        let deadline = least.max(self.last_progress + self.settings.give_up_after);
        let mut opening = pin!(Connection::open(&self.pool, self.trace.as_ref(), deadline));
        let opened = loop {
            tokio::select! {
                opened = &mut opening => break opened,
                listens = self.outbox.deliver() => if !listens { return Err(Over::Unheard) },
            }
        };
        match opened {
            Ok(connection) => {
                let counters = &self.shared.counters;
                counters.connections.fetch_add(1, Ordering::Relaxed);
                self.tell(|metrics| metrics.connected());
                Ok(connection)
            }
            Err(loss) => {
                let reason = loss.describe();
                tracing::debug!(%reason, "stream not opened");
                self.tell(|metrics| metrics.not_connected(&reason));
                Err(Over::Lost(loss))
            }
        }
    }

    /// Waits before the next attempt, but not beyond the time to give up; `false`: nobody listens.
    async fn pause(&mut self, wait: Duration) -> bool {
        let mut until = Instant::now() + wait;
        if self.unacked.len() > 0 {
            until = until.min(self.last_progress + self.settings.give_up_after);
        }
        loop {
            tokio::select! {
                () = sleep_until(until) => return true,
                listens = self.outbox.deliver() => if !listens { return false },
            }
        }
    }

    /// A stream without anything under way may be silent for ever.
    fn is_too_late(&self) -> bool {
        let silent = self.last_progress.elapsed();
        silent >= self.settings.give_up_after && self.unacked.len() > 0
    }

    fn gave_up(&self, loss: &Loss) -> ClientError {
        ClientError::GaveUp {
            endpoint: self.settings.endpoint.clone(),
            after: self.settings.give_up_after,
            last: loss.describe(),
            unacknowledged: self.unacked.len() + self.incoming.len(),
        }
    }

    async fn converse(&mut self, mut connection: Connection) -> Over {
        loop {
            if self.finished && self.unacked.len() == 0 {
                connection.end().await;
                return Over::Done;
            }
            if connection.draining_until.is_some() && self.unacked.in_flight() == 0 {
                connection.end().await;
                return Over::Lost(Loss::seen("the gateway drains"));
            }
            let lost = match self.step(&mut connection).await {
                Step::Incoming(next) => {
                    self.take(next);
                    self.fill().await;
                    None
                }
                Step::Room => self.send_batch(&connection).err(),
                Step::Answer(Ok(Some(answer))) => self.answered(answer, &mut connection).err(),
                Step::Answer(Ok(None)) => Some(Loss::seen("the gateway ended the stream")),
                Step::Answer(Err(status)) => Some(Loss::Status(status)),
                Step::Retry => self.retry().err(),
                Step::Delivered(true) => None,
                Step::Delivered(false) => return Over::Unheard,
                Step::DrainedTooLong => Some(Loss::seen("the gateway is still draining")),
                Step::GiveUp => Some(Loss::seen("the stream is open, but silent")),
            };
            if let Some(loss) = lost {
                return Over::Lost(loss);
            }
        }
    }

    /// Waits for the next thing to do. Every branch is cancel-safe.
    async fn step(&mut self, connection: &mut Connection) -> Step {
        let drained_at = connection.draining_until;
        // What was refused for now goes before what is new, or keys would lose their order.
        let can_send = self.unacked.waiting() > 0
            && self.unacked.credit_left() > 0
            && drained_at.is_none()
            && self.retry_at.is_none();
        // More than one batch ahead brings nothing; the window bounds what waits.
        let wants_more = !self.finished && self.unacked.waiting() < self.settings.batch_records;
        let has_room = !self.outbox.is_full();
        let now = Instant::now();
        if !has_room {
            // The silence is not the gateway's.
            self.last_progress = now;
        }
        let give_up_at = self.last_progress + self.settings.give_up_after;
        tokio::select! {
            biased;
            answer = connection.answers.message(), if has_room => Step::Answer(answer),
            listens = self.outbox.deliver() => Step::Delivered(listens),
            () = sleep_until(self.retry_at.unwrap_or(now)), if self.retry_at.is_some() => Step::Retry,
            next = self.incoming.recv(), if wants_more => Step::Incoming(next),
            permit = connection.batches.reserve(), if can_send => {
                drop(permit);
                Step::Room
            }
            () = sleep_until(drained_at.unwrap_or(now)), if drained_at.is_some() => {
                Step::DrainedTooLong
            }
            () = sleep_until(give_up_at), if self.unacked.len() > 0 => Step::GiveUp,
        }
    }

    /// Takes what else has come, waiting for it no longer than the linger.
    async fn fill(&mut self) {
        let deadline = Instant::now() + self.settings.linger;
        let (records, bytes) = (self.settings.batch_records, self.settings.batch_bytes);
        while !self.finished && !self.unacked.fills(records, bytes) {
            tokio::select! {
                biased;
                next = self.incoming.recv() => self.take(next),
                () = sleep_until(deadline) => return,
            }
        }
    }

    fn take(&mut self, next: Option<(u64, Bytes)>) {
        match next {
            Some((sequence, encoded)) => {
                if self.unacked.len() == 0 {
                    self.last_progress = Instant::now();
                }
                self.unacked.push(sequence, encoded);
            }
            None => self.finished = true,
        }
    }

    fn send_batch(&mut self, connection: &Connection) -> Result<(), Loss> {
        let before = self.unacked.resent;
        let settings = &self.settings;
        let now = Instant::now();
        let records = self
            .unacked
            .next_batch(settings.batch_records, settings.batch_bytes, now);
        let resent = self.unacked.resent;
        self.shared.counters.resent.store(resent, Ordering::Relaxed);
        self.tell(|metrics| {
            let bytes = records.iter().map(Bytes::len).sum();
            let again = usize::try_from(resent - before).unwrap_or(usize::MAX);
            metrics.sent(records.len(), bytes, again);
            metrics.unacknowledged(self.unacked.len());
        });
        let sent = connection
            .batches
            .try_send(SyncDataStreamRequest { records });
        sent.map_err(|_| Loss::seen("the connection takes nothing more"))
    }

    /// The wait is over, for all that were refused for now.
    fn retry(&mut self) -> Result<(), Loss> {
        self.retry_at = None;
        let since = self.unacked.refused_since();
        self.unacked.retry_now();
        match since {
            Some(since) if since.elapsed() >= self.settings.give_up_after => {
                // Others may have got their verdict meanwhile: it is this one that is too late.
                self.last_progress = since;
                Err(Loss::seen("a record is refused for now, again and again"))
            }
            _ => Ok(()),
        }
    }

    fn answered(
        &mut self,
        answer: SyncDataStreamResponse,
        connection: &mut Connection,
    ) -> Result<(), Loss> {
        let answered = self.unacked.answer(answer);
        let answered = answered.map_err(|broken| Loss::Seen(broken.to_string()))?;
        let now = Instant::now();
        if !answered.verdicts.is_empty() {
            self.last_progress = now;
        }
        if let Some(delay) = answered.retry {
            let at = now + spread(delay, rand::random());
            self.retry_at = Some(self.retry_at.map_or(at, |before| before.max(at)));
        }
        if answered.draining && connection.draining_until.is_none() {
            connection.draining_until = Some(now + DRAIN);
        }
        self.count(&answered);
        for bytes in &answered.settled {
            self.shared.window.give_back(*bytes);
        }
        for verdict in answered.verdicts {
            self.outbox.push(verdict);
        }
        Ok(())
    }

    fn count(&self, answered: &Answered) {
        let counters = &self.shared.counters;
        let mut acked = 0;
        for verdict in &answered.verdicts {
            match verdict {
                Verdict::Acked(range) => acked += range.end - range.start,
                Verdict::Rejected { rejection, .. } => {
                    counters.rejected.fetch_add(1, Ordering::Relaxed);
                    self.tell(|metrics| metrics.rejected(rejection));
                }
            }
        }
        counters.acked.fetch_add(acked, Ordering::Relaxed);
        let duplicates = self.unacked.duplicates;
        counters.duplicates.store(duplicates, Ordering::Relaxed);
        self.tell(|metrics| {
            let age = answered.oldest.map(|sent| sent.elapsed());
            if let (1.., Some(age)) = (acked, age) {
                metrics.acked(acked, age);
            }
            metrics.unacknowledged(self.unacked.len());
        });
    }

    fn tell(&self, what: impl FnOnce(&dyn ClientMetrics)) {
        if let Some(metrics) = &self.settings.metrics {
            what(metrics.as_ref());
        }
    }
}
