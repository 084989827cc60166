//! The task of one stream: connects, sends batches, takes answers, and connects again.
//!
//! In: encoded records from the sender. Out: verdicts. Promises: it sends no more than the
//! gateway's credits allow; after a lost connection it sends everything without a verdict again;
//! it ends when all records of a finished stream have their verdict, when nobody listens to
//! verdicts any more, when the gateway refuses the stream for good, or when nothing got a verdict
//! for as long as the settings allow.

use super::backoff::Backoff;
use super::connection::{Connection, Loss};
use super::pool::Pool;
use super::stream::Shared;
use super::unacked::{Answered, Unacked};
use super::{ClientError, ClientMetrics, ClientSettings, TraceContext, Verdict};
use crate::v1::SyncDataStreamResponse;
use crate::wire::SyncDataStreamRequest;
use bytes::Bytes;
use std::ops::ControlFlow;
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
    outgoing: mpsc::Sender<Result<Verdict, ClientError>>,
    shared: Shared,
    unacked: Unacked,
    /// When records that were refused for now go again.
    retry_at: Option<Instant>,
    last_progress: Instant,
}

/// Why a connection is over.
enum Over {
    /// Every record has its verdict, or nobody wants to know.
    Done,
    Lost(Loss),
}

enum Step {
    Incoming(Option<(u64, Bytes)>),
    Answer(Result<Option<SyncDataStreamResponse>, Status>),
    Room,
    Retry,
    GiveUp,
}

// === impl Driver ===

impl Driver {
    pub(super) fn new(
        settings: Arc<ClientSettings>,
        pool: Arc<Pool>,
        incoming: mpsc::Receiver<(u64, Bytes)>,
        outgoing: mpsc::Sender<Result<Verdict, ClientError>>,
        shared: Shared,
    ) -> Self {
        Self {
            trace: settings.trace_context(),
            settings,
            pool,
            incoming,
            finished: false,
            outgoing,
            shared,
            unacked: Unacked::default(),
            retry_at: None,
            last_progress: Instant::now(),
        }
    }

    pub(super) async fn run(mut self) {
        let mut backoff = Backoff::new(self.settings.backoff_start, self.settings.backoff_limit);
        while self.has_work().await {
            let before = self.last_progress;
            let loss = match self.connect().await {
                Ok(connection) => match self.converse(connection).await {
                    Over::Done => break,
                    Over::Lost(loss) => loss,
                },
                Err(loss) => loss,
            };
            if self.last_progress > before {
                backoff.reset();
            }
            self.lost(&loss);
            if loss.refusal().is_none() {
                let wait = backoff.next(rand::random()).max(loss.pushback());
                self.pause(wait).await;
            }
            if let Some(error) = self.last_word(&loss) {
                if self.outgoing.send(Err(error)).await.is_err() {
                    tracing::debug!("gave up with nobody listening");
                }
                break;
            }
        }
        self.shared.window.close();
    }

    /// Waits for a first record; a stream without one needs no connection.
    async fn has_work(&mut self) -> bool {
        if self.unacked.len() == 0 && !self.finished {
            let next = self.incoming.recv().await;
            self.last_progress = Instant::now();
            self.take(next);
        }
        self.unacked.len() > 0
    }

    /// Opens a stream, unless nobody listens any more.
    async fn connect(&self) -> Result<Connection, Loss> {
        // However late it is: what the attempt itself fails of is worth knowing.
        let least = Instant::now() + self.settings.connect_timeout;
        let deadline = least.max(self.last_progress + self.settings.give_up_after);
        let connection = tokio::select! {
            opened = Connection::open(&self.pool, self.trace.as_ref(), deadline) => opened?,
            () = self.outgoing.closed() => return Err(Loss::Seen("nobody listens".to_owned())),
        };
        let counters = &self.shared.counters;
        counters.connections.fetch_add(1, Ordering::Relaxed);
        self.tell(|metrics| metrics.connected());
        Ok(connection)
    }

    /// Everything that was under way waits again.
    fn lost(&mut self, loss: &Loss) {
        let reason = loss.describe();
        tracing::debug!(%reason, "stream lost");
        self.tell(|metrics| metrics.disconnected(&reason));
        self.unacked.disconnected();
        self.retry_at = None;
    }

    /// The error with which the stream ends, if it is not to be opened again.
    fn last_word(&self, loss: &Loss) -> Option<ClientError> {
        if let Some(status) = loss.refusal() {
            return Some(ClientError::Refused(Box::new(status.clone())));
        }
        let late = self.last_progress.elapsed() >= self.settings.give_up_after;
        // A stream without anything under way may be silent for ever.
        (late && self.unacked.len() > 0).then(|| ClientError::GaveUp {
            endpoint: self.settings.endpoint.clone(),
            after: self.settings.give_up_after,
            last: loss.describe(),
            unacknowledged: self.unacked.len(),
        })
    }

