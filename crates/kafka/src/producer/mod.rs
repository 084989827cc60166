//! Into the log: a batch of records in, one result for each of them out.
//!
//! Promises: a position is given only for a record that all in-sync copies hold (`acks=all`,
//! idempotent); what is not acknowledged within 30 s is given back as [`ProduceError`]. The caller
//! is woken once a batch, not once a record. A full queue makes the caller wait; it is never an
//! error. Dropping the future leaves what was queued on its way and frees its room when it ends.
//!
//! `native` owns librdkafka's producer and makes it anew after a fatal error; `flight` is one
//! batch on its way; `room` bounds what is on its way.

pub(crate) mod flight;
pub(crate) mod native;
mod room;

use crate::KafkaError;
use crate::client::{self, blocking};
use crate::settings::KafkaSettings;
use bytes::Bytes;
use flight::{Flight, Ticket};
use native::{Live, Native, Sent};
use room::Room;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A record to be produced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProduceRecord {
    /// Where to; see [`cloudsync::partition::partition_of`].
    pub partition: i32,
    /// Its key; an empty one is none.
    pub key: Bytes,
    /// Its value.
    pub value: Bytes,
}

/// Where a record lies in the log.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Position {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
}

/// Why a record has no position.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProduceError {
    /// The record is larger than `kafka.max_record_bytes`. It was not sent.
    #[error("the record has {bytes} bytes, {limit} are allowed")]
    TooLarge {
        /// Bytes of key, value and headers.
        bytes: usize,
        /// How many may be.
        limit: usize,
    },
    /// The log did not acknowledge the record in time. It may lie in the log all the same: a
    /// retry can make a duplicate.
    #[error("the log did not acknowledge the record: {reason}")]
    Unavailable {
        /// What happened.
        reason: String,
    },
    /// The log will never take the record.
    #[error("the log refused the record: {reason}")]
    Refused {
        /// What the broker says.
        reason: String,
    },
}

/// A producer for any topic of one Kafka. Clones share it.
#[derive(Clone)]
pub struct Producer {
    inner: Arc<Inner>,
}

struct Inner {
    settings: KafkaSettings,
    native: Native,
    room: Room,
}

/// A record on its way into a topic, with what only some have.
pub(crate) struct Message {
    pub(crate) partition: i32,
    pub(crate) key: Option<Bytes>,
    pub(crate) value: Option<Bytes>,
    pub(crate) headers: Vec<(&'static str, Bytes)>,
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

/// Most records that are queued in one go.
const CHUNK: usize = 4_096;
/// How soon a queue of librdkafka that is full against expectation is tried again.
const FULL_AGAIN: Duration = Duration::from_millis(5);

// === impl ProduceError ===

impl ProduceError {
    /// Whether the same record may be taken later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unavailable { .. } => true,
            Self::TooLarge { .. } | Self::Refused { .. } => false,
        }
    }
}

// === impl Message ===

impl Message {
    /// Bytes that count against the limits.
    pub(crate) fn size(&self) -> usize {
        let headers: usize = self
            .headers
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum();
        headers
            + self.key.as_ref().map_or(0, Bytes::len)
            + self.value.as_ref().map_or(0, Bytes::len)
    }
}

impl From<ProduceRecord> for Message {
    fn from(record: ProduceRecord) -> Self {
        let key = Some(record.key).filter(|key| !key.is_empty());
        let value = Some(record.value);
        Self {
            partition: record.partition,
            key,
            value,
            headers: Vec::new(),
        }
    }
}

// === impl Producer ===

impl Producer {
    /// A producer. It connects by itself; no broker needs to be there yet.
    ///
    /// # Errors
    /// [`KafkaError::Settings`] and [`KafkaError::Client`], when no client can be made of the
    /// settings.
    pub fn new(settings: &KafkaSettings) -> Result<Self, KafkaError> {
        settings.validate()?;
        let native = Native::new(settings.producer())?;
        let room = Room::new(settings.queue_records, settings.queue_bytes);
        Ok(Self {
            inner: Arc::new(Inner {
                settings: settings.clone(),
                native,
                room,
            }),
        })
    }

