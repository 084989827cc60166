//! What a topic may be called
//! (<https://github.com/apache/kafka/blob/4.0/clients/src/main/java/org/apache/kafka/common/internals/Topic.java>).

use kafka_protocol::ResponseError;

use crate::topic_settings::TopicError;

const MAX_BYTES: usize = 249;

/// Whether a topic may be called so.
pub(crate) fn check(name: &str) -> Result<(), TopicError> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let reserved = matches!(name, "" | "." | "..");
    if reserved || name.len() > MAX_BYTES || !name.bytes().all(legal) {
        return Err(invalid(format!(
            "topic name '{name}' is illegal: 1 to {MAX_BYTES} of a-z, A-Z, 0-9, '.', '_', '-'"
        )));
    }
    Ok(())
}

/// Whether it stands apart from all others. Kafka's metrics have '_' for '.', so names that differ
/// in these only do not.
pub(crate) fn check_collision<'a>(
    name: &str,
    mut others: impl Iterator<Item = &'a String>,
) -> Result<(), TopicError> {
    let in_metrics = |name: &str| name.replace('.', "_");
    let collides = |other: &&String| in_metrics(other) == in_metrics(name);
    if name.contains(['.', '_'])
        && let Some(other) = others.find(collides)
    {
        return Err(invalid(format!(
            "topic name '{name}' collides with existing topic '{other}'"
        )));
    }
    Ok(())
}

fn invalid(message: String) -> TopicError {
    TopicError {
        code: ResponseError::InvalidTopicException,
        message,
    }
}
