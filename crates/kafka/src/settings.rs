//! Where Kafka is, and how it is used.
//!
//! In: the `[kafka]` section of the configuration. Out: librdkafka's properties for each kind of
//! client. Any librdkafka property can be passed through literally, except those that the
//! guarantees rest on: [`KafkaSettings::validate`] refuses them, and says why.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

mod clients;
mod passed;

use passed::{redact, refuse};

/// The `[kafka]` section. Unknown keys are errors.
#[derive(Clone, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct KafkaSettings {
    /// `host:port` of one or more brokers, separated by commas. Default `127.0.0.1:9092`.
    pub brokers: String,
    /// The topic that holds every record. Default `data-topic`.
    pub topic: String,
    /// The topic of dead letters. Default `data-topic-dlq`.
    pub dlq_topic: String,
    /// Number of partitions that keys are spread over, whatever the topic has. Default 12.
    pub partitions: u32,
    /// The same for dead letters. Default 4.
    pub dlq_partitions: u32,
    /// Copies of each partition that [`crate::ensure_topics`] asks for. Default 3.
    pub replication: i16,
    /// How long the topic keeps records. Default 7 days.
    #[serde(with = "crate::duration")]
    pub retention: Duration,
    /// Longest wait of a record for others to be sent with. Default 1 ms.
    #[serde(with = "crate::duration")]
    pub linger: Duration,
    /// Largest record in bytes, key included. Default 1,004,096: the largest that the gateway
    /// accepts, and 4 KiB for what it adds.
    pub max_record_bytes: usize,
    /// Records that the producer holds unacknowledged; more wait. Default 200,000.
    pub queue_records: u32,
    /// Bytes that the producer holds unacknowledged; more wait. Default 256 MiB.
    pub queue_bytes: u32,
    /// librdkafka properties, passed through literally.
    pub librdkafka: BTreeMap<String, String>,
}

/// Why settings are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// A property that may not be passed through.
    #[error("kafka.librdkafka.\"{key}\" = \"{value}\" is refused: {why}")]
    Property {
        /// The property.
        key: String,
        /// Its value, or `***`.
        value: String,
        /// The promise that it would break.
        why: &'static str,
    },
    /// A value out of its range.
    #[error("kafka.{key} = {value} is refused: {why}")]
    Value {
        /// The key in the section.
        key: &'static str,
        /// Its value.
        value: String,
        /// The range.
        why: &'static str,
    },
}

/// What Kafka's record batch and a producer's bookkeeping add to the largest record.
const BATCH_OVERHEAD: usize = 44_492;
/// What headers may add to a dead letter.
const DLQ_OVERHEAD: usize = 64 * 1024;
/// How long a record may stay unacknowledged before it is given back.
pub(crate) const DELIVERY_TIMEOUT: Duration = Duration::from_secs(30);

// === impl KafkaSettings ===

impl Default for KafkaSettings {
    fn default() -> Self {
        Self {
            brokers: "127.0.0.1:9092".to_owned(),
            topic: "data-topic".to_owned(),
            dlq_topic: "data-topic-dlq".to_owned(),
            partitions: 12,
            dlq_partitions: 4,
            replication: 3,
            retention: Duration::from_secs(7 * 86_400),
            linger: Duration::from_millis(1),
            max_record_bytes: cloudsync::limits::MAX_RECORD_BYTES + 4_096,
            queue_records: 200_000,
            queue_bytes: 256 << 20,
            librdkafka: BTreeMap::new(),
        }
    }
}

impl fmt::Debug for KafkaSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaSettings")
            .field("brokers", &self.brokers)
            .field("topic", &self.topic)
            .field("dlq_topic", &self.dlq_topic)
            .field("partitions", &self.partitions)
            .field("dlq_partitions", &self.dlq_partitions)
            .field("replication", &self.replication)
            .field("retention", &self.retention)
            .field("linger", &self.linger)
            .field("max_record_bytes", &self.max_record_bytes)
            .field("queue_records", &self.queue_records)
            .field("queue_bytes", &self.queue_bytes)
            .field("librdkafka", &self.redacted_properties())
            .finish()
    }
}

