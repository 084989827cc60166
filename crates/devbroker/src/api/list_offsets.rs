//! ListOffsets: the first offset, the next one, the first at a time, or that of the latest time.
//!
//! By time, the answer is a record's, for which the one batch that holds it is decoded.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::{ListOffsetsRequest, ListOffsetsResponse};

use super::OK;
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

/// Looks up the offset asked for in each partition.
pub(crate) fn handle(
    node: &Node,
    request: ListOffsetsRequest,
    version: i16,
) -> ListOffsetsResponse {
    let mut topics = Vec::new();
    for topic in request.topics {
        let mut partitions = Vec::new();
        for wanted in &topic.partitions {
            let found = node.topics.partition(&topic.name, wanted.partition_index);
            let (code, offset, timestamp) = match found {
                None => (ResponseError::UnknownTopicOrPartition.code(), -1, -1),
                Some(partition) => look_up(&partition, wanted.timestamp, version),
            };
            let mut response = ListOffsetsPartitionResponse::default()
                .with_partition_index(wanted.partition_index)
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

fn look_up(partition: &Partition, timestamp: i64, version: i16) -> (i16, i64, i64) {
    let log = partition.log();
    let found = match timestamp {
        LATEST => return (OK, log.high_watermark(), -1),
        EARLIEST => return (OK, log.start(), -1),
        EARLIEST_LOCAL if version >= EARLIEST_LOCAL_FROM => return (OK, log.start(), -1),
        LATEST_TIERED if version >= LATEST_TIERED_FROM => return (OK, -1, -1),
        MAX_TIMESTAMP if version >= MAX_TIMESTAMP_FROM => log.find_latest(),
        ..=-3 => return (ResponseError::UnsupportedVersion.code(), -1, -1),
        0.. => log.find_timestamp(timestamp),
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
