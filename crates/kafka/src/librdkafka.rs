//! Calls of librdkafka for many records at once; the rdkafka crate has none.
//!
//! This is the only file of the workspace with unsafe code. What makes each call sound stands
//! beside it; nothing of librdkafka's memory leaves this file.

use crate::record::{Incoming, Outgoing, RecordHeaders, Taken, message_of};
use parking_lot::RwLock;
use rdkafka::bindings::{
    RD_KAFKA_MSG_F_COPY, rd_kafka_consume_batch_queue, rd_kafka_header_get_all,
    rd_kafka_message_destroy, rd_kafka_message_headers, rd_kafka_message_t,
    rd_kafka_message_timestamp, rd_kafka_produce_batch, rd_kafka_queue_destroy,
    rd_kafka_queue_forward, rd_kafka_queue_get_consumer, rd_kafka_queue_get_partition,
    rd_kafka_queue_length, rd_kafka_queue_new, rd_kafka_queue_t, rd_kafka_queue_yield,
    rd_kafka_topic_destroy, rd_kafka_topic_new, rd_kafka_topic_t,
};
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::BorrowedMessage;
use rdkafka::producer::{Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::types::RDKafkaRespErr;
use std::ffi::{CStr, CString};
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::Arc;
use std::time::Duration;

/// Most records of one native call.
const CALL: usize = 512;

/// A producer, with batches. Its delivery reports carry the numbers of [`Outgoing`].
pub(crate) struct BatchProducer<C: ProducerContext<DeliveryOpaque = usize> + 'static> {
    // Before the producer, which must outlive them: fields are dropped in this order.
    topics: RwLock<Vec<(String, Topic)>>,
    producer: ThreadedProducer<C>,
}

/// The records of a consumer's partitions, apart from everything else that it has to say.
///
/// Only partitions that are [attached](Self::attach) flow here. What concerns the group comes by
/// polling the consumer, as always; that must go on, and a record may still come by it that was
/// fetched before its partition was attached.
pub(crate) struct RecordQueue<C: ConsumerContext + 'static> {
    // Before the consumer, which must outlive them: fields are dropped in this order.
    queue: Arc<Queue>,
    /// What is said by polling the consumer.
    others: Queue,
    consumer: Arc<BaseConsumer<C>>,
    call: Vec<Owned>,
}

/// A message that librdkafka has left to us.
#[repr(transparent)]
struct Owned(NonNull<rd_kafka_message_t>);

/// librdkafka's handle on a queue.
struct Queue(NonNull<rd_kafka_queue_t>);

/// librdkafka's handle on a topic of one producer.
struct Topic(NonNull<rd_kafka_topic_t>);

// SAFETY: librdkafka's topic handles are reference counted and locked inside; the C API allows
// their use from any thread.
#[expect(unsafe_code, reason = "see above")]
unsafe impl Send for Topic {}
// SAFETY: as for Send.
#[expect(unsafe_code, reason = "see above")]
unsafe impl Sync for Topic {}

