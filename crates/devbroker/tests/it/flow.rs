//! Records in, records out: nothing lost, nothing twice, in order.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use cloudsync_devbroker::{Broker, BrokerConfig, Fsync};
use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};
use tokio::time::Instant;

use crate::client::{
    LIMIT, PARTITIONS, Sender, TOPIC, assert_once, consumer, create, in_memory, next, number_of,
    on_disk, read_all,
};

const RECORDS: u64 = 100_000;

/// One member: counts itself ready once it has its half, reads until its group has everything.
fn member(
    broker: &Broker,
    group: &'static str,
    ready: Arc<AtomicU64>,
    read: Arc<AtomicU64>,
) -> thread::JoinHandle<Vec<(u64, i32, i64)>> {
    let consumer = consumer(broker.address(), group, &[]);
    consumer.subscribe(&[TOPIC]).unwrap();
    thread::spawn(move || {
        let deadline = Instant::now() + LIMIT;
        let mut found = Vec::new();
        let mut is_ready = false;
        while read.load(Ordering::Relaxed) < RECORDS {
            assert!(
                Instant::now() < deadline,
                "{group}: {} read",
                read.load(Ordering::Relaxed)
            );
            if let Some(message) = consumer.poll(Duration::from_millis(20)) {
                let message = message.unwrap();
                found.push((number_of(&message), message.partition(), message.offset()));
                read.fetch_add(1, Ordering::Relaxed);
            }
            if !is_ready && consumer.assignment().unwrap().count() == PARTITIONS as usize / 2 {
                is_ready = true;
                ready.fetch_add(1, Ordering::Relaxed);
            }
        }
        consumer.commit_consumer_state(CommitMode::Sync).unwrap();
        found
    })
}

fn two_groups_get_everything_once(broker: &Broker) {
    create(broker.address(), TOPIC, PARTITIONS, &[]);
    let ready = Arc::new(AtomicU64::new(0));
    let mut members = Vec::new();
    for group in ["aws-sync-group", "azure-sync-group"] {
        let read = Arc::new(AtomicU64::new(0));
        for _ in 0..2 {
            members.push((
                group,
                member(broker, group, Arc::clone(&ready), Arc::clone(&read)),
            ));
        }
    }
    let sender = Sender::new(broker.address(), &[]);
    let deadline = Instant::now() + LIMIT;
    while ready.load(Ordering::Relaxed) < 4 {
        assert!(Instant::now() < deadline, "groups not assigned");
        thread::yield_now();
    }
    sender.send_all(0..RECORDS);
    let mut by_group: std::collections::BTreeMap<&str, Vec<_>> = Default::default();
    for (group, member) in members {
        by_group
            .entry(group)
            .or_default()
            .extend(member.join().unwrap());
    }
    for read in by_group.values() {
        assert_once(read, 0..RECORDS);
    }
    for group in by_group.keys() {
        let consumer = consumer(broker.address(), group, &[]);
        let mut list = TopicPartitionList::new();
        list.add_partition_range(TOPIC, 0, PARTITIONS - 1);
        let committed = consumer.committed_offsets(list, LIMIT).unwrap();
        let sum: i64 = committed
            .elements()
            .iter()
            .filter_map(|it| it.offset().to_raw())
            .sum();
        assert_eq!(sum, RECORDS as i64, "{group} committed everything");
    }
}

#[test]
fn two_groups_get_everything_once_in_memory() {
    two_groups_get_everything_once(&in_memory());
}

#[test]
fn two_groups_get_everything_once_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let config = BrokerConfig {
        segment_bytes: 64 << 10,
        ..on_disk(dir.path())
    };
    let broker = Broker::start(config).unwrap();
    two_groups_get_everything_once(&broker);
    broker.shutdown().unwrap();
    broker.shutdown().unwrap();
    let segments = std::fs::read_dir(dir.path().join("partitions/data-topic-0")).unwrap();
    let names = segments.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(
        names.filter(|name| name.ends_with(".log")).count() > 1,
        "segments were rolled"
    );
    let broker = Broker::start(on_disk(dir.path())).unwrap();
    assert_once(&read_all(broker.address(), RECORDS as usize), 0..RECORDS);
}

