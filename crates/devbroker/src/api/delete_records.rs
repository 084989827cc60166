//! DeleteRecords: a partition begins at a later offset, for ever.
//!
//! Error codes are Kafka's (<https://cwiki.apache.org/confluence/display/KAFKA/KIP-107>), and one
//! rule is ours: what a group of `retain_for` has not committed stays (`docs/adr/0007`).

use std::sync::Arc;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsTopicResult,
};
use kafka_protocol::messages::{DeleteRecordsRequest, DeleteRecordsResponse};

use super::code;
use crate::log::Partition;
use crate::node::Node;
use crate::offsets::Place;
use crate::retention::Commits;

/// Up to what readers see.
const HIGH_WATERMARK: i64 = -1;

/// Deletes the records before the offset given, in each partition.
pub(crate) async fn handle(node: &Node, request: DeleteRecordsRequest) -> DeleteRecordsResponse {
    let commits = node.retaining.commits(&node.offsets).await;
    let mut topics = Vec::new();
    for topic in request.topics {
        let mut partitions = Vec::new();
        for wanted in &topic.partitions {
            let place = (topic.name.to_string(), wanted.partition_index);
            let result = match &commits {
                Ok(commits) => delete(node, &place, wanted.offset, commits).await,
                Err(error) => {
                    tracing::error!(%error, "no record is deleted: committed offsets could not be synced");
                    Err(ResponseError::KafkaStorageError)
                }
            };
            let response = DeleteRecordsPartitionResult::default()
                .with_partition_index(wanted.partition_index)
                .with_error_code(code(&result))
                .with_low_watermark(result.unwrap_or(-1));
            partitions.push(response);
        }
        let response = DeleteRecordsTopicResult::default()
            .with_name(topic.name)
            .with_partitions(partitions);
        topics.push(response);
    }
    DeleteRecordsResponse::default().with_topics(topics)
}

/// Where the partition begins afterwards.
async fn delete(
    node: &Node,
    place: &Place,
    before: i64,
    commits: &Commits,
) -> Result<i64, ResponseError> {
    let (topic, index) = place;
    let partition = node
        .topics
        .partition(topic, *index)
        .ok_or(ResponseError::UnknownTopicOrPartition)?;
    let watermark = partition.log().high_watermark();
    let to = match before {
        HIGH_WATERMARK => watermark,
        0.. if before <= watermark => before,
        _ => return Err(ResponseError::OffsetOutOfRange),
    };
    if to > partition.log().start()
        && let Some((group, committed)) = commits.first_below(place, &node.offsets, to)
    {
        tracing::warn!(%topic, partition = index, before = to, %group, committed, "records are not deleted: a group that they are kept for has not committed them");
        return Err(ResponseError::PolicyViolation);
    }
    raise(&partition, to).await.map_err(|error| {
        tracing::error!(%topic, partition = index, before = to, %error, "records could not be deleted");
        ResponseError::KafkaStorageError
    })?;
    Ok(partition.log().start())
}

async fn raise(partition: &Arc<Partition>, to: i64) -> std::io::Result<bool> {
    let partition = Arc::clone(partition);
    let raise = move || partition.raise_start(to);
    tokio::task::spawn_blocking(raise)
        .await
        .map_err(std::io::Error::other)?
}