// SAFETY: librdkafka's queues are reference counted and locked inside; any thread may use them.
#[expect(unsafe_code, reason = "see above")]
unsafe impl Send for Queue {}
// SAFETY: as for Send.
#[expect(unsafe_code, reason = "see above")]
unsafe impl Sync for Queue {}
// SAFETY: a message may be destroyed on any thread, and the rest may move between threads.
#[expect(unsafe_code, reason = "see above")]
unsafe impl<C: ConsumerContext + 'static> Send for RecordQueue<C> {}

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
        // A call for each partition: it looks that up before it makes messages. With a partition
        // for each message it would leak the ones whose partition is not there.
        let runs = records.chunk_by(|a, b| a.partition == b.partition);
        for call in runs.flat_map(|run| run.chunks(CALL)) {
            if full {
                // Nothing behind a record that found no room, or the order would not hold.
                call.iter()
                    .for_each(|record| failed(record.number, RDKafkaErrorCode::QueueFull));
                continue;
            }
            let partition = call.first().map_or(0, |record| record.partition);
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
                    partition,
                    RD_KAFKA_MSG_F_COPY,
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

// === impl RecordQueue ===

impl<C: ConsumerContext + 'static> RecordQueue<C> {
    /// An empty queue. `None`: librdkafka has none for this consumer.
    pub(crate) fn new(mut consumer: BaseConsumer<C>) -> Option<Self> {
        let client = consumer.client().native_ptr();
        // SAFETY: the client lives as long as `consumer`, which outlives both queues.
        #[expect(unsafe_code, reason = "see above")]
        let (queue, others) = unsafe {
            (
                rd_kafka_queue_new(client),
                rd_kafka_queue_get_consumer(client),
            )
        };
        let queue = Arc::new(Queue(NonNull::new(queue)?));
        let others = Queue(NonNull::new(others)?);
        // Weak: what lies in the queue keeps the client from its end, and the client keeps this.
        let waiting = Arc::downgrade(&queue);
        consumer.set_nonempty_callback(move || {
            if let Some(queue) = waiting.upgrade() {
                queue.wake();
            }
        });
        Some(Self {
            queue,
            others,
            consumer: Arc::new(consumer),
            call: Vec::with_capacity(CALL),
        })
    }

    /// Whether the consumer has something else to say. When it begins to, [`Self::take`] ends its
    /// wait.
    pub(crate) fn others_wait(&self) -> bool {
        // SAFETY: the handle is counted by `self`.
        #[expect(unsafe_code, reason = "see above")]
        let length = unsafe { rd_kafka_queue_length(self.others.0.as_ptr()) };
        length > 0
    }

    /// Whose records they are.
    pub(crate) fn consumer(&self) -> &Arc<BaseConsumer<C>> {
        &self.consumer
    }

    /// From now on the records of `partition` flow here. To be called before each assignment of
    /// it. False: librdkafka has no queue for it.
    #[must_use]
    pub(crate) fn attach(&self, topic: &str, partition: i32) -> bool {
        let Ok(topic) = CString::new(topic) else {
            return false;
        };
        let client = self.consumer.client().native_ptr();
        // SAFETY: the client lives as long as `consumer`, the name as long as the call.
        #[expect(unsafe_code, reason = "see above")]
        let of_partition =
            unsafe { rd_kafka_queue_get_partition(client, topic.as_ptr(), partition) };
        let Some(of_partition) = NonNull::new(of_partition).map(Queue) else {
            return false;
        };
        // SAFETY: both handles are counted here; the forwarding takes a reference of its own to
        // the queue behind ours.
        #[expect(unsafe_code, reason = "see above")]
        unsafe {
            rd_kafka_queue_forward(of_partition.0.as_ptr(), self.queue.0.as_ptr());
        }
        true
    }

    /// Gives what is there to `visit`, up to some hundred records; waits up to `timeout` for a
    /// first one. Out: how many there were.
    pub(crate) fn take(&mut self, timeout: Duration, mut visit: impl FnMut(Taken<'_>)) -> usize {
        // A native call waits until it is full: first what is there, else for one record only.
        let mut count = self.fetch(CALL, Duration::ZERO);
        if count == 0 && !timeout.is_zero() && !self.others_wait() {
            count = self.fetch(1, timeout);
        }
        for message in self.call.drain(..) {
            // SAFETY: it is not destroyed before the end of this turn.
            #[expect(unsafe_code, reason = "see above")]
            unsafe {
                visit(taken(message.0.as_ref()));
            }
        }
        count
    }

    /// Up to `most` messages into `call`.
    fn fetch(&mut self, most: usize, timeout: Duration) -> usize {
        let timeout = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
        debug_assert!(self.call.is_empty() && most <= self.call.capacity());
        // SAFETY: `call` has room for `most` pointers, as which `Owned` lies in memory, and
        // librdkafka says how many it wrote, none of them null. The queue holds records and errors
        // of partitions only, which is all that this call can take.
        #[expect(unsafe_code, reason = "see above")]
        unsafe {
            let (queue, call) = (self.queue.0.as_ptr(), self.call.as_mut_ptr().cast());
            let count = rd_kafka_consume_batch_queue(queue, timeout, call, most);
            let count = usize::try_from(count).unwrap_or(0);
            self.call.set_len(count);
            count
        }
    }
}

// === impl Owned ===

impl Drop for Owned {
    fn drop(&mut self) {
        // SAFETY: ours alone, and destroyed once.
        #[expect(unsafe_code, reason = "see above")]
        unsafe {
            rd_kafka_message_destroy(self.0.as_ptr());
        }
    }
}

// === impl Queue ===

impl Queue {
    /// Ends the wait of whoever takes from it.
    fn wake(&self) {
        // SAFETY: the handle is counted by `self`.
        #[expect(unsafe_code, reason = "see above")]
        unsafe {
            rd_kafka_queue_yield(self.0.as_ptr());
        }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: the reference that came with the handle, given back once.
        #[expect(unsafe_code, reason = "see above")]
        unsafe {
            rd_kafka_queue_destroy(self.0.as_ptr());
        }
    }
}

/// What `message`, which was polled by itself, says.
pub(crate) fn polled<'a>(message: &'a BorrowedMessage<'_>) -> Taken<'a> {
    // SAFETY: it is destroyed when `message` is dropped, which the answer borrows.
    #[expect(unsafe_code, reason = "see above")]
    unsafe {
        taken(&*message.ptr())
    }
}

/// What `message` says.
///
/// # Safety
/// `message` is one of librdkafka's, not destroyed as long as the answer is used.
#[expect(unsafe_code, reason = "see above")]
unsafe fn taken(message: &rd_kafka_message_t) -> Taken<'_> {
    if message.err != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
        return Taken::Error(message.partition, message.err.into());
    }
    // SAFETY: these lie in the message, and live as long.
    let bytes = |start: *mut std::ffi::c_void, length| unsafe { slice_of(start, length) };
    // SAFETY: as above; the kind of the time is of no interest, and may be left out.
    let timestamp = unsafe { rd_kafka_message_timestamp(message, ptr::null_mut()) };
    Taken::Record(Incoming {
        partition: message.partition,
        offset: message.offset,
        timestamp_ms: Some(timestamp).filter(|timestamp| *timestamp >= 0),
        key: bytes(message.key, message.key_len),
        value: bytes(message.payload, message.len),
        // SAFETY: as above.
        headers: unsafe { headers_of(message) },
    })
}

