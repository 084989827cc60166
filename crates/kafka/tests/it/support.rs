//! A log with topics, and a member of a group that settles whatever it reads.

use bytes::Bytes;
use cloudsync_devbroker::{Broker, BrokerConfig};
use cloudsync_kafka::{
    AssignedPartition, CommitTracker, Committer, Consumer, Event, GroupSettings, KafkaSettings,
    Outcome, ProduceRecord, Producer, ensure_topics,
};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

/// Longest wait for anything that must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn settings(broker: &Broker) -> KafkaSettings {
    KafkaSettings {
        brokers: broker.address().to_string(),
        replication: 1,
        linger: Duration::from_millis(1),
        ..KafkaSettings::default()
    }
}

/// A log in memory, with both topics.
pub(crate) async fn log() -> (Broker, KafkaSettings) {
    let broker = Broker::start(BrokerConfig::default()).unwrap();
    let settings = settings(&broker);
    ensure_topics(&settings).await.unwrap();
    (broker, settings)
}

pub(crate) fn group(name: &str) -> GroupSettings {
    GroupSettings {
        session_timeout: Duration::from_secs(6),
        ..GroupSettings::new(name, "batch 1")
    }
}

pub(crate) fn record(number: usize, partitions: u32) -> ProduceRecord {
    ProduceRecord {
        partition: i32::try_from(number).unwrap() % i32::try_from(partitions).unwrap(),
        key: Bytes::from(format!("key-{}", number % 97)),
        value: Bytes::from(format!("{number}")),
    }
}

/// Produces the records `numbers`, all of which must be taken.
pub(crate) async fn fill(
    producer: &Producer,
    settings: &KafkaSettings,
    numbers: std::ops::Range<usize>,
) {
    let mut running = JoinSet::new();
    let all: Vec<_> = numbers
        .map(|number| record(number, settings.partitions))
        .collect();
    for batch in all.chunks(1_000) {
        let (producer, topic) = (producer.clone(), settings.topic.clone());
        let batch = batch.to_vec();
        running.spawn(async move { producer.produce(&topic, batch).await });
    }
    while let Some(results) = running.join_next().await {
        for result in results.unwrap() {
            result.unwrap();
        }
    }
}

pub(crate) async fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    let until = tokio::time::Instant::now() + PATIENCE;
    while !check() {
        assert!(tokio::time::Instant::now() < until, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// What members have read: value to the number of times.
#[derive(Default)]
pub(crate) struct Seen {
    values: parking_lot::Mutex<BTreeMap<Bytes, usize>>,
    total: AtomicUsize,
}

impl Seen {
    pub(crate) fn total(&self) -> usize {
        self.total.load(Ordering::Relaxed)
    }

    pub(crate) fn distinct(&self) -> usize {
        self.values.lock().len()
    }

    pub(crate) fn numbers(&self) -> BTreeSet<usize> {
        let number = |value: &Bytes| String::from_utf8_lossy(value).parse().unwrap();
        self.values.lock().keys().map(number).collect()
    }
}

/// A member that settles whatever it reads, at once.
pub(crate) struct Member {
    consumer: Consumer,
    driver: JoinSet<()>,
    pub(crate) owned: Arc<AtomicUsize>,
    pub(crate) failures: Arc<parking_lot::Mutex<Vec<String>>>,
}

impl Member {
    pub(crate) fn start(settings: &KafkaSettings, group: GroupSettings, seen: &Arc<Seen>) -> Self {
        let (consumer, events) = Consumer::start(settings, group).unwrap();
        let mut driver = JoinSet::new();
        let (owned, failures) = (Arc::default(), Arc::default());
        driver.spawn(drive(
            events,
            consumer.committer(),
            Arc::clone(seen),
            Arc::clone(&owned),
            Arc::clone(&failures),
        ));
        Self {
            consumer,
            driver,
            owned,
            failures,
        }
    }

    pub(crate) async fn close(mut self) {
        self.consumer.close().await;
        while let Some(ended) = self.driver.join_next().await {
            ended.unwrap();
        }
        assert_eq!(*self.failures.lock(), Vec::<String>::new());
    }
}

async fn drive(
    mut events: mpsc::Receiver<Event>,
    committer: Committer,
    seen: Arc<Seen>,
    owned: Arc<AtomicUsize>,
    failures: Arc<parking_lot::Mutex<Vec<String>>>,
) {
    let mut work = JoinSet::new();
    let mut running: HashMap<i32, oneshot::Receiver<()>> = HashMap::new();
    while let Some(event) = events.recv().await {
        match event {
            Event::Assigned { partitions } => {
                owned.fetch_add(partitions.len(), Ordering::Relaxed);
                for partition in partitions {
                    let (done, ended) = oneshot::channel();
                    running.insert(partition.partition, ended);
                    work.spawn(settle(
                        partition,
                        committer.clone(),
                        Arc::clone(&seen),
                        done,
                    ));
                }
            }
            Event::Revoking { partitions, done } => {
                for partition in &partitions {
                    running.remove(partition).unwrap().await.unwrap();
                }
                owned.fetch_sub(partitions.len(), Ordering::Relaxed);
                done.done();
            }
            Event::Lost { partitions } => {
                owned.fetch_sub(partitions.len(), Ordering::Relaxed);
            }
            Event::Failed { error } => failures.lock().push(error.to_string()),
            Event::Waiting { .. } | Event::Ready => {}
        }
    }
    while let Some(ended) = work.join_next().await {
        ended.unwrap();
    }
}

async fn settle(
    mut assigned: AssignedPartition,
    committer: Committer,
    seen: Arc<Seen>,
    done: oneshot::Sender<()>,
) {
    let mut tracker = CommitTracker::new(assigned.partition, assigned.epoch, assigned.start);
    while let Some(batch) = assigned.records.recv().await {
        {
            let mut values = seen.values.lock();
            for record in &batch {
                *values.entry(record.value.clone().unwrap()).or_default() += 1;
                assert!(tracker.polled(record.offset).unwrap());
                tracker
                    .settle(record.offset, Outcome::NotAddressed)
                    .unwrap();
            }
        }
        seen.total.fetch_add(batch.len(), Ordering::Relaxed);
        committer.submit(tracker.watermark());
    }
    done.send(()).unwrap_or_default();
}

/// The next event that is not about waiting, within [`PATIENCE`].
pub(crate) async fn next_event(events: &mut mpsc::Receiver<Event>) -> Event {
    loop {
        let event = tokio::time::timeout(PATIENCE, events.recv())
            .await
            .unwrap()
            .unwrap();
        if !matches!(event, Event::Waiting { .. } | Event::Ready) {
            return event;
        }
    }
}

/// The partitions of the next [`Event::Assigned`] that has any.
pub(crate) async fn assigned(events: &mut mpsc::Receiver<Event>) -> Vec<AssignedPartition> {
    loop {
        match next_event(events).await {
            Event::Assigned { partitions } if partitions.is_empty() => {}
            Event::Assigned { partitions } => return partitions,
            other => panic!("{other:?}"),
        }
    }
}

/// Closes a consumer whose events nobody reads any more, so that no revocation waits for them.
pub(crate) async fn leave(consumer: Consumer, events: mpsc::Receiver<Event>) {
    drop(events);
    tokio::time::timeout(PATIENCE, consumer.close())
        .await
        .unwrap();
}
