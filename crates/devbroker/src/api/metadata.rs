//! Metadata: this one node, the log id as cluster id, the topics.
//!
//! Topics are asked for by name, or from version 12 on by id (KIP-516:
//! <https://cwiki.apache.org/confluence/display/KAFKA/KIP-516%3A+Topic+Identifiers>). None is made by asking.

use std::collections::BTreeSet;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{BrokerId, MetadataRequest, MetadataResponse, TopicName};

use super::{NODE_ID, text};
use crate::node::Node;
use crate::topic_names;
use crate::topics::Topic;

/// Lowest version that has ids in its answer.
const IDS_FROM: i16 = 10;
/// Lowest version that may ask by id.
const ASK_BY_ID_FROM: i16 = 12;

/// The topics asked for, or all.
pub(crate) fn handle(node: &Node, request: MetadataRequest, version: i16) -> MetadataResponse {
    let wanted = request
        .topics
        .filter(|names| version > 0 || !names.is_empty());
    let topics = match wanted {
        None => {
            let all = node.topics.all();
            all.iter().map(|topic| describe(topic)).collect()
        }
        Some(wanted) => find_all(node, wanted, version),
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

fn find_all(
    node: &Node,
    mut wanted: Vec<MetadataRequestTopic>,
    version: i16,
) -> Vec<MetadataResponseTopic> {
    // Each once, as Kafka does: the answer is no larger than that about all topics.
    let mut seen = BTreeSet::new();
    wanted.retain(|topic| seen.insert((topic.name.clone(), topic.topic_id)));
    let mut ids = wanted.iter().map(|topic| topic.topic_id);
    let by_id = node.topics.by_ids(ids.clone());
    // Asked by any id, Kafka looks at ids only.
    let ids_only = version >= ASK_BY_ID_FROM && ids.any(|id| !id.is_nil());
    let find_one = |topic: MetadataRequestTopic| match topic.name {
        _ if (IDS_FROM..ASK_BY_ID_FROM).contains(&version) && !topic.topic_id.is_nil() => {
            refused(ResponseError::InvalidRequest)
                .with_name(Some(topic.name.unwrap_or_default()))
                .with_topic_id(topic.topic_id)
        }
        Some(name) => find(node, name),
        None if version < ASK_BY_ID_FROM => {
            refused(ResponseError::InvalidRequest).with_name(Some(TopicName::default()))
        }
        None => match by_id.get(&topic.topic_id) {
            Some(found) => describe(found),
            None => refused(ResponseError::UnknownTopicId)
                .with_name(None)
                .with_topic_id(topic.topic_id),
        },
    };
    let wanted = wanted.into_iter();
    let answered = wanted.filter(|topic| !ids_only || !topic.topic_id.is_nil());
    answered.map(find_one).collect()
}

fn find(node: &Node, name: TopicName) -> MetadataResponseTopic {
    match node.topics.get(&name) {
        Some(topic) => describe(&topic),
        None => refused(unknown(&name)).with_name(Some(name)),
    }
}

/// Why there is no topic of this name.
pub(super) fn unknown(name: &str) -> ResponseError {
    match topic_names::check(name) {
        Ok(()) => ResponseError::UnknownTopicOrPartition,
        Err(illegal) => illegal.code,
    }
}

fn refused(error: ResponseError) -> MetadataResponseTopic {
    MetadataResponseTopic::default().with_error_code(error.code())
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
        .with_topic_id(topic.id)
        .with_partitions((0..).zip(&topic.partitions).map(partition).collect())
}
