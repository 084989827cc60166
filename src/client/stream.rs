//! A stream of records, as its user sees it: one handle, or a sender and the verdicts.
//!
//! In: records, as fast as the window allows. Out: a verdict for each. Between them one task, in
//! `driver.rs`, which ends when every record has its verdict or when it gives up.

use super::calls::{checked, complete};
use super::outbox::Outbox;
use super::pool::Pool;
use super::{ClientError, ClientSettings, Summary, Verdict, driver};
use crate::v1::{ErrorReason, Rejection, SyncRecord};
use bytes::Bytes;
use prost::Message;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::sync::{Semaphore, mpsc, watch};

/// A stream in one hand: what it takes in while it waits are verdicts, of which it keeps the counts
/// and the first rejections. Dropped without [`RecordStream::close`], it ends with what it was
/// given without waiting: some of that may never be sent.
#[derive(Debug)]
pub struct RecordStream {
    sender: RecordSender,
    verdicts: Verdicts,
    summary: Summary,
}

/// Takes the records of one stream. Dropping it is the same as [`RecordSender::finish`].
#[derive(Debug)]
pub struct RecordSender {
    records: mpsc::Sender<(u64, Bytes)>,
    window: Arc<Window>,
    counters: Arc<Counters>,
    told: watch::Receiver<u64>,
    next_sequence: u64,
}

/// Gives the verdicts of one stream, in the order in which they fall. Acknowledgements that nobody
/// reads pile up in one verdict; behind 1,024 that do not join, the stream waits to be read.
/// Dropping it ends the stream.
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
    /// Times that the stream was opened.
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
    /// The task came to its end: nothing is missing behind the last verdict.
    pub(super) ended: AtomicBool,
}

/// What the task of a stream tells its halves.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) window: Arc<Window>,
    pub(super) counters: Arc<Counters>,
}

/// Room for records without a verdict: bounded in records and in bytes by one count of bytes, in
/// which a record weighs at least its share of the window.
#[derive(Debug)]
pub(super) struct Window {
    room: Semaphore,
    size: u32,
    least: u32,
}

/// Opens a stream whose connection comes from `pool`.
pub(super) fn open(settings: Arc<ClientSettings>, pool: Arc<Pool>) -> RecordStream {
    let window = Arc::new(Window::new(settings.window_records, settings.window_bytes));
    let counters = Arc::new(Counters::default());
    let (records, incoming) = mpsc::channel(settings.window_records.min(Semaphore::MAX_PERMITS));
    let (outgoing, verdicts) = mpsc::channel(64);
    let (tell, told) = watch::channel(0);
    let shared = Shared {
        window: Arc::clone(&window),
        counters: Arc::clone(&counters),
    };
    let outbox = Outbox::new(outgoing, tell);
    let driver = driver::Driver::new(settings, pool, incoming, outbox, shared);
    #[expect(
        clippy::disallowed_methods,
        reason = "the client has no shutdown of its own: the task ends with its two halves"
    )]
    drop(tokio::spawn(driver.run()));
    let sender = RecordSender {
        records,
        window,
        counters: Arc::clone(&counters),
        told,
        next_sequence: 0,
    };
    RecordStream {
        sender,
        verdicts: Verdicts { verdicts, counters },
        summary: Summary::default(),
    }
}

// === impl RecordStream ===

impl RecordStream {
    /// Gives `record` to the stream, waiting while the window is full. A record without a request
    /// id gets a UUIDv7 here, and one without a create time the present, before its first attempt.
    /// Returns its sequence number, from 0.
    ///
    /// Cancel-safe: a record whose `send` was dropped before it returned was not given.
    ///
    /// # Errors
    /// [`ClientError::RecordTooLarge`], after which the stream goes on; else why it has ended, once:
    /// [`ClientError::GaveUp`] or [`ClientError::Refused`], and [`ClientError::Ended`] from then on.
    pub async fn send(&mut self, record: SyncRecord) -> Result<u64, ClientError> {
        let encoded = encode(record);
        loop {
            let given = tokio::select! {
                biased;
                // Room in the window comes from verdicts, and a reader who waits for room is none.
                verdict = self.verdicts.next() => {
                    self.note(verdict)?;
                    continue;
                }
                given = self.sender.send_encoded(encoded.clone()) => given,
            };
            match given {
                Err(ClientError::Ended) => return Err(self.last_word().await),
                given => return given,
            }
        }
    }

    /// Waits until everything given so far has its verdict. Cancel-safe.
    ///
    /// # Errors
    /// Why the stream has ended, as [`RecordStream::send`].
    pub async fn flush(&mut self) -> Result<(), ClientError> {
        while self.summary.settled() < self.sender.next_sequence {
            let verdict = self.verdicts.next().await;
            self.note(verdict)?;
        }
        Ok(())
    }

