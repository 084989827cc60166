//! What a consumer waits for, and that it goes on by itself.

use super::door::Door;
use super::support::{Log, Sent, at, consume, consume_when, eventually, get, memory};
use async_trait::async_trait;
use cloudsync_consumers::RunError;
use cloudsync_dedupe::{
    Claim, DedupeStore, Found, Lookup, OnUnavailable, Stats, StoreError, Subject, Token,
};
use cloudsync_devbroker::{Broker, BrokerConfig};
use cloudsync_kafka::{KafkaSettings, ensure_topics, lag};
use rand::distr::{Alphanumeric, Distribution};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tempfile::TempDir;

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_cannot_be_written_is_waited_for_and_heals() {
    let log = Log::start(2).await;
    let temp = TempDir::new().unwrap();
    let (here, away) = (temp.path().join("here"), temp.path().join("away"));
    let settings = at(&here);
    let mut sent = Sent::default();
    let running = log.consume(settings.clone(), &memory());
    log.fill(&mut sent, 0..1_000).await;
    log.settled("aws-sync-group").await;

    std::fs::rename(&here, &away).unwrap();
    std::fs::write(&here, "a file in the directory's place").unwrap();
    log.fill(&mut sent, 1_000..3_000).await;
    running
        .waits_for("cloudsync-destination.json is not there")
        .await;
    let (reasons, _) = log.dead_letters().await;
    let first = (
        reasons.get("id_conflict").copied(),
        reasons.get("undecodable").copied(),
    );

    std::fs::remove_file(&here).unwrap();
    std::fs::rename(&away, &here).unwrap();
    log.settled("aws-sync-group").await;
    running.is_ready().await;
    let counters = running.drain().await;
    assert!(get(&counters.breaker_opened) > 0);
    sent.is_delivered(&settings.url).await;
    let (reasons, _) = log.dead_letters().await;
    assert!(
        first <= (Some(sent.conflicts), Some(sent.undecodable)),
        "an outage dead-letters none"
    );
    assert_eq!(reasons["id_conflict"], sent.conflicts);
    assert_eq!(reasons["undecodable"], sent.undecodable);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_waits_for_the_store_if_it_shall() {
    let (log, temp) = (Log::start(2).await, TempDir::new().unwrap());
    let (settings, lease) = (at(temp.path()), Duration::from_secs(30));
    let door = Door::new(lease);
    door.shut.store(true, Ordering::Relaxed);
    let mut sent = Sent::default();
    log.fill(&mut sent, 0..500).await;
    let store = Arc::clone(&door) as Arc<dyn DedupeStore>;
    let pause = OnUnavailable::Pause;
    let running = consume_when(&log.settings, settings.clone(), &store, lease, pause);
    running.waits_for("the dedupe store").await;
    // That the store says it is there takes nothing back: its calls fail.
    let asked = door.asked.load(Ordering::Relaxed);
    let again = || {
        assert!(!running.readiness.is_ready());
        door.asked.load(Ordering::Relaxed) >= asked + 3
    };
    eventually(|| "to ask the store".to_owned(), again).await;
    // It leaves while it waits, and settles nothing.
    let counters = running.drain().await;
    assert_eq!(get(&counters.polled) + get(&counters.dedupe_bypassed), 0);
    let running = consume_when(&log.settings, settings.clone(), &store, lease, pause);
    running.waits_for("the dedupe store").await;
    door.shut.store(false, Ordering::Relaxed);
    log.settled("aws-sync-group").await;
    running.is_ready().await;
    let counters = running.drain().await;
    assert_eq!(get(&counters.dedupe_bypassed), 0);
    sent.is_delivered(&settings.url).await;
}

/// A store that is away at the start is waited for, though not for ever; one that says no has to be
/// seen to by somebody; and with one that is laid out for others nothing is begun.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_waits_for_the_store() {
    let log = Log::start(1).await;
    let mut sent = Sent::default();
    log.fill(&mut sent, 0..100).await;
    let temp = TempDir::new().unwrap();
    let settings = at(temp.path());
    let (name, why) = ("door".to_owned(), "not as it should be".to_owned());
    let consume_with = |door: &Arc<Door>, answer: StoreError| {
        *door.unready.lock() = Some(answer);
        let store = Arc::clone(door) as Arc<dyn DedupeStore>;
        log.consume(settings.clone(), &store)
    };
    let (store, reason) = (name.clone(), why.clone());
    let door = Door::new(Duration::from_secs(30));
    let unfit = StoreError::Unfit { store, reason };
    let mut running = consume_with(&door, unfit.clone());
    let ended = running.ended().await;
    assert!(
        matches!(&ended, Err(RunError::Dedupe { source, .. }) if *source == unfit),
        "{ended:?}"
    );
    assert_eq!(get(&running.counters.polled), 0);

    let (store, reason) = (name.clone(), why.clone());
    let door = Door::new(Duration::from_secs(30));
    let running = consume_with(&door, StoreError::Unavailable { store, reason });
    let asked = || door.asked.load(Ordering::Relaxed) >= 3;
    eventually(|| "to ask the store".to_owned(), asked).await;
    assert_eq!(get(&running.counters.polled), 0);
    *door.unready.lock() = None;
    log.settled("aws-sync-group").await;
    let counters = running.drain().await;
    assert_eq!(get(&counters.dedupe_bypassed), 0);
    sent.is_delivered(&settings.url).await;

    let (store, reason) = (name, why.clone());
    let door = Door::new(Duration::from_secs(30));
    log.fill(&mut sent, 100..200).await;
    let running = consume_with(&door, StoreError::Refused { store, reason });
    log.settled("aws-sync-group").await;
    running.waits_for(&why).await;
    running.drain().await;
    sent.is_delivered(&settings.url).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn started_before_destination_and_log_it_waits_and_goes_on() {
    let temp = TempDir::new().unwrap();
    let blocked = temp.path().join("file");
    std::fs::write(&blocked, "not a directory").unwrap();
    let settings = at(&blocked.join("dir"));
    // A port that nobody listens on, until the log comes up there.
    let probe = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = probe.local_addr().unwrap();
    drop(probe);
    let kafka = KafkaSettings {
        brokers: listen.to_string(),
        partitions: 2,
        ..KafkaSettings::default()
    };
    let running = consume(&kafka, settings.clone(), &memory());
    running.waits_for("cannot make").await;
    std::fs::remove_file(&blocked).unwrap();
    running.waits_for(&listen.to_string()).await;
    let broker = Broker::start(BrokerConfig {
        listen,
        ..BrokerConfig::default()
    })
    .unwrap();
    let log = Log::at(broker, 2).await;
    let mut sent = Sent::default();
    log.fill(&mut sent, 0..500).await;
    log.settled("aws-sync-group").await;
    running.is_ready().await;
    running.drain().await;
    sent.is_delivered(&settings.url).await;
}

/// A store that is away.
#[derive(Debug)]
struct Away;

fn away<T>() -> Result<T, StoreError> {
    Err(StoreError::Unavailable {
        store: "test".into(),
        reason: "away".into(),
    })
}

#[async_trait]
impl DedupeStore for Away {
    async fn lookup(&self, _: &[Subject]) -> Result<Vec<Lookup>, StoreError> {
        away()
    }
    async fn inspect(&self, _: &[Subject]) -> Result<Vec<Option<Found>>, StoreError> {
        away()
    }
    async fn claim(&self, _: Token, _: &[Subject]) -> Result<Vec<Claim>, StoreError> {
        away()
    }
    async fn complete(&self, _: &[Subject]) -> Result<(), StoreError> {
        away()
    }
    async fn release(&self, _: Token, _: &[Subject]) -> Result<(), StoreError> {
        away()
    }
    async fn renew(&self, _: Token, _: &[Subject]) -> Result<Vec<bool>, StoreError> {
        away()
    }
    async fn dead_letter(&self, _: Option<Token>, _: &[Subject]) -> Result<(), StoreError> {
        away()
    }
    async fn reopen(&self, _: &[Subject]) -> Result<(), StoreError> {
        away()
    }
    async fn forget(&self, _: &[Subject]) -> Result<(), StoreError> {
        away()
    }
    async fn stats(&self) -> Result<Stats, StoreError> {
        away()
    }
}

/// Its unmarked ids stay seen, so duplicates are still known; everything is counted.
#[tokio::test(flavor = "multi_thread")]
async fn a_dedupe_store_that_is_away_stops_nothing_and_is_counted() {
    let log = Log::start(2).await;
    let temp = TempDir::new().unwrap();
    let settings = at(temp.path());
    let mut sent = Sent::default();
    let store: Arc<dyn DedupeStore> = Arc::new(Away);
    let running = log.consume(settings.clone(), &store);
    log.fill(&mut sent, 0..5_000).await;
    log.settled("aws-sync-group").await;
    let counters = running.drain().await;
    sent.is_delivered(&settings.url).await;
    assert_eq!(get(&counters.duplicates), sent.duplicates);
    let looked_up = sent.records - sent.undecodable - sent.not_addressed;
    assert_eq!(
        get(&counters.dedupe_bypassed),
        looked_up + 5_000,
        "not asked, and never marked"
    );
}

/// Nothing more comes, and still the ids are marked once the store takes them.
#[tokio::test(flavor = "multi_thread")]
async fn marks_that_the_store_refused_are_set_when_it_is_back() {
    let log = Log::start(1).await;
    let temp = TempDir::new().unwrap();
    let settings = at(temp.path());
    let door = Door::new(Duration::from_secs(30));
    door.refuse_marks.store(true, Ordering::Relaxed);
    let store: Arc<dyn DedupeStore> = Arc::clone(&door) as _;
    let mut sent = Sent::default();
    log.fill(&mut sent, 0..500).await;
    let running = log.consume(settings.clone(), &store);
    log.settled("aws-sync-group").await;
    assert_eq!(door.completed.lock().len(), 0);
    door.refuse_marks.store(false, Ordering::Relaxed);
    let marked = || door.completed.lock().len();
    eventually(
        || format!("500 marks, not {}", marked()),
        || marked() == 500,
    )
    .await;
    running.drain().await;
    sent.is_delivered(&settings.url).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_that_the_log_refuses_for_good_stops_its_partition_with_an_alarm() {
    let log = Log::start(1).await;
    let temp = TempDir::new().unwrap();
    let settings = at(temp.path());
    // A dead-letter topic that takes less than the data topic, made for another one.
    let narrow = KafkaSettings {
        topic: "small-topic".into(),
        dlq_topic: "small-dlq".into(),
        max_record_bytes: 1_000,
        ..log.settings.clone()
    };
    ensure_topics(&narrow).await.unwrap();
    let narrow = KafkaSettings {
        dlq_topic: "small-dlq".into(),
        ..log.settings.clone()
    };
    let mut sent = Sent::default();
    sent.expect("one", "1");
    let large: String = Alphanumeric
        .sample_iter(rand::rng())
        .map(char::from)
        .take(200_000)
        .collect();
    let conflict = log.record("one", &large, &[]);
    log.append(vec![log.record("one", "1", &[]), conflict])
        .await;
    let running = consume(&narrow, settings.clone(), &memory());
    running.waits_for("dead_letter_refused: offset 1").await;
    running.drain().await;
    let behind = lag(&log.settings, "aws-sync-group").await.unwrap();
    assert_eq!(behind[0].lag(), 2, "settled without its dead letter");

    // With a topic that takes it, the next one goes on.
    let running = log.consume(settings.clone(), &memory());
    log.settled("aws-sync-group").await;
    running.is_ready().await;
    running.drain().await;
    sent.is_delivered(&settings.url).await;
    let (reasons, _) = log.dead_letters().await;
    assert_eq!(reasons["id_conflict"], 1);
}