    /// Waits before the next attempt, unless nobody listens any more or it would be too late.
    async fn pause(&self, wait: Duration) {
        let mut until = Instant::now() + wait;
        if self.unacked.len() > 0 {
            until = until.min(self.last_progress + self.settings.give_up_after);
        }
        tokio::select! {
            () = sleep_until(until) => {}
            () = self.outgoing.closed() => {}
        }
    }

    async fn converse(&mut self, mut connection: Connection) -> Over {
        loop {
            if self.finished && self.unacked.len() == 0 {
                connection.end().await;
                return Over::Done;
            }
            match self.step(&mut connection).await {
                Step::Incoming(next) => {
                    self.take(next);
                    self.fill().await;
                }
                Step::Room => {
                    if let Err(loss) = self.send_batch(&connection) {
                        return Over::Lost(loss);
                    }
                }
                Step::Answer(answer) => {
                    if let ControlFlow::Break(over) = self.answered(answer, &mut connection).await {
                        return over;
                    }
                }
                Step::Retry => {
                    self.retry_at = None;
                    self.unacked.retry_now();
                }
                Step::GiveUp => {
                    let after = self.settings.give_up_after;
                    let reason = format!("the stream is open, but silent for {after:?}");
                    return Over::Lost(Loss::Seen(reason));
                }
            }
        }
    }

    /// Waits for the next thing to do. Every branch is cancel-safe.
    async fn step(&mut self, connection: &mut Connection) -> Step {
        let can_send =
            self.unacked.waiting() > 0 && self.unacked.credit_left() > 0 && !connection.draining;
        // More than one batch ahead brings nothing; the window bounds what waits.
        let wants_more = !self.finished && self.unacked.waiting() < self.settings.batch_records;
        let now = Instant::now();
        let give_up_at = self.last_progress + self.settings.give_up_after;
        tokio::select! {
            biased;
            answer = connection.answers.message() => Step::Answer(answer),
            () = sleep_until(self.retry_at.unwrap_or(now)), if self.retry_at.is_some() => Step::Retry,
            next = self.incoming.recv(), if wants_more => Step::Incoming(next),
            permit = connection.batches.reserve(), if can_send => {
                drop(permit);
                Step::Room
            }
            () = sleep_until(give_up_at), if self.unacked.len() > 0 => Step::GiveUp,
        }
    }

    /// Takes what else has come, waiting for it no longer than the linger.
    async fn fill(&mut self) {
        let deadline = Instant::now() + self.settings.linger;
        while !self.finished && self.unacked.waiting() < self.settings.batch_records {
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
        let records =
            self.unacked
                .next_batch(settings.batch_records, settings.batch_bytes, Instant::now());
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
        sent.map_err(|_| Loss::Seen("the connection takes nothing more".to_owned()))
    }

    async fn answered(
        &mut self,
        answer: Result<Option<SyncDataStreamResponse>, Status>,
        connection: &mut Connection,
    ) -> ControlFlow<Over> {
        let seen = |reason: String| ControlFlow::Break(Over::Lost(Loss::Seen(reason)));
        let answer = match answer {
            Ok(Some(answer)) => answer,
            Ok(None) => return seen("the gateway ended the stream".to_owned()),
            Err(status) => return ControlFlow::Break(Over::Lost(Loss::Status(status))),
        };
        let answered = match self.unacked.answer(answer) {
            Ok(answered) => answered,
            Err(error) => return seen(error.to_string()),
        };
        self.note(&answered);
        if let Some(delay) = answered.retry {
            let at = Instant::now() + delay;
            self.retry_at = Some(self.retry_at.map_or(at, |before| before.max(at)));
        }
        connection.draining |= answered.draining;
        for verdict in answered.verdicts {
            if self.outgoing.send(Ok(verdict)).await.is_err() {
                return ControlFlow::Break(Over::Done);
            }
        }
        // Behind the verdicts: who flushed finds them all.
        let settled = answered.settled.len() as u64;
        if settled > 0 {
            self.shared.settled.send_modify(|count| *count += settled);
        }
        ControlFlow::Continue(())
    }

    fn note(&mut self, answered: &Answered) {
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
            self.last_progress = Instant::now();
        }
        counters.acked.fetch_add(acked, Ordering::Relaxed);
        counters
            .duplicates
            .store(self.unacked.duplicates, Ordering::Relaxed);
        for bytes in &answered.settled {
            self.shared.window.give_back(*bytes);
        }
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
