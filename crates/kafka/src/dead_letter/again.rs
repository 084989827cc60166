//! The way of a dead letter back into the log, and the marker that it went.
//!
//! In: entries of the dead-letter topic. Out: the same records in the data topic, for the one
//! destination that did not get them, and markers beside the entries. Promises: key, value and
//! headers are those of the original; a marker is produced only by who has the acknowledgement of
//! what it states. Whoever dies between the two redrives once more: the dedupe store makes a
//! duplicate of the second.

use super::entry::{DeadLetterEntry, Settled};
use crate::consumer::partition::PolledRecord;
use crate::position::Position;
use crate::producer::batch::{Headers, ProduceBatch, ProduceEntry, append};
use crate::producer::{Produced, Producer};
use crate::record::RecordHeaders;
use crate::settings::KafkaSettings;
use bytes::Bytes;
use cloudsync::partition::partition_of;
use cloudsync::wire::RecordView;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::SystemTime;

/// What failed again after so many redrives is parked: only somebody who insists redrives it.
pub const MAX_REDRIVES: u32 = 3;

/// What a record of the data topic says of its redrive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redrive {
    /// The one destination that it is for.
    pub destination: String,
    /// How often it was redriven, this time included.
    pub count: u32,
    /// Where it was read when it failed, if it says so.
    pub origin: Option<Position>,
}

/// Brings entries back into the log. Clones share the producer.
#[derive(Debug, Clone)]
pub struct Redriver {
    producer: Producer,
    settings: KafkaSettings,
}

/// What the names of all our headers of a redrive begin with.
const PREFIX: &str = "cloudsync.redrive.";
const DESTINATION: &str = "cloudsync.redrive.destination";
const COUNT: &str = "cloudsync.redrive.count";
const ORIGIN: &str = "cloudsync.redrive.origin";

// === impl Redrive ===

impl Redrive {
    /// Reads the headers of a record; `None` where it was not redriven.
    #[must_use]
    pub fn of(headers: &RecordHeaders) -> Option<Self> {
        let text = |name| std::str::from_utf8(headers.last(name)?).ok();
        let origin = text(ORIGIN).and_then(|origin| {
            let mut parts = origin.rsplitn(3, '/');
            let (offset, partition) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
            let topic = Arc::from(parts.next()?);
            Some(Position {
                topic,
                partition,
                offset,
            })
        });
        Some(Self {
            destination: text(DESTINATION)?.to_owned(),
            count: text(COUNT)?.parse().ok()?,
            origin,
        })
    }
}

// === impl DeadLetterEntry ===

impl DeadLetterEntry {
    /// Whether it has failed so often that it is redriven only by somebody who insists.
    #[must_use]
    pub fn is_parked(&self) -> bool {
        self.redrives >= MAX_REDRIVES
    }

    /// The partition of the data topic, of `partitions`, that it goes back to: by the rule of the
    /// gateway, so that its id meets the same chain and the same shard. What cannot be decoded
    /// goes where it was.
    #[must_use]
    pub fn partition(&self, partitions: u32) -> i32 {
        let value = self.original.value.as_deref().unwrap_or_default();
        if let Ok(view) = RecordView::parse(value)
            && !view.partition_key().is_empty()
        {
            return partition_of(view.partition_key().as_bytes(), partitions);
        }
        let there = self.headers.origin.partition;
        match u32::try_from(there).is_ok_and(|there| there < partitions) {
            true => there,
            false => partition_of(self.original.key.as_deref().unwrap_or(value), partitions),
        }
    }

    pub(super) fn redriven_headers(&self) -> Headers {
        let theirs = self.original.headers.as_deref();
        let theirs = theirs.into_iter().flat_map(RecordHeaders::iter);
        // Those of a redrive before this one are no longer true.
        let mut all: Headers = theirs
            .filter(|(name, _)| !name.starts_with(PREFIX))
            .map(|(name, value)| (Cow::Owned(name.to_owned()), value.cloned()))
            .collect();
        let origin = &self.headers.origin;
        let origin = format!("{}/{}/{}", origin.topic, origin.partition, origin.offset);
        let count = self.redrives.saturating_add(1).to_string();
        for (name, text) in [
            (DESTINATION, self.headers.destination.clone()),
            (COUNT, count),
            (ORIGIN, origin),
        ] {
            all.push((Cow::Borrowed(name), Some(Bytes::from(text))));
        }
        all
    }
}

// === impl Redriver ===

impl Redriver {
    /// Produces through `producer`, which must have been made of the same `settings`.
    #[must_use]
    pub fn new(producer: Producer, settings: &KafkaSettings) -> Self {
        Self {
            producer,
            settings: settings.clone(),
        }
    }

    /// Produces the records of `entries` to the data topic, each for its destination alone: one
    /// result each, in the same order.
    pub async fn redrive(&self, entries: &[DeadLetterEntry]) -> Vec<Produced> {
        let (mut bytes, mut records) = (Vec::new(), Vec::with_capacity(entries.len()));
        for entry in entries {
            let PolledRecord { key, value, .. } = &entry.original;
            let mut put = |part: &Bytes| append(&mut bytes, part);
            records.push(ProduceEntry {
                partition: entry.partition(self.settings.partitions),
                key: key.as_ref().map(&mut put),
                value: value.as_ref().map(&mut put),
            });
        }
        let headers = entries.iter().map(DeadLetterEntry::redriven_headers);
        let batch = ProduceBatch::with_headers(bytes, records, headers.collect());
        let limit = self.settings.max_redriven_bytes();
        self.producer
            .send(&self.settings.topic, batch, limit, None)
            .await
    }

    /// Produces a marker for each of `entries` beside it: it is settled, by `how`. One result
    /// each, in the same order.
    pub async fn settle(&self, entries: &[DeadLetterEntry], how: Settled) -> Vec<Produced> {
        let (mut bytes, mut records) = (Vec::new(), Vec::with_capacity(entries.len()));
        for entry in entries {
            let key = entry.original.key.as_ref();
            let key = key.map(|key| append(&mut bytes, key));
            records.push(ProduceEntry {
                // Its own, also where the topic has more by now: a partition is read in order.
                partition: entry.at.0,
                key,
                // Empty, and no tombstone: nobody shall take the entry away by compaction.
                value: Some(0..0),
            });
        }
        let now = SystemTime::now();
        let headers = entries.iter().map(|entry| how.marker(entry.id, now));
        let batch = ProduceBatch::with_headers(bytes, records, headers.collect());
        let limit = self.settings.max_dead_letter_bytes();
        self.producer
            .send(&self.settings.dlq_topic, batch, limit, None)
            .await
    }
}