/// Copies of the headers of `message`. Where it has none, librdkafka says so at once.
///
/// # Safety
/// As for [`taken`].
#[expect(unsafe_code, reason = "see above")]
unsafe fn headers_of(message: &rd_kafka_message_t) -> Option<Box<RecordHeaders>> {
    let none = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR;
    let mut all = ptr::null_mut();
    // SAFETY: what is written belongs to the message, and lives as long.
    if unsafe { rd_kafka_message_headers(message, &raw mut all) } != none {
        return None;
    }
    let mut headers = RecordHeaders::default();
    let (mut name, mut value, mut length) = (ptr::null(), ptr::null(), 0);
    for index in 0.. {
        let (n, v, l) = (&raw mut name, &raw mut value, &raw mut length);
        // SAFETY: `all` was given just now; an index behind the last is answered with an error.
        if unsafe { rd_kafka_header_get_all(all, index, n, v, l) } != none {
            break;
        }
        // SAFETY: a name ends with a zero, a value that is not null has so many bytes.
        let (name, value) = unsafe { (CStr::from_ptr(name), slice_of(value, length)) };
        headers.push(&name.to_string_lossy(), value);
    }
    (!headers.is_empty()).then(|| Box::new(headers))
}

/// # Safety
/// `start` is null, or leads to `length` bytes that live as long as the answer is used.
#[expect(unsafe_code, reason = "see above")]
unsafe fn slice_of<'a>(start: *const std::ffi::c_void, length: usize) -> Option<&'a [u8]> {
    // SAFETY: as the caller promises.
    (!start.is_null()).then(|| unsafe { slice::from_raw_parts(start.cast::<u8>(), length) })
}
