//! One batch into librdkafka's queue, in chunks for which there is room.
//!
//! In: a batch, and what its caller wants to be held. Out: a flight for each chunk. Promises: a
//! batch is queued, or stands in line, when the call returns; no other one comes between two of
//! its chunks; dropped early, what is not queued ends as unavailable.

use super::batch::ProduceBatch;
use super::flight::{Flight, Held, Share};
use super::{CHUNK, Inner, ProduceError, Produced};
use std::ops::Range;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use tokio::task::coop::unconstrained;

/// One batch on its way into the queue.
pub(super) struct Sending {
    inner: Arc<Inner>,
    topic: Arc<str>,
    /// Bytes that a record may have.
    limit: usize,
    share: Option<Share>,
}

/// Records that were queued together, or why they were not.
struct Chunk {
    records: Range<usize>,
    flight: Result<Arc<Flight>, ProduceError>,
}

// === impl Sending ===

impl Sending {
    pub(super) fn new(inner: &Arc<Inner>, topic: &str, limit: usize, share: Option<Share>) -> Self {
        Self {
            inner: Arc::clone(inner),
            topic: Arc::from(topic),
            limit,
            share,
        }
    }

    /// Queues `batch`, or takes its place in line. Out: one result each, once the log has answered.
    pub(super) fn start(
        self,
        batch: ProduceBatch,
    ) -> impl Future<Output = Vec<Produced>> + Send + use<> {
        let count = batch.len();
        // Polled a first time here, so that the order is that of the calls. Unconstrained, since a
        // task that has used up its budget would otherwise not even come to stand in line.
        let mut queueing = Box::pin(unconstrained(self.queue(batch)));
        let first = queueing
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()));
        async move {
            let chunks = match first {
                Poll::Ready(chunks) => chunks,
                Poll::Pending => queueing.await,
            };
            let mut results = Vec::with_capacity(count);
            for Chunk { records, flight } in chunks {
                match flight {
                    Ok(flight) => {
                        flight.landed().await;
                        flight.results(&mut results);
                    }
                    Err(error) => results.extend(records.map(|_| Err(error.clone()))),
                }
            }
            results
        }
    }

    /// Queues `batch` when its turn has come, as soon as there is room.
    async fn queue(self, batch: ProduceBatch) -> Vec<Chunk> {
        let mut chunks = Vec::with_capacity(1);
        if batch.is_empty() {
            return chunks;
        }
        let _turn = self.inner.room.turn().await;
        let mut next = 0;
        while next < batch.len() {
            let (records, bytes) = self.chunk(&batch, next);
            next = records.end;
            let flight = self.launch(&batch, records.clone(), bytes).await;
            chunks.push(Chunk { records, flight });
        }
        chunks
    }

    /// The records from `start` on that fit into the room together, and their bytes.
    fn chunk(&self, batch: &ProduceBatch, start: usize) -> (Range<usize>, usize) {
        let (most, most_bytes) = self.inner.room.chunk(CHUNK);
        let (mut end, mut bytes) = (start, 0);
        while end < batch.len() && end - start < most {
            // What is over the limit is not sent.
            let size = Some(batch.size(end)).filter(|size| *size <= self.limit);
            let with = bytes + size.unwrap_or(0);
            if end > start && with > most_bytes {
                break;
            }
            bytes = with;
            end += 1;
        }
        (start..end, bytes)
    }

    /// Queues the `records` of `batch`, as soon as there is room for them.
    async fn launch(
        &self,
        batch: &ProduceBatch,
        records: Range<usize>,
        bytes: usize,
    ) -> Result<Arc<Flight>, ProduceError> {
        let held = Held {
            _room: self.inner.room.enter(records.len(), bytes).await,
            _share: self.share.clone(),
        };
        let native = self.inner.native.current()?;
        let (flight, ticket) = native.launch(records.len(), held);
        let (first, limit) = (records.start, self.limit);
        let mut run = first..first;
        for index in records {
            let bytes = batch.size(index);
            if bytes > limit {
                native.send(&self.topic, batch, run.clone(), ticket, run.start - first);
                native.fail(
                    ticket,
                    index - first,
                    ProduceError::TooLarge { bytes, limit },
                );
                run = index + 1..index + 1;
            } else {
                run.end = index + 1;
            }
        }
        native.send(&self.topic, batch, run.clone(), ticket, run.start - first);
        Ok(flight)
    }
}
