//! Requests that are refused, or nearly so: the embedded log and a real Kafka answer them with the
//! same codes.

use bytes::{BufMut, BytesMut};
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_topic_partitions_request::{Cursor, TopicRequest};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    ApiVersionsRequest, BrokerId, CreateTopicsRequest, DeleteGroupsRequest, DeleteTopicsRequest,
    DescribeClusterRequest, DescribeConfigsRequest, DescribeGroupsRequest,
    DescribeTopicPartitionsRequest, FetchRequest, FindCoordinatorRequest, GroupId,
    HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, ListGroupsRequest, ListOffsetsRequest,
    MetadataRequest, OffsetCommitRequest, OffsetFetchRequest, ProduceRequest, SyncGroupRequest,
    TopicName,
};
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records::{
    Compression, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};
use uuid::Uuid;

use super::java::Java;
use super::same::Kafka;
use super::*;
use crate::wire;

/// Of no topic.
const ID: Uuid = Uuid::from_u128(7);
const NAME: &str = "codes.topic";
/// Wants a replica more than there are.
const SAFE: &str = "codes.safe";
const NOBODY: &str = "nobody";

fn s(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn t(text: &str) -> TopicName {
    TopicName(s(text))
}

fn g(text: &str) -> GroupId {
    GroupId(s(text))
}

/// A batch of one record with this codec in its header.
fn batch(codec: u8) -> Bytes {
    let record = Record {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: -1,
        producer_id: -1,
        producer_epoch: -1,
        timestamp_type: TimestampType::Creation,
        offset: 0,
        sequence: -1,
        timestamp: 1_700_000_000_000,
        key: None,
        value: Some(Bytes::from_static(b"value")),
        headers: Default::default(),
    };
    let options = RecordEncodeOptions {
        version: 2,
        compression: Compression::None,
    };
    let mut bytes = BytesMut::new();
    RecordBatchEncoder::encode(&mut bytes, [&record], &options).unwrap();
    bytes[22] = codec;
    let checksum = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&checksum.to_be_bytes());
    bytes.freeze()
}

fn produce(acks: i16, partition: i32, batch: &Bytes) -> ProduceRequest {
    let data = PartitionProduceData::default()
        .with_index(partition)
        .with_records(Some(batch.clone()));
    let topic = TopicProduceData::default()
        .with_name(t(NAME))
        .with_topic_id(ID)
        .with_partition_data(vec![data]);
    ProduceRequest::default()
        .with_transactional_id(None)
        .with_acks(acks)
        .with_timeout_ms(1_000)
        .with_topic_data(vec![topic])
}

/// What a consumer of [`NAME`] says of itself: Kafka reads it
/// (`ConsumerProtocolSubscription`, version 0).
fn subscription() -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_i16(0);
    bytes.put_i32(1);
    bytes.put_i16(i16::try_from(NAME.len()).unwrap());
    bytes.put_slice(NAME.as_bytes());
    bytes.put_i32(-1);
    bytes.freeze()
}

/// A connection, and what was heard on it.
struct Said {
    wire: Wire,
    lines: Vec<String>,
}

impl Said {
    fn line(&mut self, what: &str, codes: &dyn std::fmt::Debug) {
        self.lines.push(format!("{what}: {codes:?}"));
    }

    fn metadata(&mut self) {
        let by_name = |name: &str| MetadataRequestTopic::default().with_name(Some(t(name)));
        let by_id = MetadataRequestTopic::default()
            .with_name(None)
            .with_topic_id(ID);
        let topics = [by_name("a/b"), by_name(""), by_name("missing"), by_id];
        for version in [9, 11, 12, 13] {
            let asked = topics
                .iter()
                .filter(|it| version >= 12 || it.name.is_some());
            let request = MetadataRequest::default()
                .with_allow_auto_topic_creation(false)
                .with_topics(Some(asked.cloned().collect()));
            let answer = self.wire.call(version, &request);
            let mut codes: Vec<_> = answer
                .topics
                .iter()
                .map(|it| (it.name.as_ref().map(|name| name.to_string()), it.error_code))
                .collect();
            codes.sort();
            self.line(&format!("metadata {version}"), &codes);
        }
    }

