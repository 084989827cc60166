//! `verify`: what a stranger does to one of two destinations is named, and mended.

use crate::support::{cloudsync, code, json, run, segments, stderr, text, tree};
use crate::up::Up;
use cloudsync::{Client, ClientSettings, SyncRecord};
use cloudsync_consumers::chain::reader::{SegmentReader, raw_lines};
use cloudsync_consumers::chain::segment::{Header, seal};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;
use tempfile::TempDir;
use tokio::time::Instant;

/// A demo that was kept.
struct World {
    directory: TempDir,
    data: PathBuf,
}

impl World {
    /// `count` records, in many segments; `modes`: aws, azure.
    fn new(count: u32, modes: [&str; 2]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        let output = cloudsync()
            .env("CLOUDSYNC_DESTINATIONS__AWS__MODE", modes[0])
            .env("CLOUDSYNC_DESTINATIONS__AZURE__MODE", modes[1])
            .env("CLOUDSYNC_DESTINATIONS__AWS__FLUSH_RECORDS", "40")
            .env("CLOUDSYNC_DESTINATIONS__AZURE__FLUSH_RECORDS", "40")
            .args([
                "demo",
                "--records",
                &count.to_string(),
                "--data-dir",
                text(&data),
            ])
            .output()
            .unwrap();
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        Self { directory, data }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        cloudsync()
            .args(["verify", "--output", "json", "--data-dir", text(&self.data)])
            .args(arguments)
            .output()
            .unwrap()
    }

    fn verify(&self, arguments: &[&str], wanted: i32) -> Value {
        let output = self.run(arguments);
        assert_eq!(code(&output), wanted, "{}", stderr(&output));
        let found = json(&output);
        assert_eq!(found["equal"], wanted == 0, "{found}");
        found
    }

    fn is_equal(&self) -> Value {
        self.verify(&["--with-topic"], 0)
    }

    /// Segments of `name` that hold lines, by partition.
    fn full(&self, name: &str) -> Vec<PathBuf> {
        let all = segments(&self.data, name).into_iter();
        let lines = |path: &PathBuf| raw_lines(&std::fs::read(path).unwrap()).unwrap();
        all.filter(|path| !lines(path).is_empty()).collect()
    }

    fn name(&self, side: &str, path: &Path) -> String {
        let below = path.strip_prefix(self.data.join(side)).unwrap();
        text(below).to_owned()
    }
}

fn named(found: &Value, list: &str, kind: &str, destination: &str) -> Vec<String> {
    let all = found["found"][list].as_array().unwrap().iter();
    let wanted = all.filter(|it| it["kind"] == kind && it["destination"] == destination);
    let name = |it: &Value| it["object"].as_str().unwrap_or_default().to_owned();
    wanted.map(name).collect()
}

fn count(found: &Value, side: usize, column: &str) -> u64 {
    found["found"]["destinations"][side][column]
        .as_u64()
        .unwrap()
}

fn lines_of(path: &Path) -> (Header, String) {
    let object = std::fs::read(path).unwrap();
    let header = SegmentReader::open(&object).unwrap().header;
    (
        header,
        String::from_utf8(raw_lines(&object).unwrap()).unwrap(),
    )
}

fn flip(path: &Path) {
    let mut object = std::fs::read(path).unwrap();
    let at = object.len() / 2;
    object[at] ^= 0x10;
    std::fs::write(path, object).unwrap();
}

/// The bytes of every segment, to be found again after a repair.
fn contents(data: &Path, name: &str) -> Vec<(PathBuf, Option<Vec<u8>>)> {
    tree(&data.join(name)).into_iter().collect()
}

