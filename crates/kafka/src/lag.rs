//! How far a group is behind.

use crate::KafkaError;
use crate::client::{self, blocking};
use crate::settings::KafkaSettings;
use crate::trouble::explained;
use rdkafka::topic_partition_list::Offset;

/// Where a group stands in one partition of the data topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionLag {
    /// The partition.
    pub partition: i32,
    /// The next offset that the group reads after a restart; `None` before its first commit.
    pub committed: Option<i64>,
    /// The first offset in the log.
    pub start: i64,
    /// The offset behind the last record.
    pub end: i64,
}

// === impl PartitionLag ===

impl PartitionLag {
    /// Records (strictly: offsets) that the group has yet to settle.
    #[must_use]
    pub fn lag(&self) -> i64 {
        let from = self.committed.unwrap_or(self.start).max(self.start);
        (self.end - from).max(0)
    }
}

/// Asks where `group` stands in every partition of the data topic, without joining it.
///
/// # Errors
/// [`KafkaError::Unavailable`] after about 10 s, [`KafkaError::NoTopic`],
/// [`KafkaError::Settings`], [`KafkaError::Client`].
pub async fn lag(settings: &KafkaSettings, group: &str) -> Result<Vec<PartitionLag>, KafkaError> {
    let (settings, group) = (settings.clone(), group.to_owned());
    let asked = move || ask(&settings, &group).map_err(|error| explained(&settings, error));
    blocking("client", asked).await
}

fn ask(settings: &KafkaSettings, group: &str) -> Result<Vec<PartitionLag>, KafkaError> {
    let client = client::asker(settings, group)?;
    let topic = settings.topic.as_str();
    let count = client::partition_count(&client, settings, topic, client::ANSWER)?;
    let partitions: Vec<i32> = (0..i32::try_from(count).unwrap_or(i32::MAX)).collect();
    // The group first: an end asked afterwards is never below it.
    let committed = client::committed(&client, settings, &partitions)?;
    let starts = client::ends(&client, settings, topic, &partitions, Offset::Beginning)?;
    let ends = client::ends(&client, settings, topic, &partitions, Offset::End)?;
    let one = |partition: i32| {
        Some(PartitionLag {
            partition,
            committed: committed.get(&partition).map(|at| at.offset),
            start: *starts.get(&partition)?,
            end: *ends.get(&partition)?,
        })
    };
    Ok(partitions.into_iter().filter_map(one).collect())
}
