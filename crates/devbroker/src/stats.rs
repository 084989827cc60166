//! What a running broker stores and holds back, for whoever watches it.

use std::time::Duration;

use crate::node::Node;

/// What a broker stores, and what it would like to drop.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BrokerStats {
    /// Every partition of every topic, by topic and index.
    pub partitions: Vec<PartitionStats>,
    /// What the groups of [`crate::BrokerConfig::retain_for`] kept the last look from dropping;
    /// empty where nothing waits for them.
    pub held_back: Vec<HeldBack>,
}

/// What one partition stores.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartitionStats {
    /// Its topic.
    pub topic: String,
    /// Its index in the topic.
    pub partition: i32,
    /// Offset of the first record that is kept.
    pub start: i64,
    /// Offset of the next record to come.
    pub end: i64,
    /// Segments, the one that takes records included.
    pub segments: usize,
    /// Bytes of records.
    pub bytes: u64,
}

/// Records that their topic keeps no longer, kept because a group has not committed them.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HeldBack {
    /// The group that has not.
    pub group: String,
    /// Topic of the records.
    pub topic: String,
    /// Partition of the records.
    pub partition: i32,
    /// Bytes of the segments that would go.
    pub bytes: u64,
    /// Age of the oldest of these segments, by its newest record.
    pub age: Duration,
}

impl BrokerStats {
    pub(crate) fn of(node: &Node) -> Self {
        let mut partitions = Vec::new();
        for topic in node.topics.all() {
            for (partition, shared) in (0..).zip(&topic.partitions) {
                let log = shared.log();
                let (segments, bytes) = log.stored();
                partitions.push(PartitionStats {
                    topic: topic.name.clone(),
                    partition,
                    start: log.start(),
                    end: log.end(),
                    segments,
                    bytes,
                });
            }
        }
        Self {
            partitions,
            held_back: node.retaining.held_back(),
        }
    }

    /// Bytes that wait for a group, and the age of the oldest of them; zeros for one that holds
    /// nothing back.
    #[must_use]
    pub fn held_back_by(&self, group: &str) -> (u64, Duration) {
        let of_group = self.held_back.iter().filter(|held| held.group == group);
        of_group.fold((0, Duration::ZERO), |(bytes, age), held| {
            (bytes + held.bytes, age.max(held.age))
        })
    }
}
