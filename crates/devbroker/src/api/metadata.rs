//! Metadata and FindCoordinator: this one node, the log id as cluster id, the topics.

use std::collections::BTreeSet;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{
    BrokerId, FindCoordinatorRequest, FindCoordinatorResponse, MetadataRequest, MetadataResponse,
    TopicName,
};

use super::{NODE_ID, text};
use crate::node::Node;
use crate::topics::Topic;

const TRANSACTION: i8 = 1;

/// The topics asked for, or all. None is made by asking.
pub(crate) fn handle(node: &Node, request: MetadataRequest, version: i16) -> MetadataResponse {
    let names = request
        .topics
        .filter(|names| version > 0 || !names.is_empty());
    let topics = match names {
        None => node
            .topics
            .all()
            .iter()
            .map(|topic| describe(topic))
            .collect(),
        Some(wanted) => {
            let names = wanted.into_iter().filter_map(|topic| topic.name);
            // Each once, as Kafka does: the answer is no larger than that about all topics.
            let names: BTreeSet<TopicName> = names.collect();
            let names = names.into_iter();
            names.map(|name| find(node, name)).collect()
        }
    };
    let broker = MetadataResponseBroker::default()
        .with_node_id(BrokerId(NODE_ID))
        .with_host(text(node.address.ip().to_string()))
        .with_port(i32::from(node.address.port()));
    MetadataResponse::default()
        .with_brokers(vec![broker])
        .with_cluster_id(Some(text(node.log_id.to_string())))
        .with_controller_id(BrokerId(NODE_ID))
        .with_topics(topics)
}

fn find(node: &Node, name: TopicName) -> MetadataResponseTopic {
    match node.topics.get(&name) {
        Some(topic) => describe(&topic),
        None => MetadataResponseTopic::default()
            .with_name(Some(name))
            .with_error_code(ResponseError::UnknownTopicOrPartition.code()),
    }
}

fn describe(topic: &Topic) -> MetadataResponseTopic {
    let partition = |(index, _)| {
        MetadataResponsePartition::default()
            .with_partition_index(index)
            .with_leader_id(BrokerId(NODE_ID))
            .with_leader_epoch(0)
            .with_replica_nodes(vec![BrokerId(NODE_ID)])
            .with_isr_nodes(vec![BrokerId(NODE_ID)])
    };
    MetadataResponseTopic::default()
        .with_name(Some(TopicName(text(topic.name.as_str()))))
        .with_partitions((0..).zip(&topic.partitions).map(partition).collect())
}

/// This node coordinates every group, and no transaction.
pub(crate) fn find_coordinator(
    node: &Node,
    request: &FindCoordinatorRequest,
) -> FindCoordinatorResponse {
    let response = FindCoordinatorResponse::default();
    if request.key_type == TRANSACTION {
        return response
            .with_error_code(ResponseError::TransactionalIdAuthorizationFailed.code())
            .with_error_message(Some(text("the embedded log has no transactions")))
            .with_node_id(BrokerId(-1))
            .with_port(-1);
    }
    response
        .with_node_id(BrokerId(NODE_ID))
        .with_host(text(node.address.ip().to_string()))
        .with_port(i32::from(node.address.port()))
}
