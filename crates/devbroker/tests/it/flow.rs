//! Records in, records out: nothing lost, nothing twice, in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use cloudsync_devbroker::{Broker, BrokerConfig, Fsync};
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::message::Message;
use tokio::time::Instant;

use crate::client::{
    LIMIT, PARTITIONS, Sender, TOPIC, assert_once, consumer, create, in_memory, number_of, on_disk,
    read_all,
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
