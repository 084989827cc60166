//! Killed, cut off and opened again: what was acknowledged is there, no offset comes twice.

use std::collections::BTreeMap;
use std::path::Path;

use cloudsync_devbroker::{Broker, BrokerConfig};
use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::{Offset, TopicPartitionList};

use crate::child::BrokerProcess;
use crate::client::{
    LIMIT, PARTITIONS, Sender, TOPIC, assert_once, consumer, create, next, number_of, on_disk,
    read_all,
};

#[test]
fn killed_twice_in_mid_produce_nothing_is_lost_or_doubled() {
    const PER_ROUND: u64 = 30_000;
    let dir = tempfile::tempdir().unwrap();
    let mut broker = BrokerProcess::start(dir.path(), "127.0.0.1:0");
    let address = broker.address;
    create(address, TOPIC, PARTITIONS, &[]);
    let sender = Sender::new(address, &[]);
    for round in 0..2 {
        for number in round * PER_ROUND..(round + 1) * PER_ROUND {
            sender.send(number);
            let done = sender.delivered.0.lock().unwrap().len() as u64;
            if number % 64 == 0 && done > round * PER_ROUND + PER_ROUND / 4 {
                break;
            }
        }
        broker.kill();
        // Some more while it is away.
        for number in 0..100 {
            sender.send(2 * PER_ROUND + round * 100 + number);
        }
        broker = BrokerProcess::start(dir.path(), &address.to_string());
    }
    let delivered = sender.flush();
    let numbers = delivered.len() as u64;
    assert!(numbers > PER_ROUND / 2, "{numbers} sent");
    let places: BTreeMap<u64, (i32, i64)> = delivered
        .into_iter()
        .map(|(number, place)| (number, place.unwrap()))
        .collect();
    let read = read_all(address, places.len());
    assert_eq!(read.len() as u64, numbers, "each once");
    for (number, partition, offset) in &read {
        assert_eq!(
            places[number],
            (*partition, *offset),
            "where it was acknowledged"
        );
    }
}

#[test]
fn offsets_metadata_and_producer_state_survive_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let broker = BrokerProcess::start(dir.path(), "127.0.0.1:0");
    let address = broker.address;
    create(address, TOPIC, PARTITIONS, &[]);
    let sender = Sender::new(address, &[]);
    sender.send_all(0..1_200);
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(TOPIC, 5, Offset::Offset(42))
        .unwrap();
    list.elements()[0].set_metadata("batch 77aa");
    consumer(address, "g", &[])
        .commit(&list, CommitMode::Sync)
        .unwrap();
    broker.kill();

    let broker = BrokerProcess::start(dir.path(), &address.to_string());
    let committed = consumer(address, "g", &[])
        .committed_offsets(list, LIMIT)
        .unwrap();
    assert_eq!(committed.elements()[0].offset(), Offset::Offset(42));
    assert_eq!(committed.elements()[0].metadata(), "batch 77aa");
    let places = sender.send_all(1_200..2_400);
    assert_eq!(
        places[&1_200],
        (0, 100),
        "right behind the records before the kill"
    );
    assert_once(&read_all(address, 2_400), 0..2_400);
    drop(broker);
}

/// Settings with a boot id of the test's own.
fn booted(dir: &Path, boot: &str) -> BrokerConfig {
    let boot_id_file = dir.join("boot-id");
    std::fs::write(&boot_id_file, boot).unwrap();
    BrokerConfig {
        boot_id_file,
        ..on_disk(&dir.join("log"))
    }
}

/// As a power cut leaves it: the run (`run.json` as it was meanwhile) was not ended, a partition's
/// tail is gone.
fn cut_power(dir: &Path, run: &[u8], records_left: u64) {
    std::fs::write(dir.join("log/run.json"), run).unwrap();
    for partition in 0..PARTITIONS {
        let path = dir.join(format!(
            "log/partitions/data-topic-{partition}/{:020}.log",
            0
        ));
        let file = std::fs::File::options().write(true).open(path).unwrap();
        let length = file.metadata().unwrap().len();
        file.set_len(length * records_left / 100).unwrap();
    }
}

#[test]
fn after_a_power_cut_no_offset_is_given_again() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(booted(dir.path(), "boot 1")).unwrap();
    let run = std::fs::read(dir.path().join("log/run.json")).unwrap();
    create(broker.address(), TOPIC, PARTITIONS, &[]);
    let before = Sender::new(broker.address(), &[("batch.num.messages", "10")]).send_all(0..12_000);
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(TOPIC, 0, Offset::Offset(1_000))
        .unwrap();
    consumer(broker.address(), "g", &[])
        .commit(&list, CommitMode::Sync)
        .unwrap();
    broker.shutdown().unwrap();
    cut_power(dir.path(), &run, 50);

    let broker = Broker::start(booted(dir.path(), "boot 2")).unwrap();
    // Over the gap a reader comes to the end, though nothing new stands behind it.
    let left = read_all(broker.address(), 0).len();
    assert!((4_000..8_000).contains(&left), "half is there: {left}");
    let after = Sender::new(broker.address(), &[]).send_all(20_000..20_012);
    let highest = before.values().map(|(_, offset)| *offset).max().unwrap();
    for (partition, offset) in after.values() {
        assert!(
            *offset > highest,
            "partition {partition}: {offset} after {highest}"
        );
        assert!(*offset >= 1_000_000, "the reservation, {offset}");
    }
    let read = read_all(broker.address(), 0);
    let kept: Vec<_> = read
        .iter()
        .filter(|(number, ..)| *number < 12_000)
        .collect();
    assert!(
        (4_000..8_000).contains(&kept.len()),
        "half is still there: {}",
        kept.len()
    );
    for (number, partition, offset) in kept {
        assert_eq!(before[number], (*partition, *offset));
    }
    assert_eq!(
        read.iter().filter(|(number, ..)| *number >= 20_000).count(),
        12
    );
    // A group that had read what is now gone goes on with what is new, in range.
    let reader = consumer(broker.address(), "g", &[("auto.offset.reset", "error")]);
    reader.assign(&list).unwrap();
    assert_eq!(number_of(&next(&reader)), 20_004, "of partition 0");
}
