//! Kafka's tools print the same of the embedded log as of a real Kafka.
//!
//! On both: a topic of 12 partitions, records in all of them, two groups of three members that
//! have committed a part. What cannot be the same is made so: ids, ports, the order of lists. Kafka
//! keeps its commits in a topic, which the embedded log has not.

use std::path::Path;

use rdkafka::ClientContext;
use rdkafka::consumer::ConsumerContext;
use tokio::time::Instant;

use super::java::{CONFIGS, GROUPS, Java, TOPICS};
use super::*;
use crate::client::{PARTITIONS, Sender};

const DATA: &str = crate::client::TOPIC;
const RECORDS: u64 = 240;
const NAMES: [&str; 2] = ["archive", "index"];

/// A real Kafka of one node; ends when dropped.
pub(super) struct Kafka {
    script: PathBuf,
    dir: tempfile::TempDir,
    pub(super) address: SocketAddr,
}

impl Kafka {
    pub(super) fn start(script: &Path) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let started = Command::new(script)
            .arg("start")
            .arg(dir.path())
            .arg("0")
            // A machine that is busy with other tests must not have it taken for dead.
            .env("KAFKA_EXTRA", "broker.session.timeout.ms=60000")
            .output()
            .unwrap();
        let address = String::from_utf8(started.stdout).unwrap();
        let err = String::from_utf8_lossy(&started.stderr);
        let address = address.trim().parse();
        Self {
            script: script.to_owned(),
            dir,
            address: address.unwrap_or_else(|_| panic!("Kafka did not start: {err}")),
        }
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        let killed = Command::new(&self.script)
            .arg("kill")
            .arg(self.dir.path())
            .status();
        // Panicking here would hide why the test ends.
        debug_assert!(killed.is_ok() || std::thread::panicking());
    }
}

struct Quiet;
impl ClientContext for Quiet {}
impl ConsumerContext for Quiet {}

/// Three members, each with its four partitions, half of what is there committed.
fn join(address: SocketAddr, group: &str) -> Vec<BaseConsumer<Quiet>> {
    let member = |name: &str| {
        let member: BaseConsumer<Quiet> = config(address)
            .set("group.id", group)
            .set("client.id", format!("{group}-{name}"))
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "earliest")
            .set("partition.assignment.strategy", "range")
            .set("session.timeout.ms", "30000")
            .create_with_context(Quiet)
            .unwrap();
        member.subscribe(&[DATA]).unwrap();
        member
    };
    let members: Vec<_> = ["a", "b", "c"].into_iter().map(member).collect();
    let deadline = Instant::now() + LIMIT;
    let has_its_part = |member: &BaseConsumer<Quiet>| {
        // Serves the rebalance; records are of no interest.
        member.poll(Duration::from_millis(20));
        member.assignment().unwrap().count() == PARTITIONS as usize / 3
    };
    while !members
        .iter()
        .map(has_its_part)
        .fold(true, |all, it| all & it)
    {
        assert!(Instant::now() < deadline, "{group} is not assigned");
    }
    for member in &members {
        let mut offsets = member.assignment().unwrap();
        offsets
            .set_all_offsets(rdkafka::Offset::Offset(10))
            .unwrap();
        member.commit(&offsets, CommitMode::Sync).unwrap();
    }
    members
}

/// What the tools say of it all, in a form that can be compared.
fn say_all(java: &Java, address: SocketAddr) -> Vec<(String, Vec<String>)> {
    let server = address.to_string();
    let create = ["--create", "--topic", DATA, "--partitions", "12"];
    let mut said = vec![(
        "create".to_owned(),
        plain(&java.run(TOPICS, &server, &create), &server),
    )];
    Sender::new(address, &[]).send_all(0..RECORDS);
    let members = NAMES.map(|group| join(address, group));
    let mut ask = |class: &str, arguments: &[&str]| {
        let answer = java.run(class, &server, arguments);
        said.push((arguments.join(" "), plain(&answer, &server)));
    };
    ask(TOPICS, &["--list"]);
    ask(TOPICS, &["--describe", "--topic", DATA]);
    ask(CONFIGS, &["--describe", "--topic", DATA]);
    ask(CONFIGS, &["--describe", "--all", "--topic", DATA]);
    ask(GROUPS, &["--list"]);
    ask(GROUPS, &["--list", "--state"]);
    for group in NAMES {
        ask(GROUPS, &["--describe", "--group", group]);
        ask(
            GROUPS,
            &["--describe", "--group", group, "--members", "--verbose"],
        );
        ask(GROUPS, &["--describe", "--group", group, "--state"]);
    }
    drop(members);
    ask(GROUPS, &["--describe", "--group", NAMES[0]]);
    ask(GROUPS, &["--delete", "--group", NAMES[0]]);
    ask(GROUPS, &["--list"]);
    ask(TOPICS, &["--delete", "--topic", DATA]);
    ask(TOPICS, &["--list"]);
    said
}

/// The lines, sorted, without what differs from one broker or run to another.
fn plain(answer: &str, server: &str) -> Vec<String> {
    let word = |word: &str| {
        let word = word.replace(server, "SERVER");
        let uuid = word
            .len()
            .checked_sub(36)
            .and_then(|at| word.split_at_checked(at));
        match uuid {
            Some((front, id)) if id.matches('-').count() == 4 => format!("{front}UUID"),
            Some(_) | None => word,
        }
    };
    let line = |line: &str| {
        let words: Vec<String> = line.split_whitespace().map(word).collect();
        let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
        if let Some(at) = words.iter().position(|word| *word == "TopicId:") {
            words[at + 1] = "ID";
        }
        // What the script that starts Kafka sets, to what it would be anyway.
        words.retain(|word| !word.starts_with("STATIC_BROKER_CONFIG:"));
        words.join(" ")
    };
    let mut lines: Vec<String> = answer.lines().map(line).collect();
    lines.retain(|line| line != "__consumer_offsets" && !line.is_empty());
    lines.sort();
    lines
}

#[test]
fn kafkas_tools_print_the_same_of_both() {
    let Some(java) = Java::find() else { return };
    let kafka = Kafka::start(java.script());
    let theirs = say_all(&java, kafka.address);
    drop(kafka);
    let broker = in_memory();
    let ours = say_all(&java, broker.address());
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!(ours, theirs);
        println!("{}\n    {}", ours.0, ours.1.join("\n    "));
    }
    assert_eq!(ours.len(), theirs.len());
}
