//! A log with records whose fate is known, a destination, and consumers that are let run.

use bytes::Bytes;
use cloudsync::SyncRecord;
use cloudsync::identity::{Fingerprint, Id16};
use cloudsync::partition::partition_of;
use cloudsync::wire::{Time, with_gateway_fields};
use cloudsync_consumers::{
    ConsumerDeps, Counters, DeliveredLine, DestinationConsumer, DestinationSettings, ReadBack,
    RunError, read_back,
};
use cloudsync_dedupe::settings::DecisionLog;
use cloudsync_dedupe::{DedupeSettings, DedupeStore, OnUnavailable};
use cloudsync_devbroker::{Broker, BrokerConfig};
use cloudsync_kafka::{
    DeadLetterHeaders, KafkaSettings, ProduceRecord, Producer, ensure_topics, lag,
    read_topic_with_headers,
};
use cloudsync_runtime::{Metrics, Readiness, Shutdown, Tasks};
use parking_lot::Mutex;
use prost::Message;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Longest wait for anything that must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// A broker with both topics, and a producer.
pub(crate) struct Log {
    pub(crate) broker: Broker,
    pub(crate) settings: KafkaSettings,
    pub(crate) producer: Producer,
}

/// What was put into the log.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    /// Every id that must be delivered, with its payload's fingerprint.
    pub(crate) expected: BTreeMap<Id16, Fingerprint>,
    /// Records in the log.
    pub(crate) records: u64,
    pub(crate) duplicates: u64,
    pub(crate) conflicts: u64,
    pub(crate) undecodable: u64,
    pub(crate) not_addressed: u64,
}

/// A consumer that runs.
pub(crate) struct Running {
    pub(crate) counters: Arc<Counters>,
    pub(crate) readiness: Readiness,
    shutdown: Shutdown,
    run: JoinHandle<Result<(), RunError>>,
    /// Of its own, so that it can be torn away from under the consumer.
    runtime: Option<Runtime>,
}

impl Log {
    pub(crate) async fn start(partitions: u32) -> Self {
        Self::at(Broker::start(BrokerConfig::default()).unwrap(), partitions).await
    }

    pub(crate) async fn at(broker: Broker, partitions: u32) -> Self {
        let settings = KafkaSettings {
            brokers: broker.address().to_string(),
            replication: 1,
            partitions,
            linger: Duration::from_millis(1),
            ..KafkaSettings::default()
        };
        ensure_topics(&settings).await.unwrap();
        let producer = Producer::new(&settings).unwrap();
        Self {
            broker,
            settings,
            producer,
        }
    }

    pub(crate) async fn append(&self, batch: Vec<ProduceRecord>) {
        for chunk in batch.chunks(2_000) {
            let results = self
                .producer
                .produce(&self.settings.topic, chunk.to_vec())
                .await;
            assert!(results.iter().all(Result::is_ok), "{results:?}");
        }
    }

    /// Appends one record for each number: unique ids, with some sent again, some ids used again
    /// with another payload, some undecodable and some for another destination in between.
    pub(crate) async fn fill(&self, sent: &mut Sent, numbers: std::ops::Range<u64>) {
        let mut batch = Vec::new();
        for number in numbers {
            let id = format!("id-{number}");
            let payload = format!("{{\"n\":{number},\"pad\":\"{}\"}}", "x".repeat(200));
            sent.expect(&id, &payload);
            batch.push(self.record(&id, &payload, &[]));
            if number % 5 == 0 {
                sent.duplicates += 1;
                batch.push(self.record(&id, &payload, &[]));
            }
            if number % 500 == 1 {
                sent.conflicts += 1;
                batch.push(self.record(&id, "another payload", &[]));
            }
            if number % 1_000 == 2 {
                sent.undecodable += 1;
                batch.push(self.raw(&id, Bytes::from_static(b"\xff no record")));
            }
            if number % 100 == 3 {
                sent.not_addressed += 1;
                batch.push(self.record(&format!("else-{number}"), &payload, &["azure"]));
            }
        }
        sent.records += batch.len() as u64;
        self.append(batch).await;
    }

    pub(crate) fn record(&self, id: &str, payload: &str, destinations: &[&str]) -> ProduceRecord {
        let record = SyncRecord {
            request_id: id.into(),
            payload: payload.as_bytes().to_vec().into(),
            content_type: "application/json".into(),
            destinations: destinations.iter().map(|name| (*name).to_owned()).collect(),
            ..SyncRecord::default()
        };
        let accepted = Time {
            seconds: 1_795_329_601,
            nanos: 0,
        };
        let value = with_gateway_fields(&record.encode_to_vec(), None, "default", accepted);
        self.raw(id, value)
    }

    fn raw(&self, id: &str, value: Bytes) -> ProduceRecord {
        let partition = partition_of(id.as_bytes(), self.settings.partitions);
        ProduceRecord {
            partition,
            key: Bytes::from(id.to_owned()),
            value,
        }
    }

    /// A consumer for destination `aws` with these settings.
    pub(crate) fn consume(
        &self,
        settings: DestinationSettings,
        store: &Arc<dyn DedupeStore>,
    ) -> Running {
        consume(&self.settings, settings, store)
    }

