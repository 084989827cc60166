//! What tests' hands do to a request.

use std::net::SocketAddr;
use std::sync::Arc;

use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::metadata_response::MetadataResponseTopic;
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponseTopic,
};
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{
    ApiKey, ApiVersionsResponse, CreateTopicsRequest, CreateTopicsResponse, DeleteTopicsRequest,
    DeleteTopicsResponse, FetchRequest, FetchResponse, FindCoordinatorRequest,
    FindCoordinatorResponse, HeartbeatResponse, InitProducerIdResponse, JoinGroupResponse,
    LeaveGroupResponse, ListOffsetsRequest, ListOffsetsResponse, MetadataRequest, MetadataResponse,
    OffsetCommitRequest, OffsetCommitResponse, OffsetFetchRequest, OffsetFetchResponse,
    ProduceRequest, ProduceResponse, SyncGroupResponse,
};
use tokio::sync::Notify;
use tokio::time::sleep;

use super::{Answer, Request, RequestError};
use crate::api::text;
use crate::hands::{Act, Api, Moment};

/// Lowest version of FindCoordinator that asks for several keys.
const KEYS_FROM: i16 = 4;
/// Lowest version of OffsetFetch that asks for several groups.
const GROUPS_FROM: i16 = 8;

/// What hands call a request; `None` for one that they do not reach.
pub(super) fn api_of(key: ApiKey) -> Option<Api> {
    Some(match key {
        ApiKey::Produce => Api::Produce,
        ApiKey::Fetch => Api::Fetch,
        ApiKey::ListOffsets => Api::ListOffsets,
        ApiKey::Metadata => Api::Metadata,
        ApiKey::OffsetCommit => Api::OffsetCommit,
        ApiKey::OffsetFetch => Api::OffsetFetch,
        ApiKey::FindCoordinator => Api::FindCoordinator,
        ApiKey::JoinGroup => Api::JoinGroup,
        ApiKey::Heartbeat => Api::Heartbeat,
        ApiKey::LeaveGroup => Api::LeaveGroup,
        ApiKey::SyncGroup => Api::SyncGroup,
        ApiKey::ApiVersions => Api::ApiVersions,
        ApiKey::CreateTopics => Api::CreateTopics,
        ApiKey::DeleteTopics => Api::DeleteTopics,
        ApiKey::InitProducerId => Api::InitProducerId,
        _ => return None,
    })
}

impl Request<'_> {
    /// Does what was asked for to this request.
    pub(super) async fn handed(self, act: Act, bell: &Arc<Notify>, peer: SocketAddr) -> Answer {
        match act {
            Act::Fail(code) => self.fail(code),
            Act::Delay(time, Moment::Before) => {
                sleep(time).await;
                self.answer(bell, peer).await
            }
            Act::Delay(time, Moment::After) => {
                let answer = self.answer(bell, peer).await;
                sleep(time).await;
                answer
            }
            Act::Drop(Moment::Before) => Ok(None),
            Act::Drop(Moment::After) => self.answer(bell, peer).await.map(|_| None),
            Act::Cut(Moment::Before) => Err(RequestError::Cut),
            Act::Cut(Moment::After) => {
                self.answer(bell, peer).await?;
                Err(RequestError::Cut)
            }
        }
    }

    /// An answer that has `code` for all that was asked.
    fn fail(mut self, code: i16) -> Answer {
        let room = self.small_room();
        match self.api {
            ApiKey::FindCoordinator => {
                let response = find_coordinator(self.body()?, self.version, code);
                self.encode(&response, room)
            }
            ApiKey::JoinGroup => {
                let response = JoinGroupResponse::default()
                    .with_error_code(code)
                    .with_generation_id(-1)
                    .with_protocol_name(Some(text("")));
                self.encode(&response, room)
            }
            ApiKey::Heartbeat => {
                self.encode(&HeartbeatResponse::default().with_error_code(code), room)
            }
            ApiKey::LeaveGroup => {
                self.encode(&LeaveGroupResponse::default().with_error_code(code), room)
            }
            ApiKey::SyncGroup => {
                self.encode(&SyncGroupResponse::default().with_error_code(code), room)
            }
            ApiKey::ApiVersions => {
                self.encode(&ApiVersionsResponse::default().with_error_code(code), room)
            }
            ApiKey::InitProducerId => {
                let response = InitProducerIdResponse::default().with_error_code(code);
                self.encode(&response, room)
            }
            _ => self.fail_partitions(code),
        }
    }

    fn fail_partitions(mut self, code: i16) -> Answer {
        let room = self.small_room();
        match self.api {
            ApiKey::Produce => {
                let request: ProduceRequest = self.body()?;
                if request.acks == 0 {
                    return Ok(None);
                }
                self.encode(&produce(request, code), room)
            }
            ApiKey::Fetch => {
                let response = fetch(self.body()?, code);
                self.encode(&response, room)
            }
            ApiKey::ListOffsets => {
                let response = list_offsets(self.body()?, code);
                self.encode(&response, room)
            }
            ApiKey::OffsetCommit => {
                let response = offset_commit(self.body()?, code);
                self.encode(&response, room)
            }
            ApiKey::OffsetFetch => {
                let response = offset_fetch(self.body()?, self.version, code);
                self.encode(&response, room)
            }
            ApiKey::Metadata => {
                let response = metadata(self.body()?, code);
                self.encode(&response, room)
            }
            ApiKey::CreateTopics => {
                let request: CreateTopicsRequest = self.body()?;
                let results = request.topics.into_iter().map(|topic| {
                    CreatableTopicResult::default()
                        .with_name(topic.name)
                        .with_error_code(code)
                });
                let response = CreateTopicsResponse::default().with_topics(results.collect());
                self.encode(&response, room)
            }
            ApiKey::DeleteTopics => {
                let request: DeleteTopicsRequest = self.body()?;
                let result = DeletableTopicResult::default().with_error_code(code);
                let by_name = request.topic_names.into_iter();
                let by_name = by_name.map(|name| result.clone().with_name(Some(name)));
                let by_either = request.topics.into_iter().map(|topic| {
                    let result = result.clone().with_topic_id(topic.topic_id);
                    result.with_name(topic.name)
                });
                let results = by_name.chain(by_either).collect();
                let response = DeleteTopicsResponse::default().with_responses(results);
                self.encode(&response, room)
            }
            _ => Err(RequestError::Cut),
        }
    }
}

