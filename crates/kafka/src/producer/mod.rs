//! Step 5 of the walk: into the log.
//!
//! In: a batch of records for one topic. Out: for each of them that the log has it, and where if
//! the log said so, or the error. Promises: `Ok` is given only for a record that all in-sync
//! copies hold (`acks=all`, idempotent); what is not acknowledged within 30 s is given back as
//! [`ProduceError`]; batches reach a partition in the order of the calls; a full queue makes the
//! caller wait and is never an error; dropping the future leaves what was queued on its way, and
//! its room and share taken, until the log has answered. The caller is woken once a batch, not
//! once a record.
//!
//! `batch` is what comes in, `send` brings it into librdkafka's queue, `room` bounds what is on
//! its way and keeps the order, `flight` is one batch on its way, `native` owns librdkafka's
//! producer and makes it anew after a fatal error, `place` tells where a record lies.

pub(crate) mod batch;
pub(crate) mod flight;
pub(crate) mod native;
mod place;
mod room;
mod send;

use crate::KafkaError;
use crate::client::{self, blocking};
use crate::settings::KafkaSettings;
use batch::ProduceBatch;
use bytes::Bytes;
use flight::Share;
use native::Native;
use room::Room;
use send::Sending;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A record to be produced, on its own; see [`ProduceBatch`] for many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProduceRecord {
    /// Where to; see [`cloudsync::partition::partition_of`].
    pub partition: i32,
    /// Its key; an empty one is none.
    pub key: Bytes,
    /// Its value.
    pub value: Bytes,
}

/// What became of a record: its offset in its partition. `Ok(None)`: the log has it as well, but
/// has not said where; so it is when an acknowledgement was lost and the record was sent again.
pub type Produced = Result<Option<i64>, ProduceError>;

/// Why the log has not acknowledged a record.
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

/// Most records that are queued in one go.
const CHUNK: usize = 4_096;

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
    /// Records of one partition keep their order, unless one fails, and so do the batches: in the
    /// order of the calls, not of the polls. When the call returns, the records are queued, or, if
    /// there is no room, stand in line; a future that stands there must be polled or dropped, since
    /// those behind it wait for it. Dropping it cancels nothing that was queued.
    pub fn produce<B: Into<ProduceBatch>>(
        &self,
        topic: &str,
        batch: B,
    ) -> impl Future<Output = Vec<Produced>> + Send + use<B> {
        let limit = self.inner.settings.max_record_bytes;
        self.send(topic, batch.into(), limit, None)
    }

    /// The same; `share` is held until the log has answered for all that was queued, also when
    /// the future is dropped before. Dropping `share` must neither block nor produce.
    pub fn produce_holding(
        &self,
        topic: &str,
        batch: ProduceBatch,
        share: Arc<dyn Send + Sync>,
    ) -> impl Future<Output = Vec<Produced>> + Send + use<> {
        let limit = self.inner.settings.max_record_bytes;
        self.send(topic, batch, limit, Some(share))
    }

    /// [`Producer::produce`] of records with up to `limit` bytes each.
    pub(crate) fn send(
        &self,
        topic: &str,
        batch: ProduceBatch,
        limit: usize,
        share: Option<Share>,
    ) -> impl Future<Output = Vec<Produced>> + Send + use<> {
        Sending::new(&self.inner, topic, limit, share).start(batch)
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
            client::check_count(topic, found, wanted)?;
        }
        Ok(())
    }
}
