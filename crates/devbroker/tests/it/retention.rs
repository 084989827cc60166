//! What a topic keeps no longer goes; what the groups of the list have not committed stays.

use std::time::Duration;

use cloudsync_devbroker::{Broker, BrokerConfig, BrokerStats};
use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};
use tokio::time::Instant;

use crate::client::{
    LIMIT, PARTITIONS, Sender, TOPIC, consumer, create, on_disk, read_all, try_create,
};

/// Some batches a partition, each in a segment of its own.
const RECORDS: u64 = 1_200;
const EACH: i64 = RECORDS as i64 / PARTITIONS as i64;

fn quick(config: BrokerConfig) -> BrokerConfig {
    BrokerConfig {
        segment_bytes: 1,
        retention_check: Duration::from_millis(20),
        ..config
    }
}

/// The stats, as soon as they are as wanted.
fn wait_for(broker: &Broker, wanted: impl Fn(&BrokerStats) -> bool) -> BrokerStats {
    let deadline = Instant::now() + LIMIT;
    loop {
        let stats = broker.stats();
        if wanted(&stats) {
            return stats;
        }
        assert!(Instant::now() < deadline, "{stats:?}");
        std::thread::yield_now();
    }
}

fn commit(broker: &Broker, group: &str, offset: i64) {
    let mut list = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        let offset = Offset::Offset(offset);
        list.add_partition_offset(TOPIC, partition, offset).unwrap();
    }
    let consumer = consumer(broker.address(), group, &[]);
    consumer.commit(&list, CommitMode::Sync).unwrap();
}

#[test]
fn records_past_their_time_go_once_the_listed_groups_have_committed_them() {
    let dir = tempfile::tempdir().unwrap();
    let config = || {
        quick(BrokerConfig {
            retain_for: vec!["slow".to_owned(), "fast".to_owned()],
            ..on_disk(dir.path())
        })
    };
    let broker = Broker::start(config()).unwrap();
    create(
        broker.address(),
        TOPIC,
        PARTITIONS,
        &[("retention.ms", "1")],
    );
    let sender = Sender::new(broker.address(), &[("batch.num.messages", "10")]);
    sender.send_all(0..RECORDS);
    commit(&broker, "fast", EACH);
    let stored: u64 = broker.stats().partitions.iter().map(|it| it.bytes).sum();
    let stats = wait_for(&broker, |stats| {
        stats.held_back_by("slow").0 == stored && stats.held_back_by("fast").0 == 0
    });
    assert!(stats.partitions.iter().all(|it| it.start == 0), "{stats:?}");
    assert!(stats.held_back_by("slow").1 > Duration::ZERO);

    commit(&broker, "slow", EACH / 2);
    wait_for(&broker, |stats| {
        stats.partitions.iter().all(|it| it.start > 0) && !stats.held_back.is_empty()
    });
    let stats = broker.stats();
    let middle = |start| (1..=EACH / 2).contains(&start);
    assert!(
        stats.partitions.iter().all(|it| middle(it.start)),
        "{stats:?}"
    );
    broker.shutdown().unwrap();

    let broker = Broker::start(config()).unwrap();
    let starts =
        |stats: &BrokerStats| -> Vec<i64> { stats.partitions.iter().map(|it| it.start).collect() };
    assert!(starts(&broker.stats()) >= starts(&stats));
    let left = read_all(broker.address(), 0);
    assert!(left.len() as u64 >= RECORDS / 2, "{}", left.len());
    commit(&broker, "slow", EACH);
    let stats = wait_for(&broker, |stats| {
        stats.partitions.iter().all(|it| it.start == EACH)
    });
    assert!(stats.partitions.iter().all(|it| it.bytes == 0), "{stats:?}");
    assert!(read_all(broker.address(), 0).is_empty());
    // The next record follows, in a segment of its own.
    let next = Sender::new(broker.address(), &[]).send_all(0..1);
    assert_eq!(next[&0], (0, EACH));
}

#[test]
fn more_bytes_than_a_topic_keeps_go_from_the_front() {
    let broker = Broker::start(quick(BrokerConfig::default())).unwrap();
    let settings = [("retention.bytes", "5000"), ("retention.ms", "-1")];
    create(broker.address(), TOPIC, PARTITIONS, &settings);
    let settings = [("batch.num.messages", "10"), ("compression.type", "none")];
    let placed = Sender::new(broker.address(), &settings).send_all(0..12_000);
    let stats = wait_for(&broker, |stats| {
        stats.partitions.iter().all(|it| it.bytes < 10_000)
    });
    for partition in stats.partitions {
        assert!(partition.bytes >= 5_000, "{partition:?}");
        assert_eq!(partition.end, 1_000);
    }
    for (number, partition, offset) in read_all(broker.address(), 0) {
        assert_eq!(placed[&number], (partition, offset));
    }
}

#[test]
fn what_cannot_be_parsed_is_refused() {
    let broker = Broker::start(BrokerConfig::default()).unwrap();
    for (name, value) in [
        ("retention.ms", "week"),
        ("retention.bytes", "1 GiB"),
        ("segment.bytes", "1000"),
        ("segment.ms", "0"),
    ] {
        let refused = try_create(broker.address(), TOPIC, 1, &[(name, value)]);
        assert_eq!(refused, Err(RDKafkaErrorCode::InvalidConfig), "{name}");
    }
}
