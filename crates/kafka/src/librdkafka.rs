//! Calls of librdkafka for many records at once. The rdkafka crate has none: one record a call
//! costs twice as much.
//!
//! This is the only file of the workspace with unsafe code. What makes each call sound stands
//! beside it; nothing of librdkafka's memory leaves this file.

use parking_lot::RwLock;
use rdkafka::bindings::{
    RD_KAFKA_MSG_F_COPY, RD_KAFKA_MSG_F_PARTITION, rd_kafka_message_t, rd_kafka_produce_batch,
    rd_kafka_topic_destroy, rd_kafka_topic_new, rd_kafka_topic_t,
};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::{Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::types::RDKafkaRespErr;
use std::ffi::CString;
use std::ptr::{self, NonNull};

/// Most records of one native call.
const CALL: usize = 512;

/// A producer, with batches. Its delivery reports carry the numbers of [`Outgoing`].
pub(crate) struct BatchProducer<C: ProducerContext<DeliveryOpaque = usize> + 'static> {
    // Before the producer, which must outlive them: fields are dropped in this order.
    topics: RwLock<Vec<(String, Topic)>>,
    producer: ThreadedProducer<C>,
}

/// A record to be queued.
#[derive(Clone, Copy)]
pub(crate) struct Outgoing<'a> {
    pub(crate) partition: i32,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    /// What its delivery report carries.
    pub(crate) number: usize,
}

/// librdkafka's handle on a topic of one producer.
struct Topic(NonNull<rd_kafka_topic_t>);

// SAFETY: librdkafka's topic handles are reference counted and locked inside; the C API allows
// their use from any thread.
#[expect(unsafe_code, reason = "see above")]
unsafe impl Send for Topic {}
// SAFETY: as for Send.
#[expect(unsafe_code, reason = "see above")]
unsafe impl Sync for Topic {}

// === impl BatchProducer ===

impl<C: ProducerContext<DeliveryOpaque = usize> + 'static> BatchProducer<C> {
    pub(crate) fn new(producer: ThreadedProducer<C>) -> Self {
        Self {
            topics: RwLock::default(),
            producer,
        }
    }

    /// The producer itself, for everything but batches.
    pub(crate) fn single(&self) -> &ThreadedProducer<C> {
        &self.producer
    }

    /// Queues copies of `records` in their order, at best with those of a partition side by side.
    /// Each one is either reported later, or told to `failed` now, with its number.
    pub(crate) fn send(
        &self,
        topic: &str,
        records: &[Outgoing<'_>],
        mut failed: impl FnMut(usize, RDKafkaErrorCode),
    ) {
        let known = self.topics.read();
        let found = known.iter().find(|(name, _)| name == topic);
        if let Some((_, topic)) = found {
            return topic.send(records, failed);
        }
        drop(known);
        let mut topics = self.topics.write();
        // Another one under the same name does no harm: it counts references to the same topic.
        match Topic::new(&self.producer, topic) {
            Some(new) => {
                new.send(records, failed);
                topics.push((topic.to_owned(), new));
            }
            None => records
                .iter()
                .for_each(|record| failed(record.number, RDKafkaErrorCode::InvalidTopic)),
        }
    }
}

// === impl Topic ===

impl Topic {
    /// `None`: librdkafka takes no topic of that name.
    fn new<C>(producer: &ThreadedProducer<C>, name: &str) -> Option<Self>
    where
        C: ProducerContext<DeliveryOpaque = usize> + 'static,
    {
        let name = CString::new(name).ok()?;
        let client = producer.client().native_ptr();
        // SAFETY: the client lives as long as `producer`, the name as long as the call, which
        // copies it; no configuration means the client's default.
        #[expect(unsafe_code, reason = "see above")]
        let handle = unsafe { rd_kafka_topic_new(client, name.as_ptr(), ptr::null_mut()) };
        NonNull::new(handle).map(Self)
    }

    fn send(&self, records: &[Outgoing<'_>], mut failed: impl FnMut(usize, RDKafkaErrorCode)) {
        let mut messages = Vec::with_capacity(records.len().min(CALL));
        let mut full = false;
        for call in records.chunks(CALL) {
            if full {
                // Nothing behind a record that found no room, or the order would not hold.
                call.iter()
                    .for_each(|record| failed(record.number, RDKafkaErrorCode::QueueFull));
                continue;
            }
            messages.clear();
            messages.extend(call.iter().map(message_of));
            let count = i32::try_from(messages.len()).unwrap_or(i32::MAX);
            // SAFETY: the handle is counted by `self`. `messages` has `count` entries, each with
            // its error to be written and its bytes to be read, which `records` borrows; F_COPY
            // has them copied before the call returns.
            #[expect(unsafe_code, reason = "see above")]
            unsafe {
                rd_kafka_produce_batch(
                    self.0.as_ptr(),
                    0,
                    RD_KAFKA_MSG_F_COPY | RD_KAFKA_MSG_F_PARTITION,
                    messages.as_mut_ptr(),
                    count,
                )
            };
            for (message, record) in messages.iter().zip(call) {
                if message.err != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
                    let code = RDKafkaErrorCode::from(message.err);
                    full |= code == RDKafkaErrorCode::QueueFull;
                    failed(record.number, code);
                }
            }
        }
    }
}

impl Drop for Topic {
    fn drop(&mut self) {
        // SAFETY: the reference that `new` took, given back once.
        #[expect(unsafe_code, reason = "see above")]
        unsafe {
            rd_kafka_topic_destroy(self.0.as_ptr());
        }
    }
}

fn message_of(record: &Outgoing<'_>) -> rd_kafka_message_t {
    let bytes = |bytes: Option<&[u8]>| match bytes {
        // No entry is written through: the C type has no other form.
        Some(bytes) => (bytes.as_ptr().cast_mut().cast(), bytes.len()),
        None => (ptr::null_mut(), 0),
    };
    let (payload, len) = bytes(record.value);
    let (key, key_len) = bytes(record.key);
    rd_kafka_message_t {
        err: RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR,
        rkt: ptr::null_mut(),
        partition: record.partition,
        payload,
        len,
        key,
        key_len,
        offset: 0,
        _private: ptr::without_provenance_mut(record.number),
    }
}
