//! Records in, records out.

use std::collections::{BTreeMap, BTreeSet};

use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};
use tokio::time::Instant;

use super::target::Target;
use crate::client::{
    LIMIT, PARTITIONS, Sender, assert_once, consumer, create, next, number_of, read_topic,
    try_create,
};

type Record<'a> = BaseRecord<'a, str, [u8], Box<u64>>;

fn send(sender: &Sender, record: Record<'_>) {
    let sent = sender.producer.send(record);
    sent.map_err(|(error, _)| error).unwrap();
}

pub(super) fn order(target: &Target) {
    const RECORDS: u64 = 60_000;
    let address = target.bootstrap();
    create(address, "order", PARTITIONS, &[]);
    let places = Sender::to(address, "order", &[]).send_all(0..RECORDS);
    let read = read_topic(address, "order", RECORDS as usize);
    assert_once(&read, 0..RECORDS);
    let mut last: BTreeMap<i32, u64> = BTreeMap::new();
    for (number, partition, offset) in read {
        assert_eq!(places[&number], (partition, offset));
        let before = last.insert(partition, number);
        assert!(
            before.is_none_or(|before| before < number),
            "order of {partition}"
        );
    }
}

pub(super) fn acks(target: &Target) {
    let address = target.bootstrap();
    create(address, "acks", PARTITIONS, &[]);
    // Without an answer last: a partition that is not led yet drops what nobody asks after.
    for (at, acks) in (0..).zip(["all", "1", "0"]) {
        let settings = [("acks", acks), ("enable.idempotence", "false")];
        let sender = Sender::to(address, "acks", &settings);
        sender.send_all(at * 1_200..(at + 1) * 1_200);
    }
    // And it may still be on its way.
    let deadline = Instant::now() + LIMIT;
    let read = loop {
        let read = read_topic(address, "acks", 3_600);
        if read.len() >= 3_600 || Instant::now() > deadline {
            break read;
        }
    };
    assert_once(&read, 0..3_600);
}

pub(super) fn parts(target: &Target) {
    let address = target.bootstrap();
    create(address, "parts", 1, &[]);
    let codecs = ["none", "gzip", "snappy", "lz4"];
    for codec in codecs {
        let sender = Sender::to(address, "parts", &[("compression.type", codec)]);
        let headers = OwnedHeaders::new()
            .insert(Header {
                key: "traceparent",
                value: Some("00-1"),
            })
            .insert(Header::<&str> {
                key: "empty",
                value: None,
            });
        let tombstone = Record::with_opaque_to("parts", Box::new(0));
        send(&sender, tombstone.key(codec).timestamp(77).headers(headers));
        let keyless = Record::with_opaque_to("parts", Box::new(1));
        send(&sender, keyless.payload(codec.as_bytes()));
        sender.producer.flush(LIMIT).unwrap();
    }
    let consumer = consumer(address, "parts", &[]);
    consumer.subscribe(&["parts"]).unwrap();
    let (mut keys, mut payloads) = (BTreeSet::new(), BTreeSet::new());
    while keys.len() + payloads.len() < 2 * codecs.len() {
        let message = next(&consumer);
        let Some(key) = message.key() else {
            assert!(message.headers().is_none());
            payloads.insert(message.payload().unwrap().to_vec());
            continue;
        };
        assert_eq!(message.payload(), None, "a tombstone stays one");
        assert_eq!(message.timestamp().to_millis(), Some(77));
        let headers = message.headers().unwrap();
        assert_eq!(headers.get(0).value, Some(&b"00-1"[..]));
        assert_eq!(headers.get(1).value, None);
        keys.insert(key.to_vec());
    }
    assert_eq!(keys, payloads);
}

pub(super) fn limit(target: &Target) {
    let address = target.bootstrap();
    create(address, "small", 1, &[("max.message.bytes", "2000")]);
    // Beside its value: 61 bytes of the batch, 9 of the record (lengths, attributes, deltas).
    let at_limit = 2_000 - 61 - 9;
    let sender = Sender::to(address, "small", &[("compression.type", "none")]);
    let outcome = |number: u64, size: usize| {
        let payload = vec![7; size];
        send(
            &sender,
            Record::with_opaque_to("small", Box::new(number)).payload(&payload),
        );
        sender.flush()[&number].clone()
    };
    assert_eq!(outcome(0, at_limit), Ok((0, 0)));
    let error = outcome(1, at_limit + 1).unwrap_err();
    let code = error.rdkafka_error_code();
    assert_eq!(code, Some(RDKafkaErrorCode::MessageSizeTooLarge));
    assert_eq!(outcome(2, at_limit), Ok((0, 1)), "the producer goes on");
}

