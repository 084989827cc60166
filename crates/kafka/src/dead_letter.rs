//! What is set aside.
//!
//! In: a record as it was polled, and why it was set aside. Out: acknowledged by all in-sync copies
//! of the dead-letter topic: only then its offset may be settled. Key and value
//! stay untouched; everything else stands in headers, so that any Kafka tool can look at it.

use crate::consumer::outcome::Reason;
use crate::consumer::partition::PolledRecord;
use crate::position::Position;
use crate::producer::batch::{Headers, ProduceBatch, ProduceEntry, append};
use crate::producer::{Produced, Producer};
use crate::settings::KafkaSettings;
use bytes::Bytes;
use cloudsync::partition::partition_of;
use std::sync::Arc;
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
    /// When.
    pub failed_at: SystemTime,
}

/// Produces dead letters. Clones share the producer.
#[derive(Debug, Clone)]
pub struct DeadLetterProducer {
    producer: Producer,
    topic: String,
    partitions: u32,
    limit: usize,
}

/// What the headers of a dead letter say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetterHeaders {
    /// Where the record was read.
    pub origin: Position,
    /// The group that set it aside.
    pub group: String,
    /// The destination that did not get it.
    pub destination: String,
    /// Why, as [`Reason::as_str`] has it.
    pub reason: String,
    /// The same in a sentence.
    pub message: String,
    /// When, as RFC 3339 has it.
    pub failed_at: String,
}

const TOPIC: &str = "cloudsync.dlq.topic";
const PARTITION: &str = "cloudsync.dlq.partition";
const OFFSET: &str = "cloudsync.dlq.offset";
const GROUP: &str = "cloudsync.dlq.group";
const DESTINATION: &str = "cloudsync.dlq.destination";
const REASON: &str = "cloudsync.dlq.reason";
const MESSAGE: &str = "cloudsync.dlq.message";
const FAILED_AT: &str = "cloudsync.dlq.failed_at";

/// Longest sentence that goes into a header, in bytes.
const MAX_DETAIL: usize = 8 * 1024;

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
        let text = |text: String| Bytes::from(text.into_bytes());
        let failed_at = jiff::Timestamp::try_from(self.failed_at).unwrap_or_default();
        let detail = cut(self.detail, MAX_DETAIL);
        vec![
            (TOPIC, text(self.origin.topic.as_ref().to_owned())),
            (PARTITION, text(self.origin.partition.to_string())),
            (OFFSET, text(self.origin.offset.to_string())),
            (GROUP, text(self.group)),
            (DESTINATION, text(self.destination)),
            (REASON, Bytes::from_static(self.reason.as_str().as_bytes())),
            (MESSAGE, text(detail)),
            (FAILED_AT, text(failed_at.to_string())),
        ]
    }
}

/// `text`, at most `limit` bytes of it.
fn cut(mut text: String, limit: usize) -> String {
    let end = (0..=limit.min(text.len()))
        .rev()
        .find(|at| text.is_char_boundary(*at));
    text.truncate(end.unwrap_or(0));
    text
}

// === impl DeadLetterHeaders ===

impl DeadLetterHeaders {
    /// Reads the headers of a record of the dead-letter topic; `None` when one is missing or is
    /// no such thing.
    #[must_use]
    pub fn parse(headers: &[(String, Bytes)]) -> Option<Self> {
        let text = |name: &str| {
            let (_, value) = headers.iter().find(|(found, _)| found == name)?;
            std::str::from_utf8(value).ok().map(str::to_owned)
        };
        Some(Self {
            origin: Position {
                topic: Arc::from(text(TOPIC)?),
                partition: text(PARTITION)?.parse().ok()?,
                offset: text(OFFSET)?.parse().ok()?,
            },
            group: text(GROUP)?,
            destination: text(DESTINATION)?,
            reason: text(REASON)?,
            message: text(MESSAGE)?,
            failed_at: text(FAILED_AT)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_the_headers_say_is_what_was_set_aside(
            key in prop::option::of(prop::collection::vec(any::<u8>(), 0..20)),
            value in prop::option::of(prop::collection::vec(any::<u8>(), 0..20)),
            offset in 0i64..i64::MAX, detail in "\\PC{0,40}", seconds in 0u64..4_000_000_000,
        ) {
            let original = PolledRecord {
                offset,
                timestamp_ms: 0,
                key: key.map(Bytes::from),
                value: value.map(Bytes::from),
            };
            let letter = DeadLetter {
                original: original.clone(),
                origin: Position { topic: "data-topic".into(), partition: 11, offset },
                group: "aws-sync-group".to_owned(),
                destination: "aws".to_owned(),
                reason: Reason::IdConflict,
                detail: detail.clone(),
                failed_at: SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds),
            };
            let mut bytes = b"the letter before".to_vec();
            let entry = letter.entry(&mut bytes, 4);
            prop_assert!((0..4).contains(&entry.partition));
            let part = |place: Option<std::ops::Range<usize>>| place.map(|at| &bytes[at]);
            prop_assert_eq!(part(entry.key), original.key.as_deref());
            prop_assert_eq!(part(entry.value), original.value.as_deref());
            let headers = letter.clone().into_headers();
            let headers: Vec<_> =
                headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
            let read = DeadLetterHeaders::parse(&headers).unwrap();
            prop_assert_eq!(&read.origin, &letter.origin);
            prop_assert_eq!(Reason::from_word(&read.reason), Some(letter.reason));
            prop_assert_eq!(read.message, detail);
            prop_assert_eq!((read.group, read.destination), (letter.group, letter.destination));
            prop_assert!(read.failed_at.ends_with('Z'), "{}", read.failed_at);
            prop_assert_eq!(DeadLetterHeaders::parse(&headers[1..]), None);
        }

        #[test]
        fn a_long_sentence_is_cut_between_characters(text in "\\PC{0,30}", limit in 0usize..40) {
            let short = cut(text.clone(), limit);
            prop_assert!(short.len() <= limit && text.starts_with(&short));
            prop_assert!(text.len() > limit || short == text);
        }
    }
}
