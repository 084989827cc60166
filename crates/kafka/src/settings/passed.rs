//! Which librdkafka properties may be passed through, and which may be shown.

use super::SettingsError;

const NOTHING_LOST: &str = "an acknowledged record must lie on all in-sync copies, once; the gateway's promise rests on it";
const ONLY_SETTLED: &str =
    "offsets are committed by the consumer itself, and only after the destination has the records";
const OWN_SETTING: &str = "it has a setting of its own";
const BOUNDED: &str = "the queue limits and time-outs of the client are derived from it; use \
     kafka.queue_records, kafka.queue_bytes, kafka.max_record_bytes or kafka.linger";
const GROUP: &str =
    "the consumer loop is written and tested for the classic protocol with cooperative-sticky";
const WHOLE_LOG: &str = "a group must see every record from the start of the log, intact";
const TESTS_ONLY: &str = "it is librdkafka's own test hook, and would replace the brokers";
const CALLBACKS: &str = "the client is run by its event queue; this would take events away from it";
#[cfg(not(feature = "kafka-tls"))]
const NEEDS_TLS: &str = "this build has no TLS or SASL towards Kafka; build it with \
     `--features kafka-tls`";

/// What may not be passed through, and why.
pub(super) const REFUSED: &[(&[&str], &str)] = &[
    (
        &[
            "enable.idempotence",
            "acks",
            "request.required.acks",
            "max.in.flight",
            "max.in.flight.requests.per.connection",
            "retries",
            "message.send.max.retries",
            "enable.gapless.guarantee",
            "transactional.id",
            "dr_cb",
            "dr_msg_cb",
            "delivery.report.only.error",
            "queuing.strategy",
        ],
        NOTHING_LOST,
    ),
    (
        &[
            "enable.auto.commit",
            "enable.auto.offset.store",
            "auto.commit.interval.ms",
            "auto.commit.enable",
            "offset.store.method",
        ],
        ONLY_SETTLED,
    ),
    (
        &[
            "auto.offset.reset",
            "isolation.level",
            "check.crcs",
            "enable.partition.eof",
        ],
        WHOLE_LOG,
    ),
    (
        &[
            "bootstrap.servers",
            "metadata.broker.list",
            "group.id",
            "group.instance.id",
            "linger.ms",
            "queue.buffering.max.ms",
        ],
        OWN_SETTING,
    ),
    (
        &[
            "delivery.timeout.ms",
            "message.timeout.ms",
            "queue.buffering.max.messages",
            "queue.buffering.max.kbytes",
            "message.max.bytes",
            "max.poll.interval.ms",
            "session.timeout.ms",
            "heartbeat.interval.ms",
            "allow.auto.create.topics",
        ],
        BOUNDED,
    ),
    (
        &[
            "partition.assignment.strategy",
            "group.protocol",
            "group.protocol.type",
            "group.remote.assignor",
        ],
        GROUP,
    ),
    (
        &[
            "enabled_events",
            "log.queue",
            "log_cb",
            "error_cb",
            "rebalance_cb",
            "offset_commit_cb",
            "stats_cb",
            "throttle_cb",
            "opaque",
            "background_event_cb",
        ],
        CALLBACKS,
    ),
];

/// Why `key` may not be passed through, if so.
pub(super) fn refuse(key: &str, value: &str) -> Option<SettingsError> {
    let listed = REFUSED
        .iter()
        .find(|(keys, _)| keys.contains(&key))
        .map(|(_, why)| *why);
    let why = if key.starts_with("test.") {
        Some(TESTS_ONLY)
    } else {
        listed.or_else(|| no_tls(key))
    };
    why.map(|why| SettingsError::Property {
        key: key.to_owned(),
        value: redact(key, value).to_owned(),
        why,
    })
}

#[cfg(not(feature = "kafka-tls"))]
fn no_tls(key: &str) -> Option<&'static str> {
    let secured = [
        "security.protocol",
        "sasl.",
        "ssl.",
        "enable.ssl",
        "enable.sasl",
        "https.",
    ];
    secured
        .iter()
        .any(|prefix| key.starts_with(prefix))
        .then_some(NEEDS_TLS)
}

#[cfg(feature = "kafka-tls")]
fn no_tls(_key: &str) -> Option<&'static str> {
    None
}

/// `value` of `key` as it may be shown.
pub(super) fn redact<'a>(key: &str, value: &'a str) -> &'a str {
    let secret = [
        "password",
        "secret",
        ".pem",
        "token",
        "jaas",
        "sasl.username",
    ];
    let hidden = secret.iter().any(|part| key.contains(part));
    if hidden { "***" } else { value }
}
