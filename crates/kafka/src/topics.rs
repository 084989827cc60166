//! Making the two topics. Nothing else ever creates one.
//!
//! In: the settings. Out: a report for each topic. A topic that exists is left as it is: one with
//! too few partitions is an error that names the way out, one with more a warning.

use crate::KafkaError;
use crate::client::{self, QuietContext, blocking};
use crate::settings::KafkaSettings;
use crate::trouble::explained;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::error::RDKafkaErrorCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// What became of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicReport {
    /// Its name.
    pub topic: String,
    /// Whether it was made.
    pub state: TopicState,
    /// How many partitions it has.
    pub partitions: u32,
    /// What deserves attention, as a sentence.
    pub warning: Option<String>,
}

/// Whether a topic was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TopicState {
    /// It was made just now.
    Created,
    /// It was there.
    Existed,
}

/// A topic as it should be.
struct Wanted {
    name: String,
    partitions: u32,
    retention_ms: String,
    message_bytes: String,
}

type Admin = Arc<AdminClient<QuietContext>>;

/// How long a new topic may take until its partitions can be written to.
const VISIBLE: Duration = Duration::from_secs(10);
/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// Makes the data topic and the dead-letter topic where they do not exist: partitions,
/// replication, `retention.ms` (dead letters stay for ever) and `max.message.bytes` (dead letters
/// 64 KiB more) by the settings. Returns when both can be written to.
///
/// # Errors
/// [`KafkaError::Unavailable`] after about 10 s, [`KafkaError::TooFewPartitions`],
/// [`KafkaError::Refused`] with the broker's reason, [`KafkaError::Settings`],
/// [`KafkaError::Client`].
pub async fn ensure_topics(settings: &KafkaSettings) -> Result<Vec<TopicReport>, KafkaError> {
    settings.validate()?;
    let failed = |source| KafkaError::Client {
        what: "admin client",
        source,
    };
    let admin: AdminClient<QuietContext> = settings
        .admin()
        .create_with_context(QuietContext)
        .map_err(failed)?;
    let (admin, settings) = (Arc::new(admin), Arc::new(settings.clone()));
    let mut reports = Vec::with_capacity(2);
    for wanted in wanted(&settings) {
        reports.push(ensure(&admin, &settings, &wanted).await?);
    }
    // Its thread is waited for when it is dropped.
    blocking("admin client", move || {
        drop(admin);
        Ok(())
    })
    .await?;
    Ok(reports)
}

fn wanted(settings: &KafkaSettings) -> [Wanted; 2] {
    [
        Wanted {
            name: settings.topic.clone(),
            partitions: settings.partitions,
            retention_ms: settings.retention.as_millis().to_string(),
            message_bytes: settings.topic_message_bytes().to_string(),
        },
        Wanted {
            name: settings.dlq_topic.clone(),
            partitions: settings.dlq_partitions,
            retention_ms: "-1".to_owned(),
            message_bytes: settings.dlq_message_bytes().to_string(),
        },
    ]
}

async fn ensure(
    admin: &Admin,
    settings: &Arc<KafkaSettings>,
    wanted: &Wanted,
) -> Result<TopicReport, KafkaError> {
    let state = match count(admin, settings, &wanted.name).await {
        Ok(_) => TopicState::Existed,
        Err(KafkaError::NoTopic { .. }) => create(admin, settings, wanted).await?,
        Err(error) => return Err(error),
    };
    let found = visible(admin, settings, &wanted.name).await?;
    let (topic, want) = (wanted.name.clone(), wanted.partitions);
    if found < want {
        return Err(KafkaError::TooFewPartitions {
            topic,
            found,
            wanted: want,
        });
    }
    let warning = (found > want).then(|| {
        format!("{topic} has {found} partitions; keys go to the first {want}, as the settings say")
    });
    Ok(TopicReport {
        topic,
        state,
        partitions: found,
        warning,
    })
}

async fn create(
    admin: &Admin,
    settings: &KafkaSettings,
    wanted: &Wanted,
) -> Result<TopicState, KafkaError> {
    let partitions = i32::try_from(wanted.partitions).unwrap_or(i32::MAX);
    let replication = TopicReplication::Fixed(i32::from(settings.replication));
    let topic = NewTopic::new(&wanted.name, partitions, replication)
        .set("retention.ms", &wanted.retention_ms)
        .set("max.message.bytes", &wanted.message_bytes);
    let options = AdminOptions::new()
        .request_timeout(Some(client::ANSWER))
        .operation_timeout(Some(client::ANSWER));
    let what = format!("to create topic {}", wanted.name);
    let answers = admin.create_topics([&topic], &options).await;
    let answers = answers.map_err(|error| client::unavailable(settings, &what, &error))?;
    match answers.into_iter().next() {
        Some(Ok(_)) => Ok(TopicState::Created),
        // Somebody else was faster.
        Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(TopicState::Existed),
        Some(Err((_, code))) if client::is_outage(code) => {
            Err(client::unavailable(settings, &what, &code))
        }
        Some(Err((_, code))) => {
            let hint = match code {
                RDKafkaErrorCode::InvalidReplicationFactor => {
                    let copies = settings.replication;
                    format!(
                        " (kafka.replication = {copies}; it cannot be more than there are \
                         brokers: --replication 1 for a single one)"
                    )
                }
                _ => String::new(),
            };
            Err(KafkaError::Refused {
                what,
                reason: format!("{code}{hint}"),
            })
        }
        None => Err(KafkaError::Refused {
            what,
            reason: "it gave no answer".to_owned(),
        }),
    }
}

/// Number of partitions, once the topic is known everywhere.
async fn visible(
    admin: &Admin,
    settings: &Arc<KafkaSettings>,
    topic: &str,
) -> Result<u32, KafkaError> {
    let until = Instant::now() + VISIBLE;
    loop {
        match count(admin, settings, topic).await {
            Err(KafkaError::NoTopic { .. }) if Instant::now() < until => {
                tokio::time::sleep(LOOK).await;
            }
            found => return found,
        }
    }
}

async fn count(
    admin: &Admin,
    settings: &Arc<KafkaSettings>,
    topic: &str,
) -> Result<u32, KafkaError> {
    let (admin, settings, topic) = (Arc::clone(admin), Arc::clone(settings), topic.to_owned());
    blocking("admin client", move || {
        // All topics: a question for one of them would create it where brokers allow that.
        let metadata = admin.inner().fetch_metadata(None, client::ANSWER);
        let metadata = metadata.map_err(|error| {
            explained(
                &settings,
                client::unavailable(&settings, "metadata", &error),
            )
        })?;
        client::count_in(&metadata, &settings, &topic)
    })
    .await
}
