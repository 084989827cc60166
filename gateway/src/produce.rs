//! Step 5 of the walk: into the log.
//!
//! In: a batch. Out: for each of its records the position that the log acknowledged (acks=all),
//! or the error. Promises: one answer a record, in the order of the batch, within
//! [`PRODUCE_DEADLINE`]; the records of two batches whose futures are polled first one after the
//! other reach a partition in that order (the gateway's limits are below the producer's, so no
//! batch waits for room there; [`within_the_queue`] holds that).

use crate::batch::Batch;
use crate::health::LogHealth;
use crate::settings::{GatewaySettings, SettingsError};
use cloudsync_kafka::{KafkaSettings, Position, ProduceError, Producer};
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
    pub(crate) fn new(producer: Producer, topic: &str, health: LogHealth) -> Self {
        Self {
            producer,
            topic: topic.into(),
            health,
        }
    }

    /// Produces the records of `batch`. Dropping the future leaves it open what became of them.
    pub(crate) async fn produce(&self, batch: &Batch) -> Vec<Result<Position, ProduceError>> {
        if batch.records.is_empty() {
            return Vec::new();
        }
        let records = batch.to_produce();
        // Unconstrained: the first poll queues the whole batch. If it could end early to let
        // other tasks run, the next batch of the stream would overtake this one.
        let produced = tokio::task::unconstrained(self.producer.produce(&self.topic, records));
        let results = match tokio::time::timeout(PRODUCE_DEADLINE, produced).await {
            Ok(results) => results,
            Err(_) => batch.records.iter().map(|_| Err(too_late())).collect(),
        };
        self.health.note(&results);
        results
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
