//! Clients that take all they can get, beside one that only wants its turn.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use cloudsync_devbroker::{Broker, BrokerConfig};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::{
    ApiVersionsRequest, DescribeGroupsRequest, FetchRequest, GroupId, JoinGroupRequest,
    LeaveGroupRequest, MetadataRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use rdkafka::consumer::Consumer;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::{BaseRecord, Producer};
use tokio::time::{Instant, sleep};

use crate::child::BrokerProcess;
use crate::client::{
    LIMIT, PARTITIONS, Sender, TOPIC, assert_once, consumer, create, read_all, run, try_create,
};
use crate::robustness::batch;
use crate::wire::{Wire, frame, produce};

/// Time for what must come at once, on a busy machine.
const SOON: Duration = Duration::from_secs(30);

fn impatient() -> BrokerConfig {
    BrokerConfig {
        max_frame_bytes: 8 << 20,
        max_buffered_bytes: 24 << 20,
        stall_timeout: Duration::from_secs(1),
        ..BrokerConfig::default()
    }
}

/// Asks for all of the topic, one record at least, and waits for that as long as it may.
pub(crate) fn fetch_all(topic: &'static str, offset: i64) -> Vec<u8> {
    let partition = |index| {
        FetchPartition::default()
            .with_partition(index)
            .with_fetch_offset(offset)
            .with_partition_max_bytes(i32::MAX)
    };
    let topic = FetchTopic::default()
        .with_topic(TopicName(StrBytes::from_static_str(topic)))
        .with_partitions((0..PARTITIONS).map(partition).collect());
    let request = FetchRequest::default()
        .with_max_wait_ms(300_000)
        .with_min_bytes(1)
        .with_max_bytes(i32::MAX)
        .with_topics(vec![topic]);
    frame(4, &request)
}

/// Puts some MiB into the topic.
pub(crate) fn load(address: SocketAddr, topic: &str, mebibytes: usize) {
    let sender = Sender::new(address, &[("compression.type", "none")]);
    let payload = vec![b'x'; 256 << 10];
    for at in 0..mebibytes * 4 {
        let partition = i32::try_from(at).unwrap() % PARTITIONS;
        let record = BaseRecord::with_opaque_to(topic, Box::new(at as u64))
            .payload(&payload)
            .key("k")
            .partition(partition);
        sender.producer.send(record).map_err(|(it, _)| it).unwrap();
    }
    sender.producer.flush(LIMIT).unwrap();
    let delivered = sender.flush();
    assert!(delivered.values().all(Result::is_ok));
}

/// Begins a Produce frame of `length` bytes and sends `sent` of them.
pub(crate) fn begin_produce(address: SocketAddr, length: usize, sent: usize) -> Option<Wire> {
    let mut wire = Wire::connect(address);
    let mut bytes = i32::try_from(length).unwrap().to_be_bytes().to_vec();
    bytes.extend_from_slice(&[0, 0, 0, 8]);
    bytes.resize(4 + sent, 0);
    // `None` where it is cut meanwhile.
    wire.0.write_all(&bytes).ok().map(|()| wire)
}

#[test]
fn frames_that_stall_cost_others_seconds_at_most() {
    let broker = Broker::start(impatient()).unwrap();
    let address = broker.address();
    create(address, TOPIC, PARTITIONS, &[]);
    let mut stalled = Vec::new();
    for round in 0..48 {
        let (length, sent) = if round % 4 == 0 {
            (8 << 20, 3 << 19)
        } else {
            (1 << 20, 1_000_000)
        };
        // Not all of it is taken; nobody waits for that here.
        stalled.push(thread::spawn(move || begin_produce(address, length, sent)));
    }
    let began = Instant::now();
    let sender = Sender::new(address, &[]);
    sender.send_all(0..1_200);
    load(address, TOPIC, 16);
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    // A large frame gets its turn as well, and what is wrong with it is said.
    let request = produce(TOPIC, 0, -1, vec![0; 4 << 20]);
    let answer = Wire::connect(address).call(8, &request);
    let code = answer.responses[0].partition_responses[0].error_code;
    assert_ne!(code, 0);
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    drop(stalled);
}

