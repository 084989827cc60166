//! DeleteRecords: what it deletes is gone for ever, and what a retained group needs is not deleted.

use cloudsync_devbroker::{Broker, BrokerConfig};
use rdkafka::admin::AdminOptions;
use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};

use crate::client::{
    LIMIT, PARTITIONS, Sender, TOPIC, admin, consumer, create, on_disk, read_all, run,
};

const RECORDS: u64 = 1_200;
const EACH: i64 = RECORDS as i64 / PARTITIONS as i64;

/// Deletes before an offset of partition 0 (or of another). Out: where it begins then.
fn delete(broker: &Broker, partition: i32, before: Offset) -> Result<Offset, RDKafkaErrorCode> {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(TOPIC, partition, before).unwrap();
    let admin = admin(broker.address());
    let done = run(admin.delete_records(&list, &AdminOptions::new())).unwrap();
    let partition = &done.elements()[0];
    match partition.error() {
        Ok(()) => Ok(partition.offset()),
        Err(KafkaError::OffsetFetch(code)) => Err(code),
        Err(other) => panic!("{other}"),
    }
}

fn watermarks(broker: &Broker) -> (i64, i64) {
    let consumer = consumer(broker.address(), "watermarks", &[]);
    consumer.fetch_watermarks(TOPIC, 0, LIMIT).unwrap()
}

fn filled(config: BrokerConfig) -> Broker {
    let broker = Broker::start(config).unwrap();
    create(broker.address(), TOPIC, PARTITIONS, &[]);
    Sender::new(broker.address(), &[("batch.num.messages", "10")]).send_all(0..RECORDS);
    broker
}

#[test]
fn deleted_records_stay_deleted_and_bad_offsets_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let broker = filled(on_disk(dir.path()));
    let beyond = RDKafkaErrorCode::OffsetOutOfRange;
    assert_eq!(delete(&broker, 0, Offset::Offset(EACH + 1)), Err(beyond));
    // In the middle of a batch.
    assert_eq!(
        delete(&broker, 0, Offset::Offset(37)),
        Ok(Offset::Offset(37))
    );
    assert_eq!(
        delete(&broker, 0, Offset::Offset(5)),
        Ok(Offset::Offset(37))
    );
    assert_eq!(watermarks(&broker), (37, EACH));
    broker.shutdown().unwrap();

    let broker = Broker::start(on_disk(dir.path())).unwrap();
    assert_eq!(watermarks(&broker), (37, EACH));
    let read = read_all(broker.address(), RECORDS as usize - 37);
    assert_eq!(read.len() as u64, RECORDS - 37);
    let first = read.iter().filter(|it| it.1 == 0).map(|it| it.2).min();
    assert_eq!(first, Some(37));
    assert_eq!(delete(&broker, 0, Offset::End), Ok(Offset::Offset(EACH)));
    assert_eq!(watermarks(&broker), (EACH, EACH));
    let stats = broker.stats();
    assert_eq!(stats.partitions[0].bytes, 0, "{stats:?}");
    let next = Sender::new(broker.address(), &[]).send_all(0..1);
    assert_eq!(next[&0], (0, EACH));
}

#[test]
fn what_a_retained_group_has_not_committed_is_not_deleted() {
    let broker = filled(BrokerConfig {
        retain_for: vec!["g".to_owned()],
        ..BrokerConfig::default()
    });
    let refused = Err(RDKafkaErrorCode::PolicyViolation);
    assert_eq!(delete(&broker, 0, Offset::Offset(1)), refused);
    assert_eq!(delete(&broker, 0, Offset::Offset(0)), Ok(Offset::Offset(0)));
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(TOPIC, 0, Offset::Offset(50))
        .unwrap();
    consumer(broker.address(), "g", &[])
        .commit(&list, CommitMode::Sync)
        .unwrap();
    assert_eq!(delete(&broker, 0, Offset::Offset(51)), refused);
    assert_eq!(delete(&broker, 0, Offset::End), refused);
    assert_eq!(watermarks(&broker), (0, EACH), "a refusal deletes nothing");
    assert_eq!(
        delete(&broker, 0, Offset::Offset(50)),
        Ok(Offset::Offset(50))
    );
    assert_eq!(watermarks(&broker), (50, EACH));
}
