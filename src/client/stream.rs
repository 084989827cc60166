//! A stream of records, as its user sees it: a sender, and the verdicts.
//!
//! In: records through [`RecordSender`], as fast as the window allows. Out: [`Verdicts`]. Between
//! them one task, in `connection.rs`, which ends when every record has its verdict or when it
//! gives up.

use super::{ClientError, ClientSettings, Verdict, connection};
use crate::limits::MAX_RECORD_BYTES;
use crate::v1::SyncRecord;
use bytes::Bytes;
use prost::Message;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{Semaphore, mpsc};
use tonic::transport::Endpoint;
use uuid::Uuid;

/// Takes the records of one stream. Dropping it is the same as [`RecordSender::finish`].
#[derive(Debug)]
pub struct RecordSender {
    records: mpsc::Sender<(u64, Bytes)>,
    window: Arc<Window>,
    counters: Arc<Counters>,
    next_sequence: u64,
}

/// Gives the verdicts of one stream, in the order in which they fall.
#[derive(Debug)]
pub struct Verdicts {
    verdicts: mpsc::Receiver<Result<Verdict, ClientError>>,
    counters: Arc<Counters>,
}

/// What a stream has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamStats {
    /// Records that are durable.
    pub acked: u64,
    /// Records refused for good.
    pub rejected: u64,
    /// Records sent once more, after a lost connection or because the gateway asked for it.
    pub resent: u64,
    /// Of the acked ones, duplicates at the gateway.
    pub duplicates: u64,
    /// Connections opened.
    pub connections: u64,
}

/// The counters behind [`StreamStats`].
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) acked: AtomicU64,
    pub(super) rejected: AtomicU64,
    pub(super) resent: AtomicU64,
    pub(super) duplicates: AtomicU64,
    pub(super) connections: AtomicU64,
}

/// Room for records without a verdict: bounded in records and in bytes by one count of bytes, in
/// which a record weighs at least its share of the window.
#[derive(Debug)]
pub(super) struct Window {
    room: Semaphore,
    size: u32,
    least: u32,
}

/// Opens a stream on `endpoint`.
pub(super) fn open(settings: ClientSettings, endpoint: Endpoint) -> (RecordSender, Verdicts) {
    let window = Arc::new(Window::new(settings.window_records, settings.window_bytes));
    let counters = Arc::new(Counters::default());
    let (records, incoming) = mpsc::channel(settings.window_records.max(1));
    let (outgoing, verdicts) = mpsc::channel(64);
    let driver = connection::Driver::new(
        settings,
        endpoint,
        incoming,
        outgoing,
        Arc::clone(&window),
        Arc::clone(&counters),
    );
    #[expect(
        clippy::disallowed_methods,
        reason = "the client has no shutdown of its own: the task ends with its two halves"
    )]
    drop(tokio::spawn(driver.run()));
    let sender = RecordSender {
        records,
        window,
        counters: Arc::clone(&counters),
        next_sequence: 0,
    };
    (sender, Verdicts { verdicts, counters })
}

// === impl RecordSender ===

impl RecordSender {
    /// Gives `record` to the stream, waiting while the window is full. A record without a request
    /// id gets a UUIDv7 here, before its first attempt. Returns its sequence number, from 0.
    ///
    /// Cancel-safe: a record whose `send` was dropped before it returned was not given.
    ///
    /// # Errors
    /// [`ClientError::RecordTooLarge`]; [`ClientError::Ended`] once the stream gave up.
    pub async fn send(&mut self, mut record: SyncRecord) -> Result<u64, ClientError> {
        if record.request_id.is_empty() {
            record.request_id = Uuid::now_v7().to_string();
        }
        self.send_encoded(record.encode_to_vec().into()).await
    }

    /// Gives an encoded `SyncRecord` to the stream; see [`RecordSender::send`]. It must have a
    /// request id, or every attempt is another record.
    ///
    /// # Errors
    /// As [`RecordSender::send`].
    pub async fn send_encoded(&mut self, encoded: Bytes) -> Result<u64, ClientError> {
        let bytes = encoded.len();
        if bytes > MAX_RECORD_BYTES {
            return Err(ClientError::RecordTooLarge {
                bytes,
                limit: MAX_RECORD_BYTES,
            });
        }
        let weight = self.window.weight(bytes);
        let room = self
            .window
            .room
            .acquire_many(weight)
            .await
            .map_err(|_| ClientError::Ended)?;
        let sequence = self.next_sequence;
        self.records
            .send((sequence, encoded))
            .await
            .map_err(|_| ClientError::Ended)?;
        room.forget();
        self.next_sequence += 1;
        Ok(sequence)
    }

    /// What the stream has done so far.
    #[must_use]
    pub fn stats(&self) -> StreamStats {
        self.counters.stats()
    }

    /// Nothing more comes: the stream ends when every record has its verdict.
    pub fn finish(self) {}
}

// === impl Verdicts ===

impl Verdicts {
    /// The next verdict; `None` when every record of a finished stream has its own. An error is
    /// the last thing that comes. Cancel-safe.
    pub async fn next(&mut self) -> Option<Result<Verdict, ClientError>> {
        self.verdicts.recv().await
    }

    /// What the stream has done so far.
    #[must_use]
    pub fn stats(&self) -> StreamStats {
        self.counters.stats()
    }
}

// === impl Counters ===

impl Counters {
    fn stats(&self) -> StreamStats {
        StreamStats {
            acked: self.acked.load(Ordering::Relaxed),
            rejected: self.rejected.load(Ordering::Relaxed),
            resent: self.resent.load(Ordering::Relaxed),
            duplicates: self.duplicates.load(Ordering::Relaxed),
            connections: self.connections.load(Ordering::Relaxed),
        }
    }
}

// === impl Window ===

impl Window {
    fn new(records: usize, bytes: usize) -> Self {
        let size = u32::try_from(bytes.min(Semaphore::MAX_PERMITS))
            .unwrap_or(u32::MAX)
            .max(1);
        let records = u32::try_from(records).unwrap_or(u32::MAX).max(1);
        let least = (size / records).max(1);
        Self {
            room: Semaphore::new(size as usize),
            size,
            least,
        }
    }

    /// A record larger than the whole window takes the whole window.
    fn weight(&self, bytes: usize) -> u32 {
        u32::try_from(bytes)
            .unwrap_or(u32::MAX)
            .max(self.least)
            .min(self.size)
    }

    /// A record of `bytes` has its verdict.
    pub(super) fn give_back(&self, bytes: usize) {
        self.room.add_permits(self.weight(bytes) as usize);
    }

    /// Nobody waits for room any longer: the stream has ended.
    pub(super) fn close(&self) {
        self.room.close();
    }
}