    fn fetch(&mut self) {
        for (version, session, epoch) in [(12, 0, -1), (12, 0, 5), (13, 77, 1), (13, 0, -1)] {
            let partitions = vec![FetchPartition::default().with_partition(9)];
            let topic = FetchTopic::default()
                .with_topic(t(NAME))
                .with_topic_id(ID)
                .with_partitions(partitions);
            let request = FetchRequest::default()
                .with_replica_id(BrokerId(-1))
                .with_session_id(session)
                .with_session_epoch(epoch)
                .with_topics(vec![topic]);
            let answer = self.wire.call(version, &request);
            let partitions = answer.responses.iter().flat_map(|it| &it.partitions);
            let codes: Vec<_> = partitions.map(|it| it.error_code).collect();
            self.line(
                &format!("fetch {version} {session} {epoch}"),
                &(answer.error_code, codes),
            );
        }
    }

    fn list_offsets(&mut self) {
        for (version, partition, time) in [
            (1, 0, 5),
            (1, 9, -1),
            (6, 0, -3),
            (7, 0, -3),
            (7, 0, -4),
            (8, 0, -4),
            (9, 0, -5),
            (10, 0, -1),
            (10, 0, -9),
        ] {
            let partition = ListOffsetsPartition::default()
                .with_partition_index(partition)
                .with_timestamp(time);
            let topic = ListOffsetsTopic::default()
                .with_name(t(NAME))
                .with_partitions(vec![partition]);
            let request = ListOffsetsRequest::default()
                .with_replica_id(BrokerId(-1))
                .with_topics(vec![topic]);
            let answer = self.wire.call(version, &request);
            let found = &answer.topics[0].partitions[0];
            let codes = (found.error_code, found.offset, found.timestamp);
            self.line(&format!("list offsets {version} {time}"), &codes);
        }
    }

    fn produce(&mut self) {
        let (good, bad) = (batch(0), Bytes::from_static(&[0; 70]));
        let cut = good.slice(..good.len() - 1);
        for (what, acks, version, partition, batch) in [
            ("unknown partition", -1, 9, 9, &good),
            ("unknown acks", 5, 9, 0, &good),
            ("unknown id", -1, 13, 0, &good),
            ("old zstd", -1, 6, 0, &batch(4)),
            ("two batches", -1, 9, 0, &[&good[..], &good].concat().into()),
            ("cut", -1, 9, 0, &cut),
            ("zeroes", -1, 9, 0, &bad),
            ("good", -1, 9, 0, &good),
            ("good, old", 1, 3, 0, &good),
        ] {
            let request = produce(acks, partition, batch);
            let answer = self.wire.call(version, &request);
            let code = answer.responses[0].partition_responses[0].error_code;
            self.line(&format!("produce, {what}"), &code);
        }
        for acks in [-1, 1] {
            let mut request = produce(acks, 0, &good);
            request.topic_data[0].name = t(SAFE);
            let answer = self.wire.call(9, &request);
            let code = answer.responses[0].partition_responses[0].error_code;
            self.line(&format!("two replicas, acks {acks}"), &code);
        }
        let address = self.wire.0.peer_addr().unwrap();
        for (what, partition) in [("refused", 9), ("taken", 1)] {
            let mut wire = Wire::connect(address);
            let request = wire::frame(9, &produce(0, partition, &good));
            wire.0.write_all(&request).unwrap();
            // An answer, or the connection's end, to whatever comes behind it.
            let next = wire::frame(0, &ApiVersionsRequest::default());
            let _closed_already = wire.0.write_all(&next);
            self.line(&format!("acks 0, {what}"), &wire.receive().is_some());
        }
    }

