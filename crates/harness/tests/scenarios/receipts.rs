//! Where is my record? Asked of a running system, and held against what became of it.

use crate::support::{ASSIGNED, START, program, start, stop};
use cloudsync::v1::destination_receipt::State;
use cloudsync::v1::{DeadLettered, Duplicate, Position, Receipt};
use cloudsync::{Client, ClientSettings, ErrorReason, SyncRecord};
use cloudsync_devbroker::{Broker, BrokerConfig};
use cloudsync_harness::endpoint::{Behaviour, Endpoint};
use cloudsync_harness::ports;
use cloudsync_harness::program::{Program, Up, binary};
use cloudsync_harness::redis::{self, Aof, Redis};
use cloudsync_kafka::{KafkaSettings, ensure_topics, read_topic};
use std::path::Path;
use std::process::Output;
use std::time::Duration;
use tokio::process::Command;
use tokio::time::{Instant, sleep, timeout};

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(120);

fn record(id: &str, payload: &str) -> SyncRecord {
    SyncRecord {
        request_id: id.to_owned(),
        key: "kim".to_owned(),
        payload: payload.to_owned().into(),
        ..SyncRecord::default()
    }
}

async fn send(client: &Client, record: SyncRecord) -> Position {
    client.send_one(record).await.unwrap().position.unwrap()
}

/// What the receipt says of the destination `name`.
fn at<'a>(receipt: &'a Receipt, name: &str) -> &'a State {
    let mut all = receipt.destinations.iter();
    let of = all.find(|it| it.destination == name);
    of.unwrap().state.as_ref().unwrap()
}

fn is_open(state: &State) -> bool {
    matches!(state, State::Pending(_) | State::InProgress(_))
}

/// The last word on the record `id`, and all before it.
async fn watched(client: &Client, id: &str) -> Vec<Receipt> {
    let name = [(id.to_owned(), "kim".to_owned())];
    let mut watch = client.watch_receipts(name).await.unwrap();
    let mut all = Vec::new();
    while let Some(receipt) = timeout(PATIENCE, watch.next()).await.unwrap().unwrap() {
        all.push(receipt);
    }
    all
}

async fn settled(client: &Client, id: &str) -> Receipt {
    watched(client, id).await.pop().unwrap()
}

/// `cloudsync receipt`.
async fn command(endpoint: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(binary().unwrap());
    command.args(["receipt", "--endpoint", endpoint]);
    command.args(arguments).kill_on_drop(true);
    command.output().await.unwrap()
}

#[tokio::test]
async fn up_tells_what_became_of_each_record_also_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let mut endpoint = Endpoint::start(Behaviour::default()).await.unwrap();
    let mut up = Up::new(directory.path()).unwrap();
    // What is sent again is written again.
    up.program.set("CLOUDSYNC_GATEWAY__RECENT_IDS", "0");
    up.program
        .set("CLOUDSYNC_DESTINATIONS__AWS__MODE", "record");
    up.program
        .set("CLOUDSYNC_DESTINATIONS__AZURE__URL", &endpoint.url());
    up.program
        .set("CLOUDSYNC_DESTINATIONS__AZURE__ALLOW_PRIVATE", "true");
    start(&mut up).await;
    let client = Client::new(ClientSettings::to(up.endpoint())).unwrap();

    let (first, last) = is_delivered_once_the_endpoint_is_there(&client, &mut endpoint).await;
    let State::Delivered(delivered) = at(&last, "aws") else {
        panic!("{last:?}");
    };
    assert!(
        directory
            .path()
            .join("aws")
            .join(&delivered.object)
            .is_file()
    );
    what_comes_again_is_a_duplicate_or_a_conflict(&client, &first).await;
    let kafka = settings(&up.log.to_string());
    let dead = read_topic(&kafka, &kafka.dlq_topic, |_, _| {})
        .await
        .unwrap();
    assert_eq!(dead, 2, "it is what it says");
    let one = SyncRecord {
        destinations: vec!["aws".to_owned()],
        ..record("order-2", "two")
    };
    send(&client, one).await;
    let receipt = settled(&client, "order-2").await;
    assert_eq!(receipt.destinations.len(), 1, "{receipt:?}");
    the_command_tells_the_same(&up, &first).await;

    stop(&mut up).await;
    start(&mut up).await;
    let receipt = client.receipt("order-1", "kim").await.unwrap();
    assert_eq!(receipt.position, Some(first), "as the marks have it");
    assert!(receipt.accept_time.is_none());
    assert_eq!(at(&receipt, "aws"), at(&last, "aws"));
    assert_eq!(at(&receipt, "azure"), at(&last, "azure"));
    stop(&mut up).await;
}