#[test]
fn what_a_stranger_does_to_segments_is_named_and_mended_to_the_byte() {
    let world = World::new(3_000, ["batch", "batch"]);
    let found = world.is_equal();
    assert_eq!(count(&found, 0, "records"), 3_000, "{found}");
    assert_eq!(found["found"]["in_log"], 3_000);
    let before = contents(&world.data, "aws");

    // Two in the middle of a chain (a gap of several), the last one of another, one altered.
    let of = |partition: &str| -> Vec<PathBuf> {
        let all = segments(&world.data, "aws").into_iter();
        all.filter(|it| text(it).contains(partition)).collect()
    };
    let (gap, tail, bad) = (of("/p00/"), of("/p01/"), of("/p02/"));
    assert!(gap.len() > 4, "{}", gap.len());
    std::fs::remove_file(&gap[1]).unwrap();
    std::fs::remove_file(&gap[3]).unwrap();
    std::fs::remove_file(tail.last().unwrap()).unwrap();
    flip(&bad[0]);
    let found = world.verify(&[], 1);
    let missing = named(&found, "objects", "missing", "aws");
    for path in [&gap[1], &gap[3], tail.last().unwrap()] {
        assert!(missing.contains(&world.name("aws", path)), "{found}");
    }
    assert_eq!(
        named(&found, "objects", "altered", "aws"),
        [world.name("aws", &bad[0])]
    );
    assert_eq!(count(&found, 1, "missing"), 0);
    let records = found["found"]["records"].as_array().unwrap();
    assert!(records.len() > 100, "{found}");
    assert!(
        records
            .iter()
            .all(|it| it["id"].is_string() && it["seen_at"] == "azure")
    );

    let mended = world.verify(&["--repair"], 0);
    assert_eq!(mended["repaired"]["created"], 3, "{mended}");
    assert_eq!(mended["repaired"]["replaced"], 1, "{mended}");
    assert_eq!(mended["left"]["equal"], true);
    world.is_equal();
    // The log said what each segment covers: they are the very same again.
    assert!(contents(&world.data, "aws") == before, "not the same bytes");

    // Without the log, three in a row become one segment, which a reader takes.
    for path in &gap[1..4] {
        std::fs::remove_file(path).unwrap();
    }
    let mended = world.verify(&["--repair", "--no-log"], 0);
    assert_eq!(mended["repaired"]["created"], 1, "{mended}");
    let (header, lines) = lines_of(&gap[1]);
    assert_eq!(lines.lines().count() as u64, header.lines);
    assert_eq!(header.end, lines_of(&gap[4]).0.start);
    world.is_equal();
    let recount = ["demo", "--recount", "--data-dir", text(&world.data)];
    let recount = cloudsync().args(recount).output().unwrap();
    assert_eq!(code(&recount), 0, "{}", stderr(&recount));
}

/// `lines`, the first of which says something else and states the fingerprint of that.
fn forged(lines: &str) -> String {
    let lines = lines.replacen("made by cloudsync", "Made by cloudsync", 1);
    let first = lines.lines().next().unwrap();
    let line: Value = serde_json::from_str(first).unwrap();
    let payload = first.split_once(",\"payload\":").unwrap().1;
    let payload = payload.strip_suffix('}').unwrap().as_bytes();
    let content_type = line["content_type"].as_str().unwrap_or_default();
    let lie = cloudsync::identity::Fingerprint::of(payload, content_type);
    lines.replacen(line["fp"].as_str().unwrap(), &lie.to_string(), 1)
}

#[test]
fn a_line_that_was_forged_is_known_by_the_log_and_a_copy_is_doubled() {
    let world = World::new(600, ["batch", "batch"]);
    let path = world.full("azure")[0].clone();
    let sound = std::fs::read(&path).unwrap();
    let (header, lines) = lines_of(&path);
    // Sealed again, with a fingerprint to match: only the two contents differ.
    let forged = forged(&lines);
    let first: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    let unknown = Header {
        records: header.records + 1,
        ..header.clone()
    };
    std::fs::write(&path, seal(&unknown, forged.as_bytes()).unwrap()).unwrap();
    let found = world.verify(&[], 1);
    assert_eq!(
        [0, 1].map(|side| count(&found, side, "altered")),
        [1, 1],
        "{found}"
    );
    // Where there is a log a repair reads it; without one nothing tells which content is right.
    let left = world.verify(&["--no-log", "--repair"], 1);
    let why = left["repaired"]["left"][0].as_str().unwrap();
    assert!(why.contains("--with-topic"), "{left}");
    let found = world.verify(&["--with-topic"], 1);
    assert_eq!(
        [0, 1].map(|side| count(&found, side, "altered")),
        [0, 1],
        "{found}"
    );
    assert_eq!(found["found"]["records"][0]["id"], first["id"], "{found}");
    world.verify(&["--repair"], 0);
    assert!(std::fs::read(&path).unwrap() == sound, "mended to the byte");

    // One record once more, in a segment of an older log that is sound in itself.
    let old = path.parent().unwrap().parent().unwrap().parent().unwrap();
    let old = old.join("older-log/p00/00000000000000000000.ndjson.zst");
    let line = format!(
        "{{\"offset\":0,{}\n",
        lines.lines().next().unwrap().split_once(',').unwrap().1
    );
    let header = Header {
        log: "older-log".to_owned(),
        partition: 0,
        start: 0,
        end: 2,
        lines: 1,
        records: 2,
        ..header
    };
    std::fs::create_dir_all(old.parent().unwrap()).unwrap();
    std::fs::write(&old, seal(&header, line.as_bytes()).unwrap()).unwrap();
    let found = world.verify(&[], 1);
    let doubled = found["found"]["records"].as_array().unwrap();
    assert_eq!(doubled.len(), 1, "{found}");
    assert_eq!(
        (&doubled[0]["kind"], &doubled[0]["id"]),
        (&"doubled".into(), &first["id"])
    );
}