    fn topics(&mut self) {
        let topic = |name: &str, partitions, replicas| {
            CreatableTopic::default()
                .with_name(t(name))
                .with_num_partitions(partitions)
                .with_replication_factor(replicas)
        };
        let set = |name: &str, value: Option<&str>| {
            let config = CreatableTopicConfig::default()
                .with_name(s(name))
                .with_value(value.map(s));
            topic("set", 1, 1).with_configs(vec![config])
        };
        let twice = vec![topic("twice", 1, 1), topic("twice", 1, 1)];
        let mut lists = vec![twice, vec![set("retention.ms", None)]];
        for (name, partitions, replicas) in [
            (NAME, 1, 1),
            ("codes_topic", 1, 1),
            ("a/b", 1, 1),
            ("", 1, 1),
            ("..", 1, 1),
            ("few", 0, 1),
            ("many", 1, 3),
        ] {
            lists.push(vec![topic(name, partitions, replicas)]);
        }
        for (name, value) in [
            ("no.such.thing", "1"),
            ("retention.ms", "abc"),
            ("retention.ms", "-2"),
            ("max.message.bytes", "-1"),
            ("cleanup.policy", "burn"),
        ] {
            lists.push(vec![set(name, Some(value))]);
        }
        for topics in lists {
            let what = format!(
                "create {} {} {:?}",
                &**topics[0].name, topics[0].num_partitions, topics[0].configs
            );
            let request = CreateTopicsRequest::default()
                .with_topics(topics)
                .with_timeout_ms(10_000)
                .with_validate_only(true);
            let answer = self.wire.call(7, &request);
            let codes: Vec<_> = answer.topics.iter().map(|it| it.error_code).collect();
            self.line(&what, &codes);
        }
        let by_id = DeleteTopicState::default().with_topic_id(ID);
        let by_name = DeleteTopicState::default().with_name(Some(t("missing")));
        for topic in [by_id, by_name] {
            let request = DeleteTopicsRequest::default()
                .with_topics(vec![topic])
                .with_timeout_ms(10_000);
            let answer = self.wire.call(6, &request);
            let codes = answer.responses.iter();
            let codes: Vec<_> = codes.map(|it| (&it.name, it.error_code)).collect();
            self.line("delete topic", &codes);
        }
    }

    fn descriptions(&mut self) {
        for (kind, name) in [(2, "missing"), (4, "77"), (99, "x")] {
            let resource = DescribeConfigsResource::default()
                .with_resource_type(kind)
                .with_resource_name(s(name))
                .with_configuration_keys(None);
            let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
            let answer = self.wire.call(4, &request);
            let code = answer.results[0].error_code;
            self.line(&format!("describe configs {kind} {name}"), &code);
        }
        for kind in [1, 2, 9] {
            let request = DescribeClusterRequest::default().with_endpoint_type(kind);
            let code = self.wire.call(1, &request).error_code;
            self.line(&format!("describe cluster {kind}"), &code);
        }
        let named = |name: &str| TopicRequest::default().with_name(t(name));
        let topics = vec![named("missing"), named("a/b"), named(NAME)];
        let at = |index| {
            Cursor::default()
                .with_topic_name(t(NAME))
                .with_partition_index(index)
        };
        for (limit, cursor) in [
            (1, None),
            (2, None),
            (9, None),
            (1, Some(at(1))),
            (1, Some(at(0))),
        ] {
            let request = DescribeTopicPartitionsRequest::default()
                .with_topics(topics.clone())
                .with_response_partition_limit(limit)
                .with_cursor(cursor.clone());
            let answer = self.wire.call(0, &request);
            let topics = answer.topics.iter();
            let codes: Vec<_> = topics
                .map(|it| (&it.name, it.error_code, it.partitions.len()))
                .collect();
            let cursor = cursor.map(|it| it.partition_index);
            let next = answer.next_cursor.as_ref();
            let next = next.map(|it| (it.topic_name.to_string(), it.partition_index));
            self.line(&format!("partitions {limit} {cursor:?}"), &(codes, next));
        }
    }

