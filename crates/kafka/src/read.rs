//! A whole topic, from its start, or from where it ended at an earlier moment, to where it ended
//! when the reading began; or a range of one partition. Without a group.

use crate::KafkaError;
use crate::client::{self, QuietContext, blocking};
use crate::consumer::partition::PolledRecord;
use crate::librdkafka::polled;
use crate::record::{RecordHeaders, Taken};
use crate::settings::KafkaSettings;
use crate::trouble::explained;
use bytes::Bytes;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError as NativeError;
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;
use tokio::time::Instant;

/// librdkafka assigns partitions only to a client with a group's name. Nothing is ever joined or
/// committed under it.
const GROUP: &str = "cloudsync-reader";
/// Longest time without a record before the reading is given up.
const STALLED: Duration = Duration::from_secs(30);
/// One poll.
const POLL: Duration = Duration::from_millis(100);

/// For each partition of a topic, the offset behind its last record.
pub type Ends = BTreeMap<i32, i64>;

/// Reads `topic` and gives every record, with its partition, to `visit`: in order within a
/// partition. Ends at the ends that the partitions had at the beginning, and returns how many
/// records there were. Dropping the future does not stop the reading at once.
///
/// # Errors
/// [`KafkaError::Unavailable`] when nothing comes for 30 s, [`KafkaError::NoTopic`],
/// [`KafkaError::Settings`], [`KafkaError::Client`].
pub async fn read_topic(
    settings: &KafkaSettings,
    topic: &str,
    mut visit: impl FnMut(i32, PolledRecord) + Send + 'static,
) -> Result<u64, KafkaError> {
    let (settings, topic) = (settings.clone(), topic.to_owned());
    let each = move |message: &BorrowedMessage<'_>| visit(message.partition(), copy(message));
    blocking("reader", move || {
        read(&settings, &topic, &Part::default(), each)
    })
    .await
}

/// The same with the headers of each record: what [`crate::DeadLetterHeaders::parse`] reads.
///
/// # Errors
/// As [`read_topic`].
pub async fn read_topic_with_headers(
    settings: &KafkaSettings,
    topic: &str,
    visit: impl FnMut(i32, PolledRecord, Vec<(String, Bytes)>) + Send + 'static,
) -> Result<u64, KafkaError> {
    read_topic_since(settings, topic, &Ends::new(), visit).await
}

/// The same, but only what was written since the topic ended at `since`; of a partition that is not
/// named there, everything.
///
/// # Errors
/// As [`read_topic`].
pub async fn read_topic_since(
    settings: &KafkaSettings,
    topic: &str,
    since: &Ends,
    mut visit: impl FnMut(i32, PolledRecord, Vec<(String, Bytes)>) + Send + 'static,
) -> Result<u64, KafkaError> {
    let (settings, topic) = (settings.clone(), topic.to_owned());
    let part = Part {
        since: since.clone(),
        until: None,
    };
    let each = move |message: &BorrowedMessage<'_>| {
        let record = copy(message);
        let headers = named(record.headers.as_deref());
        visit(message.partition(), record, headers);
    };
    blocking("reader", move || read(&settings, &topic, &part, each)).await
}

/// What partition `partition` of the data topic holds in `range` now: gives each record to `visit`,
/// in order. Ends with the range, or with the partition as it was at the beginning; returns how many
/// records there were.
///
/// # Errors
/// As [`read_topic`].
pub async fn read_range(
    settings: &KafkaSettings,
    partition: i32,
    range: Range<i64>,
    mut visit: impl FnMut(PolledRecord) + Send + 'static,
) -> Result<u64, KafkaError> {
    let settings = settings.clone();
    let part = Part {
        since: Ends::from([(partition, range.start)]),
        until: Some(Ends::from([(partition, range.end)])),
    };
    let each = move |message: &BorrowedMessage<'_>| visit(copy(message));
    blocking("reader", move || {
        read(&settings, &settings.topic, &part, each)
    })
    .await
}

/// Where `topic` ends now.
///
/// # Errors
/// [`KafkaError::Unavailable`] after about 10 s, [`KafkaError::NoTopic`],
/// [`KafkaError::Settings`], [`KafkaError::Client`].
pub async fn topic_ends(settings: &KafkaSettings, topic: &str) -> Result<Ends, KafkaError> {
    let (settings, topic) = (settings.clone(), topic.to_owned());
    let ask = move || ends(&settings, &topic).map_err(|error| explained(&settings, error));
    blocking("client", ask).await
}

