//! Produce: batches in, their offsets out.
//!
//! A batch is acknowledged when it is in the log, and with fsync `always` on the disk. From version
//! 13 on topics go by their ids (KIP-516:
//! <https://cwiki.apache.org/confluence/display/KAFKA/KIP-516%3A+Topic+Identifiers>).

use std::sync::Arc;
use std::time::SystemTime;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::produce_request::PartitionProduceData;
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{ProduceRequest, ProduceResponse, TopicName};
use tokio::task::JoinSet;

use super::{OK, text};
use crate::files;
use crate::log::batch::{self, BatchFault, BatchHeader, Codec};
use crate::log::{AppendError, Partition};
use crate::node::Node;
use crate::topics::{Topic, TopicSettings};

/// Why a partition's batch is refused: the code and a sentence.
struct Refusal {
    code: ResponseError,
    message: String,
}

/// A batch in the log that may still have to reach the disk.
struct Pending {
    partition: Arc<Partition>,
    sync_to: i64,
    /// Where its answer stands: topic, partition.
    at: (usize, usize),
}

/// Lowest version in which topics go by their ids.
const IDS_FROM: i16 = 13;
/// Lowest version whose client knows zstd (KIP-110:
/// <https://cwiki.apache.org/confluence/display/KAFKA/KIP-110%3A+Add+Codec+for+ZStandard+Compression>).
const ZSTD_FROM: i16 = 7;

/// A batch of a client that wants no answer (acks 0) was refused. It learns so when its connection
/// closes, as with Kafka.
#[derive(Debug, thiserror::Error)]
#[error("a record batch sent without wanting an answer is refused with error {code}")]
pub(crate) struct RefusedUnasked {
    code: i16,
}

/// Appends what the request holds. `None` where the client wants no answer.
pub(crate) async fn handle(
    node: &Node,
    request: ProduceRequest,
    version: i16,
) -> Result<Option<ProduceResponse>, RefusedUnasked> {
    let refused = refuse_whole(&request);
    let asked = Asked {
        version,
        now: files::millis(SystemTime::now()),
    };
    let ids = request.topic_data.iter().map(|data| data.topic_id);
    let by_id = node.topics.by_ids(ids.filter(|_| version >= IDS_FROM));
    let mut responses = Vec::new();
    let mut pending = Vec::new();
    for data in request.topic_data {
        let topic = if version >= IDS_FROM {
            by_id
                .get(&data.topic_id)
                .cloned()
                .ok_or(ResponseError::UnknownTopicId)
        } else {
            let topic = node.topics.get(&data.name);
            topic.ok_or(ResponseError::UnknownTopicOrPartition)
        };
        let mut partitions = Vec::new();
        for partition in data.partition_data {
            let result = match &refused {
                Some(refused) => Err(refused.into()),
                None => append(
                    node,
                    topic.as_deref().map_err(|error| *error),
                    &partition,
                    asked,
                ),
            };
            let (response, written) = answer(partition.index, result);
            let at = (responses.len(), partitions.len());
            pending.extend(written.map(|(partition, sync_to)| Pending {
                partition,
                sync_to,
                at,
            }));
            partitions.push(response);
        }
        // Copied: an answer that waits holds nothing of the frame.
        let response = TopicProduceResponse::default()
            .with_name(TopicName(text(data.name.as_str())))
            .with_topic_id(data.topic_id)
            .with_partition_responses(partitions);
        responses.push(response);
    }
    settle(node, pending, &mut responses).await;
    if request.acks != 0 {
        return Ok(Some(ProduceResponse::default().with_responses(responses)));
    }
    let mut all = responses.iter().flat_map(|it| &it.partition_responses);
    let refused = all.find(|partition| partition.error_code != OK);
    refused.map_or(Ok(None), |partition| {
        let code = partition.error_code;
        Err(RefusedUnasked { code })
    })
}

fn refuse_whole(request: &ProduceRequest) -> Option<Refused> {
    if request.transactional_id.is_some() {
        return Some(Refused::Transactions);
    }
    (!matches!(request.acks, -1..=1)).then_some(Refused::Acks)
}

#[derive(Clone, Copy)]
enum Refused {
    Transactions,
    Acks,
}

impl From<&Refused> for Refusal {
    fn from(refused: &Refused) -> Self {
        match refused {
            Refused::Transactions => Self {
                code: ResponseError::TransactionalIdAuthorizationFailed,
                message: "the embedded log has no transactions".to_owned(),
            },
            Refused::Acks => Self {
                code: ResponseError::InvalidRequiredAcks,
                message: "acks must be -1, 0 or 1".to_owned(),
            },
        }
    }
}

/// What holds for all batches of a request.
#[derive(Clone, Copy)]
struct Asked {
    version: i16,
    /// In ms.
    now: i64,
}

type Written = (Arc<Partition>, i64);

