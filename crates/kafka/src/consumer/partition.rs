//! One partition's records, from the poll thread to the task that works on them.
//!
//! In: records, copied out of librdkafka into one buffer a batch. Out: the same batches, in the
//! order of the log. A queue never refuses what was polled; it says when it is full, and the poll
//! thread then pauses the partition. Closing drops what nobody took.

use crate::producer::batch::append;
use crate::record::{Incoming, RecordHeaders};
use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// A record as it lies in the log. Key and value share the buffer of their batch.
#[derive(Clone, PartialEq, Eq)]
pub struct PolledRecord {
    /// Its offset.
    pub offset: i64,
    /// Its time in the log, in milliseconds since 1970; 0 when it has none.
    pub timestamp_ms: i64,
    /// Its key.
    pub key: Option<Bytes>,
    /// Its value; a tombstone has none.
    pub value: Option<Bytes>,
    /// Its headers; hardly a record has any, so they cost a pointer.
    pub headers: Option<Box<RecordHeaders>>,
}

/// Records of one assignment of one partition.
pub struct PartitionRecords {
    queue: Arc<Queue>,
}

/// How full a queue is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Fill {
    pub(crate) records: usize,
    pub(crate) bytes: usize,
}

/// The queue between the two.
pub(crate) struct Queue {
    state: Mutex<State>,
    filled: Notify,
    drained: Arc<Drained>,
}

#[derive(Default)]
struct State {
    batches: VecDeque<(Vec<PolledRecord>, usize)>,
    fill: Fill,
    closed: bool,
}

/// Wakes the poll thread when a queue was drained. One for all partitions of a consumer.
#[derive(Default)]
pub(crate) struct Drained {
    lock: Mutex<()>,
    condvar: Condvar,
}

/// A batch that is being filled.
pub(crate) struct BatchBuilder {
    buffer: Vec<u8>,
    records: Vec<Copied>,
    bytes: usize,
}

/// A record whose bytes lie in the builder's buffer.
struct Copied {
    offset: i64,
    timestamp_ms: i64,
    key: Option<Range<usize>>,
    value: Option<Range<usize>>,
    headers: Option<Box<RecordHeaders>>,
}

/// Accounted for a record besides its bytes.
const RECORD_OVERHEAD: usize = size_of::<PolledRecord>();

// === impl PolledRecord ===

impl PolledRecord {
    /// Bytes of key and value.
    #[must_use]
    pub fn size(&self) -> usize {
        self.key.as_ref().map_or(0, Bytes::len) + self.value.as_ref().map_or(0, Bytes::len)
    }
}

impl fmt::Debug for PolledRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never the payload: a record's data has no place in a log line.
        f.debug_struct("PolledRecord")
            .field("offset", &self.offset)
            .field("bytes", &self.size())
            .finish_non_exhaustive()
    }
}

// === impl PartitionRecords ===

impl PartitionRecords {
    pub(crate) fn new(queue: Arc<Queue>) -> Self {
        Self { queue }
    }

    /// The next batch, in the order of the log; never an empty one. `None` once the partition is
    /// revoked or the consumer is closed. Dropping the future loses nothing.
    pub async fn recv(&mut self) -> Option<Vec<PolledRecord>> {
        loop {
            match self.try_recv() {
                Some(batch) => return Some(batch),
                None if self.queue.is_closed() => return None,
                // A push in between has left its permit.
                None => self.queue.filled.notified().await,
            }
        }
    }

    /// The next batch, if one is there.
    pub fn try_recv(&mut self) -> Option<Vec<PolledRecord>> {
        let batch = self.queue.pop();
        if batch.is_some() {
            self.queue.drained.notify();
        }
        batch
    }

    /// How many records lie here that nobody has taken.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.queue.fill().records
    }
}

impl fmt::Debug for PartitionRecords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PartitionRecords")
            .field("fill", &self.queue.fill())
            .finish()
    }
}

// === impl Queue ===

impl Queue {
    pub(crate) fn new(drained: Arc<Drained>) -> Self {
        Self {
            state: Mutex::default(),
            filled: Notify::new(),
            drained,
        }
    }

    pub(crate) fn push(&self, (batch, bytes): (Vec<PolledRecord>, usize)) {
        if batch.is_empty() {
            return;
        }
        {
            let mut state = self.state.lock();
            if state.closed {
                return;
            }
            state.fill.records += batch.len();
            state.fill.bytes += bytes;
            state.batches.push_back((batch, bytes));
        }
        self.filled.notify_one();
    }

    fn pop(&self) -> Option<Vec<PolledRecord>> {
        let mut state = self.state.lock();
        let (batch, bytes) = state.batches.pop_front()?;
        state.fill.records -= batch.len();
        state.fill.bytes -= bytes;
        Some(batch)
    }