    /// Produces `batch` to `topic`: one result for each record, in the same order, once the log
    /// has answered for all of them. Waits while the queue is full.
    ///
    /// Records of one partition keep their order, unless one fails. Dropping the future cancels
    /// nothing that was queued.
    pub async fn produce(
        &self,
        topic: &str,
        batch: Vec<ProduceRecord>,
    ) -> Vec<Result<Position, ProduceError>> {
        let limit = self.inner.settings.max_record_bytes;
        self.send(topic, batch.into_iter().map(Message::from).collect(), limit)
            .await
    }

    /// The same, with all that a record can have, up to `limit` bytes each.
    pub(crate) async fn send(
        &self,
        topic: &str,
        batch: Vec<Message>,
        limit: usize,
    ) -> Vec<Result<Position, ProduceError>> {
        let topic: Arc<str> = Arc::from(topic);
        let mut results = Vec::with_capacity(batch.len());
        let mut flights = Vec::with_capacity(1);
        let mut rest = batch.into_iter().peekable();
        while rest.peek().is_some() {
            let chunk = self.chunk(&mut rest, limit);
            let flight = self.start(&topic, &chunk, limit).await;
            flights.push((flight, chunk));
        }
        for (flight, chunk) in flights {
            match flight {
                Ok(flight) => {
                    flight.landed().await;
                    let partitions = chunk.iter().map(|message| message.partition);
                    flight.results(&topic, partitions, &mut results);
                }
                Err(error) => results.extend(chunk.iter().map(|_| Err(error.clone()))),
            }
        }
        results
    }

    /// The next records that fit into the room together.
    fn chunk(
        &self,
        rest: &mut std::iter::Peekable<std::vec::IntoIter<Message>>,
        limit: usize,
    ) -> Vec<Message> {
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
    async fn start(
        &self,
        topic: &str,
        chunk: &[Message],
        limit: usize,
    ) -> Result<Arc<Flight>, ProduceError> {
        let fits = |message: &&Message| message.size() <= limit;
        let bytes = chunk.iter().filter(fits).map(Message::size).sum();
        let permit = self.inner.room.enter(chunk.len(), bytes).await;
        let native = self.inner.native.current()?;
        let (flight, ticket) = native.launch(chunk.len(), permit);
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
            while unsent.send(topic, message) == Queued::Full {
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

    /// Connects, checks that the topics are there with at least the configured partitions, and so
    /// fetches the producer id, which costs half a second otherwise when the first record comes.
    ///
    /// # Errors
    /// [`KafkaError::Unavailable`] after about 10 s, [`KafkaError::NoTopic`],
    /// [`KafkaError::TooFewPartitions`]; the producer works all the same once that is mended.
    pub async fn warm_up(&self) -> Result<(), KafkaError> {
        let inner = Arc::clone(&self.inner);
        blocking("producer", move || inner.check_topics()).await
    }

    /// Records that were queued and are not acknowledged yet.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.inner.room.used()
    }

    /// Sends what is queued and waits for its acknowledgement, at most for `deadline`. Returns how
    /// many records stayed unacknowledged; they end as [`ProduceError::Unavailable`]. Nothing can
    /// be produced afterwards.
    pub async fn close(&self, deadline: Duration) -> usize {
        let inner = Arc::clone(&self.inner);
        let until = Instant::now() + deadline;
        let flushed = blocking("producer", move || Ok(inner.native.close(until))).await;
        flushed.unwrap_or_else(|error| {
            tracing::warn!(%error, "closing the producer");
            self.in_flight()
        })
    }
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer")
            .field("brokers", &self.inner.settings.brokers)
            .field("in_flight", &self.in_flight())
            .finish_non_exhaustive()
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

// === impl Inner ===

impl Inner {
    fn check_topics(&self) -> Result<(), KafkaError> {
        let settings = &self.settings;
        // All topics: a question for one of them would create it where brokers allow that.
        let metadata = self.native.metadata(client::ANSWER, settings)?;
        let topics = [
            (&settings.topic, settings.partitions),
            (&settings.dlq_topic, settings.dlq_partitions),
        ];
        for (topic, wanted) in topics {
            let found = client::count_in(&metadata, settings, topic)?;
            if found < wanted {
                return Err(KafkaError::TooFewPartitions {
                    topic: topic.clone(),
                    found,
                    wanted,
                });
            }
            if found > wanted {
                tracing::warn!(
                    topic,
                    found,
                    wanted,
                    "the topic has more partitions than keys go to"
                );
            }
        }
        Ok(())
    }
}