impl KafkaSettings {
    /// Refuses what the guarantees do not survive.
    ///
    /// # Errors
    /// The first [`SettingsError`] found.
    pub fn validate(&self) -> Result<(), SettingsError> {
        match self.errors().into_iter().next() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Everything that [`KafkaSettings::validate`] has to say.
    #[must_use]
    pub fn errors(&self) -> Vec<SettingsError> {
        let value = |key, value: String, why| Some(SettingsError::Value { key, value, why });
        let text = |key, text: &str| {
            let bad = text.is_empty() || text.contains(['\0', ' ']);
            if bad {
                value(key, format!("\"{text}\""), "it must be a name")
            } else {
                None
            }
        };
        let count = |key, count: u32| {
            let bad = !(1..=10_000).contains(&count);
            if bad {
                value(key, count.to_string(), "it must lie in 1..=10000")
            } else {
                None
            }
        };
        let mut errors: Vec<SettingsError> = [
            self.brokers
                .trim()
                .is_empty()
                .then(|| value("brokers", "\"\"".to_owned(), "name at least one host:port"))
                .flatten(),
            text("topic", &self.topic),
            text("dlq_topic", &self.dlq_topic),
            count("partitions", self.partitions),
            count("dlq_partitions", self.dlq_partitions),
        ]
        .into_iter()
        .flatten()
        .collect();
        errors.extend(self.limit_errors());
        errors.extend(
            self.librdkafka
                .iter()
                .filter_map(|(key, value)| refuse(key, value)),
        );
        errors
    }

    fn limit_errors(&self) -> Vec<SettingsError> {
        let queue_bytes = usize::try_from(self.queue_bytes).unwrap_or(usize::MAX);
        let checks = [
            (
                self.topic == self.dlq_topic,
                "dlq_topic",
                self.dlq_topic.clone(),
                "dead letters need a topic of their own",
            ),
            (
                self.replication < 1,
                "replication",
                self.replication.to_string(),
                "there is at least one copy",
            ),
            (
                !(1_000..=64 << 20).contains(&self.max_record_bytes),
                "max_record_bytes",
                self.max_record_bytes.to_string(),
                "it must lie in 1000..=67108864",
            ),
            (
                !(1..=400_000).contains(&self.queue_records),
                "queue_records",
                self.queue_records.to_string(),
                "it must lie in 1..=400000",
            ),
            (
                queue_bytes < self.max_dead_letter_bytes() || queue_bytes > 1 << 30,
                "queue_bytes",
                self.queue_bytes.to_string(),
                "it must hold the largest record and 64 KiB, and at most 1 GiB",
            ),
            (
                self.linger > Duration::from_secs(1),
                "linger",
                crate::duration::format(self.linger),
                "at most 1s, or clients time out",
            ),
        ];
        let refused = checks.into_iter().filter(|(bad, ..)| *bad);
        refused
            .map(|(_, key, value, why)| SettingsError::Value { key, value, why })
            .collect()
    }

    /// Largest record that the dead-letter topic takes, in bytes.
    pub(crate) fn max_dead_letter_bytes(&self) -> usize {
        self.max_record_bytes + DLQ_OVERHEAD
    }

    /// Largest record that goes into the topic again, with headers that it had not before.
    pub(crate) fn max_redriven_bytes(&self) -> usize {
        self.max_record_bytes + BATCH_OVERHEAD / 2
    }

    /// `max.message.bytes` of the topic. Default 1,048,588, Kafka's own.
    pub(crate) fn topic_message_bytes(&self) -> usize {
        self.max_record_bytes + BATCH_OVERHEAD
    }

    /// `max.message.bytes` of the dead-letter topic.
    pub(crate) fn dlq_message_bytes(&self) -> usize {
        self.topic_message_bytes() + DLQ_OVERHEAD
    }

    /// The pass-through properties without secrets.
    #[must_use]
    pub fn redacted_properties(&self) -> BTreeMap<&str, &str> {
        let all = self.librdkafka.iter();
        all.map(|(key, value)| (key.as_str(), redact(key, value)))
            .collect()
    }
}

#[cfg(test)]
mod tests;
