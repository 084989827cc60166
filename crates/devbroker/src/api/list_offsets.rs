//! ListOffsets: the first offset, the next one, the first at a time, or that of the latest time.
//!
//! By time, the answer is a record's, for which the one batch that holds it is decoded: as
//! much of that as one request may have ([`Decoding`]), beyond it by the batch's header.

use std::collections::HashSet;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::{ListOffsetsRequest, ListOffsetsResponse, TopicName};

use super::OK;
use crate::budget::Decoding;
use crate::log::Partition;
use crate::node::Node;

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
/// The record with the latest timestamp (KIP-734:
/// <https://cwiki.apache.org/confluence/display/KAFKA/KIP-734%3A+Improve+AdminClient.listOffsets+to+return+timestamp+and+offset+for+the+record+with+the+largest+timestamp>).
const MAX_TIMESTAMP: i64 = -3;
const MAX_TIMESTAMP_FROM: i16 = 7;
/// With tiered storage, of which there is none (KIP-405:
/// <https://cwiki.apache.org/confluence/display/KAFKA/KIP-405%3A+Kafka+Tiered+Storage>): the first
/// offset here, and the last one elsewhere.
const EARLIEST_LOCAL: i64 = -4;
const EARLIEST_LOCAL_FROM: i16 = 8;
const LATEST_TIERED: i64 = -5;
const LATEST_TIERED_FROM: i16 = 9;
/// Lowest version whose answer has a leader epoch.
const LEADER_EPOCH_FROM: i16 = 4;

/// Whether some of the answer takes the records of a batch.
pub(crate) fn is_by_time(request: &ListOffsetsRequest) -> bool {
    let mut partitions = request.topics.iter().flat_map(|topic| &topic.partitions);
    partitions.any(|wanted| matches!(wanted.timestamp, MAX_TIMESTAMP | 0..))
}

/// Looks up the offset asked for in each partition; those asked for more than once are refused, as
/// Kafka does. Where it [is by time](is_by_time) that takes long.
pub(crate) fn handle(
    node: &Node,
    request: ListOffsetsRequest,
    version: i16,
    mut decoding: Decoding,
) -> ListOffsetsResponse {
    let repeated = repeated(&request);
    let mut topics = Vec::new();
    for topic in request.topics {
        let mut partitions = Vec::new();
        for wanted in &topic.partitions {
            let index = wanted.partition_index;
            let (code, offset, timestamp) = match node.topics.partition(&topic.name, index) {
                _ if repeated.contains(&(topic.name.clone(), index)) => {
                    (ResponseError::InvalidRequest.code(), -1, -1)
                }
                None => (ResponseError::UnknownTopicOrPartition.code(), -1, -1),
                Some(partition) => look_up(&partition, wanted.timestamp, version, &mut decoding),
            };
            let mut response = ListOffsetsPartitionResponse::default()
                .with_partition_index(index)
                .with_error_code(code)
                .with_offset(offset)
                .with_timestamp(timestamp);
            if version >= LEADER_EPOCH_FROM && code == OK {
                response.leader_epoch = 0;
            }
            partitions.push(response);
        }
        let response = ListOffsetsTopicResponse::default()
            .with_name(topic.name)
            .with_partitions(partitions);
        topics.push(response);
    }
    ListOffsetsResponse::default().with_topics(topics)
}

fn repeated(request: &ListOffsetsRequest) -> HashSet<(TopicName, i32)> {
    let mut once = HashSet::new();
    let mut repeated = HashSet::new();
    for topic in &request.topics {
        for wanted in &topic.partitions {
            let place = (topic.name.clone(), wanted.partition_index);
            if !once.insert(place.clone()) {
                repeated.insert(place);
            }
        }
    }
    repeated
}

fn look_up(
    partition: &Partition,
    timestamp: i64,
    version: i16,
    decoding: &mut Decoding,
) -> (i16, i64, i64) {
    let found = match timestamp {
        LATEST => return (OK, partition.log().high_watermark(), -1),
        EARLIEST => return (OK, partition.log().start(), -1),
        EARLIEST_LOCAL if version >= EARLIEST_LOCAL_FROM => {
            return (OK, partition.log().start(), -1);
        }
        LATEST_TIERED if version >= LATEST_TIERED_FROM => return (OK, -1, -1),
        MAX_TIMESTAMP if version >= MAX_TIMESTAMP_FROM => partition.find_latest(decoding),
        ..=-3 => return (ResponseError::UnsupportedVersion.code(), -1, -1),
        0.. => partition.find_timestamp(timestamp, decoding),
    };
    match found {
        Ok(Some((offset, timestamp))) => (OK, offset, timestamp),
        Ok(None) => (OK, -1, -1),
        Err(error) => {
            tracing::error!(%error, "log could not be read");
            (ResponseError::KafkaStorageError.code(), -1, -1)
        }
    }
}