/// Modes may differ: a record is the same line, as an object or in a segment.
#[test]
fn objects_of_one_record_are_named_and_mended_and_modes_may_differ() {
    for modes in [["record", "record"], ["record", "batch"]] {
        let world = World::new(300, modes);
        world.is_equal();
        let before = contents(&world.data, "aws");
        let mut objects = before.iter().filter(|(path, _)| text(path).contains("/t="));
        let mut object = || loop {
            let (path, bytes) = objects.next().unwrap();
            if bytes.is_some() {
                break path.clone();
            }
        };
        let (one, other, bad) = (object(), object(), object());
        std::fs::remove_file(&one).unwrap();
        std::fs::remove_file(&other).unwrap();
        let line = std::fs::read_to_string(&bad).unwrap();
        std::fs::write(&bad, line.replacen("made by", "Made by", 1)).unwrap();
        let found = world.verify(&[], 1);
        assert_eq!(
            [count(&found, 0, "missing"), count(&found, 0, "altered")],
            [2, 1],
            "{found}"
        );
        let bad_name = world.name("aws", &bad);
        assert_eq!(named(&found, "records", "altered", "aws"), [bad_name]);
        let ids = found["found"]["records"].to_string();
        for path in [&one, &other] {
            let id16 = path.file_stem().unwrap().to_str().unwrap();
            assert!(ids.contains(id16), "{found}");
        }
        let mended = world.verify(&["--repair"], 0);
        assert_eq!(mended["repaired"]["created"], 2, "{mended}");
        assert_eq!(mended["repaired"]["replaced"], 1, "{mended}");
        assert!(contents(&world.data, "aws") == before, "not the same bytes");

        // The other way round: what only the objects have goes into a segment.
        let azure = world.data.join("azure");
        let all = contents(&world.data, "azure");
        let all = all.into_iter().filter(|(path, bytes)| {
            bytes.is_some() && !text(path).ends_with("cloudsync-destination.json")
        });
        let gone: Vec<_> = all.map(|(path, _)| path).step_by(3).collect();
        assert!(!gone.is_empty(), "{}", azure.display());
        gone.iter()
            .for_each(|path| std::fs::remove_file(path).unwrap());
        world.verify(&["--repair"], 0);
        world.is_equal();
    }
}

/// A comparison that is interrupted (here since a destination is away) goes on where it was.
#[test]
fn what_was_read_is_not_read_again() {
    let world = World::new(300, ["batch", "batch"]);
    let marker = world.data.join("azure/cloudsync-destination.json");
    let kept = std::fs::read(&marker).unwrap();
    std::fs::remove_file(&marker).unwrap();
    let state = world.directory.path().join("state");
    let with_state = ["--state", text(&state)];
    let output = world.run(&with_state);
    assert_eq!(code(&output), 2, "{}", stderr(&output));
    assert!(stderr(&output).contains("azure"), "{}", stderr(&output));

    // What is read again would be missed: aws was read, and is taken from what was kept.
    std::fs::write(&marker, kept).unwrap();
    let away = world.directory.path().join("away");
    std::fs::rename(world.data.join("aws/data-topic"), &away).unwrap();
    let other = world.run(&["--since", "1h", "--state", text(&state)]);
    assert_eq!(code(&other), 2, "another question");
    assert!(
        stderr(&other).contains("something else"),
        "{}",
        stderr(&other)
    );
    let found = world.verify(&with_state, 0);
    assert_eq!(count(&found, 0, "records"), 300, "{found}");
    assert!(
        !state.exists(),
        "nothing is left of a comparison that is done"
    );
    world.verify(&with_state, 1);
    std::fs::rename(&away, world.data.join("aws/data-topic")).unwrap();
    world.verify(&with_state, 0);

    // Times: everything was accepted within the hour.
    std::fs::remove_file(&world.full("aws")[0]).unwrap();
    let old = world.run(&["--until", "1h"]);
    assert_eq!(count(&json(&old), 0, "missing"), 0, "{}", stderr(&old));
    let new = world.run(&["--since", "1h"]);
    assert!(count(&json(&new), 0, "missing") > 0, "{}", stderr(&new));
}

