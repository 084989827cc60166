//! DescribeConfigs: the settings of topics and of this node.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult,
};
use kafka_protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};

use super::{NODE_ID, text};
use crate::node::Node;
use crate::topics::Topic;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;

const SOURCE_TOPIC: i8 = 1;
const SOURCE_DEFAULT: i8 = 5;

const TYPE_STRING: i8 = 2;
const TYPE_INT: i8 = 3;
const TYPE_LONG: i8 = 5;
const TYPE_LIST: i8 = 7;

/// The settings of each resource asked for.
pub(crate) fn handle(node: &Node, request: DescribeConfigsRequest) -> DescribeConfigsResponse {
    let results = request
        .resources
        .into_iter()
        .map(|resource| describe(node, resource))
        .collect();
    DescribeConfigsResponse::default().with_results(results)
}

fn describe(node: &Node, resource: DescribeConfigsResource) -> DescribeConfigsResult {
    let wanted = |name: &str| {
        let keys = resource.configuration_keys.as_ref();
        keys.is_none_or(|keys| keys.iter().any(|key| **key == *name))
    };
    let configs = match resource.resource_type {
        TOPIC => node
            .topics
            .get(&resource.resource_name)
            .map(|topic| of_topic(node, &topic)),
        BROKER if *resource.resource_name == *NODE_ID.to_string() => Some(of_node(node)),
        _ => None,
    };
    let error = match (&configs, resource.resource_type) {
        (Some(_), _) => None,
        (None, TOPIC) => Some(ResponseError::UnknownTopicOrPartition),
        (None, _) => Some(ResponseError::InvalidRequest),
    };
    let mut result = DescribeConfigsResult::default()
        .with_error_code(error.map_or(0, |error| error.code()))
        .with_error_message(error.map(|error| text(error.to_string())))
        .with_resource_type(resource.resource_type);
    let mut configs = configs.unwrap_or_default();
    configs.retain(|config| wanted(&config.name));
    result.configs = configs;
    result.resource_name = resource.resource_name;
    result
}

fn of_topic(node: &Node, topic: &Topic) -> Vec<DescribeConfigsResourceResult> {
    let max_message = node.max_message_bytes.to_string();
    let defaults = [
        ("cleanup.policy", "delete", TYPE_LIST),
        ("compression.type", "producer", TYPE_STRING),
        ("max.message.bytes", &max_message, TYPE_INT),
        ("message.timestamp.type", "CreateTime", TYPE_STRING),
        ("min.insync.replicas", "1", TYPE_INT),
        ("retention.bytes", "-1", TYPE_LONG),
        ("retention.ms", "-1", TYPE_LONG),
    ];
    let is_default = |name: &str| defaults.iter().any(|(known, ..)| *known == name);
    let given = topic.settings.iter().filter(|(name, _)| !is_default(name));
    let mut configs: Vec<DescribeConfigsResourceResult> = defaults
        .iter()
        .map(|(name, default, kind)| match topic.settings.get(name) {
            Some(value) => config(name, value, *kind, SOURCE_TOPIC),
            None => config(name, default, *kind, SOURCE_DEFAULT),
        })
        .collect();
    configs.extend(given.map(|(name, value)| config(name, value, TYPE_STRING, SOURCE_TOPIC)));
    configs
}

fn of_node(node: &Node) -> Vec<DescribeConfigsResourceResult> {
    let max_message = node.max_message_bytes.to_string();
    vec![
        config(
            "auto.create.topics.enable",
            "false",
            TYPE_STRING,
            SOURCE_DEFAULT,
        ),
        config("default.replication.factor", "1", TYPE_INT, SOURCE_DEFAULT),
        config("message.max.bytes", &max_message, TYPE_INT, SOURCE_DEFAULT),
        config("num.partitions", "1", TYPE_INT, SOURCE_DEFAULT),
    ]
}

fn config(name: &str, value: &str, kind: i8, source: i8) -> DescribeConfigsResourceResult {
    DescribeConfigsResourceResult::default()
        .with_name(text(name))
        .with_value(Some(text(value)))
        .with_config_type(kind)
        .with_config_source(source)
        .with_read_only(true)
}
