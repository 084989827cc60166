//! What the log is like, for whoever checks an installation. Asks only.

use crate::KafkaError;
use crate::client::{self, QuietContext, blocking};
use crate::settings::KafkaSettings;
use crate::trouble::explained;
use rdkafka::admin::{AdminClient, AdminOptions, ConfigResource, ResourceSpecifier};
use rdkafka::metadata::Metadata;
use std::sync::Arc;

/// What the log is like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// The id of the cluster, or of the embedded log, where it says one.
    pub cluster_id: Option<String>,
    /// How many brokers there are.
    pub brokers: usize,
    /// The data topic, then the dead-letter topic.
    pub topics: Vec<TopicInspection>,
}

/// What a topic is like, and what it should be like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicInspection {
    /// Its name.
    pub topic: String,
    /// How many partitions the settings say.
    pub wanted_partitions: u32,
    /// The largest batch that it has to take, in bytes.
    pub wanted_message_bytes: u64,
    /// What there is; `None` where there is no such topic.
    pub found: Option<FoundTopic>,
}

/// What a topic is like. A setting is `None` where the log does not tell it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FoundTopic {
    /// How many partitions it has.
    pub partitions: u32,
    /// Copies of the partition that has the fewest.
    pub replication: usize,
    /// `max.message.bytes`.
    pub message_bytes: Option<u64>,
    /// `retention.ms`; below zero: for ever.
    pub retention_ms: Option<i64>,
    /// `min.insync.replicas`.
    pub min_insync: Option<u32>,
}

/// Asks what the log and both topics are like.
///
/// # Errors
/// [`KafkaError::Unavailable`] after about 10 s, [`KafkaError::Settings`],
/// [`KafkaError::Client`].
pub async fn inspect(settings: &KafkaSettings) -> Result<Inspection, KafkaError> {
    settings.validate()?;
    let made = settings.admin().create_with_context(QuietContext);
    let admin: AdminClient<QuietContext> = made.map_err(|source| KafkaError::Client {
        what: "admin client",
        source,
    })?;
    let admin = Arc::new(admin);
    let (asking, about) = (Arc::clone(&admin), settings.clone());
    let mut inspection = blocking("admin client", move || ask(&asking, &about)).await?;
    for topic in &mut inspection.topics {
        configure(&admin, topic).await;
    }
    // Its thread is waited for when it is dropped.
    blocking("admin client", move || {
        drop(admin);
        Ok(())
    })
    .await?;
    Ok(inspection)
}

fn ask(
    admin: &AdminClient<QuietContext>,
    settings: &KafkaSettings,
) -> Result<Inspection, KafkaError> {
    // All topics: a question for one of them would create it where brokers allow that.
    let metadata = admin.inner().fetch_metadata(None, client::ANSWER);
    let unavailable = |error| client::unavailable(settings, "metadata", &error);
    let metadata = metadata.map_err(|error| explained(settings, unavailable(error)))?;
    let topic = |name: &str, partitions, bytes: usize| TopicInspection {
        topic: name.to_owned(),
        wanted_partitions: partitions,
        wanted_message_bytes: bytes as u64,
        found: found(&metadata, name),
    };
    Ok(Inspection {
        cluster_id: admin.inner().fetch_cluster_id(client::ANSWER),
        brokers: metadata.brokers().len(),
        topics: vec![
            topic(
                &settings.topic,
                settings.partitions,
                settings.topic_message_bytes(),
            ),
            topic(
                &settings.dlq_topic,
                settings.dlq_partitions,
                settings.dlq_message_bytes(),
            ),
        ],
    })
}

fn found(metadata: &Metadata, name: &str) -> Option<FoundTopic> {
    let topic = metadata.topics().iter().find(|it| it.name() == name)?;
    let partitions = topic.partitions();
    let copies = partitions.iter().map(|it| it.replicas().len());
    Some(FoundTopic {
        partitions: u32::try_from(partitions.len()).unwrap_or(u32::MAX),
        replication: copies.min().filter(|_| topic.error().is_none())?,
        ..FoundTopic::default()
    })
}

/// Adds what the log says about the settings of `topic`; a log that may not be asked says nothing.
async fn configure(admin: &AdminClient<QuietContext>, topic: &mut TopicInspection) {
    let Some(found) = &mut topic.found else {
        return;
    };
    let options = AdminOptions::new().request_timeout(Some(client::ANSWER));
    let asked = [ResourceSpecifier::Topic(&topic.topic)];
    let answer = admin.describe_configs(&asked, &options).await;
    let Some(Ok(config)) = answer.ok().and_then(|all| all.into_iter().next()) else {
        return;
    };
    let value = |name: &str| setting(&config, name);
    found.message_bytes = value("max.message.bytes").and_then(|it| it.parse().ok());
    found.retention_ms = value("retention.ms").and_then(|it| it.parse().ok());
    found.min_insync = value("min.insync.replicas").and_then(|it| it.parse().ok());
}

fn setting<'a>(config: &'a ConfigResource, name: &str) -> Option<&'a str> {
    config.get(name)?.value.as_deref()
}
