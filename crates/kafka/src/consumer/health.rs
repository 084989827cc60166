//! Whether brokers and topic are there; if not, the consumer waits and says for what.

use super::event::Event;
use super::poll::{Control, PollLoop};
use crate::KafkaError;
use crate::client;
use rdkafka::consumer::Consumer;
use rdkafka::error::RDKafkaErrorCode;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;
use tokio::time::Instant;

/// How often something missing is looked for.
const LOOK: Duration = Duration::from_millis(500);
/// How long a look may take while the group is being served.
const GLANCE: Duration = Duration::from_millis(200);

/// What is being waited for.
#[derive(Debug, Default)]
pub(super) struct Health {
    waiting_for: Option<String>,
    next_look: Option<Instant>,
}

// === impl PollLoop ===

impl PollLoop {
    /// Waits for brokers and topic, then joins the group. False when it was closed meanwhile.
    pub(super) fn connect(&mut self) -> bool {
        loop {
            match self.look(LOOK * 2) {
                Ok(()) => break,
                Err(error) => self.wait_for(&error),
            }
            // Serves librdkafka's log lines; there is nothing to read yet.
            if let Some(Err(error)) = self.consumer.poll(Duration::ZERO) {
                tracing::debug!(%error, "before joining the group");
            }
            self.consumer.context().take();
            match self.requests.recv_timeout(LOOK) {
                Ok(Control::Close) | Err(RecvTimeoutError::Disconnected) => return false,
                Ok(request) => self.serve(request),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if self.closing.is_some() || self.end.is_some() {
                return false;
            }
        }
        if let Err(error) = self.consumer.subscribe(&[&self.settings.topic]) {
            self.fail(format!("cannot join group {}: {error}", self.group.group));
            return true;
        }
        self.ready();
        true
    }

    fn look(&self, timeout: Duration) -> Result<(), KafkaError> {
        let (settings, topic) = (&self.settings, &self.settings.topic);
        let found = client::partition_count(&self.consumer, settings, topic, timeout)?;
        client::check_count(topic, found, settings.partitions)
    }

    fn wait_for(&mut self, error: &KafkaError) {
        let for_what = match error {
            KafkaError::Unavailable { brokers, .. } => format!("kafka at {brokers}"),
            KafkaError::NoTopic { topic, brokers } => format!("topic {topic} at {brokers}"),
            other => other.to_string(),
        };
        self.health.next_look = Some(Instant::now() + LOOK);
        if self.health.waiting_for.as_ref() == Some(&for_what) {
            return;
        }
        tracing::warn!(%error, group = self.group.group, "waiting");
        self.health.waiting_for = Some(for_what.clone());
        self.emit(Event::Waiting { for_what });
    }

    fn ready(&mut self) {
        self.health = Health::default();
        tracing::info!(
            group = self.group.group,
            topic = self.settings.topic,
            "kafka is there"
        );
        self.emit(Event::Ready);
    }

    /// Takes note of an error that is not about a record.
    pub(super) fn note_error(&mut self, code: RDKafkaErrorCode, reason: &str) {
        if code == RDKafkaErrorCode::Fatal {
            let detail = self.consumer.client().fatal_error();
            self.fail(detail.map_or_else(|| reason.to_owned(), |(_, detail)| detail));
        } else if code == RDKafkaErrorCode::AllBrokersDown {
            let brokers = self.settings.brokers.clone();
            self.wait_for(&KafkaError::Unavailable {
                brokers,
                what: reason.to_owned(),
            });
        } else if client::is_missing_topic(code) {
            let (topic, brokers) = (self.settings.topic.clone(), self.settings.brokers.clone());
            self.wait_for(&KafkaError::NoTopic { topic, brokers });
        } else if client::is_outage(code) {
            tracing::debug!(%code, reason, "kafka consumer");
        } else {
            tracing::warn!(%code, reason, "kafka consumer");
        }
    }

    /// While something is missing: looks for it now and then.
    pub(super) fn check_health(&mut self) {
        let due = self.health.next_look.is_some_and(|at| Instant::now() >= at);
        if due && self.closing.is_none() {
            match self.look(GLANCE) {
                Ok(()) => self.ready(),
                Err(error) => self.wait_for(&error),
            }
        }
    }
}