fn produce(request: ProduceRequest, code: i16) -> ProduceResponse {
    let topics = request.topic_data.into_iter().map(|topic| {
        let partitions = topic.partition_data.iter().map(|partition| {
            PartitionProduceResponse::default()
                .with_index(partition.index)
                .with_base_offset(-1)
                .with_error_code(code)
        });
        TopicProduceResponse::default()
            .with_partition_responses(partitions.collect())
            .with_topic_id(topic.topic_id)
            .with_name(topic.name)
    });
    ProduceResponse::default().with_responses(topics.collect())
}

fn fetch(request: FetchRequest, code: i16) -> FetchResponse {
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            PartitionData::default()
                .with_partition_index(partition.partition)
                .with_error_code(code)
                .with_high_watermark(-1)
                .with_records(Some(bytes::Bytes::new()))
        });
        FetchableTopicResponse::default()
            .with_partitions(partitions.collect())
            .with_topic_id(topic.topic_id)
            .with_topic(topic.topic)
    });
    FetchResponse::default().with_responses(topics.collect())
}

fn list_offsets(request: ListOffsetsRequest, code: i16) -> ListOffsetsResponse {
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            ListOffsetsPartitionResponse::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(code)
        });
        ListOffsetsTopicResponse::default()
            .with_partitions(partitions.collect())
            .with_name(topic.name)
    });
    ListOffsetsResponse::default().with_topics(topics.collect())
}

fn offset_commit(request: OffsetCommitRequest, code: i16) -> OffsetCommitResponse {
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            OffsetCommitResponsePartition::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(code)
        });
        OffsetCommitResponseTopic::default()
            .with_partitions(partitions.collect())
            .with_name(topic.name)
    });
    OffsetCommitResponse::default().with_topics(topics.collect())
}

fn find_coordinator(
    request: FindCoordinatorRequest,
    version: i16,
    code: i16,
) -> FindCoordinatorResponse {
    if version < KEYS_FROM {
        return FindCoordinatorResponse::default().with_error_code(code);
    }
    let keys = request.coordinator_keys.into_iter();
    let refused = |key| Coordinator::default().with_key(key).with_error_code(code);
    FindCoordinatorResponse::default().with_coordinators(keys.map(refused).collect())
}

fn offset_fetch(request: OffsetFetchRequest, version: i16, code: i16) -> OffsetFetchResponse {
    if version >= GROUPS_FROM {
        let groups = request.groups.into_iter().map(|group| {
            OffsetFetchResponseGroup::default()
                .with_group_id(group.group_id)
                .with_error_code(code)
        });
        return OffsetFetchResponse::default().with_groups(groups.collect());
    }
    let topics = request.topics.into_iter().flatten().map(|topic| {
        let partitions = topic.partition_indexes.iter().map(|index| {
            OffsetFetchResponsePartition::default()
                .with_partition_index(*index)
                .with_committed_offset(-1)
                .with_metadata(Some(text("")))
                .with_error_code(code)
        });
        OffsetFetchResponseTopic::default()
            .with_partitions(partitions.collect())
            .with_name(topic.name)
    });
    OffsetFetchResponse::default().with_topics(topics.collect())
}

fn metadata(request: MetadataRequest, code: i16) -> MetadataResponse {
    let topics = request.topics.into_iter().flatten().map(|topic| {
        MetadataResponseTopic::default()
            .with_topic_id(topic.topic_id)
            .with_name(topic.name)
            .with_error_code(code)
    });
    MetadataResponse::default().with_topics(topics.collect())
}