#[test]
fn fsync_always_acknowledges_what_readers_then_see() {
    let dir = tempfile::tempdir().unwrap();
    let config = BrokerConfig {
        fsync: Fsync::Always,
        ..on_disk(dir.path())
    };
    let broker = Broker::start(config).unwrap();
    create(broker.address(), TOPIC, PARTITIONS, &[]);
    Sender::new(broker.address(), &[]).send_all(0..2_000);
    assert_once(&read_all(broker.address(), 2_000), 0..2_000);
}

#[test]
fn all_parts_of_a_record_come_back() {
    let broker = in_memory();
    create(broker.address(), "parts", 1, &[]);
    for codec in ["none", "gzip", "snappy", "lz4"] {
        let sender = Sender::new(broker.address(), &[("compression.type", codec)]);
        let headers = OwnedHeaders::new()
            .insert(Header {
                key: "traceparent",
                value: Some("00-1"),
            })
            .insert(Header::<&str> {
                key: "empty",
                value: None,
            });
        let record: BaseRecord<'_, str, str, Box<u64>> =
            BaseRecord::with_opaque_to("parts", Box::new(0))
                .key(codec)
                .timestamp(77)
                .headers(headers);
        sender
            .producer
            .send(record)
            .map_err(|(error, _)| error)
            .unwrap();
        sender.producer.flush(LIMIT).unwrap();
    }
    let consumer = consumer(broker.address(), "g", &[]);
    consumer.subscribe(&["parts"]).unwrap();
    let mut seen = BTreeSet::new();
    while seen.len() < 4 {
        let message = next(&consumer);
        assert_eq!(message.payload(), None, "a tombstone stays one");
        assert_eq!(message.timestamp().to_millis(), Some(77));
        let headers = message.headers().unwrap();
        assert_eq!(headers.get(0).value, Some(&b"00-1"[..]));
        assert_eq!(headers.get(1).value, None);
        seen.insert(message.key().unwrap().to_vec());
    }
}

#[test]
fn offsets_by_time_are_never_behind_the_record() {
    let broker = in_memory();
    create(broker.address(), "times", 1, &[]);
    let sender = Sender::new(broker.address(), &[("linger.ms", "0")]);
    for number in 0..50_u64 {
        let time = 1_000 + i64::try_from(number).unwrap() * 10;
        let record: BaseRecord<'_, str, str, Box<u64>> =
            BaseRecord::with_opaque_to("times", Box::new(number))
                .payload("p")
                .timestamp(time);
        sender
            .producer
            .send(record)
            .map_err(|(error, _)| error)
            .unwrap();
        sender.producer.flush(LIMIT).unwrap();
    }
    let consumer = consumer(broker.address(), "g", &[]);
    for (time, expected) in [
        (0, Offset::Offset(0)),
        (1_005, Offset::Offset(1)),
        (1_490, Offset::Offset(49)),
        (1_491, Offset::End),
    ] {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset("times", 0, Offset::Offset(time))
            .unwrap();
        let found = consumer.offsets_for_times(list, LIMIT).unwrap();
        assert_eq!(found.elements()[0].offset(), expected, "time {time}");
    }
    assert_eq!(
        consumer.fetch_watermarks("times", 0, LIMIT).unwrap(),
        (0, 50)
    );
}

#[test]
fn a_batch_larger_than_any_fetch_limit_still_comes() {
    let broker = in_memory();
    create(broker.address(), TOPIC, PARTITIONS, &[]);
    let sender = Sender::new(broker.address(), &[("compression.type", "none")]);
    sender.send_all(0..12_000);
    let small = [
        ("fetch.message.max.bytes", "1"),
        ("fetch.max.bytes", "1048576"),
        ("message.max.bytes", "1000"),
    ];
    let consumer = consumer(broker.address(), "small", &small);
    consumer.subscribe(&[TOPIC]).unwrap();
    let mut found = Vec::new();
    while found.len() < 12_000 {
        let message = next(&consumer);
        found.push((number_of(&message), message.partition(), message.offset()));
    }
    assert_once(&found, 0..12_000);
}
