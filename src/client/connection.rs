//! The task of one stream: connects, sends batches, takes answers, and connects again.
//!
//! In: encoded records from the sender. Out: verdicts. Promises: it sends no more than the
//! gateway's credits allow; after a lost connection it sends everything without a verdict again;
//! it ends when all records of a finished stream have their verdict, when nobody listens to
//! verdicts any more, or when nothing got one for as long as the settings allow.

use super::backoff::Backoff;
use super::stream::{Counters, Window};
use super::unacked::{Answered, Unacked};
use super::{ClientError, ClientSettings, Verdict};
use crate::limits::MAX_MESSAGE_BYTES;
use crate::v1::SyncDataStreamResponse;
use crate::v1::data_sync_service_client::DataSyncServiceClient;
use crate::wire::SyncDataStreamRequest;
use bytes::Bytes;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Endpoint;

/// Batches handed to the connection and not yet on the wire.
const BATCHES_AHEAD: usize = 4;
/// Leaves room for what a message adds to its records.
const BATCH_BYTES: usize = MAX_MESSAGE_BYTES - 64 * 1024;

pub(super) struct Driver {
    settings: ClientSettings,
    endpoint: Endpoint,
    incoming: mpsc::Receiver<(u64, Bytes)>,
    /// The sender is gone: nothing more comes.
    finished: bool,
    outgoing: mpsc::Sender<Result<Verdict, ClientError>>,
    window: Arc<Window>,
    counters: Arc<Counters>,
    unacked: Unacked,
    /// When records that were refused for now go again.
    retry_at: Option<Instant>,
    last_progress: Instant,
}

/// One open call.
struct Connection {
    batches: mpsc::Sender<SyncDataStreamRequest>,
    answers: Streaming<SyncDataStreamResponse>,
    /// The gateway is about to stop: nothing more is sent here.
    draining: bool,
}

/// Why a connection is over.
enum Over {
    /// Every record has its verdict, or nobody wants to know.
    Done,
    Lost(String),
}

enum Step {
    Incoming(Option<(u64, Bytes)>),
    Answer(Result<Option<SyncDataStreamResponse>, tonic::Status>),
    Room,
    Retry,
    GiveUp,
}

impl Driver {
    pub(super) fn new(
        settings: ClientSettings,
        endpoint: Endpoint,
        incoming: mpsc::Receiver<(u64, Bytes)>,
        outgoing: mpsc::Sender<Result<Verdict, ClientError>>,
        window: Arc<Window>,
        counters: Arc<Counters>,
    ) -> Self {
        Self {
            settings,
            endpoint,
            incoming,
            finished: false,
            outgoing,
            window,
            counters,
            unacked: Unacked::default(),
            retry_at: None,
            last_progress: Instant::now(),
        }
    }

    pub(super) async fn run(mut self) {
        let mut backoff = Backoff::new(self.settings.backoff_start, self.settings.backoff_limit);
        while self.has_work().await {
            let before = self.last_progress;
            let reason = match self.connect().await {
                Ok(connection) => match self.converse(connection).await {
                    Over::Done => break,
                    Over::Lost(reason) => reason,
                },
                Err(reason) => reason,
            };
            tracing::debug!(%reason, "connection lost");
            self.unacked.disconnected();
            self.retry_at = None;
            if self.last_progress.elapsed() >= self.settings.give_up_after {
                self.give_up(reason).await;
                break;
            }
            if self.last_progress > before {
                backoff.reset();
            }
            sleep(backoff.next(rand::random())).await;
        }
        self.window.close();
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

    async fn connect(&self) -> Result<Connection, String> {
        let channel = self
            .endpoint
            .connect()
            .await
            .map_err(|error| describe(&error))?;
        let (batches, outgoing) = mpsc::channel(BATCHES_AHEAD);
        let mut client = DataSyncServiceClient::new(channel);
        let call = client.sync_data_stream(ReceiverStream::new(outgoing)).await;
        let answers = call.map_err(|status| describe(&status))?.into_inner();
        self.counters.connections.fetch_add(1, Ordering::Relaxed);
        Ok(Connection {
            batches,
            answers,
            draining: false,
        })
    }

    async fn converse(&mut self, mut connection: Connection) -> Over {
        loop {
            if self.finished && self.unacked.len() == 0 {
                return Over::Done;
            }
            match self.step(&mut connection).await {
                Step::Incoming(next) => {
                    self.take(next);
                    self.fill().await;
                }
                Step::Room => {
                    if let Err(reason) = self.send_batch(&connection) {
                        return Over::Lost(reason);
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
                    return Over::Lost(format!("the stream is open, but silent for {after:?}"));
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

    fn send_batch(&mut self, connection: &Connection) -> Result<(), String> {
        let records = self
            .unacked
            .next_batch(self.settings.batch_records, BATCH_BYTES);
        self.counters
            .resent
            .store(self.unacked.resent, Ordering::Relaxed);
        let sent = connection
            .batches
            .try_send(SyncDataStreamRequest { records });
        sent.map_err(|_| "the connection takes nothing more".to_owned())
    }

    async fn answered(
        &mut self,
        answer: Result<Option<SyncDataStreamResponse>, tonic::Status>,
        connection: &mut Connection,
    ) -> ControlFlow<Over> {
        let answer = match answer {
            Ok(Some(answer)) => answer,
            Ok(None) => return lost("the gateway ended the stream"),
            Err(status) => return lost(&describe(&status)),
        };
        let answered = match self.unacked.answer(answer) {
            Ok(answered) => answered,
            Err(error) => return lost(&error.to_string()),
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
        ControlFlow::Continue(())
    }

    fn note(&mut self, answered: &Answered) {
        for verdict in &answered.verdicts {
            match verdict {
                Verdict::Acked(range) => self
                    .counters
                    .acked
                    .fetch_add(range.end - range.start, Ordering::Relaxed),
                Verdict::Rejected { .. } => self.counters.rejected.fetch_add(1, Ordering::Relaxed),
            };
            self.last_progress = Instant::now();
        }
        self.counters
            .duplicates
            .store(self.unacked.duplicates, Ordering::Relaxed);
        for bytes in &answered.settled {
            self.window.give_back(*bytes);
        }
    }

    async fn give_up(&self, last: String) {
        let error = ClientError::GaveUp {
            endpoint: self.settings.endpoint.clone(),
            after: self.settings.give_up_after,
            last,
            unacknowledged: self.unacked.len(),
        };
        if self.outgoing.send(Err(error)).await.is_err() {
            tracing::debug!("gave up with nobody listening");
        }
    }
}

fn lost(reason: &str) -> ControlFlow<Over> {
    ControlFlow::Break(Over::Lost(reason.to_owned()))
}

/// The error and what lies behind it, in one line.
fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}
