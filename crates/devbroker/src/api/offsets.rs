//! OffsetCommit and OffsetFetch.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::ResponseError;
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{
    GroupId, OffsetCommitRequest, OffsetCommitResponse, OffsetFetchRequest, OffsetFetchResponse,
    TopicName,
};

use super::groups::is_group_id;
use super::{OK, text};
use crate::budget::Left;
use crate::groups::MAX_GROUPS;
use crate::node::Node;
use crate::offsets::{Committed, Place};

/// Longest metadata (Kafka's `offset.metadata.max.bytes`).
const MAX_METADATA_BYTES: usize = 4_096;
/// Lowest version whose answer has a leader epoch.
const LEADER_EPOCH_FROM: i16 = 5;
/// Lowest version that asks for many groups at once (KIP-709:
/// <https://cwiki.apache.org/confluence/display/KAFKA/KIP-709%3A+Extend+OffsetFetch+requests+to+accept+multiple+group+ids>).
const GROUPS_FROM: i16 = 8;

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
    let by_member = request.generation_id_or_member_epoch >= 0;
    if let Err(error) = store(node, &request.group_id, commits, by_member).await {
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
    if !is_group_id(group) {
        return Err(ResponseError::InvalidGroupId);
    }
    let instance_id = request.group_instance_id.as_deref();
    let generation = request.generation_id_or_member_epoch;
    let has_offsets = node.offsets.has_group(group);
    match node
        .groups
        .may_commit(group, &request.member_id, instance_id, generation)
    {
        // Known for its offsets only.
        Err(ResponseError::IllegalGeneration)
            if has_offsets && node.groups.describe(group).is_none() =>
        {
            return Err(ResponseError::UnknownMemberId);
        }
        judged => judged?,
    }
    if !has_offsets && node.offsets.group_count() >= MAX_GROUPS {
        return Err(ResponseError::CoordinatorNotAvailable);
    }
    Ok(())
}

async fn store(
    node: &Node,
    group: &str,
    commits: Vec<(Place, Committed)>,
    by_member: bool,
) -> std::io::Result<()> {
    if commits.is_empty() {
        return Ok(());
    }
    node.offsets.commit(group, commits)?;
    if by_member {
        node.offsets.note_members(group)?;
    }
    if node.sync_always {
        node.offsets.sync().await
    } else {
        Ok(())
    }
}

/// What groups committed, each group and partition once; -1 where they have not. `None` where the
/// answer would take more than `most` bytes.
pub(crate) fn fetch(
    node: &Node,
    request: OffsetFetchRequest,
    version: i16,
    most: usize,
) -> Option<OffsetFetchResponse> {
    let mut left = Left(most);
    let response = OffsetFetchResponse::default();
    if version >= GROUPS_FROM {
        let mut groups: BTreeMap<GroupId, Wanted> = BTreeMap::new();
        for group in request.groups {
            let topics = group.topics.map(|topics| {
                let topics = topics.into_iter();
                once(topics.map(|topic| (topic.name, topic.partition_indexes)))
            });
            match groups.entry(group.group_id) {
                Entry::Vacant(free) => {
                    free.insert(topics);
                }
                Entry::Occupied(mut before) => merge(before.get_mut(), topics),
            }
        }
        let groups = groups.into_iter();
        let groups = groups.map(|(group, wanted)| fetch_group(node, group, wanted, &mut left));
        return Some(response.with_groups(groups.collect::<Option<_>>()?));
    }
    let wanted = request.topics.map(|topics| {
        let topics = topics.into_iter();
        once(topics.map(|topic| (topic.name, topic.partition_indexes)))
    });
    let found = look_up(node, &request.group_id, wanted, &mut left)?;
    let topics = found.into_iter().map(|(name, found)| {
        let partition = |(index, committed): (i32, Committed)| {
            let response = OffsetFetchResponsePartition::default()
                .with_partition_index(index)
                .with_committed_offset(committed.offset)
                .with_metadata(Some(text(committed.metadata)));
            if version >= LEADER_EPOCH_FROM {
                response.with_committed_leader_epoch(committed.leader_epoch)
            } else {
                response
            }
        };
        OffsetFetchResponseTopic::default()
            .with_name(name)
            .with_partitions(found.into_iter().map(partition).collect())
    });
    Some(response.with_topics(topics.collect()))
}

fn fetch_group(
    node: &Node,
    group: GroupId,
    wanted: Wanted,
    left: &mut Left,
) -> Option<OffsetFetchResponseGroup> {
    let found = look_up(node, &group, wanted, left)?;
    let topics = found.into_iter().map(|(name, found)| {
        let partition = |(index, committed): (i32, Committed)| {
            OffsetFetchResponsePartitions::default()
                .with_partition_index(index)
                .with_committed_offset(committed.offset)
                .with_committed_leader_epoch(committed.leader_epoch)
                .with_metadata(Some(text(committed.metadata)))
        };
        OffsetFetchResponseTopics::default()
            .with_name(name)
            .with_partitions(found.into_iter().map(partition).collect())
    });
    let topics = topics.collect();
    Some(
        OffsetFetchResponseGroup::default()
            .with_topics(topics)
            .with_group_id(group),
    )
}

/// The partitions asked for, each once; `None` for all that the group has committed for.
type Wanted = Option<BTreeMap<TopicName, BTreeSet<i32>>>;

/// A topic, and what was committed for its partitions.
type Found = (TopicName, Vec<(i32, Committed)>);

fn once(topics: impl Iterator<Item = (TopicName, Vec<i32>)>) -> BTreeMap<TopicName, BTreeSet<i32>> {
    let mut each = BTreeMap::<_, BTreeSet<i32>>::new();
    for (name, indexes) in topics {
        each.entry(name).or_default().extend(indexes);
    }
    each
}

fn merge(before: &mut Wanted, more: Wanted) {
    let (Some(all), Some(more)) = (before.as_mut(), more) else {
        *before = None;
        return;
    };
    for (name, indexes) in more {
        all.entry(name).or_default().extend(indexes);
    }
}

/// What a group committed for the partitions wanted, or for all.
fn look_up(node: &Node, group: &GroupId, wanted: Wanted, left: &mut Left) -> Option<Vec<Found>> {
    let wanted = wanted.unwrap_or_else(|| {
        let places = node.offsets.places(group).into_iter();
        once(places.map(|(topic, index)| (TopicName(text(topic)), vec![index])))
    });
    left.take(group.len())?;
    let mut topics = Vec::new();
    for (name, indexes) in wanted {
        left.take(name.len())?;
        let mut place = (name.to_string(), 0);
        let mut found = Vec::new();
        for index in indexes {
            place.1 = index;
            let none = || Committed {
                offset: -1,
                leader_epoch: -1,
                metadata: String::new(),
            };
            let committed = node.offsets.get(group, &place).unwrap_or_else(none);
            left.take(committed.metadata.len())?;
            found.push((index, committed));
        }
        topics.push((name, found));
    }
    Some(topics)
}