/// Also where many records share a batch.
pub(super) fn offsets_by_time(target: &Target) {
    let address = target.bootstrap();
    create(address, "times", 1, &[]);
    // Near enough to now for any broker's limits.
    let base = now() - 60_000;
    let sender = Sender::to(address, "times", &[("linger.ms", "50")]);
    for number in 0..50_u64 {
        let time = base + i64::try_from(number).unwrap() * 10;
        let record = Record::with_opaque_to("times", Box::new(number));
        send(&sender, record.payload(b"p").timestamp(time));
        if number % 10 == 9 {
            sender.producer.flush(LIMIT).unwrap();
        }
    }
    let consumer = consumer(address, "times", &[]);
    for (after, expected) in [
        (-1_000, Offset::Offset(0)),
        (5, Offset::Offset(1)),
        (140, Offset::Offset(14)),
        (141, Offset::Offset(15)),
        (490, Offset::Offset(49)),
        (491, Offset::End),
    ] {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset("times", 0, Offset::Offset(base + after))
            .unwrap();
        let found = consumer.offsets_for_times(list, LIMIT).unwrap();
        assert_eq!(found.elements()[0].offset(), expected, "{after} ms");
    }
    assert_eq!(
        consumer.fetch_watermarks("times", 0, LIMIT).unwrap(),
        (0, 50)
    );
}

/// By default a record may be of the next hour and of any time before.
pub(super) fn refused_times(target: &Target) {
    const HOUR: i64 = 3_600_000;
    const AFTER: &str = "message.timestamp.after.max.ms";
    const BEFORE: &str = "message.timestamp.before.max.ms";
    let address = target.bootstrap();
    let refused = Err(Some(RDKafkaErrorCode::InvalidTimestamp));
    for (topic, settings, ahead, expected) in [
        ("plain", &[][..], 2 * HOUR, refused),
        ("plain", &[], HOUR / 2, Ok((0, 0))),
        ("plain", &[], -1_000 * HOUR, Ok((0, 1))),
        ("wide", &[(AFTER, "10800000")], 2 * HOUR, Ok((0, 0))),
        ("recent", &[(BEFORE, "3600000")], -2 * HOUR, refused),
        ("recent", &[(BEFORE, "3600000")], -HOUR / 2, Ok((0, 0))),
    ] {
        let _there_already = try_create(address, topic, 1, settings);
        let sender = Sender::to(address, topic, &[]);
        let record = Record::with_opaque_to(topic, Box::new(0));
        send(&sender, record.payload(b"p").timestamp(now() + ahead));
        let outcome = sender.flush()[&0].clone();
        let outcome = outcome.map_err(|error| error.rdkafka_error_code());
        assert_eq!(outcome, expected, "{topic}, {ahead} ms ahead");
    }
}

fn now() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    i64::try_from(now.unwrap().as_millis()).unwrap()
}

pub(super) fn beyond_the_ends(target: &Target) {
    let address = target.bootstrap();
    create(address, "ends", PARTITIONS, &[]);
    Sender::to(address, "ends", &[]).send_all(0..120);
    for (reset, expected) in [("earliest", Some(0)), ("error", None)] {
        let reader = consumer(address, "ends", &[("auto.offset.reset", reset)]);
        let mut list = TopicPartitionList::new();
        list.add_partition_offset("ends", 0, Offset::Offset(1_000))
            .unwrap();
        reader.assign(&list).unwrap();
        let deadline = Instant::now() + LIMIT;
        let first = loop {
            assert!(Instant::now() < deadline, "nothing came");
            match reader.poll(std::time::Duration::from_millis(200)) {
                None => {}
                Some(Ok(message)) => break Some(number_of(&message)),
                Some(Err(KafkaError::MessageConsumption(code))) => {
                    // Told by librdkafka once the broker has said OFFSET_OUT_OF_RANGE.
                    assert_eq!(code, RDKafkaErrorCode::AutoOffsetReset);
                    break None;
                }
                Some(Err(other)) => panic!("{other}"),
            }
        };
        assert_eq!(first, expected, "{reset}");
    }
}

pub(super) fn small_fetches(target: &Target) {
    let address = target.bootstrap();
    create(address, "fetches", PARTITIONS, &[]);
    let sender = Sender::to(address, "fetches", &[("compression.type", "none")]);
    sender.send_all(0..12_000);
    let small = [
        ("fetch.message.max.bytes", "1"),
        ("fetch.max.bytes", "1048576"),
        ("message.max.bytes", "1000"),
    ];
    let consumer = consumer(address, "fetches", &small);
    consumer.subscribe(&["fetches"]).unwrap();
    let mut found = Vec::new();
    while found.len() < 12_000 {
        let message = next(&consumer);
        found.push((number_of(&message), message.partition(), message.offset()));
    }
    assert_once(&found, 0..12_000);
}
