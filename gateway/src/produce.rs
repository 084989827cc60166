//! Step 5 of the walk: into the log.
//!
//! In: a batch. Out: for each of its records that the log acknowledged it (acks=all), and where it
//! lies if the log said so, or the error. Promises: one answer a record, in the order of the batch,
//! within [`PRODUCE_DEADLINE`]; the records of two batches that are produced one after the other
//! reach a partition in that order; a batch holds its share of the gateway's limits until the log
//! has answered, whoever waits for it. Those limits are below the producer's
//! ([`within_the_queue`]), so as a rule nothing waits for room there, and what does stands in line.

use crate::admit::Share;
use crate::batch::Batch;
use crate::health::LogHealth;
use crate::settings::{GatewaySettings, SettingsError};
use cloudsync_kafka::{KafkaSettings, ProduceError, Produced, Producer};
use std::sync::Arc;
use std::time::Duration;

/// The longest that a batch waits for the log: the producer gives up on a record after 30 s, and
/// before that the record may wait for room in the producer's queue.
pub(crate) const PRODUCE_DEADLINE: Duration = Duration::from_secs(35);

/// The topic that the gateway writes.
#[derive(Clone)]
pub(crate) struct Log {
    producer: Producer,
    topic: Arc<str>,
    health: LogHealth,
}

impl Log {
    /// Its name.
    pub(crate) fn topic(&self) -> &Arc<str> {
        &self.topic
    }

    pub(crate) fn new(producer: Producer, topic: &str, health: LogHealth) -> Self {
        Self {
            producer,
            topic: topic.into(),
            health,
        }
    }

    /// Queues the records of `batch`, which hold their share of the limits until the log has
    /// answered; the future is the answer. Dropping it leaves it open what became of them.
    pub(crate) fn produce(
        &self,
        batch: &Batch,
        share: &Arc<Share>,
    ) -> impl Future<Output = Vec<Produced>> + Send + use<> {
        let records = batch.to_produce.clone();
        let count = records.len();
        let share = Arc::clone(share);
        let produced = self.producer.produce_holding(&self.topic, records, share);
        let health = self.health.clone();
        async move {
            let results = match tokio::time::timeout(PRODUCE_DEADLINE, produced).await {
                Ok(results) => results,
                Err(_) => vec![Err(too_late()); count],
            };
            health.note(&results);
            results
        }
    }
}

/// Checks that what the gateway admits fits into the producer's queue at once.
pub(crate) fn within_the_queue(
    settings: &GatewaySettings,
    kafka: &KafkaSettings,
) -> Result<(), SettingsError> {
    let records = kafka.queue_records as usize;
    // Half: a record counts there with its key, and with what the gateway adds.
    let bytes = kafka.queue_bytes as usize / 2;
    let checks = [
        (
            "max_in_flight_records",
            settings.max_in_flight_records,
            records,
            "kafka.queue_records",
        ),
        (
            "max_in_flight_bytes",
            settings.max_in_flight_bytes,
            bytes,
            "half of kafka.queue_bytes",
        ),
    ];
    for (name, value, most, why) in checks {
        if value > most {
            let range = format!("at most {most}, {why}");
            return Err(SettingsError {
                name,
                value: value as u64,
                range,
            });
        }
    }
    Ok(())
}

fn too_late() -> ProduceError {
    let reason = format!("no answer within {} s", PRODUCE_DEADLINE.as_secs());
    ProduceError::Unavailable { reason }
}
