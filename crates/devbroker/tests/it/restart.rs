//! Killed, cut off and opened again: what was acknowledged is there, no offset comes twice.

use std::path::Path;

use cloudsync_devbroker::{Broker, BrokerConfig};
use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::{Offset, TopicPartitionList};

use crate::client::{
    PARTITIONS, Sender, TOPIC, consumer, create, next, number_of, on_disk, read_all,
};

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
