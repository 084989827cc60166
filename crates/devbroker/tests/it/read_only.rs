//! A directory that is only read: everything sound in it, damage by its file, and nothing changed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use cloudsync_devbroker::{Broker, BrokerConfig, BrokerError, Storage};

use crate::client::{PARTITIONS, Sender, TOPIC, assert_once, create, on_disk, read_all};

const RECORDS: u64 = 6_000;

fn read_only(log: &Path) -> BrokerConfig {
    BrokerConfig {
        storage: Storage::ReadOnly(log.to_owned()),
        ..BrokerConfig::default()
    }
}

/// Every file and folder below `folder`, with its bytes.
fn tree(folder: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(tree(&path));
        }
        found.insert(path.clone(), fs::read(&path).ok());
    }
    found
}

/// The segments of a partition, each some kilobytes.
fn segments(log: &Path, partition: i32) -> Vec<PathBuf> {
    let folder = log.join(format!("partitions/{TOPIC}-{partition}"));
    let files = tree(&folder).into_keys();
    let segments: Vec<_> = files
        .filter(|path| path.extension().is_some_and(|it| it == "log"))
        .collect();
    assert!(segments.len() > 1, "{segments:?}");
    segments
}

/// A log of some segments a partition, closed, and where each record stands in it.
fn closed_log(log: &Path) -> BTreeMap<u64, (i32, i64)> {
    let broker = Broker::start(BrokerConfig {
        segment_bytes: 4_096,
        ..on_disk(log)
    })
    .unwrap();
    create(broker.address(), TOPIC, PARTITIONS, &[]);
    let sender = Sender::new(broker.address(), &[("batch.num.messages", "10")]);
    let placed = sender.send_all(0..RECORDS);
    broker.shutdown().unwrap();
    placed
}

#[test]
fn a_log_that_is_only_read_takes_nothing_and_keeps_writers_away() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    closed_log(&log);
    let before = tree(&log);

    let broker = Broker::start(read_only(&log)).unwrap();
    assert_eq!(broker.damage(), []);
    let read = read_all(broker.address(), RECORDS as usize);
    assert_once(&read, 0..RECORDS);
    let sender = Sender::new(broker.address(), &[("delivery.timeout.ms", "2000")]);
    sender.send(RECORDS);
    assert!(sender.flush()[&RECORDS].is_err(), "a record was taken");
    create(broker.address(), "another", 1, &[]);

    let second = Broker::start(read_only(&log)).unwrap();
    let writer = Broker::start(on_disk(&log)).unwrap_err();
    assert!(matches!(writer, BrokerError::Locked { .. }), "{writer}");
    drop((broker, second));
    assert!(tree(&log) == before, "reading changed something");

    let writer = Broker::start(on_disk(&log)).unwrap();
    let reader = Broker::start(read_only(&log)).unwrap_err();
    assert!(matches!(reader, BrokerError::Locked { .. }), "{reader}");
    drop(writer);
}

#[test]
fn damage_is_named_by_its_file_and_what_is_sound_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let placed = closed_log(&log);
    // One bit in the middle of the first segment.
    let flipped = segments(&log, 0)[0].clone();
    let mut bytes = fs::read(&flipped).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&flipped, &bytes).unwrap();
    // The end of the last one.
    let cut = segments(&log, 1).pop().unwrap();
    let bytes = fs::read(&cut).unwrap();
    fs::write(&cut, &bytes[..bytes.len() - 1]).unwrap();
    // All of the last one; all of a partition.
    fs::remove_file(segments(&log, 2).pop().unwrap()).unwrap();
    let shortened = log.join(format!("partitions/{TOPIC}-2"));
    let gone = log.join(format!("partitions/{TOPIC}-3"));
    fs::remove_dir_all(&gone).unwrap();
    let before = tree(&log);

    let broker = Broker::start(read_only(&log)).unwrap();
    let mut named: Vec<_> = broker.damage().iter().map(|it| it.path.clone()).collect();
    named.sort();
    let mut expected = vec![flipped, cut, shortened, gone];
    expected.sort();
    assert_eq!(named, expected, "{:?}", broker.damage());

    let read = read_all(broker.address(), 0);
    let count = |partition: i32| read.iter().filter(|it| it.1 == partition).count() as u64;
    let each = RECORDS / PARTITIONS as u64;
    for (number, partition, offset) in &read {
        assert_eq!(placed[number], (*partition, *offset));
    }
    for damaged in 0..3 {
        assert!((1..each).contains(&count(damaged)), "{}", count(damaged));
    }
    let last = read.iter().filter(|it| it.1 == 0).map(|it| it.2).max();
    assert_eq!(last, Some(each as i64 - 1), "behind the damage it goes on");
    assert_eq!(count(3), 0);
    for sound in 4..PARTITIONS {
        assert_eq!(count(sound), each);
    }
    drop(broker);
    assert!(tree(&log) == before, "reading changed something");
}