/// Out: the place of `order-1`, and its last receipt.
async fn is_delivered_once_the_endpoint_is_there(
    client: &Client,
    endpoint: &mut Endpoint,
) -> (Position, Receipt) {
    endpoint.go_away().await.unwrap();
    let first = send(client, record("order-1", "one")).await;
    let mut watch = client
        .watch_receipts([("order-1".to_owned(), "kim".to_owned())])
        .await
        .unwrap();
    let mut seen = Vec::new();
    while let Some(receipt) = timeout(PATIENCE, watch.next()).await.unwrap().unwrap() {
        assert_eq!(receipt.position.as_ref(), Some(&first));
        assert!(receipt.accept_time.is_some());
        if seen.is_empty() {
            assert!(is_open(at(&receipt, "azure")), "{receipt:?}");
        }
        if matches!(at(&receipt, "aws"), State::Delivered(_)) && is_open(at(&receipt, "azure")) {
            endpoint.come_back().await.unwrap();
        }
        seen.push(receipt);
    }
    let last = seen.pop().unwrap();
    assert!(
        matches!(at(&last, "azure"), State::Delivered(_)),
        "{last:?}"
    );
    assert_eq!(endpoint.with_effect(), 1);
    (first, last)
}

async fn what_comes_again_is_a_duplicate_or_a_conflict(client: &Client, first: &Position) {
    let again = send(client, record("order-1", "one")).await;
    assert_ne!(&again, first);
    let receipt = settled(client, "order-1").await;
    assert_eq!(receipt.position, Some(again));
    for name in ["aws", "azure"] {
        let duplicate = Duplicate {
            position: Some(first.clone()),
        };
        assert_eq!(at(&receipt, name), &State::Duplicate(duplicate));
    }

    send(client, record("order-1", "another")).await;
    let receipt = settled(client, "order-1").await;
    for name in ["aws", "azure"] {
        let dead = DeadLettered {
            reason: "id_conflict".to_owned(),
            position: Some(first.clone()),
        };
        assert_eq!(at(&receipt, name), &State::DeadLettered(dead));
    }
}

async fn the_command_tells_the_same(up: &Up, first: &Position) {
    let endpoint = up.endpoint();
    let known = command(&endpoint, &["order-2", "--key", "kim", "--watch"]).await;
    assert_eq!(known.status.code(), Some(0), "{known:?}");
    let table = String::from_utf8(known.stdout).unwrap();
    assert!(table.starts_with("accepted  "), "{table}");
    assert!(
        table.contains("\naws       delivered  t=default/"),
        "{table}"
    );

    let as_json = ["order-1", "--key", "kim", "--output", "json"];
    let known = command(&endpoint, &as_json).await;
    let json: serde_json::Value = serde_json::from_slice(&known.stdout).unwrap();
    assert_eq!(json["destinations"][0]["state"], "dead_lettered");
    assert_eq!(json["destinations"][0]["reason"], "id_conflict");
    let position = &json["destinations"][0]["position"];
    assert_eq!(position["offset"], first.offset, "{json}");

    let unknown = command(&endpoint, &["order-1"]).await;
    assert_eq!(unknown.status.code(), Some(1), "another key: {unknown:?}");
    let why = String::from_utf8(unknown.stderr).unwrap();
    assert!(
        why.contains("no receipt of \"order-1\" without a key"),
        "{why}"
    );
    let nobody = format!("http://{}", ports::free().unwrap());
    let unasked = command(&nobody, &["order-1"]).await;
    assert_eq!(unasked.status.code(), Some(2), "{unasked:?}");
}

fn settings(brokers: &str) -> KafkaSettings {
    KafkaSettings {
        brokers: brokers.to_owned(),
        replication: 1,
        ..KafkaSettings::default()
    }
}

/// A gateway whose dedupe store is at `dedupe`, and where it listens.
fn gateway(kafka: &str, data: &Path, dedupe: &str) -> (Program, Client) {
    let listen = ports::free().unwrap();
    let arguments = vec!["gateway".to_owned(), format!("--listen={listen}")];
    let mut gateway = program(arguments, ports::free().unwrap(), kafka, data);
    gateway.set("CLOUDSYNC_DEDUPE__URL", dedupe);
    gateway.start().unwrap();
    let client = Client::new(ClientSettings::to(format!("http://{listen}")));
    (gateway, client.unwrap())
}

