//! OffsetCommit and OffsetFetch.

use std::collections::BTreeMap;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponsePartition, OffsetFetchResponseTopic,
};
use kafka_protocol::messages::{
    OffsetCommitRequest, OffsetCommitResponse, OffsetFetchRequest, OffsetFetchResponse, TopicName,
};

use super::{OK, text};
use crate::groups::MAX_GROUPS;
use crate::node::Node;
use crate::offsets::{Committed, Place};

/// Longest metadata (Kafka's `offset.metadata.max.bytes`).
const MAX_METADATA_BYTES: usize = 4_096;
/// Lowest version whose answer has a leader epoch.
const LEADER_EPOCH_FROM: i16 = 5;

/// Stores a group's offsets, if the member may. All partitions that can be, or none.
pub(crate) async fn commit(node: &Node, request: OffsetCommitRequest) -> OffsetCommitResponse {
    let refused = refuse_whole(node, &request).err();
    let mut commits = Vec::new();
    let mut topics = Vec::new();
    for topic in &request.topics {
        let mut partitions = Vec::new();
        for partition in &topic.partitions {
            let index = partition.partition_index;
            let metadata = partition.committed_metadata.as_deref().unwrap_or_default();
            let known = node.topics.partition(&topic.name, index).is_some();
            let code = match refused {
                Some(error) => error.code(),
                None if !known => ResponseError::UnknownTopicOrPartition.code(),
                None if metadata.len() > MAX_METADATA_BYTES => {
                    ResponseError::OffsetMetadataTooLarge.code()
                }
                None => OK,
            };
            if code == OK {
                let place = (topic.name.to_string(), index);
                let committed = Committed {
                    offset: partition.committed_offset,
                    leader_epoch: partition.committed_leader_epoch,
                    metadata: metadata.to_owned(),
                };
                commits.push((place, committed));
            }
            let response = OffsetCommitResponsePartition::default()
                .with_partition_index(index)
                .with_error_code(code);
            partitions.push(response);
        }
        let response = OffsetCommitResponseTopic::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions);
        topics.push(response);
    }
    if let Err(error) = store(node, &request.group_id, commits).await {
        tracing::error!(%error, "committed offsets could not be written");
        let stored = topics.iter_mut().flat_map(|topic| &mut topic.partitions);
        for partition in stored.filter(|partition| partition.error_code == OK) {
            partition.error_code = ResponseError::CoordinatorNotAvailable.code();
        }
    }
    OffsetCommitResponse::default().with_topics(topics)
}

fn refuse_whole(node: &Node, request: &OffsetCommitRequest) -> Result<(), ResponseError> {
    let group = &request.group_id;
    if group.is_empty() {
        return Err(ResponseError::InvalidGroupId);
    }
    let instance_id = request.group_instance_id.as_deref();
    let generation = request.generation_id_or_member_epoch;
    node.groups
        .may_commit(group, &request.member_id, instance_id, generation)?;
    if !node.offsets.has_group(group) && node.offsets.group_count() >= MAX_GROUPS {
        return Err(ResponseError::CoordinatorNotAvailable);
    }
    Ok(())
}

async fn store(node: &Node, group: &str, commits: Vec<(Place, Committed)>) -> std::io::Result<()> {
    if commits.is_empty() {
        return Ok(());
    }
    node.offsets.commit(group, commits)?;
    if node.sync_always {
        node.offsets.sync().await
    } else {
        Ok(())
    }
}

/// What a group committed; -1 where it has not.
pub(crate) fn fetch(node: &Node, request: OffsetFetchRequest, version: i16) -> OffsetFetchResponse {
    let group = &request.group_id;
    let wanted: Vec<(TopicName, Vec<i32>)> = match request.topics {
        Some(topics) => topics
            .into_iter()
            .map(|topic| (topic.name, topic.partition_indexes))
            .collect(),
        None => {
            let mut all: BTreeMap<String, Vec<i32>> = BTreeMap::new();
            for (topic, partition) in node.offsets.places(group) {
                all.entry(topic).or_default().push(partition);
            }
            all.into_iter()
                .map(|(topic, all)| (TopicName(text(topic)), all))
                .collect()
        }
    };
    let topics = wanted.into_iter().map(|(name, indexes)| {
        let partition = |index: i32| {
            let committed = node.offsets.get(group, &(name.to_string(), index));
            let response = OffsetFetchResponsePartition::default().with_partition_index(index);
            fill(response, committed, version)
        };
        let partitions = indexes.into_iter().map(partition).collect();
        OffsetFetchResponseTopic::default()
            .with_name(name.clone())
            .with_partitions(partitions)
    });
    OffsetFetchResponse::default().with_topics(topics.collect())
}

fn fill(
    response: OffsetFetchResponsePartition,
    committed: Option<Committed>,
    version: i16,
) -> OffsetFetchResponsePartition {
    let Some(committed) = committed else {
        return response
            .with_committed_offset(-1)
            .with_metadata(Some(text("")));
    };
    let response = response
        .with_committed_offset(committed.offset)
        .with_metadata(Some(text(committed.metadata)));
    if version >= LEADER_EPOCH_FROM {
        response.with_committed_leader_epoch(committed.leader_epoch)
    } else {
        response
    }
}
