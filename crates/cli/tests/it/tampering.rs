//! The checker, checked: what a stranger does to a destination is found, and named by its id.

use crate::support::{code, json, run, segments, stderr, text, tree};
use cloudsync_consumers::chain::reader::{SegmentReader, raw_lines};
use cloudsync_consumers::chain::segment::{Header, seal};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A demo in a directory that is kept, and one of its segments.
struct World {
    _directory: TempDir,
    data: PathBuf,
    segment: PathBuf,
    /// The segment as it was written.
    sound: Vec<u8>,
    lines: String,
    /// The request id of its first record.
    id: String,
}

struct Recount {
    code: i32,
    said: String,
    aws: serde_json::Value,
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        let output = run(&["demo", "--records", "300", "--data-dir", text(&data)]);
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        let (segment, sound, lines) = first_with_lines(&data);
        let first: serde_json::Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
        let id = first["id"].as_str().unwrap().to_owned();
        Self {
            _directory: directory,
            data,
            segment,
            sound,
            lines,
            id,
        }
    }

    fn header(&self) -> Header {
        SegmentReader::open(&self.sound).unwrap().header
    }

    fn write(&self, object: &[u8]) {
        std::fs::write(&self.segment, object).unwrap();
    }

    fn recount(&self) -> Recount {
        let data = text(&self.data);
        let output = run(&["demo", "--data-dir", data, "--recount", "--output", "json"]);
        let aws = json(&output)["destinations"][0].clone();
        assert_eq!(aws["name"], "aws");
        Recount {
            code: code(&output),
            said: stderr(&output),
            aws,
        }
    }

    /// It is found, `count` times under `column`, and the first record is named.
    fn finds(&self, column: &str, count: u64) -> Recount {
        let found = self.recount();
        assert_eq!(found.code, 1, "{}", found.said);
        assert_eq!(
            found.aws[column].as_u64(),
            Some(count),
            "{} {}",
            found.aws,
            found.said
        );
        let named = format!("{column} at aws: id {} ", self.id);
        assert!(found.said.contains(&named), "{}", found.said);
        found
    }
}

fn first_with_lines(data: &Path) -> (PathBuf, Vec<u8>, String) {
    for segment in segments(data, "aws") {
        let object = std::fs::read(&segment).unwrap();
        let lines = String::from_utf8(raw_lines(&object).unwrap()).unwrap();
        if !lines.is_empty() {
            return (segment, object, lines);
        }
    }
    panic!("no segment of {} has a line", data.display());
}

#[test]
fn what_is_deleted_altered_or_copied_is_found_by_its_id() {
    let world = World::new();
    assert_eq!(world.recount().code, 0);
    let count = world.lines.lines().count() as u64;

    std::fs::remove_file(&world.segment).unwrap();
    world.finds("lost", count);

    // One byte of the object.
    let mut broken = world.sound.clone();
    let middle = broken.len() / 2;
    broken[middle] ^= 0x10;
    world.write(&broken);
    let found = world.finds("lost", count);
    assert!(found.said.contains("damaged at aws: "), "{}", found.said);

    // One letter of one record, sealed again as it should be.
    let altered = world
        .lines
        .replacen("made by cloudsync", "Made by cloudsync", 1);
    world.write(&seal(&world.header(), altered.as_bytes()).unwrap());
    world.finds("altered", 1);

    // The same with a fingerprint to match, by someone who knows how.
    let payload = |lines: &str| {
        let line: serde_json::Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
        line["fp"].as_str().unwrap().to_owned()
    };
    let lie = stated_anew(&altered);
    assert_ne!(payload(&lie), payload(&altered));
    world.write(&seal(&world.header(), lie.as_bytes()).unwrap());
    world.finds("altered", 1);

    // The whole segment under another name.
    world.write(&world.sound);
    assert_eq!(world.recount().code, 0);
    let copy = world
        .segment
        .with_file_name("00000000000000900000.ndjson.zst");
    std::fs::copy(&world.segment, &copy).unwrap();
    world.finds("doubled", count);

    // One record under another place, in a segment that is sound in itself.
    let first = world.lines.lines().next().unwrap();
    let moved = format!("{{\"offset\":900000,{}\n", first.split_once(',').unwrap().1);
    let header = Header {
        start: 900_000,
        end: 900_001,
        lines: 1,
        records: 1,
        ..world.header()
    };
    std::fs::write(&copy, seal(&header, moved.as_bytes()).unwrap()).unwrap();
    world.finds("doubled", 1);

    std::fs::remove_file(&copy).unwrap();
    assert_eq!(world.recount().code, 0);
}

