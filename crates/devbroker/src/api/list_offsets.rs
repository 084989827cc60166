//! ListOffsets: the first offset, the next one, or the first at a time.
//!
//! By time, the answer is as fine as a batch: never behind the record asked for.

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
                Some(partition) => look_up(&partition, wanted.timestamp),
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

fn look_up(partition: &Partition, timestamp: i64) -> (i16, i64, i64) {
    let log = partition.log();
    match timestamp {
        LATEST => (OK, log.high_watermark(), -1),
        EARLIEST => (OK, log.start(), -1),
        ..=-3 => (ResponseError::UnsupportedVersion.code(), -1, -1),
        0.. => match log.find_timestamp(timestamp) {
            Ok(Some((offset, timestamp))) => (OK, offset, timestamp),
            Ok(None) => (OK, -1, -1),
            Err(error) => {
                tracing::error!(%error, "log could not be read");
                (ResponseError::KafkaStorageError.code(), -1, -1)
            }
        },
    }
}
