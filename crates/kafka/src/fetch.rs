//! Reading as fast as librdkafka gives: what a consumer's cost is held against.
//!
//! In: a topic, and how many records. Out: each of them, seen in place. No group, no commit, no
//! queue, and nothing is copied. Records that are yet to be written are waited for.

use crate::KafkaError;
use crate::client::{self, QuietContext, blocking};
use crate::settings::KafkaSettings;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError as NativeError;
use rdkafka::message::Message;
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
    let reader = client::asker(settings, GROUP)?;
    assign(&reader, settings, topic)?;
    let (mut read, mut last) = (0u64, (0u64, Instant::now()));
    while read < records {
        match reader.poll(POLL) {
            Some(Ok(message)) => {
                visit(message.payload().unwrap_or_default());
                read += 1;
                continue;
            }
            Some(Err(error)) => tracing::debug!(%error, topic, "fetching"),
            None => {}
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
    reader: &BaseConsumer<QuietContext>,
    settings: &KafkaSettings,
    topic: &str,
) -> Result<(), KafkaError> {
    let count = client::partition_count(reader, settings, topic, client::ANSWER)?;
    let partitions: Vec<i32> = (0..i32::try_from(count).unwrap_or(i32::MAX)).collect();
    let failed = |error: NativeError| client::unavailable(settings, "reading", &error);
    let list = client::list_of(topic, &partitions, Offset::Beginning).map_err(failed)?;
    reader.assign(&list).map_err(failed)
}
