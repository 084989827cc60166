//! Fetch: whole batches from an offset on, waiting for them if need be.
//!
//! From version 13 on topics go by their ids (KIP-516:
//! <https://cwiki.apache.org/confluence/display/KAFKA/KIP-516%3A+Topic+Identifiers>). There are no fetch sessions (KIP-227), which a
//! broker says by giving out session 0.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::fetch_request::FetchPartition;
use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::{FetchRequest, FetchResponse};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::budget::Room;
use crate::log::{Partition, ReadError};
use crate::node::Node;
use crate::topics::Topic;

/// Bytes of records in one answer, whatever the client asks for (Kafka's `fetch.max.bytes`).
const MAX_BYTES: usize = 55 << 20;
const MAX_WAIT_MS: i32 = 300_000;
/// Topics and partitions of a request that may wait that long. One that takes more memory may not,
/// nor one whose frame does.
const MAX_WAITING: usize = 1_000;
/// How long a request for more than that waits.
const SHORT_WAIT_MS: i32 = 100;
/// Bytes that a topic or partition takes in an answer beside its records.
const AROUND_RECORDS: usize = 128;
/// Lowest version in which topics go by their ids.
const IDS_FROM: i16 = 13;

/// Answers once the wanted bytes are there or the wait is over, with the room that the answer
/// takes. `reader` is this connection's bell; one that `may_wait` keeps no room from others.
pub(crate) async fn handle(
    node: &Node,
    reader: &Arc<Notify>,
    request: FetchRequest,
    version: i16,
    may_wait: bool,
) -> (FetchResponse, Room) {
    if request.session_epoch > 0 {
        // It goes on with a session; none was ever given out.
        let code = ResponseError::FetchSessionIdNotFound.code();
        let room = node.budget.small();
        return (FetchResponse::default().with_error_code(code), room);
    }
    let longest = if may_wait && elements(&request) <= MAX_WAITING {
        MAX_WAIT_MS
    } else {
        SHORT_WAIT_MS
    };
    let wait = u64::from(request.max_wait_ms.clamp(0, longest).unsigned_abs());
    let deadline = Instant::now() + Duration::from_millis(wait);
    loop {
        let topics = find(node, &request, version);
        if is_enough(&topics, &request) {
            break;
        }
        // Heard from here on: what comes between the look before and this is seen by the next.
        for (_, partition) in wanted(&topics, &request) {
            partition
                .iter()
                .for_each(|partition| partition.register(reader));
        }
        let is_there = is_enough(&topics, &request);
        if is_there || timeout_at(deadline, reader.notified()).await.is_err() {
            break;
        }
    }
    read_within_budget(node, &request, version).await
}

fn elements(request: &FetchRequest) -> usize {
    let topics = request.topics.iter();
    let partitions: usize = topics.map(|topic| topic.partitions.len()).sum();
    partitions + request.topics.len() + request.forgotten_topics_data.len()
}

/// Reads as much as there is room for, at least one batch.
async fn read_within_budget(
    node: &Node,
    request: &FetchRequest,
    version: i16,
) -> (FetchResponse, Room) {
    let topics = find(node, request, version);
    let around = elements(request) * AROUND_RECORDS;
    let room = node
        .budget
        .for_records(around + readable(&topics, request))
        .await;
    let limit = room.bytes().saturating_sub(around);
    let response = read(&topics, request, version, limit);
    let partitions = response
        .responses
        .iter()
        .flat_map(|topic| &topic.partitions);
    let records: usize = partitions
        .map(|partition| partition.records.as_ref().map_or(0, Bytes::len))
        .sum();
    if records <= limit {
        return (response, room.shrink_to(around + records));
    }
    // A single batch, larger than what was asked for.
    drop((response, room));
    let ordinary = node.budget.ordinary();
    let room = if around + records <= ordinary {
        node.budget.for_records(ordinary).await
    } else {
        node.budget.for_large_batch(around).await
    };
    (read(&topics, request, version, 0), room)
}

/// About how many bytes of records the answer would have, were there room for all.
fn readable(topics: &Found, request: &FetchRequest) -> usize {
    let most = usize::try_from(request.max_bytes)
        .unwrap_or(0)
        .min(MAX_BYTES);
    let mut found = 0;
    for (wanted, partition) in wanted(topics, request) {
        let stored = partition.and_then(|it| it.log().readable(wanted.fetch_offset).ok());
        let stored = usize::try_from(stored.unwrap_or(0)).unwrap_or(usize::MAX);
        // The first one comes whatever its size, which is that of an ordinary answer, mostly.
        found += stored.min(
            usize::try_from(wanted.partition_max_bytes)
                .unwrap_or(0)
                .max(1),
        );
        if found >= most {
            return most;
        }
    }
    found
}