    fn find_coordinator(&mut self) {
        for (version, kind) in [(3, 0), (3, 9), (4, 9)] {
            let request = FindCoordinatorRequest::default().with_key_type(kind);
            let request = if version < 4 {
                request.with_key(s(NOBODY))
            } else {
                request.with_coordinator_keys(vec![s(NOBODY)])
            };
            let answer = self.wire.call(version, &request);
            let many = answer.coordinators.iter();
            let many: Vec<_> = many.map(|it| (&it.key, it.error_code)).collect();
            self.line(
                &format!("find coordinator {version} {kind}"),
                &(answer.error_code, many),
            );
        }
        for (name, software_version) in [("", "1"), ("a", "-"), ("a.b-c", "1.0")] {
            let request = ApiVersionsRequest::default()
                .with_client_software_name(s(name))
                .with_client_software_version(s(software_version));
            let code = self.wire.call(3, &request).error_code;
            self.line(&format!("api versions '{name}'"), &code);
        }
    }

    fn joins(&mut self) {
        let protocol = JoinGroupRequestProtocol::default().with_name(s("range"));
        for (what, group, member, session, kind, has_protocol) in [
            ("plain", NOBODY, "", 10_000, "consumer", true),
            ("no group", "", "", 10_000, "consumer", true),
            ("no session", NOBODY, "", 0, "consumer", true),
            ("long session", NOBODY, "", i32::MAX, "consumer", true),
            ("unknown member", NOBODY, "who", 10_000, "consumer", true),
            ("no type", NOBODY, "", 10_000, "", true),
            ("no protocol", NOBODY, "", 10_000, "consumer", false),
        ] {
            let protocols = if has_protocol {
                vec![protocol.clone()]
            } else {
                Vec::new()
            };
            let request = JoinGroupRequest::default()
                .with_group_id(g(group))
                .with_member_id(s(member))
                .with_session_timeout_ms(session)
                .with_rebalance_timeout_ms(10_000)
                .with_protocol_type(s(kind))
                .with_protocols(protocols);
            for version in [5, 9] {
                let answer = self.wire.call(version, &request);
                let codes = (
                    answer.error_code,
                    answer.generation_id,
                    answer.protocol_name,
                );
                self.line(&format!("join {version} {what}"), &codes);
            }
        }
    }

    fn members(&mut self) {
        for group in ["", NOBODY] {
            let request = HeartbeatRequest::default()
                .with_group_id(g(group))
                .with_member_id(s("who"));
            let code = self.wire.call(3, &request).error_code;
            self.line(&format!("heartbeat '{group}'"), &code);
            let request = SyncGroupRequest::default()
                .with_group_id(g(group))
                .with_member_id(s("who"));
            let code = self.wire.call(3, &request).error_code;
            self.line(&format!("sync '{group}'"), &code);
            let who = MemberIdentity::default().with_member_id(s("who"));
            let request = LeaveGroupRequest::default()
                .with_group_id(g(group))
                .with_members(vec![who]);
            let answer = self.wire.call(3, &request);
            let codes: Vec<_> = answer.members.iter().map(|it| it.error_code).collect();
            self.line(&format!("leave '{group}'"), &(answer.error_code, codes));
        }
    }

