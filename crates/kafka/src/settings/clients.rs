//! The settings as librdkafka's properties, for each kind of client.

use super::{DELIVERY_TIMEOUT, KafkaSettings};
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};

/// Other names of properties that are set here.
const ALIASES: [(&str, &str); 2] = [
    ("max.partition.fetch.bytes", "fetch.message.max.bytes"),
    ("compression.codec", "compression.type"),
];

/// Which kind of client properties are for: librdkafka warns at each one of the other kind.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Producer,
    Consumer,
    Admin,
}

// === impl KafkaSettings ===

impl KafkaSettings {
    /// What every client has.
    fn base(&self, properties: &[(&str, &str)]) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.brokers)
            .set("client.id", "cloudsync")
            // An outage of ten seconds must not be followed by ten more of waiting.
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "500")
            .set("allow.auto.create.topics", "false");
        for (key, value) in properties {
            config.set(*key, *value);
        }
        config.set_log_level(RDKafkaLogLevel::Info);
        config
    }

    fn with_properties(&self, mut config: ClientConfig, role: Role) -> ClientConfig {
        for (key, value) in self.librdkafka.iter().filter(|(key, _)| role.takes(key)) {
            // Two names of one property: what is passed through wins.
            for (name, ours) in ALIASES {
                if key == name {
                    config.remove(ours);
                }
            }
            config.set(key, value);
        }
        config
    }

    /// Properties of the producer.
    pub(crate) fn producer(&self) -> ClientConfig {
        let mut config = self.base(&[
            ("enable.idempotence", "true"),
            ("acks", "all"),
            ("compression.type", "lz4"),
            // Above our own limits, which are the ones that hold.
            ("queue.buffering.max.messages", "500000"),
            ("queue.buffering.max.kbytes", "2097151"),
        ]);
        config
            .set(
                "delivery.timeout.ms",
                DELIVERY_TIMEOUT.as_millis().to_string(),
            )
            .set("linger.ms", self.linger.as_millis().to_string())
            .set("message.max.bytes", self.dlq_message_bytes().to_string());
        self.with_properties(config, Role::Producer)
    }

    /// Properties of everything that reads, with `group` as the group's name.
    pub(crate) fn reader(&self, group: &str) -> ClientConfig {
        let config = self.base(&[
            ("group.id", group),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("auto.offset.reset", "earliest"),
            ("isolation.level", "read_committed"),
            ("check.crcs", "true"),
            ("queued.min.messages", "10000"),
            ("queued.max.messages.kbytes", "16384"),
            ("fetch.queue.backoff.ms", "50"),
            ("fetch.wait.max.ms", "100"),
            // Small pieces of many partitions rather than a large one of each in turn: a large one
            // fills its queue while the others run dry.
            ("fetch.message.max.bytes", "262144"),
            // Bounds a commit that nobody answers.
            ("socket.timeout.ms", "10000"),
        ]);
        self.with_properties(config, Role::Consumer)
    }

    /// Properties of a client that only asks and administers.
    pub(crate) fn admin(&self) -> ClientConfig {
        self.with_properties(self.base(&[]), Role::Admin)
    }
}

// === impl Role ===

impl Role {
    fn takes(self, key: &str) -> bool {
        const PRODUCER: [&str; 8] = [
            "linger",
            "batch.",
            "compression.",
            "queue.buffering.",
            "partitioner",
            "sticky.partitioning",
            "request.timeout",
            "retry.backoff",
        ];
        const CONSUMER: [&str; 6] = [
            "fetch.",
            "queued.",
            "max.poll",
            "coordinator.",
            "consume.",
            "max.partition.fetch",
        ];
        let of = |prefixes: &[&str]| prefixes.iter().any(|prefix| key.starts_with(prefix));
        match self {
            Self::Producer => !of(&CONSUMER),
            Self::Consumer => !of(&PRODUCER),
            Self::Admin => !of(&CONSUMER) && !of(&PRODUCER),
        }
    }
}