    /// Ends the stream when everything given has its verdict, and tells what became of it. It gives
    /// up as [`ClientSettings::give_up_after`] says.
    ///
    /// # Errors
    /// As [`RecordStream::flush`].
    pub async fn close(self) -> Result<Summary, ClientError> {
        let Self {
            sender,
            mut verdicts,
            mut summary,
        } = self;
        sender.finish();
        while let Some(verdict) = verdicts.next().await {
            summary.note(verdict?);
        }
        Ok(summary.with(verdicts.stats()))
    }

    /// What became of the records so far, as far as this handle has taken verdicts in.
    #[must_use]
    pub fn summary(&self) -> Summary {
        self.summary.clone().with(self.sender.stats())
    }

    /// The two halves, for whoever wants to see each verdict, or to send and listen in two tasks.
    /// Verdicts that this handle has taken in already are not told again.
    #[must_use]
    pub fn split(self) -> (RecordSender, Verdicts) {
        (self.sender, self.verdicts)
    }

    /// A record that is not sent, since it is `error`, counts as one that was refused.
    pub(super) fn refuse(&mut self, error: &ClientError) {
        let index = self.sender.next_sequence;
        self.sender.next_sequence += 1;
        let rejection = Box::new(Rejection {
            index,
            reason: ErrorReason::RecordTooLarge.into(),
            message: error.to_string(),
            ..Rejection::default()
        });
        self.summary.note(Verdict::Rejected {
            sequence: index,
            rejection,
        });
    }

    fn note(&mut self, verdict: Option<Result<Verdict, ClientError>>) -> Result<(), ClientError> {
        self.summary.note(verdict.ok_or(ClientError::Ended)??);
        Ok(())
    }

    /// Takes verdicts in until the last word, which says why the stream ended. Cancel-safe.
    pub(super) async fn last_word(&mut self) -> ClientError {
        loop {
            let verdict = self.verdicts.next().await;
            if let Err(error) = self.note(verdict) {
                return error;
            }
        }
    }
}

// === impl RecordSender ===

impl RecordSender {
    /// Gives `record` to the stream, waiting while the window is full. A record without a request
    /// id gets a UUIDv7 here, and one without a create time the present, before its first attempt.
    /// Returns its sequence number, from 0.
    ///
    /// Cancel-safe: a record whose `send` was dropped before it returned was not given.
    ///
    /// # Errors
    /// [`ClientError::RecordTooLarge`]; [`ClientError::Ended`] once the stream gave up.
    pub async fn send(&mut self, record: SyncRecord) -> Result<u64, ClientError> {
        self.send_encoded(encode(record)).await
    }

    /// Gives an encoded `SyncRecord` to the stream; see [`RecordSender::send`]. It must have a
    /// request id, or every attempt is another record.
    ///
    /// # Errors
    /// As [`RecordSender::send`].
    pub async fn send_encoded(&mut self, encoded: Bytes) -> Result<u64, ClientError> {
        let encoded = checked(encoded)?;
        let weight = self.window.weight(encoded.len());
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

    /// Waits until everything given so far has its verdict. [`Verdicts`] must be read meanwhile,
    /// in another task or the other arm of a `select!`. Cancel-safe.
    ///
    /// # Errors
    /// [`ClientError::Ended`] once the stream gave up.
    pub async fn flush(&mut self) -> Result<(), ClientError> {
        let given = self.next_sequence;
        let told = self.told.wait_for(|told| *told >= given).await;
        told.map(drop).map_err(|_| ClientError::Ended)
    }

    /// What the stream has done so far.
    #[must_use]
    pub fn stats(&self) -> StreamStats {
        self.counters.stats()
    }

    /// Nothing more comes: the stream ends when every record has its verdict.
    pub fn finish(self) {}
}

/// `record`, completed, in the bytes that every attempt sends.
fn encode(mut record: SyncRecord) -> Bytes {
    complete(&mut record);
    record.encode_to_vec().into()
}

// === impl Verdicts ===

impl Verdicts {
    /// The next verdict; `None` when every record of a finished stream has its own. An error is
    /// the last thing that comes. Cancel-safe.
    pub async fn next(&mut self) -> Option<Result<Verdict, ClientError>> {
        let verdict = self.verdicts.recv().await;
        let cut_off = verdict.is_none() && !self.counters.ended.swap(true, Ordering::Relaxed);
        if cut_off {
            // The task was ended from outside, by the runtime or by a hook that panicked.
            return Some(Err(ClientError::Ended));
        }
        verdict
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
        let least = size.div_ceil(records);
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
}

// === impl Shared ===

/// However the task ends, nobody waits for room any longer.
impl Drop for Shared {
    fn drop(&mut self) {
        self.window.room.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_never_takes_more_records_than_it_says() {
        for (records, bytes) in [(10_000, 32 << 20), (10, 15), (1, 1), (3, 1_000)] {
            let window = Window::new(records, bytes);
            let least = window.weight(0) as usize;
            assert!(window.room.available_permits() / least <= records);
            assert!(window.weight(usize::MAX) as usize <= bytes, "it fits alone");
        }
    }
}