/// The last segment of the log, and what it holds.
fn last_log_segment(data: &Path) -> (PathBuf, Vec<u8>) {
    let files = tree(&data.join("log/partitions")).into_iter();
    let files = files.filter_map(|(path, bytes)| Some((path, bytes?)));
    let mut logs = files.filter(|(path, bytes)| {
        let of_records = path.to_string_lossy().contains("/data-topic-");
        of_records && path.extension().is_some_and(|it| it == "log") && !bytes.is_empty()
    });
    logs.next_back().unwrap()
}

/// A ledger is made by reading: a damaged log is named and stays as it is, and what can be read
/// of it is counted.
#[test]
fn a_recount_changes_nothing_and_names_a_damaged_log() {
    let world = World::new();
    let (segment, sound) = last_log_segment(&world.data);
    let mut flipped = sound.clone();
    flipped[sound.len() / 2] ^= 1;
    let torn = sound[..sound.len() - 1].to_vec();
    let mut longer = sound.clone();
    longer.extend([7; 100]);
    for (bytes, what) in [
        (sound, None),
        (flipped, Some("the batch there fails its checksum")),
        (torn, Some("it ends inside a batch")),
        (longer, Some("no batch begins there")),
    ] {
        std::fs::write(&segment, bytes).unwrap();
        let before = tree(&world.data);
        let data = text(&world.data);
        let output = run(&["demo", "--data-dir", data, "--recount", "--output", "json"]);
        let (ledger, said) = (json(&output), stderr(&output));
        assert!(tree(&world.data) == before, "a recount changed something");
        let Some(what) = what else {
            assert_eq!(code(&output), 0, "{said}");
            continue;
        };
        assert_eq!(code(&output), 1, "{said}");
        let named = format!("{} is damaged: at byte ", segment.display());
        assert!(said.contains(&named) && said.contains(what), "{said}");
        let problem = ledger["problems"][0].as_str().unwrap();
        assert!(problem.starts_with(&named), "{ledger}");
        let in_log = ledger["in_log"].as_u64().unwrap();
        assert!((1..=300).contains(&in_log), "{ledger}");
        assert_eq!(in_log < 300, what != "no batch begins there", "{ledger}");
        // Both destinations are as they should be.
        for fault in ["lost", "doubled", "altered"] {
            assert_eq!(ledger["destinations"][0][fault], 0, "{ledger} {said}");
        }
    }

    let topics = world.data.join("log/topics.json");
    std::fs::write(&topics, "{").unwrap();
    let output = run(&["demo", "--data-dir", text(&world.data), "--recount"]);
    assert_eq!(code(&output), 1);
    let named = format!("{} is damaged: ", topics.display());
    assert!(stderr(&output).contains(&named), "{}", stderr(&output));
}

/// `lines`, the first of which states the fingerprint of what it says.
fn stated_anew(lines: &str) -> String {
    let first = lines.lines().next().unwrap();
    let line: serde_json::Value = serde_json::from_str(first).unwrap();
    let payload = first
        .split_once(",\"payload\":")
        .unwrap()
        .1
        .strip_suffix('}')
        .unwrap();
    let content_type = line["content_type"].as_str().unwrap();
    let fp = cloudsync::identity::Fingerprint::of(payload.as_bytes(), content_type).to_string();
    lines.replacen(line["fp"].as_str().unwrap(), &fp, 1)
}
