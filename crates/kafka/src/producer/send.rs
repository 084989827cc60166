//! One batch into librdkafka's queue, in chunks for which there is room.
//!
//! In: a batch, and what its caller wants to be held. Out: a flight for each chunk. Promises: a
//! batch is queued, or stands in line, when the call returns; no other one comes between two of
//! its chunks; dropped early, what is not queued ends as unavailable.

use super::flight::{Flight, Held, Share, Ticket};
use super::native::{Live, Sent};
use super::{CHUNK, Inner, Message, ProduceError, Produced};
use std::iter::Peekable;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use std::vec;
use tokio::task::coop::unconstrained;
use tokio::time::Instant;

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
    messages: Vec<Message>,
    flight: Result<Arc<Flight>, ProduceError>,
}

/// The records of a flight that are not queued yet; dropped early, they end as unavailable.
struct Unsent {
    native: Arc<Live>,
    ticket: Ticket,
    next: usize,
    end: usize,
}

/// What came of trying to queue a record.
#[derive(PartialEq, Eq)]
enum Queued {
    /// It is on its way, or has failed.
    Done,
    /// It is not, and nothing has happened to it.
    Full,
}

/// How soon a queue of librdkafka that is full against expectation is tried again.
const FULL_AGAIN: Duration = Duration::from_millis(5);

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
        batch: Vec<Message>,
    ) -> impl Future<Output = Vec<Produced>> + Send + use<> {
        let topic = Arc::clone(&self.topic);
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
            let mut results = Vec::with_capacity(chunks.iter().map(|c| c.messages.len()).sum());
            for Chunk { messages, flight } in chunks {
                match flight {
                    Ok(flight) => {
                        flight.landed().await;
                        let partitions = messages.iter().map(|message| message.partition);
                        flight.results(&topic, partitions, &mut results);
                    }
                    Err(error) => results.extend(messages.iter().map(|_| Err(error.clone()))),
                }
            }
            results
        }
    }

    /// Queues `batch` when its turn has come, as soon as there is room.
    async fn queue(self, batch: Vec<Message>) -> Vec<Chunk> {
        let mut chunks = Vec::with_capacity(1);
        if batch.is_empty() {
            return chunks;
        }
        let _turn = self.inner.room.turn().await;
        let mut rest = batch.into_iter().peekable();
        while rest.peek().is_some() {
            let messages = self.chunk(&mut rest);
            let flight = self.launch(&messages).await;
            chunks.push(Chunk { messages, flight });
        }
        chunks
    }

    /// The next records that fit into the room together.
    fn chunk(&self, rest: &mut Peekable<vec::IntoIter<Message>>) -> Vec<Message> {
        let limit = self.limit;
        let (most, most_bytes) = self.inner.room.chunk(CHUNK);
        let mut chunk = Vec::with_capacity(rest.len().min(most));
        let mut bytes = 0;
        while chunk.len() < most
            && let Some(message) = rest.next_if(|next| {
                let size = next.size().min(limit);
                chunk.is_empty() || bytes + size <= most_bytes
            })
        {
            bytes += message.size().min(limit);
            chunk.push(message);
        }
        chunk
    }

    /// Queues `chunk`, as soon as there is room for it.
    async fn launch(&self, chunk: &[Message]) -> Result<Arc<Flight>, ProduceError> {
        let limit = self.limit;
        let fits = |message: &&Message| message.size() <= limit;
        let bytes = chunk.iter().filter(fits).map(Message::size).sum();
        let held = Held {
            _room: self.inner.room.enter(chunk.len(), bytes).await,
            _share: self.share.clone(),
        };
        let native = self.inner.native.current()?;
        let (flight, ticket) = native.launch(chunk.len(), held);
        let mut unsent = Unsent {
            native,
            ticket,
            next: 0,
            end: chunk.len(),
        };
        let deadline = Instant::now() + crate::settings::DELIVERY_TIMEOUT;
        for message in chunk {
            let bytes = message.size();
            if bytes > limit {
                unsent.fail(ProduceError::TooLarge { bytes, limit });
                continue;
            }
            // Full against expectation: our own limits are lower.
            while unsent.send(&self.topic, message) == Queued::Full {
                if Instant::now() >= deadline {
                    let reason = "the queue stayed full for 30 s".to_owned();
                    unsent.fail(ProduceError::Unavailable { reason });
                    break;
                }
                tokio::time::sleep(FULL_AGAIN).await;
            }
        }
        Ok(flight)
    }
}

// === impl Unsent ===

impl Unsent {
    fn send(&mut self, topic: &str, message: &Message) -> Queued {
        match self.native.send(topic, message, self.ticket, self.next) {
            Sent::Queued => self.next += 1,
            Sent::Full => return Queued::Full,
            Sent::Failed(error) => self.fail(error),
        }
        Queued::Done
    }

    fn fail(&mut self, error: ProduceError) {
        self.native.fail(self.ticket, self.next, error);
        self.next += 1;
    }
}

impl Drop for Unsent {
    fn drop(&mut self) {
        while self.next < self.end {
            let reason = "it was not queued".to_owned();
            self.fail(ProduceError::Unavailable { reason });
        }
    }
}
