//! What can go wrong between us and Kafka, apart from a single record's fate.

use crate::settings::SettingsError;

/// Why an operation on Kafka failed. [`KafkaError::is_retryable`] says whether the same call may
/// succeed later without anyone changing the configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KafkaError {
    /// The settings are refused.
    #[error("the kafka settings are refused")]
    Settings(#[from] SettingsError),
    /// librdkafka made no client of the settings.
    #[error("cannot create the kafka {what}")]
    Client {
        /// Which client.
        what: &'static str,
        /// What librdkafka says.
        #[source]
        source: rdkafka::error::KafkaError,
    },
    /// Kafka did not answer, or answered with an error that passes.
    #[error("kafka at {brokers} did not answer: {what}")]
    Unavailable {
        /// The configured brokers.
        brokers: String,
        /// What was asked, and what came of it.
        what: String,
    },
    /// A topic is not there. Topics are made on purpose, never by using them.
    #[error("topic {topic} does not exist at {brokers}; create it with `cloudsync topics ensure`")]
    NoTopic {
        /// The topic.
        topic: String,
        /// The configured brokers.
        brokers: String,
    },
    /// A topic has fewer partitions than configured, so that keys would have no place.
    #[error(
        "topic {topic} has {found} partitions, but the settings say {wanted}; set the number to \
         {found}, or add partitions to the topic after all groups have read everything"
    )]
    TooFewPartitions {
        /// The topic.
        topic: String,
        /// How many it has.
        found: u32,
        /// How many the settings say.
        wanted: u32,
    },
    /// Kafka refused the operation for good.
    #[error("kafka refused {what}: {reason}")]
    Refused {
        /// What was asked.
        what: String,
        /// Kafka's answer.
        reason: String,
    },
    /// The client cannot go on and must be made anew.
    #[error("the kafka {what} failed for good: {reason}")]
    Fatal {
        /// Which client.
        what: &'static str,
        /// Why.
        reason: String,
    },
    /// The client has been closed.
    #[error("the kafka {what} is closed")]
    Closed {
        /// Which client.
        what: &'static str,
    },
}

// === impl KafkaError ===

impl KafkaError {
    /// Whether the same call may succeed later without a change of the configuration.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unavailable { .. } | Self::NoTopic { .. } | Self::Fatal { .. } => true,
            Self::Settings(_)
            | Self::Client { .. }
            | Self::TooFewPartitions { .. }
            | Self::Refused { .. }
            | Self::Closed { .. } => false,
        }
    }
}
