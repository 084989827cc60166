//! Clients of others run against the embedded log: kcat, kafka-python, Kafka's own tools.
//!
//! A module a client, a test an operation. A client that cannot be had is skipped with a word on
//! stderr, and a failure where `CI=true`. `same` has Kafka's tools print the same against the
//! embedded log and a real Kafka.

mod codes;
mod java;
mod kcat;
mod python;
mod same;

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use cloudsync_devbroker::Broker;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::{BrokerId, FetchRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};

use crate::client::{LIMIT, config, consumer, create, in_memory, next};
use crate::wire::Wire;

const TOPIC: &str = "foreign-topic";
const GROUP: &str = "foreign-group";
const COUNT: i64 = 8;
/// Every codec, by the name that clients have for it, and its number in a batch's attributes.
const CODECS: [(&str, u8); 5] = [
    ("none", 0),
    ("gzip", 1),
    ("snappy", 2),
    ("lz4", 3),
    ("zstd", 4),
];
/// Timestamp of the first record in ms; each later one is a millisecond younger.
const FIRST_TIME: i64 = 1_000;

/// A foreign client, as one of the scripts of `scripts/services` runs it.
struct Tool {
    script: PathBuf,
    before: Vec<String>,
}

impl Tool {
    /// `None`, with a word about it, where the client cannot be had.
    #[expect(
        clippy::print_stderr,
        reason = "who runs the tests is to see what was skipped"
    )]
    fn find(name: &str) -> Option<Self> {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/services");
        let script = PathBuf::from(root).join(name);
        let fetched = Command::new(&script).arg("fetch").output();
        let why = match fetched {
            Ok(output) if output.status.success() => {
                return Some(Self {
                    script,
                    before: Vec::new(),
                });
            }
            Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
            Err(error) => error.to_string(),
        };
        let is_ci = std::env::var("CI").is_ok_and(|it| it == "true");
        assert!(!is_ci, "{name} cannot be had: {why}");
        eprintln!("skipped: {name} cannot be had: {why}");
        None
    }

    /// What it prints, given `input`; it must end well, and soon.
    fn run(&self, arguments: &[&str], input: &str) -> String {
        let (is_well, out, err) = self.try_run(arguments, input);
        assert!(is_well, "{arguments:?}\n{out}\n{err}");
        out
    }

    fn try_run(&self, arguments: &[&str], input: &str) -> (bool, String, String) {
        let mut child = Command::new("timeout")
            .arg("120")
            .arg(&self.script)
            .args(&self.before)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).unwrap();
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let is_well = output.status.success();
        (is_well, text(&output.stdout), text(&output.stderr))
    }
}

/// A broker with an empty topic of one partition.
fn broker() -> Broker {
    let broker = in_memory();
    create(broker.address(), TOPIC, 1, &[]);
    broker
}

/// A broker whose topic holds one batch of [`COUNT`] records.
fn filled() -> Broker {
    let broker = broker();
    fill(broker.address(), "lz4");
    broker
}

fn fill(address: SocketAddr, codec: &str) {
    let producer: ThreadedProducer<rdkafka::producer::DefaultProducerContext> = config(address)
        .set("compression.type", codec)
        .set("linger.ms", "500")
        .create()
        .unwrap();
    for number in 0..COUNT {
        let (key, value) = (format!("k{number}"), value(number));
        let record = BaseRecord::to(TOPIC)
            .partition(0)
            .key(&key)
            .payload(&value)
            .timestamp(FIRST_TIME + number);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(LIMIT).unwrap();
}

/// A group whose only member has committed the second offset and left.
fn commit(address: SocketAddr) {
    let member: BaseConsumer = consumer(address, GROUP, &[]);
    member.subscribe(&[TOPIC]).unwrap();
    next(&member);
    let mut offsets = TopicPartitionList::new();
    offsets
        .add_partition_offset(TOPIC, 0, rdkafka::Offset::Offset(2))
        .unwrap();
    member.commit(&offsets, CommitMode::Sync).unwrap();
}

/// A value that every codec makes smaller: librdkafka leaves a batch as it is otherwise.
fn value(number: i64) -> String {
    format!("v{number}{}", "-".repeat(50))
}

/// `partition offset key value` of the records, as the clients are told to print them.
fn expected() -> String {
    let line = |number: i64| format!("0 {number} k{number} {}\n", value(number));
    (0..COUNT).map(line).collect()
}

/// What the clients were given to produce.
fn input() -> String {
    (0..COUNT)
        .map(|number| format!("k{number}:{}\n", value(number)))
        .collect()
}

/// Reads the topic back and compares it with [`expected`].
fn assert_produced(address: SocketAddr) {
    use rdkafka::Message;
    let reader = consumer(address, "reader", &[]);
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(TOPIC, 0, rdkafka::Offset::Beginning)
        .unwrap();
    reader.assign(&list).unwrap();
    let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap()).into_owned();
    let mut found = String::new();
    for _ in 0..COUNT {
        let record = next(&reader);
        let (key, value) = (text(record.key()), text(record.payload()));
        let (partition, offset) = (record.partition(), record.offset());
        found.push_str(&format!("{partition} {offset} {key} {value}\n"));
    }
    assert_eq!(found, expected());
}

/// The codec of the first batch in the log.
fn stored_codec(address: SocketAddr) -> u8 {
    let partition = FetchPartition::default().with_partition_max_bytes(1 << 20);
    let topic = FetchTopic::default()
        .with_topic(TopicName(StrBytes::from_static_str(TOPIC)))
        .with_partitions(vec![partition]);
    let fetch = FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_bytes(1 << 20)
        .with_topics(vec![topic]);
    let answer = Wire::connect(address).call(4, &fetch);
    let records: &Bytes = answer.responses[0].partitions[0].records.as_ref().unwrap();
    records[22] & 7
}

/// The offsets of the first records that are not older than these: kcat's and Python's question.
const TIMES: [(i64, i64); 3] = [(0, 0), (FIRST_TIME + 3, 3), (FIRST_TIME + 7, 7)];

/// As [`crate::client::LIMIT`], for the tools.
fn wait_ms() -> String {
    Duration::from_secs(60).as_millis().to_string()
}
