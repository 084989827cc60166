//! Kafka is not there yet, or not there for a while: everybody waits, says so, and goes on.

use crate::support::{
    Member, PATIENCE, Seen, assigned, eventually, fill, group, leave, record, settings,
};
use cloudsync_devbroker::{Broker, BrokerConfig, Storage};
use cloudsync_kafka::{
    Consumer, Event, KafkaError, KafkaSettings, ProduceError, Producer, ensure_topics,
};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

fn start(listen: SocketAddr, directory: &Path) -> Broker {
    let storage = Storage::Dir(directory.to_owned());
    Broker::start(BrokerConfig {
        listen,
        storage,
        ..BrokerConfig::default()
    })
    .unwrap()
}

fn any_port() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

async fn waiting(events: &mut mpsc::Receiver<Event>) -> String {
    match tokio::time::timeout(PATIENCE, events.recv())
        .await
        .unwrap()
        .unwrap()
    {
        Event::Waiting { for_what } => for_what,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_started_first_waits_for_kafka_and_then_for_the_topic() {
    let directory = tempfile::tempdir().unwrap();
    let probe = start(any_port(), directory.path());
    let (address, settings) = (probe.address(), settings(&probe));
    probe.shutdown().unwrap();

    let (consumer, mut events) = Consumer::start(&settings, group("g")).unwrap();
    assert_eq!(waiting(&mut events).await, format!("kafka at {address}"));
    let _broker = start(address, directory.path());
    assert_eq!(
        waiting(&mut events).await,
        format!("topic data-topic at {address}")
    );
    let few = KafkaSettings {
        partitions: 3,
        ..settings.clone()
    };
    ensure_topics(&few).await.unwrap();
    let sentence = waiting(&mut events).await;
    assert!(
        sentence.contains("has 3 partitions, but the settings say 12"),
        "{sentence}"
    );
    leave(consumer, events).await;

    let refused = ensure_topics(&settings).await.unwrap_err();
    assert!(matches!(
        refused,
        KafkaError::TooFewPartitions {
            found: 3,
            wanted: 12,
            ..
        }
    ));
    let (consumer, mut events) = Consumer::start(&few, group("g")).unwrap();
    let first = tokio::time::timeout(PATIENCE, events.recv())
        .await
        .unwrap()
        .unwrap();
    assert!(matches!(first, Event::Ready), "{first:?}");
    assert_eq!(assigned(&mut events).await.len(), 3);
    leave(consumer, events).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_goes_on_after_the_log_was_away() {
    let directory = tempfile::tempdir().unwrap();
    let broker = start(any_port(), directory.path());
    let (address, settings) = (broker.address(), settings(&broker));
    ensure_topics(&settings).await.unwrap();
    let producer = Producer::new(&settings).unwrap();
    let seen = Arc::new(Seen::default());
    let member = Member::start(&settings, group("g"), &seen);
    fill(&producer, &settings, 0..10_000).await;
    eventually("the first half is seen", || seen.distinct() == 10_000).await;

    broker.shutdown().unwrap();
    drop(broker);
    // Produced during the outage: acknowledged after it.
    let mut call = JoinSet::new();
    let (caller, topic) = (producer.clone(), settings.topic.clone());
    let batch: Vec<_> = (10_000..10_100).map(|number| record(number, 12)).collect();
    call.spawn(async move { caller.produce(&topic, batch).await });
    eventually("the records are queued", || producer.in_flight() == 100).await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let _broker = start(address, directory.path());

    let results = call.join_next().await.unwrap().unwrap();
    let failed: Vec<&ProduceError> = results
        .iter()
        .filter_map(|one| one.as_ref().err())
        .collect();
    assert_eq!(failed, Vec::<&ProduceError>::new());
    fill(&producer, &settings, 10_100..20_000).await;
    eventually("the second half is seen", || seen.distinct() == 20_000).await;
    member.close().await;
    assert_eq!(producer.close(PATIENCE).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_said_and_its_end_as_well() {
    let directory = tempfile::tempdir().unwrap();
    let broker = start(any_port(), directory.path());
    let (address, settings) = (broker.address(), settings(&broker));
    ensure_topics(&settings).await.unwrap();
    let (consumer, mut events) = Consumer::start(&settings, group("g")).unwrap();
    assert_eq!(assigned(&mut events).await.len(), 12);
    broker.shutdown().unwrap();
    drop(broker);
    assert_eq!(waiting(&mut events).await, format!("kafka at {address}"));
    let _broker = start(address, directory.path());
    let back = tokio::time::timeout(PATIENCE, events.recv())
        .await
        .unwrap()
        .unwrap();
    assert!(matches!(back, Event::Ready), "{back:?}");
    leave(consumer, events).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_without_kafka_takes_no_time() {
    let settings = KafkaSettings {
        brokers: "127.0.0.1:1".to_owned(),
        ..KafkaSettings::default()
    };
    let (consumer, mut events) = Consumer::start(&settings, group("g")).unwrap();
    assert_eq!(waiting(&mut events).await, "kafka at 127.0.0.1:1");
    let started = tokio::time::Instant::now();
    consumer.close().await;
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
    assert!(events.recv().await.is_none());
}