/// Until both groups have committed everything.
fn settled(log: &str) {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let output = run(&["lag", "--brokers", log, "--output", "json"]);
        let found = json(&output);
        let groups = found["groups"].as_array().unwrap();
        if groups
            .iter()
            .all(|it| it["begun"] == true && it["lag"] == 0)
        {
            return;
        }
        assert!(Instant::now() < end, "{found}");
    }
}

/// Damaged where a record lay that only this destination had: nobody but the log knows it.
fn a_damaged_record_of_one_destination_is_mended_from_the_log_alone(data: &Path) {
    let lines = |path: &PathBuf| raw_lines(&std::fs::read(path).unwrap()).unwrap();
    for path in segments(data, "aws") {
        if !lines(&path).is_empty() {
            flip(&path);
        }
    }
    let damaged = contents(data, "aws");
    let blind = ["verify", "--data-dir", text(data), "--no-log", "--repair"];
    let blind = cloudsync().args(blind).output().unwrap();
    assert_eq!(code(&blind), 1, "{}", stderr(&blind));
    assert!(
        contents(data, "aws") == damaged,
        "what cannot be known is left"
    );
    let mend = ["verify", "--data-dir", text(data), "--repair"];
    let mended = cloudsync().args(mend).output().unwrap();
    assert_eq!(code(&mended), 0, "{}", stderr(&mended));
}

/// Records for one destination, a conflict that was set aside, while the log runs and afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_for_one_destination_or_was_set_aside_is_not_missing() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let mut up = Up::start(&data);
    let gateway = format!("http://{}", up.address("✔ gateway"));
    let log = up.address("✔ log");
    let client = Client::new(ClientSettings::to(gateway)).unwrap();
    for (id, payload, to) in [
        ("both-1", "first", &[][..]),
        ("aws-only", "x", &["aws".to_owned()]),
        ("azure-only", "x", &["azure".to_owned()]),
        ("both-1", "second", &[]),
    ] {
        let record = SyncRecord {
            request_id: id.to_owned(),
            payload: payload.as_bytes().to_vec().into(),
            destinations: to.to_vec(),
            ..SyncRecord::default()
        };
        client.send_one(record).await.unwrap();
    }
    settled(&log);
    let verify = |arguments: &[&str]| {
        let output = cloudsync()
            .args(["verify", "--output", "json", "--data-dir", text(&data)])
            .args(arguments)
            .output()
            .unwrap();
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        let found = json(&output);
        for side in [0, 1] {
            assert_eq!(count(&found, side, "records"), 2, "{found}");
        }
        found
    };
    let in_use = cloudsync()
        .args(["verify", "--data-dir", text(&data)])
        .output()
        .unwrap();
    assert_eq!(code(&in_use), 2);
    assert!(stderr(&in_use).contains("--brokers"), "{}", stderr(&in_use));
    verify(&["--brokers", &log]);
    let found = verify(&["--brokers", &log, "--with-topic"]);
    assert_eq!(found["found"]["dead_letters"], 2, "{found}");
    for side in [0, 1] {
        assert_eq!(count(&found, side, "dead_lettered"), 1, "{found}");
    }
    up.end();
    verify(&["--with-topic"]);

    a_damaged_record_of_one_destination_is_mended_from_the_log_alone(&data);
    verify(&["--with-topic"]);
}

