//! A gateway that serves, on a log of its own.

use bytes::Bytes;
use cloudsync::v1::data_sync_service_client::DataSyncServiceClient;
use cloudsync::v1::{ErrorReason, SyncRecord};
use cloudsync_dedupe::Receipts;
use cloudsync_devbroker::{Broker, BrokerConfig, Storage};
use cloudsync_gateway::{Counters, Destination, Gateway, GatewayDeps, GatewaySettings, ServeError};
use cloudsync_kafka::{KafkaSettings, Producer, ensure_topics, read_topic};
use cloudsync_runtime::{Metrics, Readiness, Shutdown, Tasks};
use prost::Message;
use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// Longest wait for anything in a test.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct World {
    pub(crate) address: SocketAddr,
    pub(crate) counters: Arc<Counters>,
    pub(crate) producer: Producer,
    pub(crate) shutdown: Shutdown,
    pub(crate) tasks: Tasks,
    kafka: KafkaSettings,
    broker: Option<Broker>,
    directory: tempfile::TempDir,
    served: JoinHandle<Result<(), ServeError>>,
}

/// A record of the log.
pub(crate) struct Stored {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) key: Bytes,
    pub(crate) record: SyncRecord,
}

impl World {
    /// A gateway with the default settings, but for what `adjust` changes.
    pub(crate) async fn start(adjust: impl FnOnce(&mut GatewaySettings)) -> Self {
        Self::start_with(|settings, _| adjust(settings)).await
    }

    /// The same, where `adjust` also changes how the log is written.
    pub(crate) async fn start_with(
        adjust: impl FnOnce(&mut GatewaySettings, &mut KafkaSettings),
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let broker = broker_in(&directory, "127.0.0.1:0".parse().unwrap()).await;
        let mut kafka = KafkaSettings {
            brokers: broker.address().to_string(),
            replication: 1,
            linger: Duration::from_millis(1),
            ..KafkaSettings::default()
        };
        let mut settings = GatewaySettings {
            listen: "127.0.0.1:0".parse().unwrap(),
            ..Default::default()
        };
        adjust(&mut settings, &mut kafka);
        ensure_topics(&kafka).await.unwrap();
        let receipts = Arc::new(Receipts::new(settings.receipts.min(1_000), None));
        let deps = GatewayDeps {
            receipts,
            ..deps(&kafka)
        };
        let GatewayDeps {
            producer,
            tasks,
            shutdown,
            readiness,
            ..
        } = deps.clone();
        let gateway = Gateway::bind(settings, deps).unwrap();
        let (address, counters) = (gateway.address(), gateway.counters());
        let served = tasks.spawn("gateway", gateway.serve());
        tokio::time::timeout(PATIENCE, readiness.ready())
            .await
            .unwrap();
        let broker = Some(broker);
        Self {
            address,
            counters,
            producer,
            shutdown,
            tasks,
            kafka,
            broker,
            directory,
            served,
        }
    }

    pub(crate) async fn channel(&self) -> Channel {
        Channel::from_shared(format!("http://{}", self.address))
            .unwrap()
            .connect()
            .await
            .unwrap()
    }

    pub(crate) async fn client(&self) -> DataSyncServiceClient<Channel> {
        DataSyncServiceClient::new(self.channel().await).max_encoding_message_size(16 << 20)
    }

    /// Everything that lies in the log, by partition and offset.
    pub(crate) async fn log(&self) -> Vec<Stored> {
        let (sender, records) = mpsc::channel();
        let count = read_topic(&self.kafka, &self.kafka.topic, move |partition, polled| {
            sender.send((partition, polled)).unwrap();
        });
        let count = count.await.unwrap();
        let stored = records.into_iter().map(|(partition, polled)| Stored {
            partition,
            offset: polled.offset,
            key: polled.key.unwrap(),
            record: SyncRecord::decode(polled.value.unwrap()).unwrap(),
        });
        let mut stored: Vec<_> = stored.collect();
        assert_eq!(stored.len() as u64, count);
        stored.sort_by_key(|stored| (stored.partition, stored.offset));
        stored
    }

    /// Stops the log; its data stays.
    pub(crate) async fn stop_log(&mut self) {
        let broker = self.broker.take().unwrap();
        tokio::task::spawn_blocking(move || broker.shutdown().unwrap())
            .await
            .unwrap();
    }

    /// Starts the log again, with its data, where it was.
    pub(crate) async fn start_log(&mut self) {
        let address = self.kafka.brokers.parse().unwrap();
        self.broker = Some(broker_in(&self.directory, address).await);
    }

    /// Waits for the end of a gateway that was told to drain.
    pub(crate) async fn ended(&mut self) {
        let ended = tokio::time::timeout(PATIENCE, &mut self.served).await;
        ended
            .expect("the gateway ends when it drains")
            .unwrap()
            .unwrap();
    }
}

/// What a gateway on the log of `kafka` works with.
pub(crate) fn deps(kafka: &KafkaSettings) -> GatewayDeps {
    GatewayDeps {
        kafka: kafka.clone(),
        producer: Producer::new(kafka).unwrap(),
        destinations: ["aws", "azure"].map(destination).to_vec(),
        receipts: Arc::new(Receipts::new(1_000, None)),
        shards: 12,
        tasks: Tasks::new(),
        shutdown: Shutdown::new(),
        readiness: Readiness::new(),
        metrics: Metrics::new().unwrap(),
    }
}

/// A destination whose consumers are elsewhere.
fn destination(name: &str) -> Destination {
    Destination {
        name: name.to_owned(),
        group: format!("{name}-sync-group"),
        marks: None,
        object: None,
    }
}

async fn broker_in(directory: &tempfile::TempDir, listen: SocketAddr) -> Broker {
    let storage = Storage::Dir(directory.path().join("log"));
    let config = BrokerConfig {
        listen,
        storage,
        ..BrokerConfig::default()
    };
    tokio::task::spawn_blocking(move || Broker::start(config).unwrap())
        .await
        .unwrap()
}

/// A valid record.
pub(crate) fn record(id: impl Into<String>, key: impl Into<String>) -> SyncRecord {
    SyncRecord {
        request_id: id.into(),
        key: key.into(),
        payload: r#"{"mag":2.1}"#.into(),
        content_type: "application/json".into(),
        ..SyncRecord::default()
    }
}

pub(crate) fn encoded(record: &SyncRecord) -> Bytes {
    record.encode_to_vec().into()
}

/// Asserts what a refused call says, for programs.
#[track_caller]
pub(crate) fn assert_refused(status: &Status, code: Code, reason: ErrorReason) {
    assert_eq!(status.code(), code, "{status:?}");
    let details = status.get_error_details();
    let info = details
        .error_info()
        .unwrap_or_else(|| panic!("no ErrorInfo: {status:?}"));
    assert_eq!(
        (info.domain.as_str(), info.reason.as_str()),
        ("cloudsync", reason.name())
    );
    let worth_retrying = matches!(
        reason,
        ErrorReason::Overloaded | ErrorReason::Draining | ErrorReason::LogUnavailable
    );
    assert_eq!(details.retry_info().is_some(), worth_retrying, "{status:?}");
}

/// Waits until `what` holds.
pub(crate) async fn until(what: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !what().await {
        assert!(Instant::now() < deadline, "it never came to hold");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