/// The topics asked for, in their order.
type Found = Vec<Option<Arc<Topic>>>;

fn find(node: &Node, request: &FetchRequest, version: i16) -> Found {
    let topics = request.topics.iter();
    if version < IDS_FROM {
        return topics.map(|topic| node.topics.get(&topic.topic)).collect();
    }
    let by_id = node
        .topics
        .by_ids(topics.clone().map(|topic| topic.topic_id));
    let found = |id| by_id.get(id).cloned();
    topics.map(|topic| found(&topic.topic_id)).collect()
}

fn wanted<'a>(
    topics: &'a Found,
    request: &'a FetchRequest,
) -> impl Iterator<Item = (&'a FetchPartition, Option<&'a Arc<Partition>>)> {
    let topics = request.topics.iter().zip(topics);
    topics.flat_map(|(topic, found)| {
        topic.partitions.iter().map(move |wanted| {
            let index = usize::try_from(wanted.partition).ok();
            let partition = found.as_ref().zip(index);
            (
                wanted,
                partition.and_then(|(topic, index)| topic.partitions.get(index)),
            )
        })
    })
}

/// Whether there are `min_bytes`, or an error to tell.
fn is_enough(topics: &Found, request: &FetchRequest) -> bool {
    let least = u64::from(request.min_bytes.max(0).unsigned_abs())
        .min(u64::from(request.max_bytes.max(0).unsigned_abs()))
        .min(MAX_BYTES as u64);
    let mut found = 0;
    if least == 0 {
        return true;
    }
    for (wanted, partition) in wanted(topics, request) {
        let Some(partition) = partition else {
            return true;
        };
        let readable = partition.log().readable(wanted.fetch_offset);
        match readable {
            Ok(bytes) => found += bytes,
            Err(_) => return true,
        }
        if found >= least {
            return true;
        }
    }
    false
}

fn read(topics: &Found, request: &FetchRequest, version: i16, limit: usize) -> FetchResponse {
    let mut left = usize::try_from(request.max_bytes).unwrap_or(0).min(limit);
    let mut nothing_yet = true;
    let mut responses = Vec::new();
    for (topic, found) in request.topics.iter().zip(topics) {
        let unknown = match found {
            None if version >= IDS_FROM => ResponseError::UnknownTopicId,
            Some(_) | None => ResponseError::UnknownTopicOrPartition,
        };
        let mut partitions = Vec::new();
        for wanted in &topic.partitions {
            let index = usize::try_from(wanted.partition).ok();
            let partition = found.as_ref().zip(index);
            let partition = partition.and_then(|(topic, index)| topic.partitions.get(index));
            let data = match partition {
                Some(partition) => read_partition(partition, wanted, left, nothing_yet),
                None => refused(unknown),
            };
            let bytes = data.records.as_ref().map_or(0, Bytes::len);
            left = left.saturating_sub(bytes);
            nothing_yet &= bytes == 0;
            partitions.push(data.with_partition_index(wanted.partition));
        }
        let response = FetchableTopicResponse::default()
            .with_topic(topic.topic.clone())
            .with_topic_id(topic.topic_id)
            .with_partitions(partitions);
        responses.push(response);
    }
    FetchResponse::default().with_responses(responses)
}

fn read_partition(
    partition: &Partition,
    wanted: &FetchPartition,
    left: usize,
    at_least_one: bool,
) -> PartitionData {
    let max_bytes = usize::try_from(wanted.partition_max_bytes)
        .unwrap_or(0)
        .min(left);
    let log = partition.log();
    let data = PartitionData::default()
        .with_high_watermark(log.high_watermark())
        .with_last_stable_offset(log.high_watermark())
        .with_log_start_offset(log.start());
    match log.read(wanted.fetch_offset, max_bytes, at_least_one) {
        Ok(records) => data.with_records(Some(records)),
        Err(ReadError::OutOfRange) => refused(ResponseError::OffsetOutOfRange)
            .with_high_watermark(log.high_watermark())
            .with_log_start_offset(log.start()),
        // Held by a request that came before the deletion.
        Err(ReadError::Deleted) => refused(ResponseError::UnknownTopicOrPartition),
        Err(ReadError::Io(error)) => {
            tracing::error!(%error, "log could not be read");
            refused(ResponseError::KafkaStorageError)
        }
    }
}

fn refused(error: ResponseError) -> PartitionData {
    PartitionData::default()
        .with_error_code(error.code())
        .with_high_watermark(-1)
        .with_last_stable_offset(-1)
        .with_log_start_offset(-1)
        .with_records(Some(Bytes::new()))
}
