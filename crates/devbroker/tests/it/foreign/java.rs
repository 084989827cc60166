//! Kafka's own command-line tools, as far as they are one client: its Java producer, consumer and
//! admin client.

use std::sync::{Mutex, MutexGuard, OnceLock};

use super::*;

pub(super) const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";
pub(super) const GROUPS: &str = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";
pub(super) const CONFIGS: &str = "kafka.admin.ConfigCommand";
const PRODUCER: &str = "org.apache.kafka.tools.ConsoleProducer";
const CONSUMER: &str = "org.apache.kafka.tools.consumer.ConsoleConsumer";
const OFFSETS: &str = "org.apache.kafka.tools.GetOffsetShell";

/// Kafka's tools; one at a time, as each takes a JVM.
pub(super) struct Java {
    tool: Tool,
    _turn: MutexGuard<'static, ()>,
}

impl Java {
    pub(super) fn find() -> Option<Self> {
        static TURN: OnceLock<Mutex<()>> = OnceLock::new();
        let turn = TURN.get_or_init(Mutex::default).lock();
        let mut tool = Tool::find("kafka")?;
        tool.before = vec!["tool".to_owned()];
        let turn = turn.unwrap_or_else(std::sync::PoisonError::into_inner);
        Some(Self { tool, _turn: turn })
    }

    pub(super) fn script(&self) -> &std::path::Path {
        &self.tool.script
    }

    pub(super) fn run(&self, class: &str, server: &str, arguments: &[&str]) -> String {
        self.run_with(class, server, arguments, "")
    }

    fn run_with(&self, class: &str, server: &str, arguments: &[&str], input: &str) -> String {
        let given = [&[class, "--bootstrap-server", server], arguments].concat();
        self.tool.run(&given, input)
    }

    /// Its broker's address on the command line.
    fn of(&self, broker: &Broker, class: &str, arguments: &[&str]) -> String {
        self.run(class, &broker.address().to_string(), arguments)
    }
}

#[test]
fn produces_in_every_codec() {
    let Some(java) = Java::find() else { return };
    for (codec, number) in CODECS {
        let broker = broker();
        let server = broker.address().to_string();
        let produce = [
            "--topic",
            TOPIC,
            "--compression-codec",
            codec,
            "--reader-property",
            "parse.key=true",
            "--reader-property",
            "key.separator=:",
        ];
        java.run_with(PRODUCER, &server, &produce, &input());
        assert_eq!(stored_codec(broker.address()), number, "{codec}");
        if codec != "zstd" {
            // Not built into the librdkafka that reads here.
            assert_produced(broker.address());
        }
        let latest = java.of(&broker, OFFSETS, &["--topic", TOPIC, "--time", "-3"]);
        let offset: i64 = latest.trim().rsplit(':').next().unwrap().parse().unwrap();
        assert!((0..COUNT).contains(&offset), "{codec}: {latest}");
    }
}

const SHOW: [&str; 8] = [
    "--formatter-property",
    "print.partition=true",
    "--formatter-property",
    "print.offset=true",
    "--formatter-property",
    "print.key=true",
    "--formatter-property",
    "key.separator= ",
];

/// What the formatter makes of [`expected`].
fn shown() -> String {
    let line = |number: i64| format!("Partition:0 Offset:{number} k{number} {}\n", value(number));
    (0..COUNT).map(line).collect()
}

#[test]
fn consumes() {
    let Some(java) = Java::find() else { return };
    let (count, wait) = (COUNT.to_string(), wait_ms());
    let consume = [
        "--topic",
        TOPIC,
        "--partition",
        "0",
        "--offset",
        "earliest",
        "--max-messages",
        &count,
        "--timeout-ms",
        &wait,
    ];
    let said = java.of(&filled(), CONSUMER, &[&consume[..], &SHOW].concat());
    assert_eq!(said, shown());
}

#[test]
fn consumes_in_a_group_and_commits() {
    let Some(java) = Java::find() else { return };
    let (count, wait) = (COUNT.to_string(), wait_ms());
    let consume = [
        "--topic",
        TOPIC,
        "--group",
        GROUP,
        "--from-beginning",
        "--max-messages",
        &count,
        "--timeout-ms",
        &wait,
    ];
    let broker = filled();
    let said = java.of(&broker, CONSUMER, &[&consume[..], &SHOW].concat());
    assert_eq!(said, shown());
    let described = java.of(&broker, GROUPS, &["--describe", "--group", GROUP]);
    let line = described.lines().find(|line| line.starts_with(GROUP));
    let words: Vec<_> = line.unwrap().split_whitespace().collect();
    assert_eq!(words[1..6], [TOPIC, "0", "8", "8", "0"], "{described}");
}

#[test]
fn is_told_plainly_that_there_are_classic_groups_only() {
    let Some(java) = Java::find() else { return };
    let broker = filled();
    let server = broker.address().to_string();
    let consume = [
        "tool",
        CONSUMER,
        "--bootstrap-server",
        &server,
        "--topic",
        TOPIC,
        "--group",
        GROUP,
        "--command-property",
        "group.protocol=consumer",
        "--timeout-ms",
        "20000",
    ];
    let (_, out, err) = java.tool.try_run(&consume[1..], "");
    assert!(err.contains("group.protocol=classic"), "{out}\n{err}");
}

#[test]
fn finds_offsets_by_time() {
    let Some(java) = Java::find() else { return };
    let broker = filled();
    let last = COUNT - 1;
    let specials = [(-1, COUNT), (-2, 0), (-3, last), (-4, 0)];
    for (time, offset) in TIMES.into_iter().chain(specials) {
        let time = time.to_string();
        let found = java.of(&broker, OFFSETS, &["--topic", TOPIC, "--time", &time]);
        assert_eq!(found, format!("{TOPIC}:0:{offset}\n"), "at {time}");
    }
}

#[test]
fn creates_lists_describes_and_deletes_topics() {
    let Some(java) = Java::find() else { return };
    let broker = broker();
    let create = [
        "--create",
        "--topic",
        "another",
        "--partitions",
        "3",
        "--config",
        "retention.ms=60000",
    ];
    let made = java.of(&broker, TOPICS, &create);
    assert_eq!(made, "Created topic another.\n");
    let listed = java.of(&broker, TOPICS, &["--list"]);
    assert_eq!(listed, format!("another\n{TOPIC}\n"));
    let described = java.of(&broker, TOPICS, &["--describe", "--topic", "another"]);
    assert!(described.contains("PartitionCount: 3"), "{described}");
    assert!(described.contains("retention.ms=60000"), "{described}");
    java.of(&broker, TOPICS, &["--delete", "--topic", "another"]);
    let listed = java.of(&broker, TOPICS, &["--list"]);
    assert_eq!(listed, format!("{TOPIC}\n"));
}

#[test]
fn lists_describes_and_deletes_groups() {
    let Some(java) = Java::find() else { return };
    let broker = filled();
    commit(broker.address());
    assert_eq!(java.of(&broker, GROUPS, &["--list"]), format!("{GROUP}\n"));
    let state = java.of(
        &broker,
        GROUPS,
        &["--describe", "--group", GROUP, "--state"],
    );
    assert!(state.contains("Empty"), "{state}");
    let deleted = java.of(&broker, GROUPS, &["--delete", "--group", GROUP]);
    let expected = format!("Deletion of requested consumer groups ('{GROUP}') was successful.");
    assert_eq!(deleted.trim(), expected);
    assert_eq!(java.of(&broker, GROUPS, &["--list"]).trim(), "");
}
