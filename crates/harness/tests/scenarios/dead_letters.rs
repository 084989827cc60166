//! Records that a destination refuses, and `cloudsync dlq`, from outside.

use crate::endpoint::{kafka, posting, settled};
use crate::support::{CATCH_UP, caught_up, plain_load, repetitions, running, stop};
use cloudsync_harness::client::send;
use cloudsync_harness::endpoint::{Behaviour, Endpoint};
use cloudsync_harness::program::{Up, binary, was_killed};
use cloudsync_kafka::{ProduceRecord, Producer, lag, read_topic, topic_ends};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use tokio::time::{Duration, Instant, sleep};

/// One in so many records is poison.
const EVERY: u32 = 100;

/// `cloudsync dlq` against what `up` runs.
fn run(up: &Up, words: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(binary().unwrap());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CLOUDSYNC_") {
            command.env_remove(name);
        }
    }
    command.envs(environment.iter().copied());
    command.arg("dlq").args(words);
    command.args(["--brokers", &up.log.to_string()]);
    command.stdin(Stdio::null()).output().unwrap()
}

fn text(output: &Output) -> String {
    let all = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8(all).unwrap()
}

/// The JSON that it prints.
fn dlq(up: &Up, words: &[&str]) -> Value {
    let output = run(up, &[words, &["--output", "json"]].concat(), &[]);
    assert!(output.status.success(), "{words:?}: {}", text(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// How many entries `ls` has with these `words`.
fn count(up: &Up, words: &[&str]) -> u64 {
    let found = dlq(up, &[&["ls"], words].concat());
    let total = found["total"].as_u64().unwrap();
    assert_eq!(found["entries"].as_array().unwrap().len() as u64, total);
    total
}

async fn ends(up: &Up) -> [Vec<i64>; 2] {
    let kafka = kafka(up);
    let of = async |topic: &str| {
        let ends = topic_ends(&kafka, topic).await.unwrap();
        ends.into_values().collect()
    };
    [of(&kafka.topic).await, of(&kafka.dlq_topic).await]
}

#[tokio::test]
async fn poison_is_set_aside_and_told_and_redriven_once() {
    let data = tempfile::tempdir().unwrap();
    let endpoint = Endpoint::start(Behaviour::default()).await.unwrap();
    endpoint.poison(Some(EVERY));
    let mut up = posting(data.path(), &endpoint, &[]).await;
    let records: u32 = if repetitions() >= 10 { 100_000 } else { 2_000 };
    let poison = u64::from(records / EVERY);
    let load = plain_load(&up, "poison", records, 60, 1);
    let journal = send(load).await.unwrap().journal;
    settled(&up, &endpoint).await;
    let good = u64::from(records) - poison;
    assert_eq!(endpoint.with_effect() as u64, good, "none of the others");

    let ids = reasons(&up, poison);
    // What would be done changes nothing.
    let before = ends(&up).await;
    assert_eq!(dlq(&up, &["redrive", "--dry-run"])["total"], poison);
    assert_eq!(
        dlq(&up, &["drop", "--everything", "--dry-run"])["total"],
        poison
    );
    assert_eq!(ends(&up).await, before);

    endpoint.poison(None);
    redrive_in_two(&up, data.path(), poison);
    settled(&up, &endpoint).await;
    let seen = endpoint.seen();
    for (id, seen) in &seen {
        assert_eq!(seen.effects, 1, "{id}: {seen:?}");
        assert_eq!(
            seen.poisonous,
            u32::from(ids.contains(id)),
            "{id}: {seen:?}"
        );
    }
    assert_eq!(seen.len(), journal.len());

    // A second one changes nothing, here or there.
    let before = ends(&up).await;
    assert_eq!(dlq(&up, &["redrive"])["redriven"], 0);
    assert_eq!(ends(&up).await, before);
    assert_eq!((count(&up, &[]), count(&up, &["--all"])), (0, poison));
    settled(&up, &endpoint).await;
    assert_eq!(endpoint.seen(), seen);
    let azure = caught_up(&up.data.join("azure"), "azure", &journal).await;
    assert!(azure.is_clean(), "nothing twice: {}", azure.summary());
    stop(&mut up).await;
}

#[tokio::test]
async fn what_fails_after_three_redrives_is_parked() {
    let data = tempfile::tempdir().unwrap();
    let endpoint = Endpoint::start(Behaviour::default()).await.unwrap();
    endpoint.poison(Some(10));
    let mut up = posting(data.path(), &endpoint, &[]).await;
    let load = plain_load(&up, "parked", 20, 5, 1);
    let journal = send(load).await.unwrap().journal;
    settled(&up, &endpoint).await;
    for redrives in 0..3 {
        let found = dlq(&up, &["ls"]);
        assert_eq!(found["total"], 2, "{found}");
        for entry in found["entries"].as_array().unwrap() {
            assert_eq!(entry["redrives"], redrives, "the count is carried: {entry}");
            assert_eq!(entry["state"], "open", "{entry}");
        }
        assert_eq!(dlq(&up, &["redrive"])["redriven"], 2);
        settled(&up, &endpoint).await;
        let posts = endpoint
            .seen()
            .into_values()
            .map(|seen| seen.poisonous)
            .sum::<u32>();
        assert_eq!(posts, 2 * (redrives + 2), "not swallowed by its own mark");
    }
    assert_eq!(dlq(&up, &["ls"])["entries"][0]["state"], "parked");
    let left = dlq(&up, &["redrive"]);
    assert_eq!((&left["redriven"], &left["parked"]), (&0.into(), &2.into()));

    let entry = filters(&up);

    // One is dropped; the other goes once more, as somebody insists, and has its effect.
    assert_eq!(dlq(&up, &["drop", &entry])["dropped"], 1);
    assert_eq!(dlq(&up, &["drop", &entry])["dropped"], 0);
    endpoint.poison(None);
    assert_eq!(dlq(&up, &["redrive", "--force"])["redriven"], 1);
    settled(&up, &endpoint).await;
    assert_eq!(endpoint.with_effect(), 19);
    assert!(endpoint.seen().values().all(|seen| seen.effects <= 1));
    assert_eq!((count(&up, &[]), count(&up, &["--all"])), (0, 8));
    let azure = caught_up(&up.data.join("azure"), "azure", &journal).await;
    assert!(azure.is_clean(), "{}", azure.summary());
    stop(&mut up).await;
}

/// Both destinations set it aside; only the one that is named meets it again.
#[tokio::test]
async fn what_cannot_be_decoded_comes_back_to_one_destination() {
    let data = tempfile::tempdir().unwrap();
    let mut up = running(data.path()).await;
    let journal = send(plain_load(&up, "around", 50, 5, 1))
        .await
        .unwrap()
        .journal;
    let kafka = kafka(&up);
    let producer = Producer::new(&kafka).unwrap();
    let record = ProduceRecord {
        partition: 7,
        key: "somebody".into(),
        value: "no record of ours".into(),
    };
    let produced = producer.produce(&kafka.topic, vec![record]).await;
    assert!(produced[0].is_ok(), "{produced:?}");
    entries_of(&up, "aws", 1).await;
    entries_of(&up, "azure", 1).await;
    let redriven = dlq(&up, &["redrive", "--destination", "aws"]);
    assert_eq!(redriven["redriven"], 1, "{redriven}");
    entries_of(&up, "aws", 2).await;
    for group in ["aws-sync-group", "azure-sync-group"] {
        caught_up_with_the_log(&up, group).await;
    }
    let found = dlq(&up, &["ls"]);
    let mut found: Vec<_> = found["entries"].as_array().unwrap().iter().collect();
    found.sort_by_key(|entry| entry["destination"].as_str().unwrap().to_owned());
    let told: Vec<_> = found
        .iter()
        .map(|it| {
            (
                it["destination"].as_str().unwrap(),
                it["redrives"].as_u64().unwrap(),
            )
        })
        .collect();
    assert_eq!(told, [("aws", 1), ("azure", 0)], "{found:?}");
    assert!(
        found
            .iter()
            .all(|it| it["reason"] == "undecodable" && it["key"] == "somebody")
    );
    let again = read_topic(&kafka, &kafka.topic, |_, _| {}).await.unwrap();
    assert_eq!(again, 52);
    // The segments that cover it are sound, also to whoever begins anew.
    stop(&mut up).await;
    crate::support::start(&mut up).await;
    for name in ["aws", "azure"] {
        let verdict = caught_up(&up.data.join(name), name, &journal).await;
        assert!(verdict.is_clean(), "{}", verdict.summary());
    }
    stop(&mut up).await;
}

/// What `ls` says of each of the `poison` entries is why it was set aside. Out: their ids.
fn reasons(up: &Up, poison: u64) -> BTreeSet<String> {
    let found = dlq(up, &["ls"]);
    assert_eq!(found["total"], poison);
    let mut ids = BTreeSet::new();
    for entry in found["entries"].as_array().unwrap() {
        let id = entry["id"].as_str().unwrap();
        let number: u32 = id.rsplit('-').next().unwrap().parse().unwrap();
        assert!(
            number.is_multiple_of(EVERY) && ids.insert(id.to_owned()),
            "{entry}"
        );
        for (name, value) in [
            ("state", "open"),
            ("destination", "aws"),
            ("reason", "rejected"),
            ("class", "rejected"),
            ("code", "400"),
        ] {
            assert_eq!(entry[name], value, "{name} of {entry}");
        }
        assert_eq!(
            (&entry["attempts"], &entry["redrives"]),
            (&1.into(), &0.into())
        );
        assert_eq!(entry["fingerprint"].as_str().unwrap().len(), 16, "{entry}");
        assert!(
            entry["message"].as_str().unwrap().contains("400"),
            "{entry}"
        );
    }
    assert_eq!(ids.len() as u64, poison);
    let kinds = dlq(up, &["ls", "--histogram"]);
    assert_eq!(kinds["histogram"][0]["count"], poison, "{kinds}");
    assert_eq!(kinds["histogram"].as_array().unwrap().len(), 1, "{kinds}");
    ids
}

/// The first redrive dies between records and markers, the second goes on where that was.
fn redrive_in_two(up: &Up, data: &Path, poison: u64) {
    let audit = data.join("audit.ndjson");
    let audited = [
        "redrive",
        "--rate",
        "50",
        "--audit",
        audit.to_str().unwrap(),
    ];
    let moment = ("CLOUDSYNC_KILL_AT", "between-redrive-and-marker:2");
    let died = run(up, &audited, &[moment]);
    assert!(was_killed(died.status), "{}", text(&died));
    let open = count(up, &[]);
    let told = std::fs::read_to_string(&audit).unwrap().lines().count() as u64;
    assert!(
        0 < poison - open && poison - open < told,
        "{told} told, {open} open"
    );
    let rest = ["redrive", "--audit", audit.to_str().unwrap()];
    assert_eq!(dlq(up, &rest)["redriven"], open);
    let lines = std::fs::read_to_string(&audit).unwrap();
    let lines: Vec<Value> = lines
        .lines()
        .map(|it| serde_json::from_str(it).unwrap())
        .collect();
    assert_eq!(lines.len() as u64, told + open, "a line for each change");
    assert!(
        lines
            .iter()
            .all(|line| line["change"] == "redriven" && !line["to"].is_null())
    );
}

/// Each filter finds what it should. Out: an entry.
fn filters(up: &Up) -> String {
    let id = "parked-00000010";
    let cases: [(&[&str], u64); 9] = [
        (&["--id", id], 1),
        (&["--destination", "azure"], 0),
        (&["--reason", "rejected", "--code", "400"], 2),
        (&["--reason", "exhausted"], 0),
        (&["--class", "transient"], 0),
        (&["--older-than", "1h"], 0),
        (&["--newer-than", "1h", "--class", "rejected"], 2),
        (&["--key", "key-0"], 2),
        (&["--key", "key-1"], 0),
    ];
    for (words, expected) in cases {
        assert_eq!(count(up, words), expected, "{words:?}");
    }
    let entry = dlq(up, &["ls", "--id", id])["entries"][0]["entry"].clone();
    let entry: String = entry.as_str().unwrap().chars().take(12).collect();
    let shown = dlq(up, &["show", &entry]);
    assert!(
        shown["entries"][0]["payload"]
            .as_str()
            .unwrap()
            .contains("\"n\":10"),
        "{shown}"
    );
    assert_eq!(run(up, &["show", "00000000"], &[]).status.code(), Some(1));
    assert_eq!(run(up, &["drop"], &[]).status.code(), Some(2));
    entry
}

async fn entries_of(up: &Up, destination: &str, wanted: u64) {
    let deadline = Instant::now() + CATCH_UP;
    while count(up, &["--all", "--destination", destination]) < wanted {
        assert!(
            Instant::now() < deadline,
            "no {wanted} entries of {destination}"
        );
        sleep(Duration::from_millis(100)).await;
    }
}

async fn caught_up_with_the_log(up: &Up, group: &str) {
    let deadline = Instant::now() + CATCH_UP;
    loop {
        let lags = lag(&kafka(up), group).await.unwrap();
        if lags.iter().all(|partition| partition.lag() == 0) {
            return;
        }
        assert!(Instant::now() < deadline, "{group}: {lags:?}");
        sleep(Duration::from_millis(100)).await;
    }
}
