//! CreateTopics and DeleteTopics.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::{
    CreateTopicsRequest, CreateTopicsResponse, DeleteTopicsRequest, DeleteTopicsResponse,
};

use super::text;
use crate::node::Node;
use crate::topics::{TopicError, TopicSettings};

/// Partitions of a topic whose creator leaves the number to the broker.
const DEFAULT_PARTITIONS: i32 = 1;

/// Lowest version whose answer can carry a sentence for a deleted topic.
const DELETE_MESSAGE_FROM: i16 = 5;

/// Creates each topic, or says why not.
pub(crate) fn create(node: &Node, request: CreateTopicsRequest) -> CreateTopicsResponse {
    let mut results = Vec::new();
    for topic in request.topics {
        let response = CreatableTopicResult::default().with_name(topic.name.clone());
        results.push(match create_one(node, &topic, request.validate_only) {
            Ok(partitions) => response
                .with_num_partitions(partitions)
                .with_replication_factor(1)
                .with_configs(Some(Vec::new())),
            Err(refused) => response
                .with_error_code(refused.code.code())
                .with_error_message(Some(text(refused.message))),
        });
    }
    CreateTopicsResponse::default().with_topics(results)
}

fn create_one(node: &Node, topic: &CreatableTopic, only_check: bool) -> Result<i32, TopicError> {
    if !matches!(topic.replication_factor, -1 | 1) {
        let factor = topic.replication_factor;
        let code = ResponseError::InvalidReplicationFactor;
        let message = format!("replication factor {factor}: the embedded log is one node");
        return Err(TopicError { code, message });
    }
    let mut settings = TopicSettings::default();
    for config in &topic.configs {
        match &config.value {
            Some(value) => settings.set(&config.name, value)?,
            None => {
                let message = format!("configuration {} has no value", config.name);
                return Err(TopicError {
                    code: ResponseError::InvalidConfig,
                    message,
                });
            }
        }
    }
    let assigned = i32::try_from(topic.assignments.len()).unwrap_or(i32::MAX);
    let partitions = match topic.num_partitions {
        -1 if assigned > 0 => assigned,
        -1 => DEFAULT_PARTITIONS,
        given => given,
    };
    if !only_check && node.topics.get(&topic.name).is_none() {
        // Left over, they would have the new topic's first records passed by.
        node.offsets
            .delete_topic(&topic.name)
            .map_err(|error| TopicError {
                code: ResponseError::KafkaStorageError,
                message: format!("committed offsets of an earlier topic of this name: {error}"),
            })?;
    }
    node.topics
        .create(&topic.name, partitions, settings, only_check)?;
    Ok(partitions)
}

/// Deletes each topic with its records and the offsets committed for it.
pub(crate) fn delete(
    node: &Node,
    request: DeleteTopicsRequest,
    version: i16,
) -> DeleteTopicsResponse {
    let mut results = Vec::new();
    for name in request.topic_names {
        let result = node.topics.delete(&name).and_then(|()| {
            node.offsets
                .delete_topic(&name)
                .map_err(|error| TopicError {
                    code: ResponseError::KafkaStorageError,
                    message: format!("committed offsets of the topic stay: {error}"),
                })
        });
        let mut response = DeletableTopicResult::default().with_name(Some(name));
        if let Err(refused) = result {
            response.error_code = refused.code.code();
            if version >= DELETE_MESSAGE_FROM {
                response.error_message = Some(text(refused.message));
            }
        }
        results.push(response);
    }
    DeleteTopicsResponse::default().with_responses(results)
}
