//! `dedupe`: what a store knows of an id, seen from outside, and made unknown.

use crate::support::{cloudsync, code, json, run, stderr, text, tree};
use crate::up::{Up, delivered};
use std::path::Path;
use std::process::Output;

/// `cloudsync dedupe` on the store that `up` keeps in `data`.
fn dedupe(data: &Path, arguments: &[&str]) -> Output {
    let place = |name: &str| format!("file://{}", text(&data.join(name)));
    cloudsync()
        .env("CLOUDSYNC_DEDUPE__URL", place("dedupe"))
        .env("CLOUDSYNC_DESTINATIONS__AWS__URL", place("aws"))
        .env("CLOUDSYNC_DESTINATIONS__AZURE__URL", place("azure"))
        .arg("dedupe")
        .args(arguments)
        .output()
        .unwrap()
}

fn states(output: &Output) -> [String; 2] {
    assert_eq!(code(output), 0, "{}", stderr(output));
    let found = json(output);
    [0, 1].map(|at| {
        found["destinations"][at]["state"]
            .as_str()
            .unwrap()
            .to_owned()
    })
}

#[test]
fn an_id_is_shown_and_forgotten_once_nobody_else_has_the_store() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let file = directory.path().join("input.ndjson");
    std::fs::write(&file, "{\"id\":\"order 1\",\"key\":\"kim\"}\n").unwrap();
    let mut up = Up::start(&data);
    let endpoint = format!("http://{}", up.address("✔ gateway"));
    let pointers = ["--id-pointer", "/id", "--key-pointer", "/key"];
    let sent = run(&[
        &["send", text(&file), "--endpoint", &endpoint],
        &pointers[..],
    ]
    .concat());
    assert_eq!(code(&sent), 0, "{}", stderr(&sent));
    delivered(&data, 1, "order 1");

    let busy = dedupe(&data, &["stats"]);
    assert_eq!(code(&busy), 1);
    assert!(stderr(&busy).contains("is in use by"), "{}", stderr(&busy));
    assert!(stderr(&busy).contains("/metrics"), "{}", stderr(&busy));
    up.end();

    let stats = json(&dedupe(&data, &["stats", "--output", "json"]));
    assert_eq!(stats["stores"][1]["destination"], "azure");
    assert_eq!(stats["stores"][1]["entries"], 1);
    assert_eq!(stats["stores"][1]["window_seconds"], 3_600);
    let show = |id: &str, key: &str| dedupe(&data, &["show", id, "--key", key, "--output", "json"]);
    assert_eq!(states(&show("order 1", "kim")), ["done", "done"]);
    assert_eq!(
        states(&show("order 1", "")),
        ["unknown", "unknown"],
        "another record"
    );
    let gone = dedupe(
        &data,
        &["forget", "order 1", "--key", "kim", "--destination", "aws"],
    );
    assert_eq!(code(&gone), 0, "{}", stderr(&gone));
    assert_eq!(states(&show("order 1", "kim")), ["unknown", "done"]);
}

#[test]
fn what_cannot_be_looked_at_says_where_to_look() {
    let directory = tempfile::tempdir().unwrap();
    let in_memory = run(&["dedupe", "stats"]);
    assert_eq!(code(&in_memory), 2);
    assert!(
        stderr(&in_memory).contains("/metrics"),
        "{}",
        stderr(&in_memory)
    );
    let nowhere = dedupe(directory.path(), &["show", "x"]);
    assert_eq!(code(&nowhere), 1);
    assert!(
        stderr(&nowhere).contains("cannot find the directory"),
        "{}",
        stderr(&nowhere)
    );
    assert!(tree(directory.path()).is_empty(), "nothing was made");
    let unknown = dedupe(directory.path(), &["show", "x", "--destination", "gcp"]);
    assert_eq!(code(&unknown), 2);
    assert!(
        stderr(&unknown).contains("aws, azure"),
        "{}",
        stderr(&unknown)
    );
    let plan = run(&[
        "dedupe", "plan", "--rate", "1000", "--window", "10min", "--output", "json",
    ]);
    let plan = json(&plan);
    assert_eq!(plan["stores"][0]["ids"], 600_000);
    assert_eq!(plan["stores"][2]["ids"], 1_200_000, "two generations");
}