#[test]
fn what_cannot_be_compared_says_so_with_exit_code_2() {
    let directory = tempfile::tempdir().unwrap();
    let aws = format!("file://{}", text(&directory.path().join("aws")));
    let with = |azure: &str, arguments: &[&str]| {
        let output = cloudsync()
            .env("CLOUDSYNC_DESTINATIONS__AWS__URL", &aws)
            .env("CLOUDSYNC_DESTINATIONS__AZURE__URL", azure)
            .arg("verify")
            .args(arguments)
            .output()
            .unwrap();
        assert_eq!(code(&output), 2, "{}", stderr(&output));
        stderr(&output)
    };
    let said = with("https://example.com/in", &["--no-log"]);
    assert!(
        said.contains("HTTP endpoint, which cannot be read back"),
        "{said}"
    );
    let said = with("null://", &["--no-log"]);
    assert!(said.contains("keeps nothing"), "{said}");
    let said = with("", &["--no-log"]);
    assert!(said.contains("destinations.azure.url is not set"), "{said}");
    let said = with(&aws.replace("aws", "azure"), &["--no-log"]);
    assert!(said.contains("is not there"), "{said}");
    let said = with(&aws, &["--brokers", "127.0.0.1:1"]);
    assert!(said.contains("--no-log"), "{said}");
    assert!(tree(directory.path()).is_empty(), "nothing was made");
}

/// 10 M records at each of two destinations, and what the comparison of them takes of memory:
/// `cargo test --release -p cloudsync-cli --test it -- --ignored --nocapture ten_million`
#[tokio::test]
#[ignore = "writes 20 M records, which takes minutes and 2 GB"]
async fn ten_million_records_take_no_more_memory_than_one_million() {
    let measure = async |segments: i64| {
        let directory = tempfile::tempdir().unwrap();
        for start in 0..segments {
            let (name, object) = made_segment(start * 32_768);
            for side in ["aws", "azure"] {
                let path = directory.path().join(side).join(&name);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, &object).unwrap();
            }
        }
        for side in ["aws", "azure"] {
            let marker = directory
                .path()
                .join(side)
                .join("cloudsync-destination.json");
            std::fs::write(marker, "{}").unwrap();
        }
        let began = Instant::now();
        let mut verify = cloudsync()
            .args(["verify", "--no-log", "--quiet", "--output", "json"])
            .args(["--data-dir", text(directory.path())])
            .env("TMPDIR", directory.path())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let status = format!("/proc/{}/status", verify.id());
        let mut most = 0;
        let mut samples = tokio::time::interval(Duration::from_millis(50));
        while verify.try_wait().unwrap().is_none() {
            let now = std::fs::read_to_string(&status).unwrap_or_default();
            let line = now.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
            most = most.max(kib.unwrap_or(0u64));
            samples.tick().await;
        }
        let output = verify.wait_with_output().unwrap();
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        let records = count(&json(&output), 0, "records");
        assert_eq!(records, segments.unsigned_abs() * 32_768);
        eprintln!(
            "{records} records a destination: {:?}, VmHWM {most} kB",
            began.elapsed()
        );
        most
    };
    let (one, ten) = (measure(31).await, measure(306).await);
    assert!(ten < one + one / 2, "{one} kB, then {ten} kB");
}

/// 32,768 records of about 150 bytes as a segment of partition 0.
fn made_segment(start: i64) -> (String, bytes::Bytes) {
    let mut lines = String::new();
    for offset in start..start + 32_768 {
        let payload = format!("{{\"n\":{offset},\"text\":\"as good as any other record\"}}");
        let fp = cloudsync::identity::Fingerprint::of(payload.as_bytes(), "application/json");
        lines.push_str(&format!(
            "{{\"offset\":{offset},\"time\":\"2026-11-23T10:00:00.000Z\",\"tenant\":\"default\",\
             \"id\":\"id-{offset}\",\"key\":\"\",\"fp\":\"{fp}\",\
             \"content_type\":\"application/json\",\"payload\":{payload}}}\n"
        ));
    }
    let header = Header {
        cloudsync: "segment".to_owned(),
        version: 1,
        log: "log-1".to_owned(),
        topic: "data-topic".to_owned(),
        partition: 0,
        start,
        end: start + 32_768,
        lines: 32_768,
        // One more than there are: the digest is not held against the lines.
        records: 32_769,
        digest: "0".repeat(32),
    };
    (
        header.name().to_string(),
        seal(&header, lines.as_bytes()).unwrap(),
    )
}