fn consumer(kafka: &str, data: &Path, dedupe: &str, name: &str) -> Program {
    let arguments = vec!["consumer".to_owned(), format!("--destination={name}")];
    let mut consumer = program(arguments, ports::free().unwrap(), kafka, data);
    consumer.set("CLOUDSYNC_DEDUPE__URL", dedupe);
    consumer.start().unwrap();
    consumer
}

/// The receipt, once the gateway knows of the record.
async fn once_known(client: &Client, id: &str) -> Receipt {
    let end = Instant::now() + PATIENCE;
    loop {
        match client.receipt(id, "kim").await {
            Ok(receipt) => return receipt,
            Err(error) => {
                let reason = error.reason();
                assert_eq!(reason, Some(ErrorReason::ReceiptUnknown), "{error}");
                assert!(Instant::now() < end, "{error}");
                sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

#[tokio::test]
async fn gateways_that_share_a_redis_tell_the_same_and_one_alone_knows_less() {
    if !redis::at_hand() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path();
    let log = Broker::start(BrokerConfig::default()).unwrap();
    let kafka = log.address().to_string();
    ensure_topics(&settings(&kafka)).await.unwrap();
    let redis = Redis::start(&data.join("redis"), Aof::No).await.unwrap();
    let (mut one, asked_one) = gateway(&kafka, data, &redis.url());
    let (mut other, asked_other) = gateway(&kafka, data, &redis.url());
    let (mut alone, asked_alone) = gateway(&kafka, data, "memory:");
    let mut aws = consumer(&kafka, data, &redis.url(), "aws");
    for program in [&mut one, &mut other, &mut alone, &mut aws] {
        program.ready(START).await.unwrap();
    }

    let first = send(&asked_one, record("order-1", "one")).await;
    let known = once_known(&asked_other, "order-1").await;
    let here = asked_one.receipt("order-1", "kim").await.unwrap();
    assert_eq!(known.position, Some(first.clone()));
    assert_eq!(known.accept_time, here.accept_time);
    assert!(
        matches!(at(&known, "azure"), State::Pending(_)),
        "{known:?}"
    );

    let last = is_delivered_once_its_consumer_runs(&asked_other, || {
        consumer(&kafka, data, &redis.url(), "azure")
    });
    let (_azure, last) = last.await;
    for name in ["aws", "azure"] {
        assert!(matches!(at(&last, name), State::Delivered(_)), "{last:?}");
    }

    // The other gateway does not remember it, so it is written again.
    let again = send(&asked_other, record("order-1", "one")).await;
    let receipt = settled(&asked_other, "order-1").await;
    assert_eq!(receipt.position, Some(again.clone()));
    let State::Duplicate(of) = at(&receipt, "azure") else {
        panic!("{receipt:?}");
    };
    assert_eq!(of.position, Some(first));

    one.terminate().unwrap();
    assert!(one.wait(START).await.unwrap().success(), "{}", one.tail());
    one.start().unwrap();
    one.ready(START).await.unwrap();
    let kept = asked_one.receipt("order-1", "kim").await.unwrap();
    assert_eq!(kept.position, Some(again), "from Redis, with its time");
    assert!(kept.accept_time.is_some());

    send(&asked_alone, record("order-2", "two")).await;
    let receipt = settled(&asked_alone, "order-2").await;
    for name in ["aws", "azure"] {
        assert!(
            matches!(at(&receipt, name), State::Settled(_)),
            "{receipt:?}"
        );
    }
    let unknown = asked_alone.receipt("order-1", "kim").await.unwrap_err();
    assert_eq!(unknown.reason(), Some(ErrorReason::ReceiptUnknown));
    assert!(aws.wrote(ASSIGNED) > 0);
}

/// Watches `order-1`; `consumer` starts the one of azure when it is seen to be pending there.
async fn is_delivered_once_its_consumer_runs(
    client: &Client,
    consumer: impl Fn() -> Program,
) -> (Option<Program>, Receipt) {
    let mut azure = None;
    let name = [("order-1".to_owned(), "kim".to_owned())];
    let mut watch = client.watch_receipts(name).await.unwrap();
    let mut last = None;
    while let Some(receipt) = timeout(PATIENCE, watch.next()).await.unwrap().unwrap() {
        if azure.is_none() {
            assert!(matches!(at(&receipt, "azure"), State::Pending(_)));
            azure = Some(consumer());
        }
        last = Some(receipt);
    }
    (azure, last.unwrap())
}
