//! Topics: made, described, limited, deleted.

use cloudsync_devbroker::{Broker, BrokerError};
use rdkafka::admin::{AdminOptions, ResourceSpecifier};
use rdkafka::consumer::Consumer;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::BaseRecord;

use crate::client::{LIMIT, Sender, admin, consumer, create, in_memory, on_disk, run, try_create};

#[test]
fn topics_and_settings_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(on_disk(dir.path())).unwrap();
    let address = broker.address();
    create(
        address,
        "data-topic-dlq",
        4,
        &[("retention.ms", "-1"), ("max.message.bytes", "1114124")],
    );
    let id = broker.log_id();
    broker.shutdown().unwrap();

    let broker = Broker::start(on_disk(dir.path())).unwrap();
    assert_eq!(broker.log_id(), id);
    let reader = consumer(broker.address(), "g", &[]);
    let metadata = reader.fetch_metadata(None, LIMIT).unwrap();
    let topics: Vec<_> = metadata
        .topics()
        .iter()
        .map(|topic| (topic.name(), topic.partitions().len()))
        .collect();
    assert_eq!(topics, [("data-topic-dlq", 4)]);
    assert_eq!(
        reader.client().fetch_cluster_id(LIMIT),
        Some(id.to_string())
    );
    let resource = [ResourceSpecifier::Topic("data-topic-dlq")];
    let client = admin(broker.address());
    let results = run(client.describe_configs(&resource, &AdminOptions::new())).unwrap();
    let settings = results[0].as_ref().unwrap().entry_map();
    assert_eq!(
        settings["max.message.bytes"].value.as_deref(),
        Some("1114124")
    );
    assert_eq!(settings["retention.ms"].value.as_deref(), Some("-1"));
    assert_eq!(settings["cleanup.policy"].value.as_deref(), Some("delete"));
}

#[test]
fn what_one_node_without_compaction_cannot_have_is_refused() {
    let broker = in_memory();
    for (name, partitions, settings, expected) in [
        ("many", 1_001, &[][..], RDKafkaErrorCode::InvalidPartitions),
        (
            "t",
            1,
            &[("cleanup.policy", "compact")],
            RDKafkaErrorCode::InvalidConfig,
        ),
    ] {
        let refused = try_create(broker.address(), name, partitions, settings);
        assert_eq!(refused, Err(expected), "{name}");
    }
}

#[test]
fn a_deleted_topic_is_gone_with_its_files_and_offsets() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(on_disk(dir.path())).unwrap();
    let sender = Sender::new(broker.address(), &[]);
    for round in 0..2 {
        create(broker.address(), "t", 2, &[]);
        let record: BaseRecord<'_, str, str, Box<u64>> =
            BaseRecord::with_opaque_to("t", Box::new(round))
                .payload("p")
                .partition(1);
        sender
            .producer
            .send(record)
            .map_err(|(error, _)| error)
            .unwrap();
        let delivered = sender.flush();
        assert_eq!(delivered[&round], Ok((1, 0)), "a new topic begins at 0");
        assert!(dir.path().join("partitions/t-1").exists());
        let client = admin(broker.address());
        run(client.delete_topics(&["t"], &AdminOptions::new()))
            .unwrap()
            .remove(0)
            .unwrap();
        assert!(!dir.path().join("partitions/t-1").exists());
    }
    broker.shutdown().unwrap();
    assert!(Broker::start(on_disk(dir.path())).is_ok());
}

#[test]
fn a_taken_port_a_foreign_address_and_a_locked_directory_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(on_disk(dir.path())).unwrap();
    let taken = cloudsync_devbroker::BrokerConfig {
        listen: broker.address(),
        ..Default::default()
    };
    let error = Broker::start(taken).unwrap_err();
    assert!(matches!(error, BrokerError::AddressInUse { .. }));
    assert!(
        error.to_string().contains(&broker.address().to_string()),
        "{error}"
    );
    let open = cloudsync_devbroker::BrokerConfig {
        listen: "0.0.0.0:0".parse().unwrap(),
        ..Default::default()
    };
    let error = Broker::start(open).unwrap_err();
    assert!(matches!(error, BrokerError::NotLoopback { .. }), "{error}");
    let error = Broker::start(on_disk(dir.path())).unwrap_err();
    assert!(matches!(error, BrokerError::Locked { .. }), "{error}");
    drop(broker);
    assert!(
        Broker::start(on_disk(dir.path())).is_ok(),
        "dropping releases the lock"
    );
}
