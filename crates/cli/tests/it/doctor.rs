//! `doctor`: before anything runs, beside a running `up`, and with something broken.

use crate::support::{cloudsync, code, json, run, stderr, text, tree};
use crate::up::Up;
use serde_json::Value;
use std::net::TcpListener;
use std::process::Output;

/// The state and the detail of `check`.
fn of<'a>(report: &'a Value, check: &str) -> (&'a str, &'a str) {
    let mut checks = report["checks"].as_array().unwrap().iter();
    let found = checks.find(|it| it["check"] == check);
    let found = found.unwrap_or_else(|| panic!("no {check} in {report}"));
    (
        found["state"].as_str().unwrap(),
        found["detail"].as_str().unwrap(),
    )
}

fn doctor(args: &[&str]) -> Output {
    run(&[&["doctor", "--output", "json"][..], args].concat())
}

#[test]
fn before_anything_runs_it_says_what_will_be_made() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let free = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
    let up = ["--up", "--data-dir", text(&data)];
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr();
    let nobody = nobody.unwrap().to_string();
    let before = doctor(&[&up[..], &free, &["--log-listen", &nobody]].concat());
    assert_eq!(code(&before), 0, "{}", stderr(&before));
    let report = json(&before);
    assert_eq!(of(&report, "settings").0, "ok");
    assert!(
        of(&report, "kafka").1.contains("`cloudsync up` starts it"),
        "{report}"
    );
    assert!(
        of(&report, "destination aws").1.contains("made at start"),
        "{report}"
    );
    assert!(
        of(&report, "dedupe").1.contains("kafka.retention = 7d"),
        "{report}"
    );
    assert!(!data.exists(), "a look makes nothing");
}

#[test]
fn it_looks_at_a_running_up_and_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let up = ["--up", "--data-dir", text(&data)];
    let running = Up::start(&data);
    let (log, gateway) = (running.address("✔ log"), running.address("✔ gateway"));
    let before = tree(&data.join("aws"));
    let addresses = ["--log-listen", &log, "--listen", &gateway];
    let addresses = [&up[..], &addresses, &["--admin-listen", "127.0.0.1:0"]].concat();
    let beside = doctor(&addresses);
    assert_eq!(code(&beside), 0, "{}", stderr(&beside));
    let report = json(&beside);
    assert!(
        of(&report, "kafka").1.contains("answers: cluster "),
        "{report}"
    );
    assert!(
        of(&report, "topic data-topic")
            .1
            .starts_with("12 partitions"),
        "{report}"
    );
    assert!(
        of(&report, "topic data-topic-dlq")
            .1
            .starts_with("4 partitions"),
        "{report}"
    );
    let destination = of(&report, "destination aws");
    assert!(
        destination.1.contains("refuses a second create"),
        "{report}"
    );
    if cfg!(target_os = "linux") {
        assert!(
            of(&report, "port gateway").1.contains("used by cloudsync"),
            "{report}"
        );
    }
    assert_eq!(tree(&data.join("aws")), before, "the probe is gone");
    // At the defaults nothing is to be done. What this machine is short of is another matter.
    for check in [
        "settings",
        "descriptors",
        "kafka",
        "topic data-topic",
        "dedupe",
    ] {
        let state = of(&report, check).0;
        assert!(matches!(state, "ok" | "note"), "{check}: {state}");
    }

    // The same as lines, a line a check.
    let lines = run(&[&["doctor"][..], &addresses].concat());
    let lines = String::from_utf8(lines.stdout).unwrap();
    assert_eq!(
        lines.lines().count(),
        report["checks"].as_array().unwrap().len()
    );
    assert!(lines.starts_with("ok    settings "), "{lines}");
}

#[test]
fn what_is_broken_fails_with_the_way_out() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let running = Up::start(&data);
    let log = running.address("✔ log");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let other = data.join("aws");
    let output = cloudsync()
        .args(["doctor", "--output", "json", "--brokers", &log])
        .args(["--listen", &taken, "--admin-listen", "127.0.0.1:0"])
        .env("CLOUDSYNC_KAFKA__TOPIC", "another-topic")
        .env("CLOUDSYNC_KAFKA__DLQ_PARTITIONS", "40")
        .env(
            "CLOUDSYNC_DESTINATIONS__GCP__URL",
            format!("file://{}", text(&other)),
        )
        .env("CLOUDSYNC_DESTINATIONS__GCP__GROUP", "gcp")
        .env("CLOUDSYNC_DESTINATIONS__AZURE__URL", "ftp://u:hush@h/x")
        .env("CLOUDSYNC_DEDUPE__URL", "etcd://u:hush@h")
        .output()
        .unwrap();
    assert_eq!(code(&output), 2, "{}", stderr(&output));
    let report = json(&output);
    assert_eq!(report["ok"], false);
    assert_eq!(report["checks"][0]["check"], "settings");
    for (check, wanted) in [
        ("settings", "destinations.azure.url is refused: "),
        ("topic another-topic", "`cloudsync topics ensure`"),
        (
            "topic data-topic-dlq",
            "has 4 partitions, and the settings say 40",
        ),
        ("port gateway", "choose another port with --listen"),
        ("destination gcp", "belongs to another destination"),
        ("destination aws", "destinations.aws.url is not set"),
        ("destination azure", "ftp://u:***@h/x"),
        ("dedupe", "has the scheme \"etcd\""),
    ] {
        let (state, detail) = of(&report, check);
        assert_eq!(state, "fail", "{check}: {detail}");
        assert!(detail.contains(wanted), "{check}: {detail}");
    }
    assert!(!report.to_string().contains("hush"), "{report}");
}

