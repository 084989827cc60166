//! The parts that run in one process: embedded log, gateway, consumers, admin endpoint.
//!
//! In: settings, and which of the parts are wanted ([`Roles`]). Out: a [`Stack`] whose ports are
//! bound and whose parts run; it tells when one of them ends by itself, waits until all are
//! ready, and stops them in the order of the walk: what comes in first, the log last.

mod error;
mod start;

pub use error::{Ended, StackError, Waiting};

use crate::settings::Settings;
use cloudsync_consumers::Counters;
use cloudsync_dedupe::DedupeStore;
use cloudsync_devbroker::{Broker, BrokerError};
use cloudsync_kafka::{KafkaSettings, Producer, TopicReport};
use cloudsync_runtime::{Metrics, Readiness, Shutdown, Tasks};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, mpsc};
use tokio::time::{Instant, timeout};

/// Which parts run.
#[derive(Clone, Debug, Default)]
pub struct Roles {
    /// The embedded log, with its directory.
    pub log: Option<PathBuf>,
    /// Make the topics that are missing.
    pub topics: bool,
    /// The gateway.
    pub gateway: bool,
    /// The consumers of these destinations.
    pub consumers: Vec<String>,
    /// The consumers recognise nothing: what dedupe costs is measured against.
    pub without_dedupe: bool,
    /// The endpoint that tells health and numbers.
    pub admin: bool,
}

impl Roles {
    /// All of `settings` on a log below `directory`, without the admin endpoint.
    #[must_use]
    pub fn all(settings: &Settings, directory: &Path) -> Self {
        Self {
            log: Some(directory.join("log")),
            topics: true,
            gateway: true,
            consumers: settings.destination_names(),
            ..Self::default()
        }
    }
}

/// The running parts.
#[derive(Debug)]
pub struct Stack {
    kafka: KafkaSettings,
    readiness: Readiness,
    metrics: Metrics,
    intake: Group,
    delivery: Group,
    admin: Group,
    broker: Option<Arc<Broker>>,
    producer: Option<Producer>,
    addresses: Addresses,
    topics: Vec<TopicReport>,
    consumers: BTreeMap<String, Arc<Counters>>,
    stores: BTreeMap<String, Arc<dyn DedupeStore>>,
    ended: Mutex<mpsc::Receiver<Ended>>,
    ended_sender: mpsc::Sender<Ended>,
}

/// Where the parts listen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Addresses {
    /// The embedded log.
    pub log: Option<SocketAddr>,
    /// The gateway.
    pub gateway: Option<SocketAddr>,
    /// The admin endpoint.
    pub admin: Option<SocketAddr>,
}

/// Parts that stop together.
#[derive(Clone, Debug, Default)]
struct Group {
    shutdown: Shutdown,
    tasks: Tasks,
}

// === impl Stack ===

impl Stack {
    /// Binds every port and starts every part. None of them is ready yet. Nothing is made on disk
    /// before every port is bound.
    ///
    /// # Errors
    /// [`StackError`]; what was started is stopped again.
    pub async fn start(settings: &Settings, roles: &Roles) -> Result<Self, StackError> {
        let (ended_sender, ended) = mpsc::channel(16);
        let mut stack = Self {
            kafka: settings.kafka.clone(),
            readiness: Readiness::new(),
            metrics: Metrics::new().map_err(StackError::Metrics)?,
            intake: Group::default(),
            delivery: Group::default(),
            admin: Group::default(),
            broker: None,
            producer: None,
            addresses: Addresses::default(),
            topics: Vec::new(),
            consumers: BTreeMap::new(),
            stores: BTreeMap::new(),
            ended: Mutex::new(ended),
            ended_sender,
        };
        // Nothing is ready before every part has been started and says for itself.
        let starting = stack
            .readiness
            .condition("start", "its parts to be started");
        for name in &roles.consumers {
            start::check_destination(settings, name)?;
        }
        if roles.admin {
            stack.start_admin(settings.admin.listen).await?;
        }
        // The log binds its own port before it makes its directory: every port comes first.
        let port = match roles.gateway {
            true => Some(stack.bind_gateway(settings)?),
            false => None,
        };
        if let Some(directory) = &roles.log {
            stack.start_log(settings, directory.clone()).await?;
        }
        if roles.topics {
            let made = cloudsync_kafka::ensure_topics(&stack.kafka).await;
            stack.topics = made.map_err(StackError::Topics)?;
        }
        // The gateway looks into the stores that the consumers write.
        for name in &roles.consumers {
            stack.open_store(settings, name, roles).await?;
        }
        if let Some(port) = port {
            stack.start_gateway(settings, port)?;
        }
        for name in &roles.consumers {
            stack.start_consumer(settings, name)?;
        }
        stack.watch_for_panics();
        starting.ready();
        Ok(stack)
    }

    /// The log's settings, with the address that it got.
    #[must_use]
    pub fn kafka(&self) -> &KafkaSettings {
        &self.kafka
    }

    /// Identity of the embedded log, if it runs here.
    #[must_use]
    pub fn log_id(&self) -> Option<String> {
        self.broker
            .as_ref()
            .map(|broker| broker.log_id().to_string())
    }