#[test]
fn a_slow_reader_gets_its_answer_and_one_that_stops_is_cut() {
    let config = BrokerConfig {
        max_buffered_bytes: 200 << 20,
        max_connections: 4,
        ..impatient()
    };
    let broker = Broker::start(config).unwrap();
    let address = broker.address();
    create(address, TOPIC, PARTITIONS, &[]);
    load(address, TOPIC, 48);
    let mut wire = Wire::connect(address);
    wire.0.write_all(&fetch_all(TOPIC, 0)).unwrap();
    let mut size = [0; 4];
    wire.0.read_exact(&mut size).unwrap();
    let mut left = usize::try_from(i32::from_be_bytes(size)).unwrap();
    assert!(left > 40 << 20, "{left}");
    let began = Instant::now();
    let mut chunk = vec![0; 2 << 20];
    while left > 0 {
        // The pace of the reader; the broker is waited for nowhere.
        run(async { sleep(Duration::from_millis(150)).await });
        let part = left.min(chunk.len());
        wire.0.read_exact(&mut chunk[..part]).unwrap();
        left -= part;
    }
    assert!(began.elapsed() > Duration::from_secs(2), "not slow");
    // Four that take no byte of their answers hold all connections, until they are cut.
    let mut stopped = vec![wire];
    stopped.extend((0..3).map(|_| Wire::connect(address)));
    for wire in &mut stopped {
        wire.0.write_all(&fetch_all(TOPIC, 0)).unwrap();
    }
    let _free = served(address);
}

/// Frames that take room of their own, of requests that wait for records for minutes.
#[test]
fn large_frames_that_wait_keep_no_room_from_others() {
    let broker = Broker::start(impatient()).unwrap();
    let address = broker.address();
    create(address, TOPIC, PARTITIONS, &[]);
    let long = StrBytes::from_string("n".repeat(30_000));
    let nothing = FetchTopic::default().with_topic(TopicName(long));
    let partition = FetchPartition::default().with_partition_max_bytes(i32::MAX);
    let waited_for = FetchTopic::default()
        .with_topic(TopicName(StrBytes::from_static_str(TOPIC)))
        .with_partitions(vec![partition.with_partition(11)]);
    let mut topics = vec![nothing; 30];
    topics.push(waited_for);
    let request = FetchRequest::default()
        .with_max_wait_ms(300_000)
        .with_min_bytes(i32::MAX)
        .with_max_bytes(i32::MAX)
        .with_topics(topics);
    let bytes = frame(4, &request);
    let waiting: Vec<_> = (0..40)
        .map(|_| {
            let bytes = bytes.clone();
            thread::spawn(move || {
                let mut wire = Wire::connect(address);
                wire.0.write_all(&bytes).unwrap();
                wire.receive().unwrap();
            })
        })
        .collect();
    let began = Instant::now();
    load(address, TOPIC, 8);
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    for waiting in waiting {
        waiting.join().unwrap();
    }
}

/// The largest batch that fits into a frame is larger than an answer of that size.
#[test]
fn the_largest_batch_that_comes_in_also_goes_out() {
    let limit = 2 << 20;
    let config = BrokerConfig {
        max_frame_bytes: limit,
        max_buffered_bytes: limit,
        max_message_bytes: 64 << 10,
        ..BrokerConfig::default()
    };
    let broker = Broker::start(config).unwrap();
    let address = broker.address();
    create(
        address,
        TOPIC,
        PARTITIONS,
        &[("max.message.bytes", "4000000")],
    );
    let produce = |padding: usize| {
        let mut records = batch(-1, -1);
        records.resize(records.len() + padding, 0);
        let length = i32::try_from(records.len() - 12).unwrap();
        records[8..12].copy_from_slice(&length.to_be_bytes());
        let crc = crc32c::crc32c(&records[21..]);
        records[17..21].copy_from_slice(&crc.to_be_bytes());
        produce(TOPIC, 0, -1, records)
    };
    let around = frame(8, &produce(0)).len() - 4;
    let request = produce(limit - around);
    assert_eq!(frame(8, &request).len() - 4, limit);
    let mut wire = Wire::connect(address);
    let answer = wire.call(8, &request);
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
    wire.0.write_all(&fetch_all(TOPIC, 0)).unwrap();
    let answer = wire.receive().unwrap();
    assert!(answer.len() > limit, "{}", answer.len());
}

