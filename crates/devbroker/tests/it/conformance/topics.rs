//! Topics, from their making to their end.

use rdkafka::admin::{AdminOptions, ResourceSpecifier};
use rdkafka::consumer::Consumer;
use rdkafka::error::RDKafkaErrorCode;
use tokio::time::Instant;

use super::target::Target;
use crate::client::{LIMIT, PARTITIONS, Sender, admin, consumer, create, run, try_create};

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
