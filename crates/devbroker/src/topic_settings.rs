//! A topic's own settings: which of Kafka's are taken, and what they may be.

use std::collections::BTreeMap;

use kafka_protocol::ResponseError;
use serde::{Deserialize, Serialize};

/// A topic's own settings, as given at its creation; all else is the broker's default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct TopicSettings(BTreeMap<String, String>);

/// Why a topic is not created or deleted: the code and the sentence clients show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TopicError {
    pub(crate) code: ResponseError,
    pub(crate) message: String,
}

impl TopicSettings {
    /// Takes a setting given by a client, if it is one of Kafka's and its value can be kept.
    pub(crate) fn set(&mut self, name: &str, value: &str) -> Result<(), TopicError> {
        let refuse = |why: &str| {
            let message = format!("invalid value {value} for configuration {name}: {why}");
            Err(TopicError {
                code: ResponseError::InvalidConfig,
                message,
            })
        };
        match name {
            "max.message.bytes" => {
                if value.parse::<i32>().is_ok_and(|bytes| bytes >= 0) {
                    self.insert(name, value)
                } else {
                    refuse("not a number of bytes")
                }
            }
            "retention.ms" | "retention.bytes" => {
                if value.parse::<i64>().is_ok_and(|limit| limit >= -1) {
                    self.insert(name, value)
                } else {
                    refuse("not a number of at least -1")
                }
            }
            "cleanup.policy" if value != "delete" => refuse("only delete is supported"),
            "message.timestamp.type" if value != "CreateTime" => {
                refuse("only CreateTime is supported")
            }
            "compression.type" if value != "producer" => refuse("only producer is supported"),
            "cleanup.policy"
            | "message.timestamp.type"
            | "compression.type"
            | "segment.bytes"
            | "segment.ms"
            | "min.insync.replicas"
            | "unclean.leader.election.enable"
            | "delete.retention.ms"
            | "file.delete.delay.ms"
            | "flush.messages"
            | "flush.ms"
            | "index.interval.bytes"
            | "message.timestamp.before.max.ms"
            | "message.timestamp.after.max.ms"
            | "preallocate" => self.insert(name, value),
            _ => {
                let message = format!("unknown topic config name: {name}");
                Err(TopicError {
                    code: ResponseError::InvalidConfig,
                    message,
                })
            }
        }
    }

    fn insert(&mut self, name: &str, value: &str) -> Result<(), TopicError> {
        const MAX_VALUE_BYTES: usize = 256;
        if value.len() > MAX_VALUE_BYTES {
            let message = format!("value of configuration {name} is longer than 256 bytes");
            return Err(TopicError {
                code: ResponseError::InvalidConfig,
                message,
            });
        }
        self.0.insert(name.to_owned(), value.to_owned());
        Ok(())
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Largest batch in bytes.
    pub(crate) fn max_message_bytes(&self, default: usize) -> usize {
        self.get("max.message.bytes")
            .and_then(|text| text.parse().ok())
            .unwrap_or(default)
    }
}
