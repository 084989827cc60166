//! What the gateway says about itself: readiness, and grpc.health.v1.
//!
//! In: the answers of the log, the readiness of the process, the signal to drain. Out: the
//! condition `log`, and the status of the health service. Promises: ready means that the log has
//! answered and did so again after it last failed; a gateway that drains is not serving.

use cloudsync::v1::data_sync_service_server::SERVICE_NAME;
use cloudsync_kafka::{ProduceError, Produced, Producer};
use cloudsync_runtime::{Condition, Readiness, Shutdown};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

/// Pause between two questions to a log that does not answer.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// Whether the log takes records, as the answers to batches show it.
#[derive(Clone, Debug)]
pub(crate) struct LogHealth {
    condition: Condition,
    brokers: Arc<str>,
    failed: Arc<Notify>,
}

// === impl LogHealth ===

impl LogHealth {
    /// Waits for the log at `brokers` from now on.
    pub(crate) fn new(readiness: &Readiness, brokers: &str) -> Self {
        let condition = readiness.condition("log", format!("Kafka at {brokers}"));
        Self {
            condition,
            brokers: brokers.into(),
            failed: Arc::new(Notify::new()),
        }
    }

    /// Takes note of the log's answers to one batch.
    pub(crate) fn note(&self, results: &[Produced]) {
        let unavailable =
            |result: &Produced| matches!(result, Err(ProduceError::Unavailable { .. }));
        if !results.is_empty() && results.iter().all(unavailable) {
            self.condition
                .waiting(format!("Kafka at {}, which does not answer", self.brokers));
            self.failed.notify_one();
        }
    }

    /// Asks the log until it answers, at first and after every failure, until the gateway drains.
    pub(crate) async fn watch(self, producer: Producer, shutdown: Shutdown) {
        let watch = async {
            loop {
                while let Err(error) = producer.warm_up().await {
                    tracing::debug!(%error, "the log is not ready");
                    self.condition.waiting(error.to_string());
                    tokio::time::sleep(ASK_AGAIN).await;
                }
                self.condition.ready();
                self.failed.notified().await;
            }
        };
        tokio::select! {
            () = watch => {}
            () = shutdown.draining() => {}
        }
    }
}

/// Tells the health service what `readiness` says, until the gateway drains: then it is not
/// serving.
pub(crate) async fn report(reporter: HealthReporter, readiness: Readiness, shutdown: Shutdown) {
    let mut ready = readiness.watch();
    loop {
        let is_ready = *ready.borrow_and_update();
        tell(
            &reporter,
            if is_ready {
                ServingStatus::Serving
            } else {
                ServingStatus::NotServing
            },
        )
        .await;
        tokio::select! {
            changed = ready.changed() => if changed.is_err() { break },
            () = shutdown.draining() => break,
        }
    }
    shutdown.draining().await;
    tell(&reporter, ServingStatus::NotServing).await;
}

async fn tell(reporter: &HealthReporter, status: ServingStatus) {
    for service in ["", SERVICE_NAME] {
        reporter.set_service_status(service, status).await;
    }
}