    /// A static member comes, goes without a word, returns, leaves, and haunts the group.
    fn statics(&mut self) {
        for version in [8, 9] {
            let group = format!("static-{version}");
            let protocol = JoinGroupRequestProtocol::default()
                .with_name(s("range"))
                .with_metadata(subscription());
            let join = JoinGroupRequest::default()
                .with_group_id(g(&group))
                .with_group_instance_id(Some(s("instance")))
                .with_session_timeout_ms(30_000)
                .with_rebalance_timeout_ms(10_000)
                .with_protocol_type(s("consumer"))
                .with_protocols(vec![protocol]);
            let first = self.wire.call(version, &join);
            let is_own =
                first.member_id.starts_with("instance-") && first.leader == first.member_id;
            self.line(
                "static joins",
                &(first.error_code, is_own, first.members.len()),
            );
            let assignment = SyncGroupRequestAssignment::default()
                .with_member_id(first.member_id.clone())
                .with_assignment(Bytes::from_static(b"assignment"));
            let mut sync = SyncGroupRequest::default()
                .with_group_id(g(&group))
                .with_generation_id(first.generation_id)
                .with_member_id(first.member_id.clone())
                .with_group_instance_id(Some(s("instance")))
                .with_protocol_type(Some(s("consumer")))
                .with_protocol_name(Some(s("range")))
                .with_assignments(vec![assignment]);
            let synced = self.wire.call(5, &sync);
            self.line(
                "static is assigned",
                &(synced.error_code, synced.assignment),
            );
            let again = self.wire.call(version, &join);
            let leads = (
                again.leader == again.member_id,
                again.leader == first.member_id,
            );
            let codes = (again.error_code, again.generation_id == first.generation_id);
            let told = (leads, again.skip_assignment, again.members.len());
            self.line(&format!("static returns {version}"), &(codes, told));
            sync.member_id = again.member_id.clone();
            sync.assignments.clear();
            let synced = self.wire.call(5, &sync);
            self.line("static keeps", &(synced.error_code, synced.assignment));
            sync.protocol_name = Some(s("roundrobin"));
            let code = self.wire.call(5, &sync).error_code;
            self.line("static with another protocol", &code);
            let ids = [first.member_id, again.member_id];
            self.static_leaves(&group, first.generation_id, &ids);
        }
    }

    /// The old and the new self are heard, the new one leaves, and comes as a ghost.
    fn static_leaves(&mut self, group: &str, generation: i32, ids: &[StrBytes; 2]) {
        let beat = HeartbeatRequest::default()
            .with_group_id(g(group))
            .with_generation_id(generation)
            .with_group_instance_id(Some(s("instance")));
        for id in ids {
            let request = beat.clone().with_member_id(id.clone());
            let code = self.wire.call(3, &request).error_code;
            self.line("static beats", &code);
        }
        let leaving = MemberIdentity::default().with_group_instance_id(Some(s("instance")));
        let leave = LeaveGroupRequest::default()
            .with_group_id(g(group))
            .with_members(vec![leaving]);
        let left = self.wire.call(5, &leave);
        let members: Vec<_> = left.members.iter().map(|it| it.error_code).collect();
        let left = (left.error_code, members);
        let ghost = self
            .wire
            .call(3, &beat.with_member_id(ids[1].clone()))
            .error_code;
        self.line("static left", &(left, ghost));
        self.commit("of a ghost", group, generation, &ids[1], NAME, 0);
    }

    fn commit(
        &mut self,
        what: &str,
        group: &str,
        generation: i32,
        member: &str,
        topic: &str,
        metadata: usize,
    ) {
        let partition = OffsetCommitRequestPartition::default()
            .with_committed_metadata(Some(s(&"m".repeat(metadata))));
        let topic = OffsetCommitRequestTopic::default()
            .with_name(t(topic))
            .with_partitions(vec![partition]);
        let request = OffsetCommitRequest::default()
            .with_group_id(g(group))
            .with_generation_id_or_member_epoch(generation)
            .with_member_id(s(member))
            .with_topics(vec![topic]);
        let answer = self.wire.call(8, &request);
        let code = answer.topics[0].partitions[0].error_code;
        self.line(&format!("commit {what}"), &code);
    }

