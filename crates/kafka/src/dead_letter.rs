//! What is set aside.
//!
//! In: a record as it was polled, and why it was set aside. Out: acknowledged by all in-sync copies
//! of the dead-letter topic: only then its offset may be settled. Key, value and headers
//! stay untouched; everything else stands in headers of ours behind them, so that any Kafka tool
//! can look at it. A record at the size limit fits with the longest of these.
//!
//! [`headers`] what they say, [`entry`] what lies in the topic, as one reads it, and [`again`] the
//! way back into the log.

pub mod again;
pub mod entry;
pub mod headers;

use crate::consumer::outcome::Reason;
use crate::consumer::partition::PolledRecord;
use crate::position::Position;
use crate::producer::batch::{Headers, ProduceBatch, ProduceEntry, append};
use crate::producer::{Produced, Producer};
use crate::settings::KafkaSettings;
use bytes::Bytes;
use cloudsync::identity::Fingerprint;
use cloudsync::partition::partition_of;
use headers::{cut, trace_id};
use std::borrow::Cow;
use std::time::SystemTime;

/// A record to be set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The record.
    pub original: PolledRecord,
    /// Where it was read.
    pub origin: Position,
    /// The group that sets it aside.
    pub group: String,
    /// The destination that does not get it.
    pub destination: String,
    /// Why.
    pub reason: Reason,
    /// The same in a sentence; longer than 8 KiB it is cut.
    pub detail: String,
    /// What was tried before.
    pub cause: Cause,
    /// The fingerprint of its content, if it can be decoded.
    pub fingerprint: Option<Fingerprint>,
    /// When, at last.
    pub failed_at: SystemTime,
}

/// What was tried before a record was set aside.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cause {
    /// How the last attempt was classed; `None` where nothing was tried.
    pub class: Option<&'static str>,
    /// The destination's own word for it; longer than 256 bytes it is cut.
    pub code: Option<Box<str>>,
    /// Attempts at the destination, also those that an outage failed.
    pub attempts: u32,
    /// When the first of them failed.
    pub first_at: Option<SystemTime>,
}

/// Produces dead letters. Clones share the producer.
#[derive(Debug, Clone)]
pub struct DeadLetterProducer {
    producer: Producer,
    topic: String,
    partitions: u32,
    limit: usize,
}

/// Longest sentence that goes into a header, in bytes.
const MAX_DETAIL: usize = 8 * 1024;
/// Longest code.
const MAX_CODE: usize = 256;

// === impl DeadLetterProducer ===

impl DeadLetterProducer {
    /// Produces through `producer`, which must have been made of the same `settings`.
    #[must_use]
    pub fn new(producer: Producer, settings: &KafkaSettings) -> Self {
        Self {
            producer,
            topic: settings.dlq_topic.clone(),
            partitions: settings.dlq_partitions,
            limit: settings.max_dead_letter_bytes(),
        }
    }

    /// Sets `letters` aside: one result each, in the same order.
    pub async fn produce(&self, letters: Vec<DeadLetter>) -> Vec<Produced> {
        let (mut bytes, mut entries) = (Vec::new(), Vec::with_capacity(letters.len()));
        let mut headers = Vec::with_capacity(letters.len());
        for letter in letters {
            entries.push(letter.entry(&mut bytes, self.partitions));
            headers.push(letter.into_headers());
        }
        let batch = ProduceBatch::with_headers(bytes, entries, headers);
        self.producer
            .send(&self.topic, batch, self.limit, None)
            .await
    }
}

// === impl DeadLetter ===

impl DeadLetter {
    /// The original record, its parts put behind `bytes`.
    fn entry(&self, bytes: &mut Vec<u8>, partitions: u32) -> ProduceEntry {
        let PolledRecord { key, value, .. } = &self.original;
        let mut put = |part: &Bytes| append(bytes, part);
        // By key, so that all dead letters of one key keep their order; never by the origin's
        // partition, which this topic may not have.
        let hashed = key.as_ref().or(value.as_ref());
        ProduceEntry {
            partition: partition_of(hashed.map_or(&[][..], Bytes::as_ref), partitions),
            key: key.as_ref().map(&mut put),
            value: value.as_ref().map(&mut put),
        }
    }

    fn into_headers(self) -> Headers {
        let text = |text: String| Some(Bytes::from(text.into_bytes()));
        let time = |at| {
            jiff::Timestamp::try_from(at)
                .unwrap_or_default()
                .to_string()
        };
        let original = self.original.headers.unwrap_or_default();
        let trace = trace_id(&original);
        let theirs = original.iter();
        let mut all: Headers = theirs
            .map(|(name, value)| (Cow::Owned(name.to_owned()), value.cloned()))
            .collect();
        let mut put = |name, value| all.push((Cow::Borrowed(name), value));
        // The first of ours: what stands before it is the record's own.
        put(headers::TOPIC, text(self.origin.topic.as_ref().to_owned()));
        put(headers::PARTITION, text(self.origin.partition.to_string()));
        put(headers::OFFSET, text(self.origin.offset.to_string()));
        put(headers::GROUP, text(self.group));
        put(headers::DESTINATION, text(self.destination));
        let reason = Bytes::from_static(self.reason.as_str().as_bytes());
        put(headers::REASON, Some(reason));
        put(headers::MESSAGE, text(cut(self.detail, MAX_DETAIL)));
        put(headers::FAILED_AT, text(time(self.failed_at)));
        put(headers::ATTEMPTS, text(self.cause.attempts.to_string()));
        let code = self.cause.code.map(|code| cut(code.into(), MAX_CODE));
        for (name, value) in [
            (headers::CLASS, self.cause.class.map(str::to_owned)),
            (headers::CODE, code),
            (headers::FIRST_AT, self.cause.first_at.map(time)),
            (headers::TRACE_ID, trace),
            (
                headers::FINGERPRINT,
                self.fingerprint.map(|it| it.to_string()),
            ),
        ] {
            if let Some(value) = value {
                put(name, text(value));
            }
        }
        all
    }
}

#[cfg(test)]
mod tests;
