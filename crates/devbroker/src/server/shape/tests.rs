use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use kafka_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use kafka_protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsTopic,
};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_topic_partitions_request::{Cursor, TopicRequest};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    ApiVersionsRequest, BrokerId, ConsumerGroupDescribeRequest, ConsumerGroupHeartbeatRequest,
    CreateTopicsRequest, DeleteGroupsRequest, DeleteRecordsRequest, DeleteTopicsRequest,
    DescribeClusterRequest, DescribeConfigsRequest, DescribeGroupsRequest,
    DescribeTopicPartitionsRequest, FetchRequest, FindCoordinatorRequest, GroupId,
    HeartbeatRequest, InitProducerIdRequest, JoinGroupRequest, LeaveGroupRequest,
    ListGroupsRequest, ListOffsetsRequest, MetadataRequest, OffsetCommitRequest,
    OffsetFetchRequest, ProduceRequest, RequestHeader, SyncGroupRequest, TopicName,
};
use kafka_protocol::protocol::{Encodable, StrBytes};
use uuid::Uuid;

use super::*;
use crate::server::versions::APIS;

/// Of no topic.
const ID: Uuid = Uuid::from_u128(7);

fn s(text: &'static str) -> StrBytes {
    StrBytes::from_static_str(text)
}

fn t() -> TopicName {
    TopicName(s("topic"))
}

fn g() -> GroupId {
    GroupId(s("group"))
}

/// Header and body of a request with something in every array.
pub(in crate::server) fn frame(api: ApiKey, version: i16) -> BytesMut {
    let mut out = BytesMut::new();
    RequestHeader::default()
        .with_request_api_key(api as i16)
        .with_request_api_version(version)
        .with_correlation_id(3)
        .with_client_id(Some(s("client")))
        .encode(&mut out, api.request_header_version(version))
        .unwrap();
    body(api, version, &mut out);
    out
}

#[expect(clippy::too_many_lines, reason = "one sample a request, in a row")]
fn body(api: ApiKey, v: i16, out: &mut BytesMut) {
    match api {
        ApiKey::Produce => {
            let data =
                PartitionProduceData::default().with_records(Some(Bytes::from_static(b"rr")));
            let topic = TopicProduceData::default()
                .with_name(t())
                .with_topic_id(ID)
                .with_partition_data(vec![data.clone(), data]);
            ProduceRequest::default()
                .with_transactional_id(None)
                .with_acks(-1)
                .with_topic_data(vec![topic])
                .encode(out, v)
                .unwrap()
        }
        ApiKey::Fetch => {
            let partitions = vec![FetchPartition::default(), FetchPartition::default()];
            let topic = FetchTopic::default()
                .with_topic(t())
                .with_topic_id(ID)
                .with_partitions(partitions);
            let mut request = FetchRequest::default().with_topics(vec![topic.clone(), topic]);
            if v >= 7 {
                let forgotten = ForgottenTopic::default()
                    .with_topic(t())
                    .with_topic_id(ID)
                    .with_partitions(vec![1, 2]);
                request.forgotten_topics_data = vec![forgotten];
            }
            if v >= 11 {
                request.rack_id = s("rack");
            }
            request.encode(out, v).unwrap()
        }
        ApiKey::ListOffsets => {
            let partitions = vec![ListOffsetsPartition::default(); 2];
            let topic = ListOffsetsTopic::default()
                .with_name(t())
                .with_partitions(partitions);
            ListOffsetsRequest::default()
                .with_replica_id(BrokerId(-1))
                .with_topics(vec![topic])
                .encode(out, v)
                .unwrap()
        }
        ApiKey::Metadata => {
            let mut topics = vec![MetadataRequestTopic::default().with_name(Some(t())); 2];
            if v >= 10 {
                let by_id = MetadataRequestTopic::default().with_topic_id(ID);
                topics.push(by_id.with_name(None));
            }
            MetadataRequest::default()
                .with_topics(Some(topics))
                .encode(out, v)
                .unwrap()
        }
        ApiKey::OffsetCommit => {
            let partition =
                OffsetCommitRequestPartition::default().with_committed_metadata(Some(s("meta")));
            let topic = OffsetCommitRequestTopic::default()
                .with_name(t())
                .with_partitions(vec![partition.clone(), partition]);
            let mut request = OffsetCommitRequest::default()
                .with_group_id(g())
                .with_topics(vec![topic]);
            if v >= 7 {
                request.group_instance_id = Some(s("i"));
            }
            request.encode(out, v).unwrap()
        }
        ApiKey::OffsetFetch if v >= 8 => {
            let topic = OffsetFetchRequestTopics::default()
                .with_name(t())
                .with_partition_indexes(vec![1, 2, 3]);
            let group = OffsetFetchRequestGroup::default()
                .with_group_id(g())
                .with_topics(Some(vec![topic]));
            let all = OffsetFetchRequestGroup::default()
                .with_group_id(g())
                .with_topics(None);
            OffsetFetchRequest::default()
                .with_groups(vec![group, all])
                .encode(out, v)
                .unwrap()
        }
        ApiKey::OffsetFetch => {
            let topic = OffsetFetchRequestTopic::default()
                .with_name(t())
                .with_partition_indexes(vec![1, 2, 3]);
            OffsetFetchRequest::default()
                .with_group_id(g())
                .with_topics(Some(vec![topic]))
                .encode(out, v)
                .unwrap()
        }
        ApiKey::FindCoordinator if v >= 4 => FindCoordinatorRequest::default()
            .with_coordinator_keys(vec![s("group"), s("another")])
            .encode(out, v)
            .unwrap(),
        ApiKey::FindCoordinator => FindCoordinatorRequest::default()
            .with_key(s("group"))
            .encode(out, v)
            .unwrap(),
        _ => group_body(api, v, out),
    }
}

