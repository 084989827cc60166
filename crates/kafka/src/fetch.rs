//! Reading as fast as librdkafka gives: what a consumer's cost is held against.
//!
//! In: a topic, and how many records. Out: each of them, seen in place. No group, no commit, no
//! queue, and nothing is copied. Records that are yet to be written are waited for.

use crate::KafkaError;
use crate::client::{self, QuietContext, blocking};
use crate::librdkafka::RecordQueue;
use crate::record::Taken;
use crate::settings::KafkaSettings;
use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError as NativeError;
use rdkafka::topic_partition_list::Offset;
use std::time::Duration;
use tokio::time::Instant;

/// Name of the group that librdkafka insists on; nothing is joined or committed under it.
const GROUP: &str = "cloudsync-fetch";
/// Longest time without a record before the reading is given up.
const STALLED: Duration = Duration::from_secs(30);
/// One poll.
const POLL: Duration = Duration::from_millis(100);

/// Gives the value of each of the first `records` records of `topic` to `visit`, in order within a
/// partition. Returns how many there were, which is that many. Dropping the future does not stop
/// the reading at once.
///
/// # Errors
/// [`KafkaError::Unavailable`] when nothing comes for 30 s, [`KafkaError::NoTopic`],
/// [`KafkaError::Settings`], [`KafkaError::Client`].
pub async fn fetch_topic(
    settings: &KafkaSettings,
    topic: &str,
    records: u64,
    visit: impl FnMut(&[u8]) + Send + 'static,
) -> Result<u64, KafkaError> {
    let (settings, topic) = (settings.clone(), topic.to_owned());
    blocking("reader", move || fetch(&settings, &topic, records, visit)).await
}

fn fetch(
    settings: &KafkaSettings,
    topic: &str,
    records: u64,
    mut visit: impl FnMut(&[u8]),
) -> Result<u64, KafkaError> {
    let reader = RecordQueue::new(client::asker(settings, GROUP)?);
    let mut reader = reader.ok_or_else(|| KafkaError::Fatal {
        what: "reader",
        reason: "librdkafka made no queue".to_owned(),
    })?;
    assign(&reader, settings, topic)?;
    let (mut read, mut last) = (0u64, (0u64, Instant::now()));
    while read < records {
        let left = records - read;
        let mut taken = 0;
        let count = reader.take(POLL, |one| match one {
            // More may come at once than was asked for.
            Taken::Record(record) if taken < left => {
                visit(record.value.unwrap_or_default());
                taken += 1;
            }
            Taken::Record(_) => {}
            // Nothing is ever paused here, so nothing is passed over.
            Taken::Error(_, code) => tracing::debug!(%code, topic, "fetching"),
        });
        read += taken;
        if count > 0 {
            continue;
        }
        if let Some(Err(error)) = reader.consumer().poll(Duration::ZERO) {
            tracing::debug!(%error, topic, "fetching");
        }
        // The clock is asked only when nothing came: it would be part of the cost.
        if read > last.0 {
            last = (read, Instant::now());
        }
        if last.1.elapsed() > STALLED {
            let what = format!("{topic}: {read} of {records} records, then nothing for 30 s");
            return Err(KafkaError::Unavailable {
                brokers: settings.brokers.clone(),
                what,
            });
        }
    }
    Ok(read)
}

/// Takes all partitions, from their beginnings.
fn assign(
    queue: &RecordQueue<QuietContext>,
    settings: &KafkaSettings,
    topic: &str,
) -> Result<(), KafkaError> {
    let reader = queue.consumer();
    let count = client::partition_count(reader, settings, topic, client::ANSWER)?;
    let partitions: Vec<i32> = (0..i32::try_from(count).unwrap_or(i32::MAX)).collect();
    if !partitions.iter().all(|one| queue.attach(topic, *one)) {
        return Err(KafkaError::Fatal {
            what: "reader",
            reason: format!("librdkafka has no queue for the partitions of {topic}"),
        });
    }
    let failed = |error: NativeError| client::unavailable(settings, "reading", &error);
    let list = client::list_of(topic, &partitions, Offset::Beginning).map_err(failed)?;
    reader.assign(&list).map_err(failed)
}