/// A connection, as soon as there is a free one.
fn served(address: SocketAddr) -> Wire {
    let began = Instant::now();
    loop {
        let mut wire = Wire::connect(address);
        let asked = wire.0.write_all(&frame(0, &ApiVersionsRequest::default()));
        if asked.is_ok() && wire.receive().is_some() {
            return wire;
        }
        assert!(began.elapsed() < SOON, "no connection is free");
    }
}

#[test]
fn a_client_that_goes_frees_its_place_while_its_request_waits() {
    let config = BrokerConfig {
        max_connections: 4,
        ..BrokerConfig::default()
    };
    let broker = Broker::start(config).unwrap();
    let address = broker.address();
    create(address, TOPIC, PARTITIONS, &[]);
    // The first member never joins again, so the second one waits for it.
    let mut first = served(address);
    assert_eq!(first.call(3, &join("")).error_code, 0);
    let mut gone = [served(address), served(address)];
    gone[0].0.write_all(&frame(3, &join(""))).unwrap();
    gone[1].0.write_all(&fetch_all(TOPIC, 0)).unwrap();
    until_there_are(address, 2);
    let other = served(address);
    drop(gone);
    let others = [served(address), served(address)];
    drop((other, others));
    let mut gone = served(address);
    gone.0.write_all(&fetch_all(TOPIC, 0)).unwrap();
    // More than is read ahead: the end stands behind it.
    let much: Vec<u8> = frame(9, &MetadataRequest::default()).repeat(4_000);
    gone.0.write_all(&much).unwrap();
    let others = [served(address), served(address)];
    drop(gone);
    let last = served(address);
    drop((first, others, last));
}

/// Reads the member count of the group until it is `members`: then they have all been heard.
fn until_there_are(address: SocketAddr, members: usize) {
    let began = Instant::now();
    let mut wire = served(address);
    let request = DescribeGroupsRequest::default().with_groups(vec![group()]);
    while wire.call(4, &request).groups[0].members.len() != members {
        assert!(began.elapsed() < SOON, "not {members} members");
    }
}

fn group() -> GroupId {
    GroupId(StrBytes::from_static_str("group"))
}

fn join(member_id: &'static str) -> JoinGroupRequest {
    let protocol = JoinGroupRequestProtocol::default()
        .with_name(StrBytes::from_static_str("range"))
        .with_metadata(Bytes::from_static(&[1; 64]));
    JoinGroupRequest::default()
        .with_group_id(group())
        .with_session_timeout_ms(600_000)
        .with_rebalance_timeout_ms(600_000)
        .with_member_id(StrBytes::from_static_str(member_id))
        .with_protocol_type(StrBytes::from_static_str("consumer"))
        .with_protocols(vec![protocol])
}

/// Requests without an answer, sent behind one that waits: all of them count, although the client
/// has gone by then.
#[test]
fn what_was_sent_before_the_client_went_is_stored() {
    let broker = Broker::start(BrokerConfig::default()).unwrap();
    let address = broker.address();
    create(address, TOPIC, PARTITIONS, &[]);
    let mut wire = Wire::connect(address);
    wire.0.write_all(&fetch_all(TOPIC, 0)).unwrap();
    let request = produce(TOPIC, 1, 0, batch(-1, -1));
    wire.0.write_all(&frame(8, &request).repeat(300)).unwrap();
    drop(wire);
    let began = Instant::now();
    while ends(address)[1] != 300 {
        assert!(began.elapsed() < SOON, "{:?}", ends(address));
    }
}

