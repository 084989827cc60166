//! The log of a demo that was kept, opened to be read again.
//!
//! In: the directory of the log. Out: the log as it lies there, served to this process only, and
//! what of it is damaged. Nothing below the directory is made, mended or changed, and no other
//! process may write it meanwhile.

use crate::settings::Settings;
use cloudsync_devbroker::{Broker, BrokerConfig, BrokerError, Damage, Storage};
use cloudsync_kafka::KafkaSettings;
use std::path::PathBuf;

/// A log that is only read. It is served as long as this is held.
#[derive(Debug)]
pub struct KeptLog {
    broker: Broker,
    kafka: KafkaSettings,
}

/// Why it cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeptLogError {
    /// Somebody writes it.
    #[error(
        "the log in {} is being written by another process, so it cannot be counted: end that \
         process first",
        .directory.display()
    )]
    InUse {
        /// The directory of the log.
        directory: PathBuf,
    },
    /// It does not open.
    #[error("cannot read the log")]
    Log(#[source] BrokerError),
}

// === impl KeptLog ===

impl KeptLog {
    /// Opens the log in `directory`. Reads all of it.
    ///
    /// # Errors
    /// [`KeptLogError`]; a damaged segment is none.
    pub async fn open(settings: &Settings, directory: PathBuf) -> Result<Self, KeptLogError> {
        let config = BrokerConfig {
            storage: Storage::ReadOnly(directory.clone()),
            ..BrokerConfig::default()
        };
        let started = tokio::task::spawn_blocking(move || Broker::start(config)).await;
        let broker = match started.unwrap_or(Err(BrokerError::Ended)) {
            Ok(broker) => broker,
            Err(BrokerError::Locked { .. }) => return Err(KeptLogError::InUse { directory }),
            Err(error) => return Err(KeptLogError::Log(error)),
        };
        let kafka = KafkaSettings {
            brokers: broker.address().to_string(),
            ..settings.kafka.clone()
        };
        Ok(Self { broker, kafka })
    }

    /// How to reach it.
    #[must_use]
    pub fn kafka(&self) -> &KafkaSettings {
        &self.kafka
    }

    /// Its identity.
    #[must_use]
    pub fn log_id(&self) -> String {
        self.broker.log_id().to_string()
    }

    /// What of it cannot be read.
    #[must_use]
    pub fn damage(&self) -> &[Damage] {
        self.broker.damage()
    }
}
