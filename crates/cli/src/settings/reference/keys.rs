//! Every setting: what it means, in which unit, within which bounds. Tests hold it to the types:
//! no key is missing or made up, and each bound is the one at which loading begins to refuse.

use super::{Key, Kind};

mod clouds;
mod delivery;

const fn key(key: &'static str, kind: Kind, about: &'static str) -> Key {
    Key { key, kind, about }
}

const fn count(unit: &'static str, least: u64, most: u64) -> Kind {
    Kind::Count {
        unit,
        least,
        most: Some(most),
    }
}

const fn at_least(unit: &'static str, least: u64) -> Kind {
    Kind::Count {
        unit,
        least,
        most: None,
    }
}

const fn time(least: Option<&'static str>, most: Option<&'static str>) -> Kind {
    Kind::Time { least, most }
}

const ANY_TIME: Kind = time(None, None);
const A_SECOND: Kind = time(Some("1s"), None);

/// All of them, in the order of the page.
pub(super) fn keys() -> impl Iterator<Item = &'static Key> {
    KEYS.iter().chain(delivery::KEYS).chain(clouds::KEYS)
}

const KEYS: &[Key] = &[
    key(
        "grace_period",
        ANY_TIME,
        "How long an ending process may take to finish what it has taken.",
    ),
    // kafka
    key(
        "kafka.brokers",
        Kind::Text("kafka-1:9092,kafka-2:9092"),
        "host:port of one or more brokers, separated by commas. `up` and `demo`: embedded, the log \
         inside the process.",
    ),
    key(
        "kafka.topic",
        Kind::Text("data-topic"),
        "The topic that holds every record.",
    ),
    key(
        "kafka.dlq_topic",
        Kind::Text("data-topic-dlq"),
        "The topic of dead letters; another one than kafka.topic.",
    ),
    key(
        "kafka.partitions",
        count("partitions", 1, 10_000),
        "How many partitions keys are spread over, whatever the topic has. With fewer there it does \
         not start, with more it warns.",
    ),
    key(
        "kafka.dlq_partitions",
        count("partitions", 1, 10_000),
        "The same for dead letters.",
    ),
    key(
        "kafka.replication",
        count("copies", 1, 32_767),
        "Copies of each partition of a topic that is made. `up` and `demo`: 1.",
    ),
    key(
        "kafka.retention",
        ANY_TIME,
        "How long a topic that is made keeps records. Longer than dedupe.window, and than any \
         destination may be away.",
    ),
    key(
        "kafka.linger",
        time(None, Some("1s")),
        "Longest wait of a record for others to be sent with.",
    ),
    key(
        "kafka.max_record_bytes",
        count("bytes", 4_097, 64 << 20),
        "Largest record, key included; at least gateway.max_record_bytes and 4096.",
    ),
    key(
        "kafka.queue_records",
        count("records", 1, 400_000),
        "What the producer holds unacknowledged; more wait.",
    ),
    key(
        "kafka.queue_bytes",
        count("bytes", 1_069_632, 1 << 30),
        "What the producer holds unacknowledged; more wait. At least kafka.max_record_bytes and \
         65536.",
    ),
    key(
        "kafka.librdkafka",
        Kind::Properties,
        "Properties of librdkafka by their own names, passed through as they stand, except those \
         that the guarantee rests on. In the environment _ stands for the dots: \
         CLOUDSYNC_KAFKA__LIBRDKAFKA__SOCKET_KEEPALIVE_ENABLE=true.",
    ),
    // log
    key(
        "log.listen",
        Kind::Address,
        "Where the embedded log listens; this machine only.",
    ),
    key(
        "log.fsync",
        Kind::TimeOr("always"),
        "When records of the embedded log reach the disk: before each acknowledgement, or every so \
         often.",
    ),
    key(
        "log.retain_for",
        Kind::Names("aws-sync-group"),
        "Groups without whose commit the embedded log drops no record. Without it: the groups of \
         all destinations.",
    ),
    // gateway
    key(
        "gateway.listen",
        Kind::Address,
        "Where it listens, gRPC and HTTP on one port; port 0 takes a free one.",
    ),
    key(
        "gateway.missing_id",
        Kind::Choice(&["generate", "content", "reject"]),
        "What happens to a record without a request id: it gets one of its own, one derived from \
         its content (equal records are then one effect), or it is refused.",
    ),
    key(
        "gateway.recent_ids",
        count("ids", 0, 10_000_000),
        "Ids acknowledged of late that it remembers, in at most 48 bytes each; 0: none. A record sent \
         again, with the same payload and content type for the same destinations, is answered with \
         its place in the log and not written again.",
    ),
    key(
        "gateway.receipts",
        count("ids", 0, 10_000_000),
        "Ids whose place in the log it remembers for those who ask where their record is, in at most \
         56 bytes each; 0: none. With a Redis in dedupe.url, gateways also share those of one to two \
         dedupe.window.",
    ),
    key(
        "gateway.max_record_bytes",
        count("bytes", 1, 1_000_000),
        "Largest record, encoded.",
    ),
    key(
        "gateway.max_in_flight_records",
        count("records", 1, 1 << 32),
        "Records between admission and answer, over all clients.",
    ),
    key(
        "gateway.max_in_flight_bytes",
        count("bytes", 1, 1 << 40),
        "The same in bytes.",
    ),
    key(
        "gateway.max_body_bytes",
        count("bytes", 1, 64 << 20),
        "Largest HTTP body that holds a JSON list, unpacked. A single value, and each line of NDJSON, \
         is held to gateway.max_record_bytes.",
    ),
    key(
        "gateway.body_timeout",
        time(Some("1ms"), Some("1h")),
        "Longest time for an HTTP client to send a JSON body, or the next line of NDJSON.",
    ),
    key(
        "gateway.max_streams",
        count("streams", 1, 1 << 32),
        "Streams open at once, over all clients.",
    ),
    key(
        "gateway.max_streams_per_connection",
        count("calls", 1, 1 << 16),
        "Calls open at once on one connection. Each may send its share of 16 MiB before it is read.",
    ),
    key(
        "gateway.max_connections",
        count("connections", 1, 1 << 20),
        "Connections open at once, over all clients; one too many is told so and closed.",
    ),
    key(
        "gateway.reflection",
        Kind::Flag,
        "Whether gRPC reflection answers. Without it: on a loopback address, yes; else no.",
    ),
    key(
        "gateway.insecure",
        Kind::Flag,
        "Allows an address that other machines reach without TLS.",
    ),
    // admin
    key(
        "admin.listen",
        Kind::Address,
        "Where health and metrics are told: /livez, /readyz, /metrics.",
    ),
    // dedupe
    key(
        "dedupe.url",
        Kind::Secret("memory:"),
        "Where the store is. This build has file:///dir (on this machine's disk; one process a \
         destination), memory: (forgotten when the process ends), and, shared by all replicas, \
         redis://user:password@host:port/database, redis+sentinel://host:port,host:port/master and \
         redis+cluster://host:port,host:port; each with rediss for TLS. `up` and `demo`: a \
         directory below the data directory.",
    ),
    key(
        "dedupe.shards",
        count("parts", 1, 16_384),
        "Parts that a shared store is cut into; fixed for the life of its data.",
    ),
    key(
        "dedupe.namespace",
        Kind::Text("cs1"),
        "Name in front of everything in a shared store; another one begins anew.",
    ),
    key(
        "dedupe.layout",
        Kind::Choice(&["buckets", "keys"]),
        "How a shared store lays out its keys.",
    ),
    key(
        "dedupe.window",
        A_SECOND,
        "How long an id is remembered; an id sent again after that is written again, unless the \
         gateway still knows it.",
    ),
    key(
        "dedupe.lease",
        A_SECOND,
        "How long a claim on a record holds without renewal; at most dedupe.window.",
    ),
    key(
        "dedupe.cleanup_interval",
        A_SECOND,
        "How often ended marks and leases are cleared away.",
    ),
    key(
        "dedupe.stats_interval",
        A_SECOND,
        "How often a destination logs what its store holds.",
    ),
    key(
        "dedupe.max_entries",
        at_least("ids", 1),
        "Most ids that a store in the process (file, memory) knows for a destination; the oldest \
         go first.",
    ),
    key(
        "dedupe.max_memory",
        Kind::Size("256 MiB"),
        "Most memory that a store in the process takes for a destination, at least 64 KiB. Without \
         it: what dedupe.max_entries needs.",
    ),
    key(
        "dedupe.on_unavailable",
        Kind::Choice(&["auto", "continue", "pause"]),
        "What a destination does while the store cannot be asked. auto: it goes on where it \
         recognises a duplicate itself, and waits where it does not (a plain HTTP endpoint). A store \
         in the process is never away.",
    ),
    key(
        "dedupe.log",
        Kind::Choice(&["off", "sampled", "all"]),
        "Which decisions about ids a destination logs, under the target idempotency: duplicates, \
         redeliveries and conflicts, in mode record also claims. Sampled: the first 100 of each \
         second.",
    ),
    key(
        "dedupe.redis_user",
        Kind::Text("cloudsync"),
        "User of Redis, in the place of the URL's. Without it: the URL's.",
    ),
    key(
        "dedupe.redis_password",
        Kind::Secret("hunter2"),
        "Password of Redis, in the place of the URL's. Without it: the URL's.",
    ),
    key(
        "dedupe.redis_ca",
        Kind::Text("/etc/cloudsync/redis-ca.pem"),
        "File with the certificates (PEM) that the certificate of Redis is signed by. Without it: \
         the system's.",
    ),
    key(
        "dedupe.redis_cert",
        Kind::Text("/etc/cloudsync/redis-client.pem"),
        "File with a certificate (PEM) of this client, where Redis asks for one; together with \
         dedupe.redis_key.",
    ),
    key(
        "dedupe.redis_key",
        Kind::Text("/etc/cloudsync/redis-client.key"),
        "File with the key (PEM) of dedupe.redis_cert.",
    ),
    key(
        "dedupe.redis_connect_timeout",
        time(Some("100ms"), None),
        "Longest wait for a connection to Redis.",
    ),
    key(
        "dedupe.redis_response_timeout",
        time(Some("100ms"), None),
        "Longest wait for an answer of Redis.",
    ),
    key(
        "dedupe.redis_maxmemory_policy",
        Kind::Text("noeviction"),
        "The maxmemory-policy that Redis may have beside noeviction; any other is refused, since \
         it drops ids before their window ends.",
    ),
    key(
        "dedupe.redis_expected_ids",
        at_least("ids", 1),
        "Ids of a destination that come within a window. Above 1,000,000 for each of dedupe.shards \
         the hashes of the layout buckets are cut; a namespace cut otherwise is refused.",
    ),
    // destinations
    key(
        "destinations.*.url",
        Kind::Secret("file:///srv/aws"),
        "Where it lies: s3://bucket/prefix; az://container/prefix; file:///dir; https://host/path, \
         where each record is posted; or null://. `up` and `demo`: a directory below the data \
         directory.",
    ),
    key(
        "destinations.*.group",
        Kind::Text("aws-sync-group"),
        "The consumer group that reads for it; no two destinations share one.",
    ),
    key(
        "destinations.*.mode",
        Kind::Choice(&["batch", "record"]),
        "Many records to an object, or one object for each record. An HTTP endpoint takes records \
         only. Without it: record for HTTP, else batch.",
    ),
    key(
        "destinations.*.idempotence",
        Kind::Choice(&["plain", "keyed"]),
        "What an HTTP endpoint makes of a record that is posted again: it has another effect, or it \
         honours Idempotency-Key and has one.",
    ),
    key(
        "destinations.*.idempotency_key",
        Kind::Choice(&["identity", "request_id"]),
        "What Idempotency-Key is: 32 hex digits that stand for tenant, key and request id together, or \
         the request id. With request_id a keyed endpoint leaves out the second record of one id under \
         two keys, and nobody is told: take it only if no client uses an id so.",
    ),
    key(
        "destinations.*.allow_private",
        Kind::Flag,
        "Whether an HTTP endpoint may lie on this machine or in a private network, and be spoken to \
         without TLS; the latter also for s3.endpoint and azure.endpoint (on this machine they may).",
    ),
];
