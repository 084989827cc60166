//! A record on its way through librdkafka, in safe words.
//!
//! In: what is to be queued. Out: what was fetched. Promises: no unsafe code; what a record does
//! not have (headers, most of the time) costs no allocation.

use bytes::Bytes;
use rdkafka::bindings::rd_kafka_message_t;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::types::RDKafkaRespErr;
use std::ptr;

/// The headers of a record, in their order. A name may stand there more than once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordHeaders(Vec<(Box<str>, Option<Bytes>)>);

/// A record to be queued.
#[derive(Clone, Copy)]
pub(crate) struct Outgoing<'a> {
    pub(crate) partition: i32,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    /// What its delivery report carries.
    pub(crate) number: usize,
}

/// What came out of a [`crate::librdkafka::RecordQueue`]. It lies in librdkafka's memory.
pub(crate) enum Taken<'a> {
    /// A record.
    Record(Incoming<'a>),
    /// A partition has something to complain of. librdkafka takes the record that comes next for
    /// taken now: its place has to be sought again, or a pause passes over it.
    Error(i32, RDKafkaErrorCode),
}

/// A record as it was fetched.
pub(crate) struct Incoming<'a> {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    /// Milliseconds since 1970; `None` when it has no time.
    pub(crate) timestamp_ms: Option<i64>,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    /// `None` when it has none.
    pub(crate) headers: Option<Box<RecordHeaders>>,
}

// === impl RecordHeaders ===

impl RecordHeaders {
    /// Puts one behind the others.
    pub fn push(&mut self, name: &str, value: Option<&[u8]>) {
        let value = value.map(Bytes::copy_from_slice);
        self.0.push((name.into(), value));
    }

    /// Name and value of each, in their order; a value may be null, as Kafka has it.
    pub fn iter(
        &self,
    ) -> impl DoubleEndedIterator<Item = (&str, Option<&Bytes>)> + ExactSizeIterator {
        self.0.iter().map(|(name, value)| (&**name, value.as_ref()))
    }

    /// The value of the last header called `name`.
    #[must_use]
    pub fn last(&self, name: &str) -> Option<&Bytes> {
        let (_, value) = self.iter().rfind(|(found, _)| *found == name)?;
        value
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Bytes of all names and values.
    #[must_use]
    pub fn size(&self) -> usize {
        let size = |(name, value): (&str, Option<&Bytes>)| name.len() + value.map_or(0, Bytes::len);
        self.iter().map(size).sum()
    }
}

/// `record` as librdkafka takes it. It borrows the bytes without saying so.
pub(crate) fn message_of(record: &Outgoing<'_>) -> rd_kafka_message_t {
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
