//! `scenarios`: six ways in which clients repeat themselves, here and against what runs; and that a
//! difference is found.

use crate::support::{cloudsync, code, json, stderr, text};
use crate::up::{Up, delivered};
use serde_json::Value;
use std::path::PathBuf;
use std::process::{Command, Output};
use tempfile::TempDir;

fn scenarios(arguments: &[&str]) -> Command {
    let mut command = cloudsync();
    command
        .args(["scenarios", "--output", "json"])
        .args(arguments);
    command
}

/// A running `up`.
struct World {
    directory: TempDir,
    data: PathBuf,
    up: Up,
}

impl World {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        let up = Up::start(&data);
        Self {
            directory,
            data,
            up,
        }
    }

    fn target(&self) -> String {
        format!("http://{}", self.up.address("✔ gateway"))
    }

    /// The scenarios beside it.
    fn beside(&self, arguments: &[&str]) -> Command {
        let mut command = scenarios(arguments);
        command.args(["--target", &self.target(), "--up"]);
        command.args(["--data-dir", text(&self.data)]);
        command.args(["--brokers", &self.up.address("✔ log")]);
        command
    }
}

fn number(value: &Value) -> u64 {
    value
        .as_u64()
        .unwrap_or_else(|| panic!("{value} is no count"))
}

/// Every sum holds, from what was sent to what lies at each destination; `counts` has scenario, sent
/// and different ids.
fn assert_as_expected(output: &Output, counts: &[(u64, u64, u64)]) {
    assert_eq!(code(output), 0, "{}", stderr(output));
    let found = json(output);
    assert_eq!(found["ok"], true);
    let rows = found["scenarios"].as_array().unwrap();
    assert_eq!(rows.len(), counts.len());
    for (row, (scenario, sent, ids)) in rows.iter().zip(counts) {
        let count = |name: &str| number(&row[name]);
        assert_eq!(
            (count("scenario"), count("sent"), count("acked")),
            (*scenario, *sent, *sent)
        );
        assert_eq!(count("effects_expected"), *ids, "{row}");
        let at_gateway = count("duplicates_at_gateway");
        // What a client sent once more by itself may have a place in the log of its own.
        let again = count("unacked_in_log");
        assert!(again <= count("retried"), "{row}");
        assert_eq!(sent + again, at_gateway + count("in_log"), "{row}");
        assert_eq!(row["destinations"].as_array().unwrap().len(), 2);
        for at in row["destinations"].as_array().unwrap() {
            let of = |name: &str| number(&at[name]);
            let (effects, duplicates) = (of("effects"), of("duplicates_there"));
            assert_eq!(effects, *ids, "{row}");
            assert_eq!(effects + duplicates, count("in_log"), "{row}");
            assert_eq!(at_gateway + duplicates, sent + again - ids, "{row}");
            assert_eq!(of("duplicates"), count("duplicates_expected"), "{row}");
            assert_eq!((of("lost"), of("doubled"), of("lag")), (0, 0, 0), "{row}");
        }
    }
}

#[test]
fn the_six_on_a_stack_of_their_own() {
    let output = scenarios(&["--records", "2000"]).output().unwrap();
    let sixth = number(&json(&output)["scenarios"][5]["effects_expected"]);
    assert!((1_500..1_700).contains(&sixth), "{sixth}");
    let counts = [
        (1, 20, 20),
        (2, 50, 50),
        (3, 5, 1),
        (4, 300, 100),
        (5, 600, 200),
        (6, 2_000, sixth),
    ];
    assert_as_expected(&output, &counts);
}

/// The gateway forgets with its process, and so does a store in memory: after the restart nobody
/// knows what was sent, and each id lies there twice.
#[test]
fn a_store_that_forgets_with_the_restart_is_found_out() {
    let mut command = scenarios(&["--only", "4"]);
    let output = command
        .env("CLOUDSYNC_DEDUPE__URL", "memory:")
        .output()
        .unwrap();
    assert_eq!(code(&output), 1, "{}", stderr(&output));
    let row = &json(&output)["scenarios"][0];
    assert_eq!(row["ok"], false);
    for at in row["destinations"].as_array().unwrap() {
        assert_eq!(
            (number(&at["effects"]), number(&at["doubled"])),
            (200, 100),
            "{row}"
        );
        assert_eq!(number(&at["lost"]), 0, "{row}");
    }
    let said = stderr(&output);
    for wanted in [
        "scenario 4: effects at aws: 100 expected, 200 found",
        "scenario 4: doubled at",
    ] {
        assert!(said.contains(wanted), "{said}");
    }
    let kept = said
        .lines()
        .find_map(|line| line.strip_prefix("Everything is kept in "));
    std::fs::remove_dir_all(kept.unwrap()).unwrap();
}