/// Wrong settings are the first lines, and no reason not to look at what they leave.
#[test]
fn wrong_settings_are_lines_of_the_report() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr();
    let output = cloudsync()
        .args([
            "doctor",
            "--up",
            "--output",
            "json",
            "--data-dir",
            text(&data),
        ])
        .args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
        .args(["--log-listen", &nobody.unwrap().to_string()])
        .env("CLOUDSYNC_GATEWAY__LISTN", "x")
        .env("CLOUDSYNC_KAFKA__PARTITIONS", "many")
        .output()
        .unwrap();
    assert_eq!(code(&output), 2, "{}", stderr(&output));
    let report = json(&output);
    let checks = report["checks"].as_array().unwrap();
    for (at, wanted) in [(0, "gateway.listn ("), (1, "kafka.partitions (")] {
        assert_eq!(
            (&checks[at]["check"], &checks[at]["state"]),
            (&"settings".into(), &"fail".into())
        );
        let detail = checks[at]["detail"].as_str().unwrap();
        assert!(detail.starts_with(wanted), "{detail}");
    }
    assert_eq!(of(&report, "port gateway").0, "ok", "{report}");
    assert_eq!(of(&report, "destination aws").0, "ok", "{report}");
}

#[test]
fn why_kafka_does_not_answer_is_told() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr();
    let nobody = nobody.unwrap().to_string();
    let free = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
    let away = doctor(&[&free[..], &["--brokers", &nobody]].concat());
    assert_eq!(code(&away), 1, "{}", stderr(&away));
    let report = json(&away);
    let (state, detail) = of(&report, "kafka");
    assert_eq!(state, "fail");
    assert!(detail.contains("Connection refused"), "{detail}");
}

/// Endpoints are connected to, and sent nothing.
#[test]
fn an_endpoint_is_reached_or_said_to_be_wrong() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let examine = |settings: &[(&str, &str)]| {
        let of = |key: &str| format!("CLOUDSYNC_DESTINATIONS__AWS__{key}");
        let output = cloudsync()
            .args(["doctor", "--output", "json", "--brokers", "127.0.0.1:1"])
            .args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
            .envs(settings.iter().map(|(key, value)| (of(key), value)))
            .output()
            .unwrap();
        let report = json(&output);
        assert!(!report.to_string().contains("hush"), "{report}");
        let (state, detail) = of_check(&report);
        (state.to_owned(), detail.to_owned())
    };
    let url = format!("http://me:hush@127.0.0.1:{port}/in?sig=hush");
    let here = [("URL", url.as_str()), ("ALLOW_PRIVATE", "true")];
    let (state, detail) = examine(&here);
    assert_eq!(state, "ok", "{detail}");
    assert!(
        detail.contains("takes connections; nothing was sent (plain"),
        "{detail}"
    );
    let (mut stream, _) = listener.accept().unwrap();
    let mut sent = Vec::new();
    std::io::Read::read_to_end(&mut stream, &mut sent).unwrap();
    assert_eq!(sent, b"", "not a byte");
    let (state, detail) = examine(&here[..1]);
    assert_eq!(state, "fail");
    assert!(detail.contains("allow_private = true"), "{detail}");
    let metadata = [
        ("URL", "http://169.254.169.254/"),
        ("ALLOW_PRIVATE", "true"),
    ];
    let (state, detail) = examine(&metadata);
    assert_eq!(state, "fail");
    assert!(detail.contains("where no endpoint may lie"), "{detail}");
    drop(listener);
    let (state, detail) = examine(&here);
    assert_eq!(state, "fail");
    assert!(detail.contains("takes no connection"), "{detail}");
}

fn of_check(report: &Value) -> (&str, &str) {
    of(report, "destination aws")
}
