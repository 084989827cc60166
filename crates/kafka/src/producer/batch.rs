//! Records for one topic, side by side in one buffer.
//!
//! In: keys and values. Out: a batch that is cheap to clone and costs no allocation a record.

use super::ProduceRecord;
use crate::record::Outgoing;
use bytes::Bytes;
use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// Records to be produced together, in the order in which they go out. Clones share them.
#[derive(Clone, Default)]
pub struct ProduceBatch {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    bytes: Vec<u8>,
    entries: Vec<ProduceEntry>,
    /// Beside the entries; empty when no record has any.
    headers: Vec<Headers>,
}

/// A record of a batch: where in the batch's buffer its parts lie. They may overlap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProduceEntry {
    /// Where to; see [`cloudsync::partition::partition_of`].
    pub partition: i32,
    /// Its key, if it has one.
    pub key: Option<Range<usize>>,
    /// Its value; `None` makes a tombstone.
    pub value: Option<Range<usize>>,
}

/// Name and value of each header of a record; a value may be null.
pub(crate) type Headers = Vec<(Cow<'static, str>, Option<Bytes>)>;

/// Puts `part` behind `bytes`; out: where it lies there.
pub(crate) fn append(bytes: &mut Vec<u8>, part: &[u8]) -> Range<usize> {
    let start = bytes.len();
    bytes.extend_from_slice(part);
    start..bytes.len()
}

// === impl ProduceBatch ===

impl ProduceBatch {
    /// The records `entries`, whose parts lie in `bytes`. What lies outside of it is empty.
    #[must_use]
    pub fn new(bytes: Vec<u8>, entries: Vec<ProduceEntry>) -> Self {
        Self::with_headers(bytes, entries, Vec::new())
    }

    pub(crate) fn with_headers(
        bytes: Vec<u8>,
        entries: Vec<ProduceEntry>,
        headers: Vec<Headers>,
    ) -> Self {
        let inner = Inner {
            bytes,
            entries,
            headers,
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Number of records.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inner.entries.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.inner.entries.is_empty()
    }

    /// The value of record `index`; empty if it has none.
    #[must_use]
    pub fn value(&self, index: usize) -> &[u8] {
        let entry = self.inner.entries.get(index);
        let value = entry.and_then(|entry| self.part(entry.value.as_ref()));
        value.unwrap_or_default()
    }

    /// The key of record `index`; empty if it has none.
    #[must_use]
    pub fn key(&self, index: usize) -> &[u8] {
        let entry = self.inner.entries.get(index);
        let key = entry.and_then(|entry| self.part(entry.key.as_ref()));
        key.unwrap_or_default()
    }

    /// Record `index` as librdkafka takes it, with `number` for its report.
    pub(crate) fn outgoing(&self, index: usize, number: usize) -> Outgoing<'_> {
        let entry = self.inner.entries.get(index);
        Outgoing {
            partition: entry.map_or(0, |entry| entry.partition),
            key: entry.and_then(|entry| self.part(entry.key.as_ref())),
            value: entry.and_then(|entry| self.part(entry.value.as_ref())),
            number,
        }
    }

    pub(crate) fn headers(&self, index: usize) -> &[(Cow<'static, str>, Option<Bytes>)] {
        self.inner.headers.get(index).map_or(&[], Vec::as_slice)
    }

    /// Bytes of record `index` that count against the limits.
    pub(crate) fn size(&self, index: usize) -> usize {
        let headers = self.headers(index).iter();
        let headers: usize = headers
            .map(|(name, value)| name.len() + value.as_ref().map_or(0, Bytes::len))
            .sum();
        let of = |part: Option<&Range<usize>>| part.map_or(0, ExactSizeIterator::len);
        let entry = self.inner.entries.get(index);
        headers + entry.map_or(0, |entry| of(entry.key.as_ref()) + of(entry.value.as_ref()))
    }

    fn part(&self, range: Option<&Range<usize>>) -> Option<&[u8]> {
        range.map(|range| self.inner.bytes.get(range.clone()).unwrap_or_default())
    }
}

impl From<Vec<ProduceRecord>> for ProduceBatch {
    fn from(records: Vec<ProduceRecord>) -> Self {
        let mut bytes = Vec::new();
        let mut put = |part: &[u8]| append(&mut bytes, part);
        let entries = records
            .iter()
            .map(|record| ProduceEntry {
                partition: record.partition,
                key: Some(put(&record.key)).filter(|key| !key.is_empty()),
                value: Some(put(&record.value)),
            })
            .collect();
        Self::new(bytes, entries)
    }
}

impl fmt::Debug for ProduceBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never the payloads: a record's data has no place in a log line.
        f.debug_struct("ProduceBatch")
            .field("records", &self.len())
            .field("bytes", &self.inner.bytes.len())
            .finish()
    }
}