/// Beside records of others, in the log and at the destinations.
#[test]
fn beside_what_runs_only_the_records_of_the_run_are_counted() {
    let mut world = World::start();
    let file = world.directory.path().join("input.ndjson");
    std::fs::write(&file, "{\"id\":\"other\"}\n".repeat(3)).unwrap();
    let mut send = cloudsync();
    send.args(["send", text(&file), "--id-pointer", "/id"]);
    send.args(["--endpoint", &world.target()]);
    assert_eq!(code(&send.output().unwrap()), 0);
    delivered(&world.data, 1, "\"other\"");

    let only = ["--only", "3", "--only", "4", "--only", "6"];
    let output = world.beside(&only).args(["--records", "500"]).output();
    let output = output.unwrap();
    let found = json(&output);
    let sixth = number(&found["scenarios"][2]["effects_expected"]);
    assert_as_expected(&output, &[(3, 5, 1), (4, 300, 100), (6, 500, sixth)]);
    let left_out = found["scenarios"][1]["left_out"].as_str().unwrap();
    assert!(left_out.contains("not restarted"), "{left_out}");

    world.up.end();
    let gone = world.beside(&["--only", "3"]).output().unwrap();
    assert_eq!(code(&gone), 2, "{}", stderr(&gone));
    let said = stderr(&gone);
    assert!(said.contains("no gateway answers at http://"), "{said}");
}

/// The settings name a destination of somebody else: nothing of the run lies there.
#[test]
fn what_is_not_at_the_destination_is_lost() {
    let world = World::start();
    let elsewhere = world.directory.path().join("elsewhere");
    let mut demo = cloudsync();
    demo.args(["demo", "--records", "1", "--data-dir", text(&elsewhere)]);
    assert_eq!(code(&demo.output().unwrap()), 0);
    let url = format!("file://{}", text(&elsewhere.join("aws")));
    let mut lost = world.beside(&["--only", "3"]);
    lost.env("CLOUDSYNC_DESTINATIONS__AWS__URL", url);
    let lost = lost.output().unwrap();
    assert_eq!(code(&lost), 1, "{}", stderr(&lost));
    let places = &json(&lost)["scenarios"][0]["destinations"];
    let of = |at: usize| number(&places[at]["lost"]);
    assert_eq!((of(0), of(1)), (1, 0), "{places}");
    let named = "scenario 3: lost at aws: id scenarios-";
    assert!(stderr(&lost).contains(named), "{}", stderr(&lost));
}

/// A destination that keeps nothing, and a group that nobody is in.
#[test]
fn what_is_not_known_and_what_was_waited_for_is_said() {
    let world = World::start();
    let mut open = world.beside(&["--only", "3", "--only", "6", "--timeout", "3"]);
    open.env("CLOUDSYNC_DESTINATIONS__AWS__GROUP", "nobody");
    open.env("CLOUDSYNC_DESTINATIONS__AWS__URL", "null://");
    let open = open.output().unwrap();
    assert_eq!(code(&open), 1, "{}", stderr(&open));
    let found = json(&open);
    let rows = found["scenarios"].as_array().unwrap();
    assert_eq!(rows.len(), 1, "{found}");
    let aws = &rows[0]["destinations"][0];
    assert_eq!(aws["effects"], Value::Null);
    assert!(number(&aws["lag"]) > 0, "{aws}");
    let said = stderr(&open);
    for wanted in [
        "not known at aws",
        "null:// keeps nothing",
        "after 3s ",
        "nobody is ",
    ] {
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
}

#[test]
fn what_is_somebody_elses_is_not_used_without_his_gateway() {
    for (name, value, wanted) in [
        ("KAFKA__BROKERS", "kafka-1:9092", "--target URL"),
        (
            "DESTINATIONS__AWS__URL",
            "file:///srv/theirs",
            "unset destinations.aws.url",
        ),
        (
            "DEDUPE__URL",
            "redis://127.0.0.1:1/0",
            "set dedupe.namespace to another one",
        ),
    ] {
        let mut command = scenarios(&["--only", "3"]);
        let output = command.env(format!("CLOUDSYNC_{name}"), value).output();
        let output = output.unwrap();
        assert_eq!(code(&output), 2, "{name}");
        assert!(stderr(&output).contains(wanted), "{}", stderr(&output));
    }
    // Nobody would know what came of it.
    let blind = ["--only", "3", "--target", "http://127.0.0.1:1"];
    let output = scenarios(&blind).output().unwrap();
    assert_eq!(code(&output), 2);
    let said = stderr(&output);
    assert!(said.contains("no destination has a url"), "{said}");
    for wrong in [
        &["--only", "7"][..],
        &["--records", "0"],
        &["--target", "gateway:1"],
    ] {
        assert_eq!(code(&scenarios(wrong).output().unwrap()), 2, "{wrong:?}");
    }
}
