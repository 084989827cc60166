//! Kafka's own tools print the same against `cloudsync up` as against Apache Kafka under the same
//! gateway and consumers, which on the way have to work with both.
//!
//! The tools and Kafka come from `scripts/services/kafka` (Java and Maven). Without them the test
//! is skipped, which is said; where `CI=true` it fails.

use crate::support::{START, both_hold, caught_up, plain_load, program, running, seed, stop};
use cloudsync_harness::client::{Load, send};
use cloudsync_harness::ports;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";
const GROUPS: &str = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";
const NAMES: [&str; 2] = ["aws-sync-group", "azure-sync-group"];
const RECORDS: u32 = 6_000;

/// One node of Apache Kafka; ends when dropped.
struct Kafka {
    dir: TempDir,
    address: String,
}

impl Kafka {
    /// `None`, which is said, where it cannot be had.
    fn start() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_str().unwrap();
        // A machine that is busy must not have it taken for dead.
        let patient = [("KAFKA_EXTRA", "broker.session.timeout.ms=60000")];
        match script(&["start", path, "0"], &patient) {
            Ok(address) => Some(Self {
                dir,
                address: address.trim().to_owned(),
            }),
            Err(said) => {
                let ci = std::env::var("CI").as_deref() == Ok("true");
                assert!(!ci, "Apache Kafka does not start, and CI=true: {said}");
                println!("skipped: Apache Kafka does not start here: {said}");
                None
            }
        }
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        let killed = script(&["kill", self.dir.path().to_str().unwrap_or_default()], &[]);
        // Panicking here would hide why the test ends.
        debug_assert!(killed.is_ok() || std::thread::panicking());
    }
}

/// What the script printed, or what it complained of.
fn script(arguments: &[&str], environment: &[(&str, &str)]) -> Result<String, String> {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../scripts/services/kafka");
    let output = Command::new(script)
        .args(arguments)
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .output()
        .map_err(|error| error.to_string())?;
    if output.status.success() {
        String::from_utf8(output.stdout).map_err(|error| error.to_string())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// The lines that one of Kafka's tools prints, sorted, without what differs from run to run.
fn ask(server: &str, class: &str, arguments: &[&str]) -> Vec<String> {
    let command = [&["tool", class, "--bootstrap-server", server], arguments].concat();
    let answer = script(&command, &[]).unwrap();
    let mut lines: Vec<String> = answer.lines().map(|line| plain(line, server)).collect();
    // Kafka keeps its commits in a topic, which the embedded log has not.
    lines.retain(|line| !line.is_empty() && !line.contains("__consumer_offsets"));
    lines.sort();
    lines
}

fn plain(line: &str, server: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    for word in line.split_whitespace() {
        let after_id = words.last().is_some_and(|last| last == "TopicId:");
        // A member's id ends in a UUID.
        let front = word.len().checked_sub(36).map(|at| word.split_at(at));
        words.push(match front {
            _ if after_id => "ID".to_owned(),
            Some((front, id)) if id.matches('-').count() == 4 => format!("{front}UUID"),
            _ => word.replace(server, "SERVER"),
        });
    }
    words.join(" ")
}

/// What is to be the same of both.
async fn said_of(server: &str) -> Vec<(String, Vec<String>)> {
    let mut said = Vec::new();
    let mut note = |class: &str, arguments: &[&str]| {
        said.push((arguments.join(" "), ask(server, class, arguments)));
    };
    note(TOPICS, &["--list"]);
    note(TOPICS, &["--describe", "--topic", "data-topic"]);
    note(GROUPS, &["--list"]);
    for group in NAMES {
        let described = committed(server, group).await;
        said.push((format!("--describe --group {group}"), described));
    }
    said
}

/// A group's description, once its lag is 0 everywhere: commits follow at times.
async fn committed(server: &str, group: &str) -> Vec<String> {
    let deadline = Instant::now() + START;
    loop {
        let lines = ask(server, GROUPS, &["--describe", "--group", group]);
        let partitions = lines.iter().filter(|line| line.starts_with(group));
        // GROUP TOPIC PARTITION CURRENT-OFFSET LOG-END-OFFSET LAG …
        let lags: Vec<&str> = partitions
            .filter_map(|line| line.split(' ').nth(5))
            .collect();
        if lags == ["0"; 12] {
            return lines;
        }
        assert!(Instant::now() < deadline, "{lines:#?}");
        sleep(std::time::Duration::from_millis(200)).await;
    }
}

async fn of_up(data: &Path, seed: u64) -> Vec<(String, Vec<String>)> {
    let mut up = running(data).await;
    let load = plain_load(&up, "tools", RECORDS, 100, seed);
    let sent = send(load).await.unwrap();
    both_hold(&up, &sent.journal).await;
    let said = said_of(&up.log.to_string()).await;
    stop(&mut up).await;
    said
}

async fn of_kafka(kafka: &Kafka, data: &Path, seed: u64) -> Vec<(String, Vec<String>)> {
    let role = |arguments: &[&str]| {
        let arguments = arguments.iter().map(|it| (*it).to_owned()).collect();
        program(arguments, ports::free().unwrap(), &kafka.address, data)
    };
    let mut topics = role(&["topics", "ensure"]);
    topics.start().unwrap();
    let ensured = topics.wait(START).await.unwrap();
    assert!(ensured.success(), "{}", topics.tail());
    let address = ports::free().unwrap();
    let listen = format!("--listen={address}");
    let mut roles = [
        role(&["gateway", &listen]),
        role(&["consumer", "--destination=aws"]),
        role(&["consumer", "--destination=azure"]),
    ];
    for role in &mut roles {
        role.start().unwrap();
        role.ready(START).await.unwrap();
    }
    let load = Load {
        endpoint: format!("http://{address}"),
        prefix: "tools".into(),
        records: RECORDS,
        keys: 100,
        resend: 0.0,
        rate: None,
        seed,
    };
    let sent = send(load).await.unwrap();
    for name in ["aws", "azure"] {
        let verdict = caught_up(&data.join(name), name, &sent.journal).await;
        assert!(verdict.is_clean(), "{name}: {}", verdict.summary());
    }
    let said = said_of(&kafka.address).await;
    for role in &mut roles {
        role.terminate().unwrap();
        let status = role.wait(START).await.unwrap();
        assert!(status.success(), "{status}\n{}", role.tail());
    }
    said
}

#[tokio::test]
async fn kafkas_tools_print_the_same_of_up_as_of_kafka() {
    let Some(kafka) = Kafka::start() else { return };
    let seed = seed();
    let data = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let theirs = of_kafka(&kafka, data[0].path(), seed).await;
    drop(kafka);
    let ours = of_up(data[1].path(), seed).await;
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!(ours, theirs);
        println!("{}\n    {}", ours.0, ours.1.join("\n    "));
    }
    assert_eq!(ours.len(), theirs.len());
}
