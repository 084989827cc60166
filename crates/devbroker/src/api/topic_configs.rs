//! The settings a topic has: Kafka's names, types and defaults, and what it was given.
//!
//! From <https://kafka.apache.org/documentation/#topicconfigs>; what a broker would call its
//! default for them: <https://kafka.apache.org/documentation/#brokerconfigs>.

use crate::node::Node;
use crate::topics::TopicSettings;

/// The type of a setting (`ConfigEntry.ConfigType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Boolean = 1,
    String = 2,
    Int = 3,
    Long = 5,
    Double = 6,
    List = 7,
}

/// Where a value comes from (`ConfigEntry.ConfigSource`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    Topic = 1,
    /// Set for all brokers at once. A Kafka of version 4.1 or later does so with
    /// `min.insync.replicas` when it is formatted (KIP-966), and its tools then show it.
    AllBrokers = 3,
    Default = 5,
}

/// A setting with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setting {
    pub(crate) name: &'static str,
    pub(crate) value: String,
    pub(crate) kind: Kind,
    pub(crate) source: Source,
    /// The broker's setting that is its default, if there is one.
    pub(crate) synonym: Option<&'static str>,
    /// The default.
    pub(crate) default: String,
}

type Known = (&'static str, &'static str, Kind, Option<&'static str>);

use Kind::{Boolean, Double, Int, List, Long};

const MAX_LONG: &str = "9223372036854775807";
const WEEK: &str = "604800000";
const MAX_MESSAGE: &str = "max.message.bytes";
const MIN_INSYNC: &str = "min.insync.replicas";

/// Name, default, type, the broker's name for the default.
#[rustfmt::skip]
const KNOWN: [Known; 33] = [
    ("cleanup.policy", "delete", List, Some("log.cleanup.policy")),
    ("compression.gzip.level", "-1", Int, Some("compression.gzip.level")),
    ("compression.lz4.level", "9", Int, Some("compression.lz4.level")),
    ("compression.type", "producer", Kind::String, Some("compression.type")),
    ("compression.zstd.level", "3", Int, Some("compression.zstd.level")),
    ("delete.retention.ms", "86400000", Long, Some("log.cleaner.delete.retention.ms")),
    ("file.delete.delay.ms", "60000", Long, Some("log.segment.delete.delay.ms")),
    ("flush.messages", MAX_LONG, Long, Some("log.flush.interval.messages")),
    ("flush.ms", MAX_LONG, Long, None),
    ("follower.replication.throttled.replicas", "", List, None),
    ("index.interval.bytes", "4096", Int, Some("log.index.interval.bytes")),
    ("leader.replication.throttled.replicas", "", List, None),
    ("local.retention.bytes", "-2", Long, Some("log.local.retention.bytes")),
    ("local.retention.ms", "-2", Long, Some("log.local.retention.ms")),
    ("max.compaction.lag.ms", MAX_LONG, Long, Some("log.cleaner.max.compaction.lag.ms")),
    (MAX_MESSAGE, "", Int, Some("message.max.bytes")),
    ("message.timestamp.after.max.ms", "3600000", Long, Some("log.message.timestamp.after.max.ms")),
    ("message.timestamp.before.max.ms", MAX_LONG, Long, Some("log.message.timestamp.before.max.ms")),
    ("message.timestamp.type", "CreateTime", Kind::String, Some("log.message.timestamp.type")),
    ("min.cleanable.dirty.ratio", "0.5", Double, Some("log.cleaner.min.cleanable.ratio")),
    ("min.compaction.lag.ms", "0", Long, Some("log.cleaner.min.compaction.lag.ms")),
    (MIN_INSYNC, "1", Int, Some(MIN_INSYNC)),
    ("preallocate", "false", Boolean, Some("log.preallocate")),
    ("remote.log.copy.disable", "false", Boolean, None),
    ("remote.log.delete.on.disable", "false", Boolean, None),
    ("remote.storage.enable", "false", Boolean, None),
    ("retention.bytes", "-1", Long, Some("log.retention.bytes")),
    ("retention.ms", WEEK, Long, None),
    ("segment.bytes", "1073741824", Int, Some("log.segment.bytes")),
    ("segment.index.bytes", "10485760", Int, Some("log.index.size.max.bytes")),
    ("segment.jitter.ms", "0", Long, None),
    ("segment.ms", WEEK, Long, None),
    ("unclean.leader.election.enable", "false", Boolean, Some("unclean.leader.election.enable")),
];

/// Every setting of a topic that was given `settings`, by name.
pub(crate) fn effective(node: &Node, settings: &TopicSettings) -> Vec<Setting> {
    let describe = |(name, default, kind, synonym): &Known| {
        let default = if *name == MAX_MESSAGE {
            node.max_message_bytes.to_string()
        } else {
            (*default).to_owned()
        };
        let (value, source) = match settings.get(name) {
            Some(value) => (value.to_owned(), Source::Topic),
            None if *name == MIN_INSYNC => (default.clone(), Source::AllBrokers),
            None => (default.clone(), Source::Default),
        };
        Setting {
            name,
            value,
            kind: *kind,
            source,
            synonym: *synonym,
            default,
        }
    };
    let mut all: Vec<Setting> = KNOWN.iter().map(describe).collect();
    // By name in the answers as well, whoever adds one to the list above.
    all.sort_by_key(|setting| setting.name);
    all
}