/// Where each partition ends.
fn ends(address: SocketAddr) -> Vec<i64> {
    let consumer = consumer(address, "looks", &[]);
    let end = |partition| {
        let marks = consumer.fetch_watermarks(TOPIC, partition, LIMIT);
        marks.unwrap().1
    };
    (0..PARTITIONS).map(end).collect()
}

/// Frames are 900 KiB, what a group may keep is 1 MiB: the second member is one too many, and
/// a group that is alive keeps what it has.
#[test]
fn groups_keep_a_bounded_part_of_what_is_sent() {
    let broker = Broker::start(BrokerConfig::default()).unwrap();
    let address = broker.address();
    create(address, TOPIC, PARTITIONS, &[]);
    let mut wire = Wire::connect(address);
    let mut large = join("");
    large.protocols[0].metadata = vec![7; 900 << 10].into();
    let mut codes = std::collections::BTreeMap::new();
    for number in 0..100 {
        let id: &'static str = format!("group {number}").leak();
        large.group_id = GroupId(StrBytes::from_static_str(id));
        let code = wire.call(3, &large).error_code;
        *codes.entry(code).or_insert(0) += 1;
        if number == 0 {
            let too_many = Wire::connect(address).call(3, &large).error_code;
            assert_eq!(too_many, ResponseError::GroupMaxSizeReached.code());
        }
    }
    let full = ResponseError::CoordinatorLoadInProgress.code();
    assert_eq!(
        codes,
        std::collections::BTreeMap::from([(0, 72), (full, 28)])
    );
    // A name that is too long, and the end of a member: its room is there again.
    large.group_id = GroupId("g".repeat(1_025).into());
    let code = wire.call(3, &large).error_code;
    assert_eq!(code, ResponseError::InvalidGroupId.code());
    let gone = DescribeGroupsRequest::default()
        .with_groups(vec![GroupId(StrBytes::from_static_str("group 5"))]);
    let described = wire.call(4, &gone);
    let member = described.groups[0].members[0].member_id.clone();
    let leave = LeaveGroupRequest::default()
        .with_group_id(described.groups[0].group_id.clone())
        .with_member_id(member);
    assert_eq!(wire.call(0, &leave).error_code, 0);
    large.group_id = group();
    let began = Instant::now();
    while wire.call(3, &large).error_code != 0 {
        assert!(began.elapsed() < SOON, "no room again");
    }
}

/// 256 open files, of which it has 64 at first: connections and partitions get what they may, and
/// what else needs a file finds one.
#[test]
fn few_open_files_are_shared_out() {
    let dir = tempfile::tempdir().unwrap();
    let broker = BrokerProcess::with_few_files(dir.path(), 256);
    let address = broker.address;
    create(address, TOPIC, PARTITIONS, &[]);
    let refused = try_create(address, "many", 40, &[]);
    assert_eq!(refused, Err(RDKafkaErrorCode::InvalidPartitions));
    create(address, "some", 30, &[]);
    let mut idle = Vec::new();
    for _ in 0..90 {
        idle.push(served(address));
    }
    let sender = Sender::new(address, &[]);
    sender.send_all(0..1_200);
    let mut refused = 0;
    for _ in 0..300 {
        let mut wire = Wire::connect(address);
        let asked = wire.0.write_all(&frame(0, &ApiVersionsRequest::default()));
        if asked.is_ok() && wire.receive().is_some() {
            idle.push(wire);
        } else {
            refused += 1;
        }
    }
    assert!(refused > 250, "{refused}");
    sender.send_all(1_200..2_400);
    drop(idle);
    create(address, "another", 4, &[]);
    assert_once(&read_all(address, 2_400), 0..2_400);
}
