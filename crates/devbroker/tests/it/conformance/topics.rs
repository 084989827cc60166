//! Topics, from their making to their end.

use rdkafka::admin::{AdminOptions, ResourceSpecifier};
use rdkafka::consumer::Consumer;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::Message;
use rdkafka::producer::BaseRecord;
use rdkafka::{Offset, TopicPartitionList};
use tokio::time::Instant;

use super::target::Target;
use crate::client::{LIMIT, PARTITIONS, Sender, admin, consumer, create, next, run, try_create};

fn partitions_of(address: &str, topic: &str) -> usize {
    let reader = consumer(address, "nobody", &[]);
    let metadata = reader.fetch_metadata(None, LIMIT).unwrap();
    let found = metadata.topics().iter().find(|it| it.name() == topic);
    found.map_or(0, |topic| topic.partitions().len())
}

fn delete(address: &str, topic: &str) -> Result<(), RDKafkaErrorCode> {
    let results = run(admin(address).delete_topics(&[topic], &AdminOptions::new()));
    let result = results.unwrap().remove(0);
    result.map(drop).map_err(|(_, code)| code)
}

pub(super) fn life(target: &Target) {
    let address = target.bootstrap();
    let settings = [("retention.ms", "-1"), ("max.message.bytes", "1114124")];
    create(address, "life-dlq", 4, &settings);
    assert_eq!(partitions_of(address, "life-dlq"), 4);
    let resource = [ResourceSpecifier::Topic("life-dlq")];
    let described = admin(address);
    let described = run(described.describe_configs(&resource, &AdminOptions::new())).unwrap();
    let entries = described[0].as_ref().unwrap().entry_map();
    for (key, expected) in [
        ("max.message.bytes", "1114124"),
        ("retention.ms", "-1"),
        ("cleanup.policy", "delete"),
    ] {
        assert_eq!(entries[key].value.as_deref(), Some(expected), "{key}");
    }
    for (name, partitions, settings, expected) in [
        ("life-dlq", 4, &[][..], RDKafkaErrorCode::TopicAlreadyExists),
        ("bad name", 1, &[], RDKafkaErrorCode::InvalidTopic),
        (
            "t",
            1,
            &[("retention.ms", "soon")],
            RDKafkaErrorCode::InvalidConfig,
        ),
        (
            "t",
            1,
            &[("retention.mss", "1")],
            RDKafkaErrorCode::InvalidConfig,
        ),
    ] {
        let refused = try_create(address, name, partitions, settings);
        assert_eq!(refused, Err(expected), "{name} {settings:?}");
    }
    assert_eq!(delete(address, "life-dlq"), Ok(()));
    let deadline = Instant::now() + LIMIT;
    while partitions_of(address, "life-dlq") > 0 {
        assert!(Instant::now() < deadline, "a deleted topic stays");
    }
    assert_eq!(
        delete(address, "life-dlq"),
        Err(RDKafkaErrorCode::UnknownTopicOrPartition)
    );
}

pub(super) fn made_anew(target: &Target) {
    let address = target.bootstrap();
    let deadline = Instant::now() + LIMIT;
    for _ in 0..2 {
        // A real cluster ends a deletion a little after it has said so.
        while let Err(code) = try_create(address, "anew", PARTITIONS, &[]) {
            assert_eq!(code, RDKafkaErrorCode::TopicAlreadyExists);
            assert!(Instant::now() < deadline, "a deleted topic stays");
        }
        let places = Sender::to(address, "anew", &[]).send_all(0..12);
        let places: Vec<_> = places.into_values().collect();
        let firsts: Vec<_> = (0..PARTITIONS).map(|partition| (partition, 0)).collect();
        assert_eq!(places, firsts);
        assert_eq!(delete(address, "anew"), Ok(()));
    }
}

/// Whole segments go from the front; what is left is read as it was, and the offsets go on.
pub(super) fn retention(target: &Target) {
    const MEBIBYTE: i64 = 1 << 20;
    let address = target.bootstrap();
    let segments = ("segment.bytes", "1048576");
    let payload = vec![7_u8; 10_000];
    let send_mebibytes = |topic: &str, count: i64| {
        let sender = Sender::to(address, topic, &[("compression.type", "none")]);
        let records = count * MEBIBYTE / 10_000;
        for number in 0..records.unsigned_abs() {
            let record: BaseRecord<'_, str, [u8], Box<u64>> =
                BaseRecord::with_opaque_to(topic, Box::new(number)).payload(&payload);
            sender.producer.send(record).map_err(|(e, _)| e).unwrap();
        }
        let places = sender.flush().into_values().map(Result::unwrap);
        places.map(|(_, offset)| offset).max().unwrap() + 1
    };
    let reader = consumer(address, "nobody", &[]);
    let wait_for = |topic: &str, wanted: &dyn Fn(i64) -> bool| {
        let deadline = Instant::now() + LIMIT;
        loop {
            let (start, end) = reader.fetch_watermarks(topic, 0, LIMIT).unwrap();
            if wanted(start) {
                return (start, end);
            }
            assert!(Instant::now() < deadline, "{topic} begins at {start}");
        }
    };

    let settings = [
        segments,
        ("retention.bytes", "2097152"),
        ("retention.ms", "-1"),
    ];
    create(address, "much", 1, &settings);
    let sent = send_mebibytes("much", 8);
    // Between two segments and three are kept.
    let (start, end) = wait_for("much", &|start| sent - start <= 3 * MEBIBYTE / 10_000);
    assert_eq!(end, sent);
    assert!(sent - start >= 2 * MEBIBYTE / 10_100, "{start} to {end}");
    let mut first = TopicPartitionList::new();
    first
        .add_partition_offset("much", 0, Offset::Beginning)
        .unwrap();
    reader.assign(&first).unwrap();
    for offset in start..end {
        assert_eq!(next(&reader).offset(), offset);
    }

    create(address, "old", 1, &[segments, ("retention.ms", "1")]);
    let sent = send_mebibytes("old", 3);
    // The last segment as well, once all in it is too old.
    assert_eq!(wait_for("old", &|start| start == sent), (sent, sent));
    assert_eq!(send_mebibytes("old", 1), sent + MEBIBYTE / 10_000);
}
