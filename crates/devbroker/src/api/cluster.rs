//! FindCoordinator, DescribeCluster and DescribeTopicPartitions: where things are. All of it is on
//! this one node.

use std::collections::BTreeSet;
use std::ops::Bound;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_protocol::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::{
    BrokerId, DescribeClusterRequest, DescribeClusterResponse, DescribeTopicPartitionsRequest,
    DescribeTopicPartitionsResponse, FindCoordinatorRequest, FindCoordinatorResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;

use super::{NODE_ID, metadata, text};
use crate::node::Node;
use crate::topics::Topic;

/// What a coordinator is asked for (`CoordinatorType`).
const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;
/// Lowest version that asks for many at once (KIP-699:
/// <https://cwiki.apache.org/confluence/display/KAFKA/KIP-699%3A+Update+FindCoordinator+to+resolve+multiple+Coordinators+at+a+time>).
const MANY_FROM: i16 = 4;
/// Kinds of endpoints (KIP-919: <https://cwiki.apache.org/confluence/display/KAFKA/KIP-919%3A+Allow+AdminClient+to+Talk+Directly+with+the+KRaft+Controller+Quorum+and+add+Controller+Registration>).
const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;
/// Partitions in one answer (Kafka's `max.request.partition.size.limit`, KIP-966:
/// <https://cwiki.apache.org/confluence/display/KAFKA/KIP-966%3A+Eligible+Leader+Replicas>).
const MAX_DESCRIBED: usize = 2_000;

/// This node coordinates every group, and no transaction.
pub(crate) fn find_coordinator(
    node: &Node,
    request: FindCoordinatorRequest,
    version: i16,
) -> FindCoordinatorResponse {
    let kind = request.key_type;
    if version >= MANY_FROM {
        let keys = request.coordinator_keys.into_iter();
        let coordinators = keys.map(|key| coordinator_of(node, kind, key)).collect();
        return FindCoordinatorResponse::default().with_coordinators(coordinators);
    }
    let found = coordinator_of(node, kind, request.key);
    FindCoordinatorResponse::default()
        .with_error_code(found.error_code)
        .with_error_message(found.error_message)
        .with_node_id(found.node_id)
        .with_host(found.host)
        .with_port(found.port)
}

fn coordinator_of(node: &Node, kind: i8, key: StrBytes) -> Coordinator {
    let coordinator = Coordinator::default().with_key(key);
    let (error, message) = match kind {
        GROUP => {
            return coordinator
                .with_node_id(BrokerId(NODE_ID))
                .with_host(text(node.address.ip().to_string()))
                .with_port(i32::from(node.address.port()));
        }
        TRANSACTION => (
            ResponseError::TransactionalIdAuthorizationFailed,
            "the embedded log has no transactions",
        ),
        _ => (
            ResponseError::InvalidRequest,
            "the embedded log coordinates groups of consumers only",
        ),
    };
    coordinator
        .with_error_code(error.code())
        .with_error_message(Some(text(message)))
        .with_node_id(BrokerId(-1))
        .with_port(-1)
}

/// The one node.
pub(crate) fn describe(
    node: &Node,
    request: &DescribeClusterRequest,
    version: i16,
) -> DescribeClusterResponse {
    let response = DescribeClusterResponse::default();
    // Before version 1 there is no such field, and brokers are meant.
    let error = match request.endpoint_type {
        _ if version < 1 => None,
        BROKERS => None,
        CONTROLLERS => Some(ResponseError::MismatchedEndpointType),
        _ => Some(ResponseError::UnsupportedEndpointType),
    };
    if let Some(error) = error {
        return response
            .with_error_code(error.code())
            .with_error_message(Some(text(error.to_string())));
    }
    let broker = DescribeClusterBroker::default()
        .with_broker_id(BrokerId(NODE_ID))
        .with_host(text(node.address.ip().to_string()))
        .with_port(i32::from(node.address.port()));
    response
        .with_cluster_id(text(node.log_id.to_string()))
        .with_controller_id(BrokerId(NODE_ID))
        .with_brokers(vec![broker])
}

/// The partitions of the topics asked for, or of all, by name; as many as one answer takes.
pub(crate) fn describe_topic_partitions(
    node: &Node,
    request: DescribeTopicPartitionsRequest,
) -> DescribeTopicPartitionsResponse {
    let limit = usize::try_from(request.response_partition_limit).unwrap_or(0);
    let mut left = limit.clamp(1, MAX_DESCRIBED);
    let cursor = request.cursor.unwrap_or_default();
    let first_index = cursor.partition_index.max(0);
    let mut names: BTreeSet<String> = if request.topics.is_empty() {
        let all = node.topics.all();
        all.iter().map(|topic| topic.name.clone()).collect()
    } else {
        let topics = request.topics.iter();
        topics.map(|topic| topic.name.to_string()).collect()
    };
    names = names.split_off(&cursor.topic_name.to_string());
    let mut topics = Vec::new();
    for name in &names {
        let described = DescribeTopicPartitionsResponseTopic::default()
            .with_name(Some(TopicName(text(name.as_str()))));
        let Some(topic) = node.topics.get(name) else {
            topics.push(described.with_error_code(metadata::unknown(name).code()));
            continue;
        };
        let is_first = *cursor.topic_name == **name;
        let from = if is_first { first_index } else { 0 };
        let from = usize::try_from(from).unwrap_or(0);
        let partitions = partitions(&topic, from, left);
        let next = from + partitions.len();
        left -= partitions.len();
        topics.push(
            described
                .with_topic_id(topic.id)
                .with_partitions(partitions),
        );
        if left > 0 {
            continue;
        }
        let response = DescribeTopicPartitionsResponse::default().with_topics(topics);
        return response.with_next_cursor(next_cursor(&names, &topic, next));
    }
    DescribeTopicPartitionsResponse::default().with_topics(topics)
}

fn partitions(
    topic: &Topic,
    from: usize,
    most: usize,
) -> Vec<DescribeTopicPartitionsResponsePartition> {
    let one = |index: usize| {
        DescribeTopicPartitionsResponsePartition::default()
            .with_partition_index(i32::try_from(index).unwrap_or(i32::MAX))
            .with_leader_id(BrokerId(NODE_ID))
            .with_leader_epoch(0)
            .with_replica_nodes(vec![BrokerId(NODE_ID)])
            .with_isr_nodes(vec![BrokerId(NODE_ID)])
            .with_eligible_leader_replicas(Some(Vec::new()))
            .with_last_known_elr(Some(Vec::new()))
    };
    (from..topic.partitions.len()).take(most).map(one).collect()
}

/// Where the next answer begins: in this topic or with the one behind it.
fn next_cursor(names: &BTreeSet<String>, topic: &Topic, next: usize) -> Option<Cursor> {
    let at = |name: &str, index: usize| {
        Cursor::default()
            .with_topic_name(TopicName(text(name)))
            .with_partition_index(i32::try_from(index).unwrap_or(i32::MAX))
    };
    if next < topic.partitions.len() {
        return Some(at(&topic.name, next));
    }
    let behind = (Bound::Excluded(topic.name.as_str()), Bound::Unbounded);
    let following = names.range::<str, _>(behind).next();
    following.map(|name| at(name, 0))
}
