//! Clients that take all they can get, beside one that only wants its turn.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use cloudsync_devbroker::{Broker, BrokerConfig};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{ApiVersionsRequest, FetchRequest, ProduceRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use rdkafka::producer::{BaseRecord, Producer};
use tokio::time::{Instant, sleep};

use crate::client::{LIMIT, PARTITIONS, Sender, TOPIC, create, run};
use crate::wire::{Wire, frame};

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
fn fetch_all(offset: i64) -> Vec<u8> {
    let partition = |index| {
        FetchPartition::default()
            .with_partition(index)
            .with_fetch_offset(offset)
            .with_partition_max_bytes(i32::MAX)
    };
    let topic = FetchTopic::default()
        .with_topic(TopicName(StrBytes::from_static_str(TOPIC)))
        .with_partitions((0..PARTITIONS).map(partition).collect());
    let request = FetchRequest::default()
        .with_max_wait_ms(300_000)
        .with_min_bytes(1)
        .with_max_bytes(i32::MAX)
        .with_topics(vec![topic]);
    frame(4, &request)
}

/// Puts some MiB into the topic.
fn load(address: SocketAddr, mebibytes: usize) {
    let sender = Sender::new(address, &[("compression.type", "none")]);
    let payload = vec![b'x'; 256 << 10];
    for at in 0..mebibytes * 4 {
        let partition = i32::try_from(at).unwrap() % PARTITIONS;
        let record = BaseRecord::with_opaque_to(TOPIC, Box::new(at as u64))
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
fn begin_produce(address: SocketAddr, length: usize, sent: usize) -> Wire {
    let mut wire = Wire::connect(address);
    let mut bytes = i32::try_from(length).unwrap().to_be_bytes().to_vec();
    bytes.extend_from_slice(&[0, 0, 0, 8]);
    bytes.resize(4 + sent, 0);
    wire.0.write_all(&bytes).unwrap();
    wire
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
    load(address, 16);
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    // A large frame gets its turn as well, and what is wrong with it is said.
    let data = PartitionProduceData::default().with_records(Some(vec![0; 4 << 20].into()));
    let topic = TopicProduceData::default()
        .with_name(TopicName(StrBytes::from_static_str(TOPIC)))
        .with_partition_data(vec![data]);
    let request = ProduceRequest::default()
        .with_transactional_id(None)
        .with_acks(-1)
        .with_topic_data(vec![topic]);
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
    load(address, 48);
    let mut wire = Wire::connect(address);
    wire.0.write_all(&fetch_all(0)).unwrap();
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
        wire.0.write_all(&fetch_all(0)).unwrap();
    }
    until_served(address);
}

/// Connects until there is a free connection.
fn until_served(address: SocketAddr) {
    let began = Instant::now();
    loop {
        let mut wire = Wire::connect(address);
        let asked = wire.0.write_all(&frame(0, &ApiVersionsRequest::default()));
        if asked.is_ok() && wire.receive().is_some() {
            return;
        }
        assert!(began.elapsed() < SOON, "no connection is free");
    }
}