fn append(
    node: &Node,
    topic: Result<&Topic, ResponseError>,
    data: &PartitionProduceData,
    asked: Asked,
) -> Result<(i64, i64, Written), Refusal> {
    let topic = topic?;
    let index = usize::try_from(data.index).ok();
    let partition = index.and_then(|index| topic.partitions.get(index));
    let partition = partition.ok_or(ResponseError::UnknownTopicOrPartition)?;
    let records = data.records.as_deref().unwrap_or_default();
    let max_bytes = topic.settings.max_message_bytes(node.max_message_bytes);
    let header = batch::validate(records, max_bytes)?;
    if header.codec() == Codec::Zstd && asked.version < ZSTD_FROM {
        return Err(ResponseError::UnsupportedCompressionType.into());
    }
    check_settings(&topic.settings, &header, asked)?;
    let mut log = partition.log();
    let appended = log.append(&header, records)?;
    let start = log.start();
    drop(log);
    Ok((
        appended.base_offset,
        start,
        (Arc::clone(partition), appended.sync_to),
    ))
}

/// Refuses what the topic's own settings do. Not `min.insync.replicas`: with one copy that is one,
/// whatever is set, in Kafka as well.
fn check_settings(
    settings: &TopicSettings,
    header: &BatchHeader,
    asked: Asked,
) -> Result<(), Refusal> {
    let allowed = settings.timestamps(asked.now);
    // The header has the first record's and the latest; -1 is a record without one.
    let times = [header.base_timestamp, header.max_timestamp];
    let strange = times.iter().find(|at| **at >= 0 && !allowed.contains(at));
    strange.map_or(Ok(()), |at| {
        let (from, to) = (allowed.start(), allowed.end());
        Err(Refusal {
            code: ResponseError::InvalidTimestamp,
            message: format!("timestamp {at} is out of range: this topic takes {from} to {to}"),
        })
    })
}

fn answer(
    index: i32,
    result: Result<(i64, i64, Written), Refusal>,
) -> (PartitionProduceResponse, Option<Written>) {
    let response = PartitionProduceResponse::default().with_index(index);
    match result {
        Ok((base_offset, start, written)) => (
            response
                .with_base_offset(base_offset)
                .with_log_start_offset(start),
            Some(written),
        ),
        Err(refusal) => (refuse(response, &refusal), None),
    }
}

fn refuse(response: PartitionProduceResponse, refusal: &Refusal) -> PartitionProduceResponse {
    response
        .with_base_offset(-1)
        .with_error_code(refusal.code.code())
        .with_error_message(Some(text(refusal.message.as_str())))
}

/// Waits for the disk where that is asked for, and shows the batches to readers. The partitions
/// reach it side by side.
async fn settle(node: &Node, written: Vec<Pending>, responses: &mut [TopicProduceResponse]) {
    let mut syncs = JoinSet::new();
    for Pending {
        partition,
        sync_to,
        at,
    } in written
    {
        if node.sync_always {
            syncs.spawn(async move { (at, partition.sync_to(sync_to).await) });
        } else {
            partition.wake_readers();
        }
    }
    for ((topic, partition), result) in syncs.join_all().await {
        let Err(error) = result else {
            continue;
        };
        tracing::error!(%error, "log could not be synced, partition takes no more records");
        let slot = responses
            .get_mut(topic)
            .and_then(|topic| topic.partition_responses.get_mut(partition));
        if let Some(response) = slot {
            let code = ResponseError::KafkaStorageError;
            let refusal = Refusal {
                code,
                message: format!("sync failed: {error}"),
            };
            *response = refuse(std::mem::take(response), &refusal);
        }
    }
}

impl From<ResponseError> for Refusal {
    fn from(code: ResponseError) -> Self {
        Self {
            code,
            message: code.to_string(),
        }
    }
}

impl From<BatchFault> for Refusal {
    fn from(fault: BatchFault) -> Self {
        let code = match fault {
            BatchFault::Size | BatchFault::Checksum => ResponseError::CorruptMessage,
            BatchFault::TooLarge => ResponseError::MessageTooLarge,
            BatchFault::Codec => ResponseError::UnsupportedCompressionType,
            BatchFault::TimestampType => ResponseError::InvalidTimestamp,
            BatchFault::Transactional => ResponseError::InvalidTxnState,
            BatchFault::Partial
            | BatchFault::Magic
            | BatchFault::MoreThanOne
            | BatchFault::Count
            | BatchFault::Control
            | BatchFault::Sequence => ResponseError::InvalidRecord,
        };
        Self {
            code,
            message: fault.to_string(),
        }
    }
}

impl From<AppendError> for Refusal {
    fn from(error: AppendError) -> Self {
        let code = match &error {
            AppendError::OldEpoch => ResponseError::InvalidProducerEpoch,
            AppendError::OutOfOrder => ResponseError::OutOfOrderSequenceNumber,
            AppendError::MemoryFull | AppendError::Broken | AppendError::Io(_) => {
                ResponseError::KafkaStorageError
            }
        };
        if let AppendError::Io(source) = &error {
            tracing::error!(error = %source, "log could not be written");
        }
        Self {
            code,
            message: error.to_string(),
        }
    }
}