/// Which part of a topic is read.
#[derive(Debug, Default)]
struct Part {
    /// From here; of a partition that is not named, from its start.
    since: Ends,
    /// Up to here, and nothing of a partition that is not named.
    until: Option<Ends>,
}

fn ends(settings: &KafkaSettings, topic: &str) -> Result<Ends, KafkaError> {
    let asker = client::asker(settings, GROUP)?;
    let count = client::partition_count(&asker, settings, topic, client::ANSWER)?;
    let partitions: Vec<i32> = (0..i32::try_from(count).unwrap_or(i32::MAX)).collect();
    client::ends(&asker, settings, topic, &partitions, Offset::End)
}

fn read(
    settings: &KafkaSettings,
    topic: &str,
    part: &Part,
    mut each: impl FnMut(&BorrowedMessage<'_>),
) -> Result<u64, KafkaError> {
    settings.validate()?;
    let mut config = settings.reader(GROUP);
    config.set("enable.partition.eof", "true");
    let failed = |source| KafkaError::Client {
        what: "reader",
        source,
    };
    let reader: BaseConsumer<QuietContext> =
        config.create_with_context(QuietContext).map_err(failed)?;
    let count = client::partition_count(&reader, settings, topic, client::ANSWER)?;
    let mut open = open(&reader, settings, topic, count, part)?;
    let (mut records, mut last) = (0u64, Instant::now());
    while !open.is_empty() {
        match reader.poll(POLL) {
            Some(Ok(message)) => {
                let Some(end) = open.get(&message.partition()).copied() else {
                    continue;
                };
                // What was written since is not asked for.
                if message.offset() < end {
                    each(&message);
                    records += 1;
                }
                if message.offset() >= end - 1 {
                    open.remove(&message.partition());
                }
                last = Instant::now();
            }
            // The end of the partition, behind markers that are no records.
            Some(Err(NativeError::PartitionEOF(partition))) => {
                open.remove(&partition);
            }
            Some(Err(error)) => tracing::debug!(%error, topic, "reading"),
            None => {}
        }
        if last.elapsed() > STALLED {
            let what = format!("{topic}: {} partitions gave nothing for 30 s", open.len());
            return Err(KafkaError::Unavailable {
                brokers: settings.brokers.clone(),
                what,
            });
        }
    }
    Ok(records)
}

/// Assigns all partitions that hold something; returns where each one ends.
fn open(
    reader: &BaseConsumer<QuietContext>,
    settings: &KafkaSettings,
    topic: &str,
    count: u32,
    part: &Part,
) -> Result<Ends, KafkaError> {
    let partitions: Vec<i32> = (0..i32::try_from(count).unwrap_or(i32::MAX)).collect();
    let mut starts = client::ends(reader, settings, topic, &partitions, Offset::Beginning)?;
    for (partition, start) in &mut starts {
        *start = part.since.get(partition).copied().unwrap_or(0).max(*start);
    }
    let mut ends = client::ends(reader, settings, topic, &partitions, Offset::End)?;
    if let Some(until) = &part.until {
        for (partition, end) in &mut ends {
            *end = until.get(partition).copied().unwrap_or(0).min(*end);
        }
    }
    ends.retain(|partition, end| starts.get(partition).is_some_and(|start| start < end));
    let mut list = TopicPartitionList::with_capacity(ends.len());
    let failed = |error: NativeError| client::unavailable(settings, "reading", &error);
    for partition in ends.keys() {
        let start = starts.get(partition).copied().unwrap_or(0);
        list.add_partition_offset(topic, *partition, Offset::Offset(start))
            .map_err(failed)?;
    }
    if !ends.is_empty() {
        reader.assign(&list).map_err(failed)?;
    }
    Ok(ends)
}

fn copy(message: &BorrowedMessage<'_>) -> PolledRecord {
    let headers = match polled(message) {
        Taken::Record(record) => record.headers,
        // What was polled by itself is an error before it is a message.
        Taken::Error(..) => None,
    };
    PolledRecord {
        offset: message.offset(),
        timestamp_ms: message.timestamp().to_millis().unwrap_or(0),
        key: message.key().map(Bytes::copy_from_slice),
        value: message.payload().map(Bytes::copy_from_slice),
        headers,
    }
}

fn named(headers: Option<&RecordHeaders>) -> Vec<(String, Bytes)> {
    let all = headers.into_iter().flat_map(RecordHeaders::iter);
    let own = |(name, value): (&str, Option<&Bytes>)| (name.to_owned(), value.cloned());
    all.map(own)
        .map(|(name, value)| (name, value.unwrap_or_default()))
        .collect()
}