    pub(crate) async fn settled(&self, group: &str) {
        let until = Instant::now() + PATIENCE;
        loop {
            let lag = lag(&self.settings, group).await.unwrap();
            if lag.iter().all(|partition| partition.lag() == 0) {
                return;
            }
            assert!(
                Instant::now() < until,
                "the group {group} stays behind: {lag:?}"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Reasons of the dead letters, with how many there are of each; and from how many positions.
    pub(crate) async fn dead_letters(&self) -> (BTreeMap<String, u64>, usize) {
        let found = Arc::new(Mutex::new((
            BTreeMap::new(),
            std::collections::HashSet::new(),
        )));
        let into = Arc::clone(&found);
        let visit = move |_, _, headers: Vec<(String, Bytes)>| {
            let headers = DeadLetterHeaders::parse(&headers).unwrap();
            let mut found = into.lock();
            if found.1.insert(headers.origin) {
                *found.0.entry(headers.reason).or_default() += 1;
            }
        };
        read_topic_with_headers(&self.settings, &self.settings.dlq_topic, visit)
            .await
            .unwrap();
        let found = found.lock();
        (found.0.clone(), found.1.len())
    }
}

pub(crate) fn consume(
    kafka: &KafkaSettings,
    settings: DestinationSettings,
    store: &Arc<dyn DedupeStore>,
) -> Running {
    let lease = DedupeSettings::default().lease;
    consume_when(kafka, settings, store, lease, OnUnavailable::Auto)
}

/// As [`consume`], with a store of this `lease`, which may be away.
pub(crate) fn consume_when(
    kafka: &KafkaSettings,
    settings: DestinationSettings,
    store: &Arc<dyn DedupeStore>,
    lease: Duration,
    on_unavailable: OnUnavailable,
) -> Running {
    // Shown with a test that fails, if RUST_LOG asks for it.
    let _shown = tracing_subscriber::fmt()
        .with_test_writer()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .try_init();
    let (shutdown, readiness) = (Shutdown::new(), Readiness::new());
    let consumer = DestinationConsumer::start(ConsumerDeps {
        name: "aws".into(),
        settings,
        kafka: kafka.clone(),
        store: Arc::clone(store),
        shards: 12,
        lease,
        on_unavailable,
        stats_interval: Duration::from_secs(1),
        decision_log: DecisionLog::Off,
        tasks: Tasks::new(),
        shutdown: shutdown.clone(),
        readiness: readiness.clone(),
        metrics: Metrics::new().unwrap(),
    });
    let consumer = consumer.unwrap();
    let counters = consumer.counters();
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let run = runtime.spawn(consumer.run());
    Running {
        counters,
        readiness,
        shutdown,
        run,
        runtime: Some(runtime),
    }
}

impl Running {
    /// Drains it, and waits for its end.
    pub(crate) async fn drain(mut self) -> Arc<Counters> {
        self.shutdown.drain();
        self.ended().await.unwrap();
        Arc::clone(&self.counters)
    }

    /// Ends it in the middle of whatever it does: every task stops where it stands.
    pub(crate) fn tear_away(self) {
        drop(self);
    }

    pub(crate) async fn ended(&mut self) -> Result<(), RunError> {
        tokio::time::timeout(PATIENCE, &mut self.run)
            .await
            .unwrap()
            .unwrap()
    }

    /// Waits until it says that it waits for something with `text` in it.
    pub(crate) async fn waits_for(&self, text: &str) {
        let said = || {
            self.readiness
                .waiting()
                .iter()
                .any(|(_, what)| what.contains(text))
        };
        let what = || format!("to wait for {text}, not {:?}", self.readiness.waiting());
        eventually(what, said).await;
    }

    pub(crate) async fn is_ready(&self) {
        let what = || format!("to be ready: {:?}", self.readiness.waiting());
        eventually(what, || self.readiness.is_ready()).await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Sent {
    pub(crate) fn expect(&mut self, id: &str, payload: &str) {
        let id16 = Id16::of("default", "", id);
        let fingerprint = Fingerprint::of(payload.as_bytes(), "application/json");
        assert_eq!(self.expected.insert(id16, fingerprint), None);
    }

    /// Reads the destination back: every expected id once, unaltered, and nothing else.
    pub(crate) async fn is_delivered(&self, url: &str) -> ReadBack {
        self.lies_at(&DestinationSettings::new(url, "g")).await
    }

    /// The same of a destination with more settings than a URL.
    pub(crate) async fn lies_at(&self, settings: &DestinationSettings) -> ReadBack {
        let mut delivered: BTreeMap<Id16, Fingerprint> = BTreeMap::new();
        let mut visit = |line: DeliveredLine<'_>| {
            assert_eq!(
                delivered.insert(line.id16, line.fingerprint),
                None,
                "{} twice",
                line.id
            );
            assert_eq!(line.stated, line.fingerprint);
        };
        let read = read_back(settings, &mut visit).await.unwrap();
        assert_eq!(delivered.len(), self.expected.len());
        assert!(
            delivered == self.expected,
            "other ids or contents than were sent"
        );
        assert_eq!(
            (read.damage_count, &read.gaps[..]),
            (0, &[][..]),
            "{:?}",
            read.damaged
        );
        read
    }
}

pub(crate) async fn eventually(what: impl Fn() -> String, mut check: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !check() {
        assert!(Instant::now() < until, "in vain: {}", what());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(crate) fn memory() -> Arc<dyn DedupeStore> {
    cloudsync_dedupe::open(&DedupeSettings::default(), "aws").unwrap()
}

pub(crate) fn at(directory: &Path) -> DestinationSettings {
    DestinationSettings::new(format!("file://{}", directory.display()), "aws-sync-group")
}

pub(crate) fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// Every file below `directory` that is a segment.
pub(crate) fn segments(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left = vec![directory.to_owned()];
    while let Some(at) = left.pop() {
        for entry in std::fs::read_dir(at).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                left.push(path);
            } else if path.extension().is_some_and(|ending| ending == "zst") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}