    fn commits(&mut self) {
        for (what, group, generation, member, topic, metadata) in [
            ("good", "committed", -1, "", NAME, 0),
            ("no group", "", -1, "", NAME, 0),
            ("unknown generation", NOBODY, 5, "who", NAME, 0),
            ("unknown member", "committed", 5, "who", NAME, 0),
            ("unknown topic", "committed", -1, "", "missing", 0),
            ("long metadata", "committed", -1, "", NAME, 4_097),
        ] {
            self.commit(what, group, generation, member, topic, metadata);
        }
        for group in ["", NOBODY, "committed"] {
            let topic = OffsetFetchRequestTopics::default()
                .with_name(t(NAME))
                .with_partition_indexes(vec![0, 1, 9]);
            let request = OffsetFetchRequestGroup::default()
                .with_group_id(g(group))
                .with_topics(Some(vec![topic]));
            let request = OffsetFetchRequest::default().with_groups(vec![request]);
            let answer = self.wire.call(8, &request);
            let found = &answer.groups[0];
            let topics = found.topics.iter().flat_map(|it| &it.partitions);
            let offsets: Vec<_> = topics
                .map(|it| (it.partition_index, it.committed_offset, it.error_code))
                .collect();
            self.line(
                &format!("offsets of '{group}'"),
                &(found.error_code, offsets),
            );
        }
    }

    fn groups(&mut self) {
        for version in [5, 6] {
            let request = DescribeGroupsRequest::default().with_groups(vec![
                g("missing"),
                g("committed"),
                g("static-9"),
                g(""),
            ]);
            let answer = self.wire.call(version, &request);
            let codes = answer.groups.iter();
            let mut codes: Vec<_> = codes
                .map(|it| {
                    (
                        it.group_id.to_string(),
                        it.error_code,
                        &it.group_state,
                        &it.protocol_type,
                    )
                })
                .collect();
            // Kafka answers in the order in which its parts do.
            codes.sort();
            self.line(&format!("describe groups {version}"), &codes);
        }
        for types in [vec![], vec![s("Classic")], vec![s("consumer")]] {
            let request = ListGroupsRequest::default().with_types_filter(types.clone());
            let answer = self.wire.call(5, &request);
            let listed = answer.groups.iter();
            let mut listed: Vec<_> = listed
                .map(|it| (it.group_id.to_string(), &it.group_state, &it.group_type))
                .collect();
            listed.sort();
            // A member that was only promised an id is not one yet.
            listed.retain(|it| it.0 != NOBODY);
            self.line(&format!("list groups {types:?}"), &listed);
        }
        let request = DeleteGroupsRequest::default().with_groups_names(vec![
            g("missing"),
            g("committed"),
            g(""),
        ]);
        let answer = self.wire.call(2, &request);
        let results = answer.results.iter();
        let mut codes: Vec<_> = results
            .map(|it| (it.group_id.to_string(), it.error_code))
            .collect();
        codes.sort();
        self.line("delete groups", &codes);
    }
}

fn say_all(address: SocketAddr) -> Vec<String> {
    create(address, NAME, 2, &[]);
    create(address, SAFE, 1, &[("min.insync.replicas", "2")]);
    // Kafka makes the topic of its commits when the first group comes; then its coordinator loads.
    fill_group(address);
    let mut said = Said {
        wire: Wire::connect(address),
        lines: Vec::new(),
    };
    said.metadata();
    said.fetch();
    said.list_offsets();
    said.produce();
    said.topics();
    said.descriptions();
    said.find_coordinator();
    said.joins();
    said.members();
    said.statics();
    said.commits();
    said.groups();
    said.lines
}

/// Commits once, however long the coordinator takes to be there.
fn fill_group(address: SocketAddr) {
    let member = consumer(address, "first", &[]);
    let mut offsets = TopicPartitionList::new();
    offsets
        .add_partition_offset(NAME, 0, rdkafka::Offset::Offset(0))
        .unwrap();
    member.commit(&offsets, CommitMode::Sync).unwrap();
}

#[test]
fn refusals_have_the_codes_of_kafka() {
    let Some(java) = Java::find() else { return };
    let kafka = Kafka::start(java.script());
    let theirs = say_all(kafka.address);
    drop((kafka, java));
    let broker = in_memory();
    let ours = say_all(broker.address());
    let differ: Vec<_> = ours
        .iter()
        .zip(&theirs)
        .filter(|(ours, theirs)| ours != theirs)
        .collect();
    for (ours, theirs) in &differ {
        println!("here     {ours}\nin Kafka {theirs}");
    }
    assert!(differ.is_empty() && ours.len() == theirs.len());
}
