//! Why brokers do not answer, in the words of whoever tried to connect.
//!
//! A question that times out says no more than that. librdkafka does know why (nobody listens
//! there, the name does not resolve, the other side speaks TLS), but tells only who serves its
//! log. So once nobody answered, a client of its own tries again, and is listened to.

use crate::KafkaError;
use crate::client::{self, blocking};
use crate::settings::KafkaSettings;
use parking_lot::Mutex;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError as NativeError;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::Instant;

/// How long brokers that did not answer are tried once more.
const TRY: Duration = Duration::from_secs(1);
/// How long what was said meanwhile is listened to.
const LISTEN: Duration = Duration::from_millis(100);
/// Most reasons that are told: brokers may each have their own.
const MOST: usize = 3;

/// Keeps why connections fail.
#[derive(Debug, Default)]
struct Listening(Mutex<BTreeSet<String>>);

/// Tries to reach the brokers of `settings`: `None` when they answer, else why they do not, as far
/// as that is known within about a second.
///
/// # Errors
/// [`KafkaError::Settings`], [`KafkaError::Client`].
pub async fn trouble(settings: &KafkaSettings) -> Result<Option<KafkaError>, KafkaError> {
    let settings = settings.clone();
    blocking("client", move || find(&settings)).await
}

/// `error`; where it says that nobody answered, with the reason, if there is one to be had.
/// Blocks about a second then.
pub(crate) fn explained(settings: &KafkaSettings, error: KafkaError) -> KafkaError {
    match error {
        KafkaError::Unavailable { .. } => find(settings).ok().flatten().unwrap_or(error),
        other => other,
    }
}

fn find(settings: &KafkaSettings) -> Result<Option<KafkaError>, KafkaError> {
    settings.validate()?;
    let made = settings
        .admin()
        .create_with_context::<_, BaseConsumer<Listening>>(Listening::default());
    let client = made.map_err(|source| KafkaError::Client {
        what: "client",
        source,
    })?;
    let Err(error) = client.fetch_metadata(None, TRY) else {
        return Ok(None);
    };
    // Its log waits in the client's queue, and no topic is read: nothing else comes.
    let until = Instant::now() + LISTEN;
    while Instant::now() < until {
        let _error = client.poll(LISTEN).is_some();
    }
    let reasons = std::mem::take(&mut *client.context().0.lock());
    if reasons.is_empty() {
        return Ok(Some(client::unavailable(settings, "metadata", &error)));
    }
    let reasons: Vec<_> = reasons.into_iter().take(MOST).collect();
    Ok(Some(KafkaError::Unavailable {
        brokers: settings.brokers.clone(),
        what: reasons.join("; "),
    }))
}

/// What of a line of librdkafka tells a person why: without the thread in front, and without the
/// count of milliseconds behind, which would make each one another.
fn reason(line: &str) -> String {
    let line = line
        .strip_prefix("[thrd:")
        .and_then(|line| line.split_once("]: "))
        .map_or(line, |(_, line)| line);
    let line = line.split(" (after ").next().unwrap_or(line);
    line.replacen("/bootstrap: ", ": ", 1)
}

// === impl Listening ===

impl Listening {
    fn keep(&self, line: &str) {
        let mut reasons = self.0.lock();
        if reasons.len() < MOST {
            reasons.insert(reason(line));
        }
    }
}

impl ClientContext for Listening {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        if facility == "FAIL" {
            self.keep(message);
        }
        client::log(level, facility, message);
    }

    fn error(&self, error: NativeError, reason: &str) {
        tracing::debug!(%error, reason, "kafka client");
    }

    fn stats_raw(&self, _statistics: &[u8]) {}
}

impl ConsumerContext for Listening {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_the_same_whenever_it_comes() {
        let line = "[thrd:kafka-1:9092/bootstrap]: kafka-1:9092/bootstrap: Failed to resolve \
                    'kafka-1:9092': Name or service not known (after 3ms in state CONNECT)";
        let said = "kafka-1:9092: Failed to resolve 'kafka-1:9092': Name or service not known";
        assert_eq!(reason(line), said);
        assert_eq!(reason(said), said);
    }
}
