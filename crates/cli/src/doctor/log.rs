//! The log: reachable, and its topics as the settings say.

use super::Finding;
use crate::settings::Settings;
use cloudsync_kafka::inspect::FoundTopic;
use cloudsync_kafka::{KafkaSettings, TopicInspection, inspect};
use cloudsync_runtime::chain;
use std::net::TcpStream;
use std::time::Duration;

/// Longest wait for the embedded log's port.
const CONNECT: Duration = Duration::from_secs(1);

pub(super) async fn examine(settings: &Settings, of_up: bool) -> Vec<Finding> {
    let mut kafka = settings.kafka.clone();
    if settings.log_is_embedded() {
        let address = settings.log.listen;
        if !of_up {
            let text = "kafka.brokers is embedded, which only up and demo have; name host:port";
            return vec![Finding::fail("kafka", text)];
        }
        if TcpStream::connect_timeout(&address, CONNECT).is_err() {
            let text = format!("embedded, not running; `cloudsync up` starts it on {address}");
            return vec![Finding::ok("kafka", text)];
        }
        kafka.brokers = address.to_string();
    }
    examine_topics(&kafka).await
}

/// Asks the log itself: what it is, and what its topics are like.
pub(crate) async fn examine_topics(kafka: &KafkaSettings) -> Vec<Finding> {
    let found = match inspect(kafka).await {
        Ok(found) => found,
        Err(error) => {
            let error = chain(&error);
            let text = format!("{error}; start it, or say with kafka.brokers where it is");
            return vec![Finding::fail("kafka", text)];
        }
    };
    let cluster = found.cluster_id.as_deref().unwrap_or("without an id");
    let (at, brokers) = (&kafka.brokers, found.brokers);
    let text = format!("{at} answers: cluster {cluster}, brokers: {brokers}");
    let mut findings = vec![Finding::ok("kafka", text)];
    let topics = found.topics.iter();
    findings.extend(topics.map(|topic| examine_topic(topic, kafka)));
    findings
}

fn examine_topic(topic: &TopicInspection, kafka: &KafkaSettings) -> Finding {
    let check = format!("topic {}", topic.topic);
    let Some(found) = topic.found else {
        return Finding::fail(
            check,
            "is not there; make it with `cloudsync topics ensure`",
        );
    };
    let FoundTopic {
        partitions,
        replication,
        ..
    } = found;
    let wanted = topic.wanted_partitions;
    if partitions < wanted {
        return Finding::fail(
            check,
            format_args!(
                "has {partitions} partitions, and the settings say {wanted}; set the number to \
                 {partitions}, or add partitions when all groups have read everything"
            ),
        );
    }
    let largest = topic.wanted_message_bytes;
    if let Some(most) = found.message_bytes.filter(|most| *most < largest) {
        return Finding::fail(
            check,
            format_args!(
                "takes {most} bytes at a time (max.message.bytes), and the largest record needs \
                 {largest}; raise it there, or lower kafka.max_record_bytes"
            ),
        );
    }
    if found
        .min_insync
        .is_some_and(|least| least as usize > replication)
    {
        return Finding::fail(
            check,
            format_args!(
                "has {replication} copies, fewer than its min.insync.replicas: nothing can be \
                 written; add copies, or lower it"
            ),
        );
    }
    match warning(found, wanted, kafka) {
        Some(why) => Finding::warn(check, why),
        None => Finding::ok(
            check,
            format_args!("{partitions} partitions, replication {replication}"),
        ),
    }
}

fn warning(found: FoundTopic, wanted: u32, kafka: &KafkaSettings) -> Option<String> {
    let (partitions, copies) = (found.partitions, found.replication);
    let said = usize::try_from(kafka.replication).unwrap_or(0);
    if partitions > wanted {
        return Some(format!(
            "has {partitions} partitions; keys go to the first {wanted}, as the settings say"
        ));
    }
    (copies < said).then(|| {
        format!("has {copies} copies, and the settings say {said}; add copies, or set the number")
    })
}
