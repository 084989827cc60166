//! `kill -9` of a broker: what was acknowledged is there, once, where it was said to be.

use std::collections::BTreeMap;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::{Offset, TopicPartitionList};
use tokio::time::Instant;

use super::target::Target;
use crate::client::{LIMIT, PARTITIONS, Sender, assert_once, consumer, create, read_topic};

pub(super) fn state_survives(target: &Target) {
    let address = target.bootstrap();
    create(address, "state", PARTITIONS, &[]);
    let sender = Sender::to(address, "state", &[]);
    sender.send_all(0..1_200);
    let mut list = TopicPartitionList::new();
    list.add_partition_offset("state", 5, Offset::Offset(42))
        .unwrap();
    list.elements()[0].set_metadata("batch 77aa");
    let committer = consumer(address, "state", &[]);
    committer.commit(&list, CommitMode::Sync).unwrap();
    drop(committer);
    target.kill(0);
    target.revive();
    let reader = consumer(address, "state", &[]);
    let committed = committed(&reader, &list);
    assert_eq!(committed.elements()[0].offset(), Offset::Offset(42));
    assert_eq!(committed.elements()[0].metadata(), "batch 77aa");
    let places = sender.send_all(1_200..2_400);
    assert_eq!(
        places[&1_200],
        (0, 100),
        "right behind the records before the kill"
    );
    assert_once(&read_topic(address, "state", 2_400), 0..2_400);
}

/// What is committed; a coordinator that has just come back is waited for.
fn committed(reader: &BaseConsumer, list: &TopicPartitionList) -> TopicPartitionList {
    let deadline = Instant::now() + LIMIT;
    loop {
        match reader.committed_offsets(list.clone(), LIMIT) {
            Ok(committed) => return committed,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
    }
}

pub(super) fn mid_produce(target: &Target) {
    const PER_ROUND: u64 = 30_000;
    // Each death of a Kafka node costs its session and its start.
    let rounds = if target.is_embedded() { 20 } else { 3 };
    let address = target.bootstrap();
    create(address, "kills", PARTITIONS, &[]);
    let sender = Sender::to(address, "kills", &[]);
    let mut number = 0;
    for round in 0..rounds {
        let before = sender.delivered.0.lock().unwrap().len() as u64;
        // Until some of this round are acknowledged, and others are on their way.
        for _ in 0..PER_ROUND {
            sender.send(number);
            number += 1;
            let done = sender.delivered.0.lock().unwrap().len() as u64;
            if number % 64 == 0 && done > before + PER_ROUND / 8 {
                break;
            }
        }
        target.kill(round);
        // Some more while it is away.
        for _ in 0..100 {
            sender.send(number);
            number += 1;
        }
        target.revive();
    }
    let places: BTreeMap<u64, (i32, i64)> = sender
        .flush()
        .into_iter()
        .map(|(number, place)| (number, place.unwrap()))
        .collect();
    assert_eq!(places.len() as u64, number);
    let read = read_topic(address, "kills", places.len());
    assert_once(&read, 0..number);
    for (number, partition, offset) in &read {
        assert_eq!(
            places[number],
            (*partition, *offset),
            "where it was acknowledged"
        );
    }
    println!("{number} records through {rounds} kills: 0 lost, 0 doubled");
}