    /// Ends the queue: what lies in it is dropped, nothing more goes in.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.fill = Fill::default();
        let dropped = std::mem::take(&mut state.batches);
        drop(state);
        drop(dropped);
        self.filled.notify_one();
    }

    fn is_closed(&self) -> bool {
        self.state.lock().closed
    }

    pub(crate) fn fill(&self) -> Fill {
        self.state.lock().fill
    }
}

// === impl Drained ===

impl Drained {
    fn notify(&self) {
        self.condvar.notify_one();
    }

    /// Waits until some queue was drained, at most for `timeout`.
    pub(crate) fn wait(&self, timeout: Duration) {
        self.condvar.wait_for(&mut self.lock.lock(), timeout);
    }
}

// === impl BatchBuilder ===

impl BatchBuilder {
    pub(crate) fn new() -> Self {
        Self {
            buffer: Vec::new(),
            records: Vec::new(),
            bytes: 0,
        }
    }

    /// Copies one record.
    pub(crate) fn push(&mut self, record: Incoming<'_>) {
        let mut copy = |bytes: &[u8]| append(&mut self.buffer, bytes);
        let (key, value) = (record.key.map(&mut copy), record.value.map(&mut copy));
        let length =
            |range: &Option<Range<usize>>| range.as_ref().map_or(0, ExactSizeIterator::len);
        let headers = record.headers.as_ref().map_or(0, |headers| headers.size());
        self.bytes += length(&key) + length(&value) + headers + RECORD_OVERHEAD;
        self.records.push(Copied {
            offset: record.offset,
            timestamp_ms: record.timestamp_ms.unwrap_or(0),
            key,
            value,
            headers: record.headers,
        });
    }

    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The batch and its accounted bytes; the builder is empty again.
    pub(crate) fn take(&mut self) -> (Vec<PolledRecord>, usize) {
        // A buffer of its own for each batch, so that a batch keeps no other one alive.
        let next = Vec::with_capacity(self.buffer.len());
        let buffer = Bytes::from(std::mem::replace(&mut self.buffer, next));
        let records = self.records.drain(..).map(|record| PolledRecord {
            offset: record.offset,
            timestamp_ms: record.timestamp_ms,
            key: record.key.map(|range| buffer.slice(range)),
            value: record.value.map(|range| buffer.slice(range)),
            headers: record.headers,
        });
        (records.collect(), std::mem::take(&mut self.bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn incoming<'a>(offset: i64, key: Option<&'a [u8]>, value: Option<&'a [u8]>) -> Incoming<'a> {
        Incoming {
            partition: 0,
            offset,
            timestamp_ms: Some(5),
            key,
            value,
            headers: None,
        }
    }

    fn filled(records: usize) -> (Vec<PolledRecord>, usize) {
        let mut builder = BatchBuilder::new();
        for offset in 0..records {
            builder.push(incoming(
                i64::try_from(offset).unwrap(),
                Some(b"key"),
                Some(b"value"),
            ));
        }
        builder.take()
    }

    #[test]
    fn a_batch_is_what_was_pushed_and_the_builder_starts_anew() {
        let mut builder = BatchBuilder::new();
        let mut headers = RecordHeaders::default();
        headers.push("name", None);
        builder.push(incoming(1, None, Some(b"")));
        builder.push(Incoming {
            headers: Some(Box::new(headers.clone())),
            ..incoming(3, Some(b"k"), None)
        });
        let (batch, bytes) = builder.take();
        assert_eq!(
            (batch[0].key.as_deref(), batch[0].value.as_deref()),
            (None, Some(&b""[..]))
        );
        assert_eq!(
            (batch[1].key.as_deref(), batch[1].value.as_deref()),
            (Some(&b"k"[..]), None)
        );
        assert_eq!((batch[1].offset, batch[1].timestamp_ms), (3, 5));
        assert_eq!(batch[1].headers.as_deref(), Some(&headers));
        assert_eq!(bytes, 1 + 4 + 2 * RECORD_OVERHEAD);
        assert_eq!(builder.take(), (vec![], 0));
    }

    #[tokio::test]
    async fn closing_drops_the_rest_and_ends_the_reader() {
        let queue = Arc::new(Queue::new(Arc::default()));
        let mut records = PartitionRecords::new(Arc::clone(&queue));
        queue.push(filled(3));
        queue.push(filled(2));
        assert_eq!(queue.fill().records, 5);
        assert_eq!(records.recv().await.unwrap().len(), 3);
        queue.close();
        assert_eq!(records.recv().await, None);
        queue.push(filled(1));
        assert_eq!(
            (records.recv().await, queue.fill()),
            (None, Fill::default())
        );
    }
}