#[expect(clippy::too_many_lines, reason = "one sample a request, in a row")]
fn group_body(api: ApiKey, v: i16, out: &mut BytesMut) {
    let instance = (v >= 5).then(|| s("instance"));
    match api {
        ApiKey::JoinGroup => {
            let protocol = JoinGroupRequestProtocol::default()
                .with_name(s("range"))
                .with_metadata(Bytes::from_static(b"metadata"));
            JoinGroupRequest::default()
                .with_group_id(g())
                .with_member_id(s("m"))
                .with_group_instance_id(instance)
                .with_protocols(vec![protocol.clone(), protocol])
                .encode(out, v)
                .unwrap()
        }
        ApiKey::Heartbeat => HeartbeatRequest::default()
            .with_group_id(g())
            .encode(out, v)
            .unwrap(),
        ApiKey::LeaveGroup if v < 3 => LeaveGroupRequest::default()
            .with_group_id(g())
            .with_member_id(s("m"))
            .encode(out, v)
            .unwrap(),
        ApiKey::LeaveGroup => {
            let members = vec![MemberIdentity::default().with_member_id(s("m")); 2];
            LeaveGroupRequest::default()
                .with_group_id(g())
                .with_members(members)
                .encode(out, v)
                .unwrap()
        }
        ApiKey::SyncGroup => {
            let assignment = SyncGroupRequestAssignment::default()
                .with_member_id(s("m"))
                .with_assignment(Bytes::from_static(b"assignment"));
            SyncGroupRequest::default()
                .with_group_id(g())
                .with_protocol_name(instance)
                .with_assignments(vec![assignment])
                .encode(out, v)
                .unwrap()
        }
        ApiKey::DescribeGroups => DescribeGroupsRequest::default()
            .with_groups(vec![g(), GroupId(s("nobody"))])
            .encode(out, v)
            .unwrap(),
        ApiKey::ListGroups => {
            let states = if v >= 4 {
                vec![s("Stable")]
            } else {
                Vec::new()
            };
            let types = if v >= 5 {
                vec![s("classic")]
            } else {
                Vec::new()
            };
            ListGroupsRequest::default()
                .with_states_filter(states)
                .with_types_filter(types)
                .encode(out, v)
                .unwrap()
        }
        ApiKey::ApiVersions => ApiVersionsRequest::default().encode(out, v).unwrap(),
        ApiKey::CreateTopics => {
            let assignment =
                CreatableReplicaAssignment::default().with_broker_ids(vec![BrokerId(1)]);
            let config = CreatableTopicConfig::default()
                .with_name(s("k"))
                .with_value(Some(s("v")));
            let topic = CreatableTopic::default()
                .with_name(t())
                .with_assignments(vec![assignment])
                .with_configs(vec![config]);
            let good = CreatableTopic::default()
                .with_name(TopicName(s("another")))
                .with_num_partitions(1)
                .with_replication_factor(1);
            CreateTopicsRequest::default()
                .with_topics(vec![topic, good])
                .encode(out, v)
                .unwrap()
        }
        ApiKey::DeleteTopics if v >= 6 => {
            let by_name = DeleteTopicState::default().with_name(Some(t()));
            let by_id = DeleteTopicState::default().with_topic_id(ID);
            DeleteTopicsRequest::default()
                .with_topics(vec![by_name, by_id])
                .encode(out, v)
                .unwrap()
        }
        ApiKey::DeleteTopics => DeleteTopicsRequest::default()
            .with_topic_names(vec![t(), t()])
            .encode(out, v)
            .unwrap(),
        ApiKey::InitProducerId => InitProducerIdRequest::default()
            .with_transactional_id(None)
            .encode(out, v)
            .unwrap(),
        ApiKey::DescribeConfigs => {
            let resource = DescribeConfigsResource::default()
                .with_resource_name(s("topic"))
                .with_configuration_keys(Some(vec![s("retention.ms")]));
            let all = DescribeConfigsResource::default()
                .with_resource_type(2)
                .with_resource_name(s("topic"))
                .with_configuration_keys(None);
            DescribeConfigsRequest::default()
                .with_resources(vec![resource, all])
                .with_include_synonyms(true)
                .encode(out, v)
                .unwrap()
        }
        ApiKey::DeleteRecords => DeleteRecordsRequest::default()
            .with_topics(vec![
                DeleteRecordsTopic::default()
                    .with_name(TopicName(s("t")))
                    .with_partitions(vec![
                        DeleteRecordsPartition::default()
                            .with_partition_index(0)
                            .with_offset(0),
                    ]),
            ])
            .with_timeout_ms(1_000)
            .encode(out, v)
            .unwrap(),
        ApiKey::DeleteGroups => DeleteGroupsRequest::default()
            .with_groups_names(vec![g()])
            .encode(out, v)
            .unwrap(),
        _ => newer_body(api, v, out),
    }
}

