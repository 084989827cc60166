//! librdkafka clients with short waits, and what tests ask of them.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cloudsync_devbroker::{Broker, BrokerConfig, Fsync, Storage};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::FromClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, ClientContext};
use tokio::time::Instant;

pub(crate) const TOPIC: &str = "data-topic";
pub(crate) const PARTITIONS: i32 = 12;
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

pub(crate) fn in_memory() -> Broker {
    Broker::start(BrokerConfig::default()).unwrap()
}

pub(crate) fn on_disk(dir: &std::path::Path) -> BrokerConfig {
    BrokerConfig {
        storage: Storage::Dir(dir.to_owned()),
        fsync: Fsync::Every(Duration::from_millis(200)),
        ..BrokerConfig::default()
    }
}

pub(crate) fn config(address: impl Display) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", address.to_string())
        .set("reconnect.backoff.ms", "20")
        .set("reconnect.backoff.max.ms", "200");
    config
}

pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

pub(crate) fn admin(address: impl Display) -> AdminClient<DefaultClientContext> {
    AdminClient::from_config(&config(address)).unwrap()
}

pub(crate) fn create(
    address: impl Display,
    name: &str,
    partitions: i32,
    settings: &[(&str, &str)],
) {
    try_create(address, name, partitions, settings).unwrap();
}

pub(crate) fn try_create(
    address: impl Display,
    name: &str,
    partitions: i32,
    settings: &[(&str, &str)],
) -> Result<(), RDKafkaErrorCode> {
    // The broker's own: 1 here, as many as there are nodes elsewhere.
    let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(-1));
    for (key, value) in settings {
        topic = topic.set(key, value);
    }
    let results = run(admin(address).create_topics([&topic], &AdminOptions::new())).unwrap();
    results
        .into_iter()
        .next()
        .unwrap()
        .map(|_| ())
        .map_err(|(_, code)| code)
}

/// Where each record came to stand, or why it did not, by its number.
pub(crate) type Deliveries = BTreeMap<u64, Result<(i32, i64), KafkaError>>;

#[derive(Clone, Default)]
pub(crate) struct Collect(pub(crate) Arc<Mutex<Deliveries>>);

impl ClientContext for Collect {}

impl ProducerContext for Collect {
    type DeliveryOpaque = Box<u64>;

    fn delivery(&self, result: &DeliveryResult<'_>, number: Box<u64>) {
        let outcome = match result {
            Ok(message) => Ok((message.partition(), message.offset())),
            Err((error, _)) => Err(error.clone()),
        };
        let before = self.0.lock().unwrap().insert(*number, outcome);
        assert!(before.is_none(), "record {number} reported twice");
    }
}

pub(crate) struct Sender {
    pub(crate) producer: ThreadedProducer<Collect>,
    pub(crate) delivered: Collect,
    topic: String,
}

impl Sender {
    /// To [`TOPIC`].
    pub(crate) fn new(address: impl Display, settings: &[(&str, &str)]) -> Self {
        Self::to(address, TOPIC, settings)
    }

    /// To a topic of [`PARTITIONS`].
    pub(crate) fn to(address: impl Display, topic: &str, settings: &[(&str, &str)]) -> Self {
        let delivered = Collect::default();
        let mut config = config(address);
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("compression.type", "lz4")
            .set("linger.ms", "5")
            .set("queue.buffering.max.messages", "1000000")
            .set("delivery.timeout.ms", "50000");
        for (key, value) in settings {
            config.set(*key, *value);
        }
        let producer = config.create_with_context(delivered.clone()).unwrap();
        Self {
            producer,
            delivered,
            topic: topic.to_owned(),
        }
    }

    /// Queues record `number` for its partition.
    pub(crate) fn send(&self, number: u64) {
        let payload = format!("{number} {}", "x".repeat(100));
        let key = number.to_string();
        let partition = i32::try_from(number % PARTITIONS as u64).unwrap();
        let record = BaseRecord::with_opaque_to(&self.topic, Box::new(number))
            .payload(&payload)
            .key(&key)
            .partition(partition);
        self.producer
            .send(record)
            .map_err(|(error, _)| error)
            .unwrap();
    }

