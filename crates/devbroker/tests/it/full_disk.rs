//! A disk without space: nothing is acknowledged, nothing that was is lost, and writing goes on
//! when space returns.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use kafka_protocol::ResponseError;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::{GroupId, OffsetCommitRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use rdkafka::consumer::Consumer;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};

use crate::child::BrokerProcess;
use crate::client::{
    LIMIT, PARTITIONS, Sender, TOPIC, assert_once, consumer, create, read_all, try_create,
};
use crate::robustness::batch;
use crate::wire::{self, Wire};

const MEBIBYTES: u32 = 16;
/// For batches that are no records of the good client.
const RAW: &str = "raw";

/// The code of the answer to one batch for a partition.
fn produce(wire: &mut Wire, partition: i32) -> i16 {
    let request = wire::produce(RAW, partition, -1, batch(-1, -1));
    wire.call(8, &request).responses[0].partition_responses[0].error_code
}

/// Takes all the space that is left.
fn fill(disk: &Path) -> PathBuf {
    let path = disk.join("filler");
    let mut file = File::create(&path).unwrap();
    let bytes = vec![1; 4_096];
    while file.write_all(&bytes).is_ok() {}
    path
}

/// The code of the answer to a commit for partition 0.
fn commit(wire: &mut Wire, offset: i64) -> i16 {
    let partition = OffsetCommitRequestPartition::default().with_committed_offset(offset);
    let topic = OffsetCommitRequestTopic::default()
        .with_name(TopicName(StrBytes::from_static_str(TOPIC)))
        .with_partitions(vec![partition]);
    let request = OffsetCommitRequest::default()
        .with_group_id(GroupId(StrBytes::from_static_str("group")))
        .with_topics(vec![topic]);
    wire.call(8, &request).topics[0].partitions[0].error_code
}

fn committed(address: &str) -> Offset {
    let mut list = TopicPartitionList::new();
    list.add_partition(TOPIC, 0);
    let consumer = consumer(address, "group", &[]);
    let committed = consumer.committed_offsets(list, LIMIT).unwrap();
    committed.elements()[0].offset()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[test]
fn a_full_disk_refuses_loses_nothing_and_goes_on_with_space() {
    let mount = tempfile::tempdir().unwrap();
    let Some(broker) = BrokerProcess::on_small_disk(mount.path(), MEBIBYTES) else {
        return;
    };
    let address = broker.address.to_string();
    create(&address, TOPIC, PARTITIONS, &[]);
    create(&address, RAW, PARTITIONS, &[]);
    // What does not compress finds little room behind what is there.
    let settings = [
        ("delivery.timeout.ms", "55000"),
        ("compression.type", "none"),
    ];
    let sender = Sender::to(&address, TOPIC, &settings);
    sender.send_all(0..1_200);
    let mut wire = Wire::connect(broker.address);
    assert_eq!(commit(&mut wire, 50), 0);

    // The disk as that process has it.
    let disk = Path::new("/proc")
        .join(broker.id().to_string())
        .join("root")
        .join(mount.path().strip_prefix("/").unwrap());
    let filler = fill(&disk);
    let refused = ResponseError::KafkaStorageError.code();
    // What still fits into the pages that are there already may come in.
    let codes: Vec<i16> = (0..2_000).map(|at| produce(&mut wire, at % 12)).collect();
    assert!(codes.iter().all(|code| *code == 0 || *code == refused));
    assert!(codes[1_900..].iter().all(|code| *code == refused));
    // Each is a line of its own.
    let refused_commit = ResponseError::CoordinatorNotAvailable.code();
    let codes: Vec<i16> = (0..200).map(|_| commit(&mut wire, 50)).collect();
    assert!(codes.ends_with(&[refused_commit; 50]), "{codes:?}");
    let made = try_create(&address, "other", 1, &[]);
    assert_eq!(made, Err(RDKafkaErrorCode::KafkaStorageError));
    for number in 1_200..12_000 {
        sender.send(number);
    }
    assert_eq!(produce(&mut wire, 0), refused);
    // Some found room behind the records that are there; the others wait.
    let delivered = sender.delivered.0.lock().unwrap().len();
    assert!((1_200..6_000).contains(&delivered), "{delivered} delivered");

    fs::remove_file(filler).unwrap();
    let delivered = sender.flush();
    let refused = delivered.values().find(|it| it.is_err());
    assert!(refused.is_none(), "{refused:?}");
    assert_eq!(commit(&mut wire, 77), 0);
    create(&address, "other", 1, &[]);
    check(&address);

    // The mount goes with its process; what lay on it is looked at elsewhere.
    let kept = tempfile::tempdir().unwrap();
    copy(&disk.join("log"), kept.path());
    broker.kill();
    let again = BrokerProcess::start(kept.path(), "127.0.0.1:0");
    check(&again.address.to_string());
}

fn check(address: &str) {
    assert_once(&read_all(address, 12_000), 0..12_000);
    assert_eq!(committed(address), Offset::Offset(77));
}