fn newer_body(api: ApiKey, v: i16, out: &mut BytesMut) {
    match api {
        ApiKey::DescribeCluster => DescribeClusterRequest::default().encode(out, v).unwrap(),
        ApiKey::ConsumerGroupHeartbeat => {
            let owned = TopicPartitions::default()
                .with_topic_id(ID)
                .with_partitions(vec![1, 2]);
            ConsumerGroupHeartbeatRequest::default()
                .with_group_id(g())
                .with_instance_id(Some(s("instance")))
                .with_subscribed_topic_names(Some(vec![t()]))
                .with_topic_partitions(Some(vec![owned]))
                .encode(out, v)
                .unwrap()
        }
        ApiKey::ConsumerGroupDescribe => ConsumerGroupDescribeRequest::default()
            .with_group_ids(vec![g(), g()])
            .encode(out, v)
            .unwrap(),
        ApiKey::DescribeTopicPartitions => {
            let cursor = Cursor::default().with_topic_name(t());
            DescribeTopicPartitionsRequest::default()
                .with_topics(vec![TopicRequest::default().with_name(t())])
                .with_response_partition_limit(3)
                .with_cursor(Some(cursor))
                .encode(out, v)
                .unwrap()
        }
        other => panic!("no request for {other:?}"),
    }
}

pub(in crate::server) fn every_api() -> impl Iterator<Item = (ApiKey, i16)> {
    APIS.iter()
        .flat_map(|(api, low, high)| (*low..=*high).map(|version| (*api, version)))
}

fn walk(api: ApiKey, version: i16, frame: &[u8]) -> Result<usize, ShapeError> {
    check(api, version, api.request_header_version(version), frame)
}

#[test]
fn every_request_of_every_version_is_walked_to_its_last_byte() {
    for (api, version) in every_api() {
        let frame = frame(api, version);
        assert_eq!(walk(api, version, &frame), Ok(0), "{api:?} v{version}");
        for length in 0..frame.len() {
            let cut = walk(api, version, &frame[..length]);
            assert_eq!(
                cut,
                Err(ShapeError::Short),
                "{api:?} v{version} cut at {length}"
            );
        }
    }
}

#[test]
fn a_claim_of_many_elements_is_refused_before_room_is_made() {
    let mut frame = frame(ApiKey::DeleteGroups, 0);
    let at = frame.len() - 11;
    frame[at..at + 4].copy_from_slice(&i32::MAX.to_be_bytes());
    assert_eq!(
        walk(ApiKey::DeleteGroups, 0, &frame),
        Err(ShapeError::Short)
    );
    let count = MAX_ELEMENTS + 1;
    frame[at..at + 4].copy_from_slice(&count.to_be_bytes());
    frame.resize(frame.len() + count as usize * 2, 0);
    assert_eq!(
        walk(ApiKey::DeleteGroups, 0, &frame),
        Err(ShapeError::TooMany)
    );
}
