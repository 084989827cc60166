//! What all librdkafka clients here share: where their log lines go, and the questions that have
//! one answer for all.
//!
//! librdkafka's own lines go to `tracing` under the target `librdkafka`, never to stderr.

use crate::KafkaError;
use crate::consumer::event::Committed;
use crate::settings::KafkaSettings;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError as NativeError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::time::Duration;

/// Longest wait for an answer of Kafka.
pub(crate) const ANSWER: Duration = Duration::from_secs(10);

/// Context of clients that only ask, administer or read.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct QuietContext;

impl ClientContext for QuietContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: NativeError, reason: &str) {
        tracing::debug!(%error, reason, "kafka client");
    }

    fn stats_raw(&self, _statistics: &[u8]) {}
}

impl ConsumerContext for QuietContext {}

/// Takes over one line of librdkafka's log.
pub(crate) fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    // A broker that is down fails ten times a second, and the client says so itself, once.
    if matches!(facility, "FAIL" | "ERROR") {
        tracing::debug!(target: "librdkafka", facility, "{message}");
        return;
    }
    if facility == "OFFSET" && message.contains("offset reset") {
        tracing::error!(target: "librdkafka", "the log no longer holds what was to be read: {message}");
        return;
    }
    match level {
        RDKafkaLogLevel::Emerg
        | RDKafkaLogLevel::Alert
        | RDKafkaLogLevel::Critical
        | RDKafkaLogLevel::Error => tracing::error!(target: "librdkafka", facility, "{message}"),
        RDKafkaLogLevel::Warning => tracing::warn!(target: "librdkafka", facility, "{message}"),
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
            tracing::info!(target: "librdkafka", facility, "{message}");
        }
        RDKafkaLogLevel::Debug => tracing::debug!(target: "librdkafka", facility, "{message}"),
    }
}

/// Whether `code` means that a topic is not there.
pub(crate) fn is_missing_topic(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::UnknownTopicOrPartition
            | RDKafkaErrorCode::UnknownTopic
            | RDKafkaErrorCode::UnknownPartition
    )
}

/// Whether `code` means that no broker can be reached.
pub(crate) fn is_outage(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::AllBrokersDown
            | RDKafkaErrorCode::BrokerTransportFailure
            | RDKafkaErrorCode::Resolve
            | RDKafkaErrorCode::OperationTimedOut
    )
}

/// An error of `settings.brokers` while `what` was asked.
pub(crate) fn unavailable(
    settings: &KafkaSettings,
    what: &str,
    error: &dyn std::error::Error,
) -> KafkaError {
    KafkaError::Unavailable {
        brokers: settings.brokers.clone(),
        what: format!("{what}: {error}"),
    }
}

/// A client without subscription, for questions about `group`'s offsets and topics.
pub(crate) fn asker(
    settings: &KafkaSettings,
    group: &str,
) -> Result<BaseConsumer<QuietContext>, KafkaError> {
    settings.validate()?;
    settings
        .reader(group)
        .create_with_context(QuietContext)
        .map_err(|source| KafkaError::Client {
            what: "client",
            source,
        })
}

/// Number of partitions of `topic`. Blocks up to `timeout`; never creates the topic.
pub(crate) fn partition_count<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    settings: &KafkaSettings,
    topic: &str,
    timeout: Duration,
) -> Result<u32, KafkaError> {
    let metadata = consumer
        .fetch_metadata(Some(topic), timeout)
        .map_err(|error| unavailable(settings, "metadata", &error))?;
    count_in(&metadata, settings, topic)
}