    pub(crate) fn flush(&self) -> Deliveries {
        self.producer.flush(LIMIT).unwrap();
        self.delivered.0.lock().unwrap().clone()
    }

    /// Sends the numbers and expects all of them to be acknowledged.
    pub(crate) fn send_all(&self, numbers: std::ops::Range<u64>) -> BTreeMap<u64, (i32, i64)> {
        for number in numbers.clone() {
            self.send(number);
        }
        let delivered = self.flush();
        numbers
            .map(|number| (number, delivered[&number].clone().unwrap()))
            .collect()
    }
}

pub(crate) fn number_of(message: &impl Message) -> u64 {
    let payload = std::str::from_utf8(message.payload().unwrap()).unwrap();
    payload.split(' ').next().unwrap().parse().unwrap()
}

pub(crate) fn consumer(
    address: impl Display,
    group: &str,
    settings: &[(&str, &str)],
) -> BaseConsumer {
    let mut config = config(address);
    config
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("session.timeout.ms", "6000")
        .set("heartbeat.interval.ms", "500")
        .set("fetch.wait.max.ms", "100")
        .set("check.crcs", "true");
    for (key, value) in settings {
        config.set(*key, *value);
    }
    config.create().unwrap()
}

/// The next record; a poll also ends for events that are not records.
pub(crate) fn next(consumer: &BaseConsumer) -> rdkafka::message::BorrowedMessage<'_> {
    let deadline = Instant::now() + LIMIT;
    loop {
        assert!(Instant::now() < deadline, "no record");
        if let Some(message) = consumer.poll(Duration::from_millis(200)) {
            return message.unwrap();
        }
    }
}

/// Reads the whole topic without a group: number → place.
pub(crate) fn read_all(address: impl Display, expected: usize) -> Vec<(u64, i32, i64)> {
    read_topic(address, TOPIC, expected)
}

/// Reads a topic of [`PARTITIONS`] without a group: number → place.
pub(crate) fn read_topic(
    address: impl Display,
    topic: &str,
    expected: usize,
) -> Vec<(u64, i32, i64)> {
    let consumer = consumer(address, "reader", &[("enable.partition.eof", "true")]);
    let mut list = rdkafka::TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        let offset = rdkafka::Offset::Beginning;
        list.add_partition_offset(topic, partition, offset).unwrap();
    }
    consumer.assign(&list).unwrap();
    let deadline = Instant::now() + LIMIT;
    let mut found = Vec::new();
    let mut ended = std::collections::BTreeSet::new();
    while ended.len() < PARTITIONS as usize {
        assert!(
            Instant::now() < deadline,
            "{} of {expected} read",
            found.len()
        );
        match consumer.poll(Duration::from_millis(200)) {
            Some(Ok(message)) => {
                ended.remove(&message.partition());
                found.push((number_of(&message), message.partition(), message.offset()));
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                ended.insert(partition);
            }
            Some(Err(error)) => panic!("{error}"),
            None => {}
        }
    }
    found
}

/// Asserts that each number of the range was read exactly once, offsets rising.
pub(crate) fn assert_once(read: &[(u64, i32, i64)], numbers: std::ops::Range<u64>) {
    let mut counts: BTreeMap<u64, u32> = BTreeMap::new();
    let mut last: BTreeMap<i32, i64> = BTreeMap::new();
    for (number, partition, offset) in read {
        *counts.entry(*number).or_default() += 1;
        let before = last.insert(*partition, *offset).unwrap_or(-1);
        assert!(
            before < *offset,
            "partition {partition}: {offset} behind {before}"
        );
    }
    let lost: Vec<u64> = numbers
        .clone()
        .filter(|number| !counts.contains_key(number))
        .collect();
    let twice: Vec<_> = counts.iter().filter(|(_, count)| **count > 1).collect();
    assert!(
        lost.is_empty(),
        "{} lost, first {:?}",
        lost.len(),
        lost.first()
    );
    assert!(
        twice.is_empty(),
        "{} duplicated, first {:?}",
        twice.len(),
        twice.first()
    );
    assert_eq!(
        counts.len() as u64,
        numbers.end - numbers.start,
        "foreign records"
    );
}
