//! A topic's own settings: which of Kafka's are taken, and what they may be.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::str::FromStr;

use kafka_protocol::ResponseError;
use serde::{Deserialize, Serialize};

use crate::log::Retention;

/// A topic's own settings, as given at its creation; all else is the broker's default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct TopicSettings(BTreeMap<String, String>);

/// What a value may be.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// 32 bits, at least so much.
    Int(i32),
    /// 64 bits, at least so much.
    Long(i64),
    Bool,
    /// The only one of Kafka's values that is supported.
    Only(&'static str),
}

/// Kafka's names and bounds: <https://kafka.apache.org/documentation/#topicconfigs>. Those that
/// say when something reaches the disk, or concern replicas, are kept and have no effect.
const KNOWN: [(&str, Kind); 18] = [
    ("cleanup.policy", Kind::Only("delete")),
    ("compression.type", Kind::Only("producer")),
    ("delete.retention.ms", Kind::Long(0)),
    ("file.delete.delay.ms", Kind::Long(0)),
    ("flush.messages", Kind::Long(1)),
    ("flush.ms", Kind::Long(0)),
    ("index.interval.bytes", Kind::Int(0)),
    ("max.message.bytes", Kind::Int(0)),
    ("message.timestamp.after.max.ms", Kind::Long(0)),
    ("message.timestamp.before.max.ms", Kind::Long(0)),
    ("message.timestamp.type", Kind::Only("CreateTime")),
    ("min.insync.replicas", Kind::Int(1)),
    ("preallocate", Kind::Bool),
    ("retention.bytes", Kind::Long(i64::MIN)),
    ("retention.ms", Kind::Long(-1)),
    // Since Kafka 4.0 (KIP-1030).
    ("segment.bytes", Kind::Int(1 << 20)),
    ("segment.ms", Kind::Long(1)),
    ("unclean.leader.election.enable", Kind::Bool),
];
/// Kafka's defaults: seven days.
pub(crate) const DEFAULT_RETENTION_MS: i64 = 604_800_000;
const DEFAULT_SEGMENT_MS: i64 = 604_800_000;
/// An hour, since Kafka 4.0 (KIP-1030).
const DEFAULT_AFTER_MS: i64 = 3_600_000;

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
        let Some((_, kind)) = KNOWN.iter().find(|(known, _)| *known == name) else {
            let message = format!("unknown topic config name: {name}");
            return Err(TopicError {
                code: ResponseError::InvalidConfig,
                message,
            });
        };
        match kind.refuses(value.trim()) {
            Some(why) => refuse(&why),
            None => self.insert(name, value.trim()),
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

    fn number<T: FromStr>(&self, name: &str) -> Option<T> {
        self.get(name)?.trim().parse().ok()
    }

    /// What the topic keeps; below zero is without a limit.
    pub(crate) fn retention(&self) -> Retention {
        let ms = self.number("retention.ms").unwrap_or(DEFAULT_RETENTION_MS);
        let bytes: i64 = self.number("retention.bytes").unwrap_or(-1);
        Retention {
            ms: (ms >= 0).then_some(ms),
            bytes: u64::try_from(bytes).ok(),
        }
    }

    /// Size in bytes, and time in milliseconds, at which a segment is followed by another.
    pub(crate) fn segment_limits(&self, default_bytes: u64) -> (u64, i64) {
        let bytes = self.number("segment.bytes").unwrap_or(default_bytes);
        let ms = self.number("segment.ms").unwrap_or(DEFAULT_SEGMENT_MS);
        (bytes, ms)
    }

    /// The times (ms) that a record may have at the time `now`.
    pub(crate) fn timestamps(&self, now: i64) -> RangeInclusive<i64> {
        let limit = |name, default| self.number(name).unwrap_or(default);
        let before = limit("message.timestamp.before.max.ms", i64::MAX);
        let after = limit("message.timestamp.after.max.ms", DEFAULT_AFTER_MS);
        now.saturating_sub(before)..=now.saturating_add(after)
    }

    /// Largest batch in bytes.
    pub(crate) fn max_message_bytes(&self, default: usize) -> usize {
        self.number("max.message.bytes").unwrap_or(default)
    }
}

impl Kind {
    /// Why a value, without the space around it, is not taken.
    fn refuses(self, value: &str) -> Option<String> {
        match self {
            Self::Only(only) if value == only => None,
            Self::Only(only) => Some(format!("only {only} is supported")),
            Self::Bool if value.eq_ignore_ascii_case("true") => None,
            Self::Bool if value.eq_ignore_ascii_case("false") => None,
            Self::Bool => Some("neither true nor false".to_owned()),
            Self::Int(least) => match value.parse::<i32>() {
                Ok(number) if number >= least => None,
                Ok(_) => Some(format!("must be at least {least}")),
                Err(_) => Some("not a number of 32 bits".to_owned()),
            },
            Self::Long(least) => match value.parse::<i64>() {
                Ok(number) if number >= least => None,
                Ok(_) => Some(format!("must be at least {least}")),
                Err(_) => Some("not a number of 64 bits".to_owned()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_taken_and_refused_as_kafka_does() {
        let taken = [
            ("retention.ms", "-1"),
            ("retention.ms", " 3600000 "),
            ("retention.bytes", "-7"),
            ("segment.bytes", "1048576"),
            ("segment.ms", "1"),
            ("preallocate", "FALSE"),
            ("min.insync.replicas", "2"),
            ("cleanup.policy", "delete"),
        ];
        for (name, value) in taken {
            TopicSettings::default().set(name, value).unwrap();
        }
        let refused = [
            ("retention.ms", "-2"),
            ("retention.ms", "week"),
            ("retention.bytes", "9223372036854775808"),
            ("segment.bytes", "1048575"),
            ("segment.bytes", "2147483648"),
            ("segment.ms", "0"),
            ("segment.ms", ""),
            ("flush.messages", "0"),
            ("message.timestamp.after.max.ms", "1h"),
            ("preallocate", "yes"),
            ("min.insync.replicas", "0"),
            ("cleanup.policy", "compact"),
            ("retention.milliseconds", "1"),
        ];
        for (name, value) in refused {
            let error = TopicSettings::default().set(name, value).unwrap_err();
            assert_eq!(error.code, ResponseError::InvalidConfig, "{name}={value}");
        }
    }

    #[test]
    fn limits_are_those_given_or_kafkas() {
        let mut settings = TopicSettings::default();
        let (ms, bytes) = (Some(DEFAULT_RETENTION_MS), None);
        assert_eq!(settings.retention(), Retention { ms, bytes });
        assert_eq!(settings.segment_limits(7), (7, DEFAULT_SEGMENT_MS));
        settings.set("retention.ms", "-1").unwrap();
        settings.set("retention.bytes", "0").unwrap();
        settings.set("segment.bytes", "+2000000").unwrap();
        let (ms, bytes) = (None, Some(0));
        assert_eq!(settings.retention(), Retention { ms, bytes });
        assert_eq!(settings.segment_limits(7).0, 2_000_000);
    }
}