/// Number of partitions of `topic` in `metadata`.
pub(crate) fn count_in(
    metadata: &rdkafka::metadata::Metadata,
    settings: &KafkaSettings,
    topic: &str,
) -> Result<u32, KafkaError> {
    let no_topic = || KafkaError::NoTopic {
        topic: topic.to_owned(),
        brokers: settings.brokers.clone(),
    };
    let found = metadata.topics().iter().find(|found| found.name() == topic);
    let found = found.ok_or_else(no_topic)?;
    if let Some(code) = found.error().map(RDKafkaErrorCode::from) {
        if is_missing_topic(code) {
            return Err(no_topic());
        }
        return Err(unavailable(
            settings,
            &format!("metadata of {topic}"),
            &code,
        ));
    }
    if found.partitions().is_empty() {
        return Err(no_topic());
    }
    Ok(u32::try_from(found.partitions().len()).unwrap_or(u32::MAX))
}

/// Checks that `topic`, which has `found` partitions, has the `wanted` ones that keys are spread
/// over. More are no error, since nothing goes there, but a warning.
pub(crate) fn check_count(topic: &str, found: u32, wanted: u32) -> Result<(), KafkaError> {
    if found < wanted {
        return Err(KafkaError::TooFewPartitions {
            topic: topic.to_owned(),
            found,
            wanted,
        });
    }
    if found > wanted {
        tracing::warn!(
            topic,
            found,
            wanted,
            "the topic has more partitions than keys go to"
        );
    }
    Ok(())
}

/// First offset (`Offset::Beginning`) or end (`Offset::End`) of each of `partitions`: one question
/// to each leader. Blocks up to [`ANSWER`].
pub(crate) fn ends<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    settings: &KafkaSettings,
    topic: &str,
    partitions: &[i32],
    end: Offset,
) -> Result<BTreeMap<i32, i64>, KafkaError> {
    if partitions.is_empty() {
        return Ok(BTreeMap::new());
    }
    let what = || format!("offsets of {topic}");
    let failed = |error: NativeError| unavailable(settings, &what(), &error);
    let list = list_of(topic, partitions, end).map_err(failed)?;
    // The two logical offsets are the two special timestamps of Kafka's ListOffsets.
    let answer = consumer.offsets_for_times(list, ANSWER).map_err(failed)?;
    let mut found = BTreeMap::new();
    for element in answer.elements() {
        element.error().map_err(failed)?;
        match element.offset() {
            Offset::Offset(offset) => found.insert(element.partition(), offset),
            other => {
                let error = std::io::Error::other(format!(
                    "partition {} answers {other:?}",
                    element.partition()
                ));
                return Err(unavailable(settings, &what(), &error));
            }
        };
    }
    Ok(found)
}

/// What the group has committed for `partitions`.
pub(crate) fn committed<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    settings: &KafkaSettings,
    partitions: &[i32],
) -> Result<BTreeMap<i32, Committed>, KafkaError> {
    let failed = |error: NativeError| unavailable(settings, "committed offsets", &error);
    if partitions.is_empty() {
        return Ok(BTreeMap::new());
    }
    let list = list_of(&settings.topic, partitions, Offset::Invalid).map_err(failed)?;
    let answer = consumer.committed_offsets(list, ANSWER).map_err(failed)?;
    let mut found = BTreeMap::new();
    for element in answer.elements() {
        element.error().map_err(failed)?;
        if let Offset::Offset(offset) = element.offset() {
            let metadata = element.metadata().to_owned();
            found.insert(element.partition(), Committed { offset, metadata });
        }
    }
    Ok(found)
}

/// A list of `partitions` of `topic`, all at `offset`.
pub(crate) fn list_of(
    topic: &str,
    partitions: &[i32],
    offset: Offset,
) -> Result<TopicPartitionList, NativeError> {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for partition in partitions {
        list.add_partition_offset(topic, *partition, offset)?;
    }
    Ok(list)
}

/// Runs `ask` where blocking is allowed.
pub(crate) async fn blocking<T: Send + 'static>(
    what: &'static str,
    ask: impl FnOnce() -> Result<T, KafkaError> + Send + 'static,
) -> Result<T, KafkaError> {
    match tokio::task::spawn_blocking(ask).await {
        Ok(result) => result,
        Err(error) => Err(KafkaError::Fatal {
            what,
            reason: error.to_string(),
        }),
    }
}
