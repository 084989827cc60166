//! `demo`: its sums, its inputs, its output.

use crate::support::{cloudsync, code, json, run, stderr, text};
use serde_json::Value;

fn number(value: &Value) -> u64 {
    value
        .as_u64()
        .unwrap_or_else(|| panic!("{value} is no count"))
}

/// The sums that must hold in every ledger.
fn assert_balanced(ledger: &Value) {
    let count = |name: &str| number(&ledger[name]);
    let left = count("acked") + count("unacked_in_log");
    assert_eq!(
        left,
        count("duplicates_at_gateway") + count("in_log"),
        "{ledger}"
    );
    for destination in ledger["destinations"].as_array().unwrap() {
        let columns = ["delivered", "duplicates", "dead_lettered", "not_addressed"];
        let sum: u64 = columns.iter().map(|name| number(&destination[*name])).sum();
        assert_eq!(sum, count("in_log"), "{ledger}");
        for fault in ["lost", "doubled", "altered"] {
            assert_eq!(destination[fault], 0, "{ledger}");
        }
    }
}

#[test]
fn the_built_in_events_reach_both_destinations_once() {
    let output = run(&["demo"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let table = String::from_utf8(output.stdout).unwrap();
    let row = |name: &str| {
        let line = table.lines().find(|line| line.contains(name)).unwrap();
        line.split_whitespace()
            .filter(|word| *word == "1,707")
            .count()
    };
    assert_eq!((row("sent "), row("delivered")), (1, 2), "{table}");
    assert!(
        table.ends_with("Nothing lost, nothing doubled, nothing altered.\n"),
        "{table}"
    );
}

#[test]
fn made_records_with_repetitions_are_delivered_once_and_every_sum_holds() {
    let output = run(&[
        "demo",
        "--records",
        "5000",
        "--resend",
        "0.2",
        "--output",
        "json",
    ]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let ledger = json(&output);
    assert_balanced(&ledger);
    assert_eq!(ledger["sent"], 6_000);
    assert_eq!(ledger["acked"], 6_000);
    assert_eq!(ledger["resent"], 1_000);
    let repeated = number(&ledger["duplicates_at_gateway"]);
    for destination in ledger["destinations"].as_array().unwrap() {
        assert_eq!(number(&destination["delivered"]), 5_000);
        assert_eq!(number(&destination["duplicates"]) + repeated, 1_000);
    }
    let names: Vec<_> = ledger
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    let mut expected = [
        "sent",
        "acked",
        "resent",
        "refused",
        "not_records",
        "duplicates_at_gateway",
        "in_log",
        "unacked_in_log",
        "destinations",
        "elapsed_seconds",
        "records_per_second",
    ];
    expected.sort_unstable();
    assert_eq!(names, expected);
}

/// Each record an object of its own: the same ledger, from other evidence.
#[test]
fn in_record_mode_every_sum_holds_as_well() {
    let mut demo = cloudsync();
    for destination in ["AWS", "AZURE"] {
        demo.env(
            format!("CLOUDSYNC_DESTINATIONS__{destination}__MODE"),
            "record",
        );
    }
    demo.args(["demo", "--records", "500", "--resend", "0.2"]);
    let output = demo.args(["--output", "json"]).output().unwrap();
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let ledger = json(&output);
    assert_balanced(&ledger);
    assert_eq!(ledger["destinations"][0]["delivered"], 500, "{ledger}");
}

#[test]
fn a_file_of_ones_own_is_sent_and_a_conflicting_id_is_set_aside() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("input.json");
    let elements: Vec<String> = (0..500)
        .map(|n| format!("  {{ \"id\": {n},\n    \"group\": \"g{}\" }}", n % 7))
        .collect();
    // Element 501 has an id of before with another content, and the same key.
    let conflict = "{\"id\": 3, \"group\": \"g3\", \"other\": true}";
    std::fs::write(&file, format!("[{},{conflict}]", elements.join(",\n"))).unwrap();
    let data = directory.path().join("data");
    let args = [
        "demo",
        text(&file),
        "--id-pointer",
        "/id",
        "--key-pointer",
        "/group",
        "--resend",
        "0.5",
        "--data-dir",
        text(&data),
        "--output",
        "json",
    ];
    let output = run(&args);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let ledger = json(&output);
    assert_balanced(&ledger);
    for destination in ledger["destinations"].as_array().unwrap() {
        assert_eq!(number(&destination["delivered"]), 500, "{ledger}");
        assert!(number(&destination["dead_lettered"]) >= 1, "{ledger}");
    }

    let again = run(&args);
    assert_eq!(code(&again), 2, "{}", stderr(&again));
    assert!(
        stderr(&again).contains("holds a demo already"),
        "{}",
        stderr(&again)
    );
    let recount = run(&[
        "demo",
        "--data-dir",
        text(&data),
        "--recount",
        "--output",
        "json",
    ]);
    assert_eq!(code(&recount), 0, "{}", stderr(&recount));
    assert_eq!(json(&recount), ledger);
}

/// Not all of the input is there: that is told, line by line and as a sum, and is no success.
#[test]
fn what_is_no_record_is_counted_and_ends_with_1() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("rows.csv");
    let long = "x".repeat(129);
    std::fs::write(&file, format!("id,n\n1,a\n2\n3,c\n{long},d\n")).unwrap();
    let data = directory.path().join("data");
    let output = ["--data-dir", text(&data), "--output", "json"];
    let demo = run(&[&["demo", text(&file), "--id-pointer", "/id"][..], &output].concat());
    assert_eq!(code(&demo), 1, "{}", stderr(&demo));
    let said = stderr(&demo);
    for wanted in ["line 3: the row has 1 fields", "line 5, id x"] {
        assert!(said.contains(wanted), "{said}");
    }
    let ledger = json(&demo);
    assert_balanced(&ledger);
    let counts = ["sent", "refused", "not_records", "in_log"].map(|name| number(&ledger[name]));
    assert_eq!(counts, [3, 1, 1, 2], "{ledger}");
    let recount = run(&[&["demo", "--recount"][..], &output].concat());
    assert_eq!(
        code(&recount),
        0,
        "what was sent is there: {}",
        stderr(&recount)
    );
    assert_eq!(json(&recount), ledger);

    // A column that is not there is told before anything is made, with the nearest.
    let other = directory.path().join("other");
    let pointed = [
        "demo",
        text(&file),
        "--id-pointer",
        "/ID",
        "--data-dir",
        text(&other),
    ];
    let misspelt = run(&pointed);
    assert_eq!(code(&misspelt), 2);
    let said = stderr(&misspelt);
    assert!(
        said.contains("no column at /ID; did you mean /id? there are: /id, /n"),
        "{said}"
    );
    assert!(!other.exists());
}

/// The line of the log that a reader takes for what `/metrics` and the ledger count.
#[test]
fn the_log_line_of_the_dedupe_store_counts_the_duplicates() {
    let mut demo = cloudsync();
    demo.args([
        "demo",
        "--records",
        "2000",
        "--resend",
        "0.5",
        "--output",
        "json",
    ]);
    demo.args(["--log", "cloudsync_consumers=info"]);
    let output = demo.output().unwrap();
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let ledger = json(&output);
    let said = stderr(&output);
    for destination in ledger["destinations"].as_array().unwrap() {
        let lines = said
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut of_it = lines.filter(|line| {
            let message = line["message"].as_str().unwrap_or_default();
            message.starts_with("what the dedupe store holds")
                && line["destination"] == destination["name"]
        });
        let last = of_it.next_back().unwrap_or_else(|| panic!("{said}"));
        let repeated = number(&ledger["duplicates_at_gateway"]);
        assert_eq!(
            number(&destination["duplicates"]) + repeated,
            1_000,
            "{ledger}"
        );
        assert_eq!(last["duplicates"], destination["duplicates"], "{last}");
        assert_eq!(last["redelivered"], destination["redelivered"], "{last}");
    }
}

/// Each decision about an id is a line, in both modes.
#[test]
fn decisions_about_ids_are_logged_where_they_are_asked_for() {
    for (mode, mut texts) in [
        ("batch", vec!["Duplicate message detected and skipped"]),
        (
            "record",
            vec!["Duplicate message detected and skipped", "Claim granted"],
        ),
    ] {
        for log in ["all", "off"] {
            let mut demo = cloudsync();
            demo.args([
                "demo",
                "--records",
                "200",
                "--resend",
                "0.5",
                "--output",
                "json",
            ]);
            demo.args(["--log", "warn,idempotency=info"]);
            demo.env("CLOUDSYNC_DEDUPE__LOG", log);
            demo.env("CLOUDSYNC_DESTINATIONS__AWS__MODE", mode);
            let output = demo.output().unwrap();
            assert_eq!(code(&output), 0, "{}", stderr(&output));
            let said = stderr(&output);
            let lines = said
                .lines()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let mut counts = std::collections::BTreeMap::<String, u64>::new();
            for line in lines.filter(|it| it["destination"] == "aws") {
                assert_eq!(line["target"], "idempotency", "{line}");
                assert!(
                    line["id"].as_str().is_some_and(|id| id.len() == 32),
                    "{line}"
                );
                let text = line["message"].as_str().unwrap_or_default();
                *counts.entry(text.to_owned()).or_default() += 1;
            }
            if log == "off" {
                assert!(counts.is_empty(), "{mode}: {counts:?}");
                texts.clear();
            }
            let ledger = json(&output);
            for text in &texts {
                let wanted = match *text {
                    "Claim granted" => number(&ledger["destinations"][0]["delivered"]),
                    _ => number(&ledger["destinations"][0]["duplicates"]),
                };
                assert_eq!(
                    counts.get(*text),
                    Some(&wanted),
                    "{mode} {text}: {counts:?}"
                );
            }
        }
    }
}

/// Whoever runs it sees that the window of an hour is not kept, before a duplicate gets through.
#[test]
fn a_dedupe_store_that_forgets_too_early_says_so_and_what_to_raise() {
    let mut demo = cloudsync();
    demo.args(["demo", "--records", "500"]);
    demo.env("CLOUDSYNC_DEDUPE__MAX_ENTRIES", "64");
    let output = demo.output().unwrap();
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let said = stderr(&output);
    let warned = |destination: &str| {
        said.lines().any(|line| {
            line.contains("raise dedupe.max_entries") && line.contains(&format!("{destination:?}"))
        })
    };
    assert!(warned("aws") && warned("azure"), "{said}");
}