    /// Where the parts listen.
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// What became of the topics, if they were made here.
    #[must_use]
    pub fn topics(&self) -> &[TopicReport] {
        &self.topics
    }

    /// What waits, for whom it concerns.
    #[must_use]
    pub fn readiness(&self) -> &Readiness {
        &self.readiness
    }

    /// What the consumers have done so far, by destination.
    #[must_use]
    pub fn consumers(&self) -> &BTreeMap<String, Arc<Counters>> {
        &self.consumers
    }

    /// The dedupe store of `destination`, if its consumer runs here.
    #[must_use]
    pub fn dedupe(&self, destination: &str) -> Option<&Arc<dyn DedupeStore>> {
        self.stores.get(destination)
    }

    /// Resolves when a part ends that was not told to. Cancel-safe.
    pub async fn ended(&self) -> Ended {
        match self.ended.lock().await.recv().await {
            Some(ended) => ended,
            // The stack holds a sender itself: this cannot come.
            None => std::future::pending().await,
        }
    }

    /// Waits until everything is ready.
    ///
    /// # Errors
    /// [`StackError::NotReady`] after `limit`, [`StackError::Ended`].
    pub async fn ready(&self, limit: Duration) -> Result<(), StackError> {
        let readiness = self.readiness.clone();
        tokio::select! {
            ended = self.ended() => Err(ended.into()),
            ready = timeout(limit, readiness.ready()) => {
                let waiting = Waiting(readiness.waiting());
                ready.map_err(|_| StackError::NotReady { after: limit, waiting })
            }
        }
    }

    /// Drains: the gateway, then the consumers, within `grace` together. Returns what is left
    /// undone, as sentences; it is met again after a restart. The log goes on.
    pub async fn drain(&self, grace: Duration) -> Vec<String> {
        let until = Instant::now() + grace;
        let left_of_grace = || until.saturating_duration_since(Instant::now());
        let mut left = Vec::new();
        self.intake.shutdown.drain();
        if self.intake.tasks.finish(left_of_grace()).await > 0 {
            left.push("the gateway has not answered everything".to_owned());
        }
        if let Some(producer) = &self.producer {
            let unacked = producer.close(left_of_grace()).await;
            if unacked > 0 {
                left.push(format!(
                    "{unacked} records were not acknowledged by the log"
                ));
            }
        }
        self.delivery.shutdown.drain();
        if self.delivery.tasks.finish(left_of_grace()).await > 0 {
            left.push("the consumers have not finished what they had begun".to_owned());
        }
        if self.delivery.tasks.has_panicked() {
            left.push("a task of the consumers panicked, see above".to_owned());
        }
        left
    }

    /// Stops everything at once; what was in flight is met again after a restart.
    pub fn stop(&self) {
        self.intake.shutdown.stop();
        self.delivery.shutdown.stop();
        self.admin.shutdown.stop();
    }

    /// Stops the gateway, which nobody uses any more.
    pub fn stop_intake(&self) {
        self.intake.shutdown.stop();
    }

    /// Ends the admin endpoint and closes the log.
    ///
    /// # Errors
    /// [`StackError::Log`], when the log could not be closed cleanly.
    pub async fn close(self) -> Result<(), StackError> {
        self.admin.shutdown.drain();
        // Its answers are a few bytes: a second is plenty.
        let _left = self.admin.tasks.finish(Duration::from_secs(1)).await;
        let Some(broker) = self.broker.clone() else {
            return Ok(());
        };
        let closed = tokio::task::spawn_blocking(move || broker.shutdown()).await;
        closed
            .unwrap_or(Err(BrokerError::Ended))
            .map_err(StackError::Log)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    /// Nothing of it, and nobody who waits for a part of it, goes on as if it were well.
    #[tokio::test]
    async fn a_panic_is_told_as_an_end() {
        let directory = tempfile::tempdir().unwrap();
        let settings = Settings::demo(directory.path());
        let roles = Roles::all(&settings, directory.path());
        let stack = Stack::start(&settings, &roles).await.unwrap();
        let ended = || timeout(Duration::from_secs(60), stack.ended());

        let wrong = async { assert_eq!(1, 2, "on purpose") };
        drop(stack.delivery.tasks.spawn("wrong", wrong));
        let told = ended().await.unwrap().to_string();
        assert!(
            told.contains("a task of the consumers ended by itself: it panicked"),
            "{told}"
        );

        let wrong = async {
            assert_eq!(1, 2, "on purpose");
            Ok::<(), io::Error>(())
        };
        let part = stack.watched("a part".to_owned(), &stack.intake, wrong);
        drop(stack.intake.tasks.spawn("wrong", part));
        let told = ended().await.unwrap().to_string();
        assert!(
            told.contains("a part ended by itself: it panicked"),
            "{told}"
        );

        let left = stack.drain(Duration::from_secs(60)).await;
        assert_eq!(left, ["a task of the consumers panicked, see above"]);
        stack.close().await.unwrap();
    }
}
