//! Faults on request: what they do, and what clients make of them.

use std::time::Duration;

use cloudsync_devbroker::{Act, Api, Broker, BrokerConfig, Moment};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::{ApiVersionsRequest, InitProducerIdRequest, MetadataRequest};
use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};

use crate::client::{
    LIMIT, PARTITIONS, Sender, TOPIC, assert_once, consumer, create, in_memory, read_all,
};
use crate::wire::{Wire, frame};

use std::io::Write;

#[test]
fn an_act_hits_as_many_requests_of_its_api_as_it_was_asked_for() {
    let broker = in_memory();
    let hands = broker.hands();
    let plain = InitProducerIdRequest::default().with_transactional_id(None);
    let code = ResponseError::CoordinatorNotAvailable.code();
    hands.next(Api::InitProducerId, 2, Act::Fail(code));
    hands.next(Api::InitProducerId, 1, Act::Cut(Moment::After));
    let mut wire = Wire::connect(broker.address());
    wire.call(9, &MetadataRequest::default());
    assert_eq!(wire.call(4, &plain).error_code, code);
    assert_eq!(wire.call(4, &plain).error_code, code);
    wire.0.write_all(&frame(4, &plain)).unwrap();
    assert!(wire.receive().is_none(), "cut");
    assert_eq!(hands.left(Api::InitProducerId), 0);
    let mut wire = Wire::connect(broker.address());
    hands.next(Api::ApiVersions, 1, Act::Drop(Moment::Before));
    wire.0
        .write_all(&frame(3, &ApiVersionsRequest::default()))
        .unwrap();
    // Never answered; the next one is.
    assert_eq!(wire.call(4, &plain).error_code, 0);
}

/// Answers lost, late, or with an error that asks for another try, before and after the batch was
/// stored: an idempotent producer stores each record once, and knows where.
#[test]
fn an_idempotent_producer_loses_and_doubles_nothing_whatever_becomes_of_the_answers() {
    let broker = Broker::start(BrokerConfig::default()).unwrap();
    let address = broker.address();
    create(address, TOPIC, PARTITIONS, &[]);
    let settings = [
        ("socket.timeout.ms", "2000"),
        ("request.timeout.ms", "1000"),
        ("retry.backoff.ms", "10"),
        ("batch.num.messages", "50"),
    ];
    let sender = Sender::new(address, &settings);
    sender.send_all(0..1_200);
    let hands = broker.hands();
    let late = Duration::from_millis(1_500);
    let busy = ResponseError::NotLeaderOrFollower.code();
    for act in [
        Act::Cut(Moment::After),
        Act::Delay(late, Moment::After),
        Act::Cut(Moment::Before),
        Act::Drop(Moment::After),
        Act::Fail(busy),
        Act::Delay(late, Moment::Before),
        Act::Drop(Moment::Before),
    ] {
        hands.next(Api::Produce, 2, act);
    }
    let places = sender.send_all(1_200..6_000);
    assert_eq!(hands.left(Api::Produce), 0, "all of it happened");
    let read = read_all(address, 6_000);
    assert_once(&read, 0..6_000);
    for (number, partition, offset) in read {
        let told = places.get(&number);
        assert!(told.is_none_or(|place| *place == (partition, offset)));
    }
}

/// A commit whose answer is lost is made again, and stands.
#[test]
fn commits_stand_when_their_answers_are_lost() {
    let broker = Broker::start(BrokerConfig::default()).unwrap();
    let address = broker.address();
    create(address, TOPIC, PARTITIONS, &[]);
    Sender::new(address, &[]).send_all(0..1_200);
    let hands = broker.hands();
    let group = consumer(address, "group", &[("socket.timeout.ms", "2000")]);
    group.subscribe(&[TOPIC]).unwrap();
    let first = crate::client::next(&group);
    let mut list = TopicPartitionList::new();
    let next = Offset::Offset(first.offset() + 1);
    list.add_partition_offset(TOPIC, first.partition(), next)
        .unwrap();
    let mut refused = 0;
    for act in [
        Act::Cut(Moment::After),
        Act::Cut(Moment::Before),
        Act::Fail(ResponseError::CoordinatorLoadInProgress.code()),
        Act::Drop(Moment::After),
    ] {
        hands.next(Api::OffsetCommit, 1, act);
        while group.commit(&list, CommitMode::Sync).is_err() {
            refused += 1;
            assert!(refused < 100, "no commit goes through");
        }
        assert_eq!(hands.left(Api::OffsetCommit), 0, "{act:?} happened");
    }
    let mut wanted = TopicPartitionList::new();
    wanted.add_partition(TOPIC, first.partition());
    let stored = group.committed_offsets(wanted, LIMIT).unwrap();
    assert_eq!(stored.elements()[0].offset(), next);
}
