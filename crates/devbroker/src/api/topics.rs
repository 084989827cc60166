//! CreateTopics and DeleteTopics. Both block for the disk.

use std::collections::BTreeMap;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::create_topics_response::{
    CreatableTopicConfigs, CreatableTopicResult,
};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::{
    CreateTopicsRequest, CreateTopicsResponse, DeleteTopicsRequest, DeleteTopicsResponse, TopicName,
};

use tokio::runtime::Handle;

use super::{text, topic_configs};
use crate::node::Node;
use crate::topics::{Change, TopicError, TopicSettings};

/// Partitions of a topic whose creator leaves the number to the broker.
const DEFAULT_PARTITIONS: i32 = 1;

/// Lowest version whose answer can carry a sentence for a deleted topic.
const DELETE_MESSAGE_FROM: i16 = 5;
/// Lowest version in which a topic can be deleted by its id (KIP-516:
/// <https://cwiki.apache.org/confluence/display/KAFKA/KIP-516%3A+Topic+Identifiers>).
const DELETE_BY_ID_FROM: i16 = 6;
/// Lowest version whose answer has the settings of a new topic (KIP-525:
/// <https://cwiki.apache.org/confluence/display/KAFKA/KIP-525+-+Return+topic+metadata+and+configs+in+CreateTopics+response>).
const SETTINGS_FROM: i16 = 5;

/// Creates each topic, or says why not.
pub(crate) fn create(
    node: &Node,
    change: &Change<'_>,
    request: CreateTopicsRequest,
    version: i16,
) -> CreateTopicsResponse {
    let mut times: BTreeMap<TopicName, u32> = BTreeMap::new();
    for topic in &request.topics {
        *times.entry(topic.name.clone()).or_default() += 1;
    }
    let mut results = Vec::new();
    for topic in request.topics {
        let created = match times.get_mut(&topic.name) {
            // Told once of each name, as Kafka does.
            Some(0) => continue,
            Some(1) => create_one(node, change, &topic, request.validate_only),
            Some(many) => {
                *many = 0;
                let message = format!("topic '{}' is there more than once", &**topic.name);
                let code = ResponseError::InvalidRequest;
                Err(TopicError { code, message })
            }
            None => continue,
        };
        let response = CreatableTopicResult::default().with_name(topic.name.clone());
        results.push(match created {
            Ok((partitions, settings)) => {
                let made = node.topics.get(&topic.name);
                let made = made.filter(|_| !request.validate_only);
                response
                    .with_topic_id(made.map_or_else(Default::default, |topic| topic.id))
                    .with_num_partitions(partitions)
                    .with_replication_factor(1)
                    .with_configs(Some(describe(node, &settings, version)))
            }
            Err(refused) => response
                .with_error_code(refused.code.code())
                .with_error_message(Some(text(refused.message))),
        });
    }
    CreateTopicsResponse::default().with_topics(results)
}

fn describe(node: &Node, settings: &TopicSettings, version: i16) -> Vec<CreatableTopicConfigs> {
    if version < SETTINGS_FROM {
        return Vec::new();
    }
    let settings = topic_configs::effective(node, settings).into_iter();
    let describe = |setting: topic_configs::Setting| {
        CreatableTopicConfigs::default()
            .with_name(text(setting.name))
            .with_value(Some(text(setting.value)))
            .with_config_source(setting.source as i8)
    };
    settings.map(describe).collect()
}

fn create_one(
    node: &Node,
    change: &Change<'_>,
    topic: &CreatableTopic,
    only_check: bool,
) -> Result<(i32, TopicSettings), TopicError> {
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
        // Left over, or back after a power cut, they would have the new topic's first records
        // passed by.
        let forgotten = node.offsets.delete_topic(&topic.name);
        let synced = || Handle::current().block_on(node.offsets.sync());
        forgotten
            .and_then(|()| synced())
            .map_err(|error| TopicError {
                code: ResponseError::KafkaStorageError,
                message: format!("committed offsets of an earlier topic of this name: {error}"),
            })?;
    }
    change.create(&topic.name, partitions, settings.clone(), only_check)?;
    Ok((partitions, settings))
}

/// Deletes each topic with its records and the offsets committed for it.
pub(crate) fn delete(
    node: &Node,
    change: &Change<'_>,
    request: DeleteTopicsRequest,
    version: i16,
) -> DeleteTopicsResponse {
    let names = request.topic_names.into_iter();
    let by_name = names.map(|name| DeleteTopicState::default().with_name(Some(name)));
    let wanted = if version >= DELETE_BY_ID_FROM {
        request.topics
    } else {
        by_name.collect()
    };
    let ids = wanted.iter().map(|topic| topic.topic_id);
    let by_id = node.topics.by_ids(ids);
    let mut results = Vec::new();
    for topic in wanted {
        let of_id = by_id.get(&topic.topic_id);
        let of_id = of_id.map(|topic| TopicName(text(topic.name.as_str())));
        let name = topic.name.or(of_id);
        let deleted = match &name {
            Some(name) => delete_one(node, change, name),
            None => Err(TopicError {
                code: ResponseError::UnknownTopicId,
                message: ResponseError::UnknownTopicId.to_string(),
            }),
        };
        let mut response = DeletableTopicResult::default()
            .with_name(name)
            .with_topic_id(topic.topic_id);
        if let Err(refused) = deleted {
            response.error_code = refused.code.code();
            if version >= DELETE_MESSAGE_FROM {
                response.error_message = Some(text(refused.message));
            }
        }
        results.push(response);
    }
    DeleteTopicsResponse::default().with_responses(results)
}

fn delete_one(node: &Node, change: &Change<'_>, name: &str) -> Result<(), TopicError> {
    change.delete(name)?;
    node.offsets.delete_topic(name).map_err(|error| TopicError {
        code: ResponseError::KafkaStorageError,
        message: format!("committed offsets of the topic stay: {error}"),
    })
}
