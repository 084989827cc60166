//! Group commit: whoever comes while the disk is busy shares the next write and sync.
//!
//! In: encoded records of any number of callers. Out: to each, that they are durable, or why not.
//! Promises: no caller hears Ok before the sync that covers its records; an error is told to every
//! caller that it covers; at most [`MOST_WAITING`] records wait, and beyond them callers do.
//!
//! One thread does all that waits for the disk; callers only copy into a buffer.

use super::block::RECORD_BYTES;
use super::clock::Moment;
use super::segments::Segments;
use crate::tables::Tables;
use parking_lot::{Condvar, Mutex};
use std::io;
use std::mem;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use tokio::sync::{AcquireError, Semaphore, SemaphorePermit, oneshot};

/// Records that wait for the disk: 2.4 MB.
const MOST_WAITING: usize = 65_536;
/// Most records of one call of [`Log::room`].
pub(super) const MOST_AT_ONCE: usize = 4_096;

/// What a caller hears: why its records are not durable, if they are not.
pub(super) type Answer = Result<(), String>;

/// The thread that writes, and the way to it.
#[derive(Debug)]
pub(super) struct Log {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    room: Semaphore,
    queue: Mutex<Queue>,
    filled: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    next: Batch,
    /// No batch comes any more: the store is being closed.
    closing: bool,
    /// Nobody writes any more.
    ended: bool,
}

/// What is written at once.
#[derive(Debug, Default)]
struct Batch {
    records: Vec<u8>,
    /// The latest moment of any of them.
    at: Moment,
    waiting: Vec<oneshot::Sender<Answer>>,
    /// The files are to be looked through.
    tidy: bool,
}

// === impl Log ===

impl Log {
    /// Begins to write behind what `segments` have; `tables` tell which of them are needed.
    pub(super) fn start(segments: Segments, tables: Arc<Tables>) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            room: Semaphore::new(MOST_WAITING),
            queue: Mutex::default(),
            filled: Condvar::new(),
        });
        let of_writer = Arc::clone(&shared);
        let writer = thread::Builder::new()
            .name("dedupe-log".to_owned())
            .spawn(move || {
                let ending = Ending(&of_writer);
                write(ending.0, segments, &tables);
            })?;
        Ok(Self {
            shared,
            writer: Some(writer),
        })
    }

    /// Room for up to [`MOST_AT_ONCE`] records; waits until there is.
    pub(super) async fn room(&self, records: usize) -> Result<SemaphorePermit<'_>, AcquireError> {
        let permits = u32::try_from(records.min(MOST_AT_ONCE)).unwrap_or_default();
        self.shared.room.acquire_many(permits).await
    }

    /// Hands `records` over, for which there is `room`. Out: where the answer comes.
    pub(super) fn append(
        &self,
        room: SemaphorePermit<'_>,
        at: Moment,
        records: &[u8],
    ) -> oneshot::Receiver<Answer> {
        let (sender, receiver) = oneshot::channel();
        let mut queue = self.shared.queue.lock();
        if queue.ended {
            return receiver;
        }
        // The writer gives back as many as it finds; a dead letter may have found nothing to mark.
        let unused = room.num_permits() - records.len() / RECORD_BYTES;
        room.forget();
        self.shared.room.add_permits(unused);
        queue.next.records.extend_from_slice(records);
        queue.next.at = queue.next.at.later(at);
        queue.next.waiting.push(sender);
        drop(queue);
        self.shared.filled.notify_one();
        receiver
    }

    /// Lets the files be looked through that may have become needless.
    pub(super) fn tidy(&self, at: Moment) {
        let mut queue = self.shared.queue.lock();
        queue.next.at = queue.next.at.later(at);
        queue.next.tidy = true;
        drop(queue);
        self.shared.filled.notify_one();
    }
}

impl Drop for Log {
    /// Waits until what was handed over is on the disk: the directory is free after this.
    fn drop(&mut self) {
        self.shared.queue.lock().closing = true;
        self.shared.filled.notify_one();
        if let Some(writer) = self.writer.take() {
            // It has told of a panic itself.
            let _ended = writer.join().is_ok();
        }
    }
}

// === the writer ===

/// Says when the writer is gone, however it went.
struct Ending<'a>(&'a Shared);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        let mut queue = self.0.queue.lock();
        queue.ended = true;
        // Whoever waits hears that its sender is gone.
        queue.next = Batch::default();
        self.0.room.close();
    }
}

fn write(shared: &Shared, mut segments: Segments, tables: &Tables) {
    let mut spare = Vec::new();
    while let Some(batch) = shared.take(spare) {
        let Batch {
            records,
            at,
            waiting,
            tidy,
        } = batch;
        let answer = commit(&mut segments, at, &records, tables, tidy);
        for caller in waiting {
            // A caller that is gone does not ask.
            let _heard = caller.send(answer.clone()).is_ok();
        }
        shared.room.add_permits(records.len() / RECORD_BYTES);
        spare = records;
    }
}

fn commit(
    segments: &mut Segments,
    at: Moment,
    records: &[u8],
    tables: &Tables,
    tidy: bool,
) -> Answer {
    let mut begun = false;
    if !records.is_empty() {
        begun = segments.commit(at, records)?;
    }
    if begun || tidy {
        let oldest = tables.oldest_since();
        segments.drop_needless(at.time, oldest);
        if oldest.is_some() && segments.is_behind(at.time) {
            // Told in the log if it fails; nobody's records depend on it.
            let _told = segments.commit(at, &[]).is_ok();
        }
    }
    Ok(())
}

// === impl Shared, Batch ===

impl Shared {
    /// Waits for the next batch; `None` when there is none and none comes.
    fn take(&self, mut spare: Vec<u8>) -> Option<Batch> {
        spare.clear();
        let mut queue = self.queue.lock();
        while queue.next.waiting.is_empty() && !queue.next.tidy {
            if queue.closing {
                return None;
            }
            self.filled.wait(&mut queue);
        }
        let next = Batch {
            records: spare,
            ..Batch::default()
        };
        Some(mem::replace(&mut queue.next, next))
    }
}

impl Moment {
    fn later(self, other: Self) -> Self {
        if other.time >= self.time { other } else { self }
    }
}
