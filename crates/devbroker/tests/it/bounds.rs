//! Requests whose answers could be far larger, or take far longer, than they are themselves.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::SocketAddr;

use cloudsync_devbroker::{Broker, BrokerConfig};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic,
};
use kafka_protocol::messages::{
    DescribeConfigsRequest, GroupId, ListOffsetsRequest, OffsetCommitRequest, OffsetFetchRequest,
    TopicName,
};
use kafka_protocol::protocol::StrBytes;

use crate::client::{PARTITIONS, Sender, TOPIC, create, in_memory};
use crate::wire::{Wire, frame};

/// About as often as one request can name anything.
const MANY: usize = 19_000;
pub(crate) const GROUP: &str = "fat";

fn topic(name: &'static str) -> TopicName {
    TopicName(StrBytes::from_static_str(name))
}

fn group() -> GroupId {
    GroupId(StrBytes::from_static_str(GROUP))
}

/// Has [`GROUP`] commit for these partitions, as much as it may say of each.
pub(crate) fn commit(address: SocketAddr, name: &'static str, partitions: std::ops::Range<i32>) {
    let mut wire = Wire::connect(address);
    let all: Vec<i32> = partitions.collect();
    for some in all.chunks(200) {
        let partition = |index: &i32| {
            OffsetCommitRequestPartition::default()
                .with_partition_index(*index)
                .with_committed_offset(7)
                .with_committed_metadata(Some(StrBytes::from_string("m".repeat(4_096))))
        };
        let of = OffsetCommitRequestTopic::default()
            .with_name(topic(name))
            .with_partitions(some.iter().map(partition).collect());
        let request = OffsetCommitRequest::default()
            .with_group_id(group())
            .with_topics(vec![of]);
        let answer = wire.call(6, &request);
        let mut codes = answer.topics[0].partitions.iter().map(|it| it.error_code);
        assert!(codes.all(|code| code == 0));
    }
}

/// Asks for all commits of [`GROUP`], many times.
pub(crate) fn all_commits() -> OffsetFetchRequest {
    let of = OffsetFetchRequestGroup::default()
        .with_group_id(group())
        .with_topics(None);
    OffsetFetchRequest::default().with_groups(vec![of; MANY])
}

/// Asks for the settings of a topic, many times.
pub(crate) fn all_settings(name: &'static str) -> DescribeConfigsRequest {
    let of = DescribeConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(topic(name).0)
        .with_configuration_keys(None);
    DescribeConfigsRequest::default()
        .with_resources(vec![of; MANY])
        .with_include_synonyms(true)
}

/// Asks for the record at a time, many times.
pub(crate) fn by_time(name: &'static str, times: usize) -> ListOffsetsRequest {
    let partition = ListOffsetsPartition::default().with_timestamp(1);
    let of = ListOffsetsTopic::default()
        .with_name(topic(name))
        .with_partitions(vec![partition; times]);
    ListOffsetsRequest::default().with_topics(vec![of])
}

#[test]
fn what_is_asked_for_many_times_is_answered_once() {
    let broker = in_memory();
    let address = broker.address();
    create(address, TOPIC, PARTITIONS, &[]);
    commit(address, TOPIC, 0..3);
    let mut wire = Wire::connect(address);
    let answer = wire.call(9, &all_commits());
    assert_eq!(answer.groups.len(), 1);
    let found = &answer.groups[0].topics[0].partitions;
    let offsets: Vec<_> = found
        .iter()
        .map(|it| (it.partition_index, it.committed_offset))
        .collect();
    assert_eq!(offsets, [(0, 7), (1, 7), (2, 7)]);
    let of = OffsetFetchRequestTopic::default()
        .with_name(topic(TOPIC))
        .with_partition_indexes([2, 5].repeat(MANY / 4));
    let request = OffsetFetchRequest::default()
        .with_group_id(group())
        .with_topics(Some(vec![of.clone(), of]));
    let answer = wire.call(7, &request);
    let found = &answer.topics[0].partitions;
    let offsets: Vec<_> = found
        .iter()
        .map(|it| (it.partition_index, it.committed_offset))
        .collect();
    assert_eq!(
        (answer.topics.len(), &offsets[..]),
        (1, &[(2, 7), (5, -1)][..])
    );
    let answer = wire.call(4, &all_settings(TOPIC));
    assert_eq!(answer.results.len(), 1);
    assert!(answer.results[0].configs.len() > 30);
}

/// Each key asked for of a resource is answered, whichever mention of it asks.
#[test]
fn keys_asked_for_one_by_one_are_answered_together() {
    let broker = in_memory();
    create(broker.address(), TOPIC, PARTITIONS, &[]);
    let key = |key: &'static str| {
        let mut request = all_settings(TOPIC);
        let mut resource = request.resources.swap_remove(0);
        resource.configuration_keys = Some(vec![StrBytes::from_static_str(key)]);
        resource
    };
    let keys = ["retention.ms", "cleanup.policy"];
    let request = DescribeConfigsRequest::default().with_resources(keys.map(key).to_vec());
    let answer = Wire::connect(broker.address()).call(4, &request);
    let configs = answer.results[0].configs.iter();
    let names: BTreeSet<&str> = configs.map(|config| &*config.name).collect();
    assert_eq!((answer.results.len(), names), (1, BTreeSet::from(keys)));
}

#[test]
fn a_partition_looked_up_more_than_once_is_refused() {
    let broker = in_memory();
    create(broker.address(), TOPIC, PARTITIONS, &[]);
    Sender::new(broker.address(), &[]).send_all(0..1_200);
    let mut wire = Wire::connect(broker.address());
    let answer = wire.call(7, &by_time(TOPIC, MANY));
    let answers = &answer.topics[0].partitions;
    let refused = ResponseError::InvalidRequest.code();
    assert_eq!(answers.len(), MANY);
    assert!(answers.iter().all(|it| it.error_code == refused));
    let answer = wire.call(7, &by_time(TOPIC, 1));
    let found = &answer.topics[0].partitions[0];
    assert_eq!((found.error_code, found.offset), (0, 0));
}

/// More than an ordinary answer gets the turn for a large one; more than that is refused, and no
/// one else is the worse for it.
#[test]
fn what_a_group_committed_is_answered_up_to_the_largest_answer() {
    let config = BrokerConfig {
        max_frame_bytes: 12 << 20,
        ..BrokerConfig::default()
    };
    let broker = Broker::start(config).unwrap();
    let address = broker.address();
    create(address, TOPIC, 1_000, &[]);
    create(address, "more", 1_000, &[]);
    commit(address, TOPIC, 0..1_000);
    let mut wire = Wire::connect(address);
    for _ in 0..3 {
        let answer = wire.call(9, &all_commits());
        assert_eq!(answer.groups[0].topics[0].partitions.len(), 1_000);
    }
    commit(address, "more", 0..1_000);
    wire.0.write_all(&frame(9, &all_commits())).unwrap();
    assert!(wire.receive().is_none(), "refused");
    let of = OffsetFetchRequestTopic::default()
        .with_name(topic("more"))
        .with_partition_indexes(vec![999]);
    let request = OffsetFetchRequest::default()
        .with_group_id(group())
        .with_topics(Some(vec![of]));
    let answer = Wire::connect(address).call(7, &request);
    assert_eq!(answer.topics[0].partitions[0].committed_offset, 7);
}
