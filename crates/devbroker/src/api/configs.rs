//! DescribeConfigs: the settings of topics and of this node.

use std::collections::HashMap;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use kafka_protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};

use super::topic_configs::{self, Kind, Setting, Source};
use super::{NODE_ID, text};
use crate::budget::Left;
use crate::node::Node;

/// Kinds of resources (`ConfigResource.Type`).
const TOPIC: i8 = 2;
const BROKER: i8 = 4;
/// Lowest version whose answer has the type of a setting.
const KIND_FROM: i16 = 3;

/// How the settings are to be shown.
#[derive(Clone, Copy)]
struct Asked {
    version: i16,
    synonyms: bool,
}

/// The settings of each resource asked for, each once. `None` where the answer would take more than
/// `most` bytes.
pub(crate) fn handle(
    node: &Node,
    request: DescribeConfigsRequest,
    version: i16,
    most: usize,
) -> Option<DescribeConfigsResponse> {
    let asked = Asked {
        version,
        synonyms: request.include_synonyms,
    };
    let mut left = Left(most);
    let mut results = Vec::new();
    for resource in once(request.resources) {
        left.take(resource.resource_name.len())?;
        let result = describe(node, asked, resource);
        for config in &result.configs {
            left.take(config.value.as_ref().map_or(0, |value| value.len()))?;
            for synonym in &config.synonyms {
                left.take(synonym.value.as_ref().map_or(0, |value| value.len()))?;
            }
        }
        results.push(result);
    }
    Some(DescribeConfigsResponse::default().with_results(results))
}

/// Each resource once, with all the keys asked for of it.
fn once(resources: Vec<DescribeConfigsResource>) -> Vec<DescribeConfigsResource> {
    let mut at = HashMap::new();
    let mut each: Vec<DescribeConfigsResource> = Vec::new();
    for resource in resources {
        let key = (resource.resource_type, resource.resource_name.clone());
        let known = *at.entry(key).or_insert(each.len());
        let Some(before) = each.get_mut(known) else {
            each.push(resource);
            continue;
        };
        // None stands for all of them.
        before.configuration_keys = before
            .configuration_keys
            .take()
            .zip(resource.configuration_keys)
            .map(|(mut keys, more)| {
                keys.extend(more);
                keys
            });
    }
    each
}

fn describe(node: &Node, asked: Asked, resource: DescribeConfigsResource) -> DescribeConfigsResult {
    let wanted = |name: &str| {
        let keys = resource.configuration_keys.as_ref();
        keys.is_none_or(|keys| keys.iter().any(|key| **key == *name))
    };
    let configs = match resource.resource_type {
        TOPIC => node.topics.get(&resource.resource_name).map(|topic| {
            let settings = topic_configs::effective(node, &topic.settings).into_iter();
            settings.map(|setting| of_topic(asked, setting)).collect()
        }),
        BROKER if *resource.resource_name == *NODE_ID.to_string() => Some(of_node(node, asked)),
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
    let mut configs: Vec<_> = configs.unwrap_or_default();
    configs.retain(|config| wanted(&config.name));
    result.configs = configs;
    result.resource_name = resource.resource_name;
    result
}

/// With [`Asked::synonyms`] whatever else would decide a value, in the order in which it would.
fn of_topic(asked: Asked, setting: Setting) -> DescribeConfigsResourceResult {
    let synonym = |name: &str, value: &str, source: Source| {
        DescribeConfigsSynonym::default()
            .with_name(text(name))
            .with_value(Some(text(value)))
            .with_source(source as i8)
    };
    let mut synonyms = Vec::new();
    if asked.synonyms {
        if setting.source != Source::Default {
            synonyms.push(synonym(setting.name, &setting.value, setting.source));
        }
        let default = |name| synonym(name, &setting.default, Source::Default);
        synonyms.extend(setting.synonym.map(default));
    }
    config(asked, setting.name, setting.value, setting.kind)
        .with_config_source(setting.source as i8)
        .with_synonyms(synonyms)
}

fn of_node(node: &Node, asked: Asked) -> Vec<DescribeConfigsResourceResult> {
    let max_message = node.max_message_bytes.to_string();
    let settings = [
        ("auto.create.topics.enable", "false", Kind::Boolean),
        ("default.replication.factor", "1", Kind::Int),
        ("message.max.bytes", &max_message, Kind::Int),
        ("num.partitions", "1", Kind::Int),
    ];
    let describe = |(name, value, kind): &(&str, &str, Kind)| {
        config(asked, name, (*value).to_owned(), *kind)
            .with_config_source(Source::Default as i8)
            .with_read_only(true)
    };
    settings.iter().map(describe).collect()
}

fn config(asked: Asked, name: &str, value: String, kind: Kind) -> DescribeConfigsResourceResult {
    let config = DescribeConfigsResourceResult::default()
        .with_name(text(name))
        .with_value(Some(text(value)));
    if asked.version >= KIND_FROM {
        config.with_config_type(kind as i8)
    } else {
        config
    }
}
