//! `bench`: what it prints, when it fails, and that nothing of it stays behind. No speed is
//! asserted.

#![cfg(target_os = "linux")]

use crate::support::{cloudsync, code, json, run, segments, stderr, text};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// What every report has, whatever was measured.
fn assert_shape(report: &Value, kind: &str, roles: &[&str]) {
    assert_eq!(report["kind"], kind, "{report}");
    for number in ["records", "seconds", "records_per_second"] {
        assert!(report[number].as_f64().unwrap() > 0.0, "{number}: {report}");
    }
    assert_eq!(report["lost"], 0, "{report}");
    assert_eq!(report["doubled"], 0, "{report}");
    assert_eq!(report["complaints"], Value::Array(Vec::new()), "{report}");
    let found: Vec<_> = report["roles"]
        .as_array()
        .unwrap()
        .iter()
        .map(|role| {
            assert!(role["cpu_us_per_record"].is_f64(), "{report}");
            assert!(role["peak_rss_mib"].as_f64().unwrap() > 1.0, "{report}");
            role["name"].as_str().unwrap()
        })
        .collect();
    assert_eq!(found, roles, "{report}");
    let floor = &report["floor"];
    assert!(
        floor["records_per_second"].as_f64().unwrap() > 0.0,
        "{report}"
    );
    assert!(floor["cpu_us_per_record"].is_f64(), "{report}");
    let acked = &report["ack_ms"];
    if kind == "consumer" {
        assert!(acked.is_null(), "{report}");
        return;
    }
    let ms = |name: &str| acked[name].as_f64().unwrap();
    assert!(ms("p50") > 0.0 && ms("p50") <= ms("p99"), "{report}");
    assert!(
        ms("p99") <= ms("p999") && ms("p999") <= ms("max"),
        "{report}"
    );
}

fn bench(args: &[&str]) -> Value {
    let output = run(&[&["bench"][..], args, &["--output", "json"]].concat());
    assert_eq!(code(&output), 0, "{args:?}: {}", stderr(&output));
    json(&output)
}

#[test]
fn a_pipeline_loses_nothing_and_recognises_what_is_sent_again() {
    let directory = tempfile::tempdir().unwrap();
    let plot = directory.path().join("plot.svg");
    let report = bench(&[
        "pipeline",
        "--seconds",
        "1",
        "--rate",
        "3000",
        "--resend",
        "0.2",
        "--plot",
        text(&plot),
    ]);
    assert_shape(
        &report,
        "pipeline",
        &["log", "gateway", "aws", "azure", "load"],
    );
    let resent = report["resent"].as_u64().unwrap();
    assert!(resent > 100, "{report}");
    let at_gateway = report["duplicates_at_gateway"].as_u64().unwrap();
    for place in report["arrived"].as_array().unwrap() {
        let known = place["duplicates"].as_u64().unwrap();
        assert_eq!(known + at_gateway, resent, "{report}");
        assert_eq!(place["arrived"], place["expected"], "{report}");
    }
    assert_eq!(report["arrived"].as_array().unwrap().len(), 2, "{report}");
    let rounds = report["rounds"].as_array().unwrap();
    let mut ratios: Vec<_> = rounds
        .iter()
        .map(|it| it["cpu_ratio"].as_f64().unwrap())
        .collect();
    ratios.sort_by(f64::total_cmp);
    assert_eq!(ratios.len(), 3, "{report}");
    assert_eq!(report["floor"]["cpu_ratio"], ratios[1], "{report}");
    // What goes again is not counted as sent: 3,000 a second were asked for.
    assert!(report["records"].as_u64().unwrap() <= 3_000, "{report}");
    assert!(report["records_again"].as_u64().unwrap() > 100, "{report}");
    assert!(report["tail_seconds"].as_f64().unwrap() > 0.0, "{report}");
    let drawn = std::fs::read_to_string(plot).unwrap();
    assert!(
        drawn.starts_with("<svg ") && drawn.ends_with("</svg>\n"),
        "{drawn}"
    );
    assert_eq!(drawn.matches("<polyline").count(), 3, "{drawn}");
    assert!(!drawn.contains("NaN"), "{drawn}");
}

#[test]
fn files_are_read_back() {
    let report = bench(&[
        "pipeline",
        "--seconds",
        "1",
        "--rounds",
        "1",
        "--rate",
        "2000",
        "--destinations",
        "file",
    ]);
    assert_shape(
        &report,
        "pipeline",
        &["log", "gateway", "aws", "azure", "load"],
    );
}

#[test]
fn each_entrance_of_the_gateway_is_measured_alone() {
    for (kind, args) in [
        // As fast as it goes.
        ("gateway", &["--rounds", "1"][..]),
        ("unary", &["--rate", "500", "--connections", "2"]),
        ("http", &["--rate", "500", "--connections", "4"]),
        ("http", &["--rate", "5000", "--batch", "50"]),
    ] {
        let report = bench(&[&[kind, "--seconds", "1"][..], args].concat());
        assert_shape(&report, kind, &["log", "gateway", "load"]);
        assert_eq!(report["arrived"][0]["place"], "log", "{report}");
    }
}

#[test]
fn each_dedupe_store_recognises_what_is_sent_again() {
    let redis = redis_is_there();
    for (store, shared) in [("embedded", false), ("buckets", true), ("keys", true)] {
        if shared && !redis {
            continue;
        }
        let load = [
            "--seconds",
            "1",
            "--rounds",
            "1",
            "--rate",
            "3000",
            "--resend",
            "0.2",
        ];
        let output = cloudsync()
            .args(["bench", "pipeline", "--dedupe", store, "--output", "json"])
            .args(load)
            // The gateway shall leave them to the stores.
            .env("CLOUDSYNC_GATEWAY__RECENT_IDS", "0")
            .output()
            .unwrap();
        assert_eq!(code(&output), 0, "{store}: {}", stderr(&output));
        let report = json(&output);
        let roles = ["log", "gateway", "aws", "azure", "redis", "load"];
        let roles: Vec<_> = roles
            .into_iter()
            .filter(|it| shared || *it != "redis")
            .collect();
        assert_shape(&report, "pipeline", &roles);
        let resent = report["resent"].as_u64().unwrap();
        assert!(resent > 100, "{store}: {report}");
        for place in report["arrived"].as_array().unwrap() {
            assert_eq!(place["duplicates"], resent, "{store}: {report}");
        }
    }
}

/// One table, with what each store costs beside none.
#[test]
fn every_dedupe_store_takes_its_turn() {
    if !redis_is_there() {
        return;
    }
    let load = ["--seconds", "1", "--rounds", "1", "--rate", "2000"];
    let args = ["--dedupe", "all", "--output", "json"];
    let output = run(&[&["bench"][..], &load, &args].concat());
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let report = json(&output);
    let stores = report["stores"].as_array().unwrap();
    let names: Vec<_> = stores.iter().map(|it| it["dedupe"].clone()).collect();
    assert_eq!(names, ["off", "memory", "embedded", "buckets", "keys"]);
    assert_eq!(stores[0]["rate_of_off"], 1.0, "{report}");
    assert_eq!(stores[0]["dedupe_us"], 0.0, "{report}");
    for store in stores {
        let shared = store["dedupe"] == "buckets" || store["dedupe"] == "keys";
        assert_eq!(store["redis_us"].is_f64(), shared, "{store}");
        let (all, both) = (&store["all_us"], &store["consumers_us"]);
        assert!(
            both.as_f64() > Some(0.0) && all.as_f64() > both.as_f64(),
            "{store}"
        );
        let roles = ["log", "gateway", "aws", "azure", "redis", "load"];
        let roles = roles.iter().filter(|it| shared || **it != "redis");
        assert_shape(
            &store["rounds"][0],
            "pipeline",
            &roles.copied().collect::<Vec<_>>(),
        );
        // How much Redis keeps, it does not tell of each destination in every layout.
        if !shared {
            let known = &store["rounds"][0]["arrived"][0]["dedupe_mib"];
            let remembers = store["dedupe"] != "off";
            assert_eq!(known.as_f64() > Some(0.0), remembers, "{store}");
        }
    }
}

#[expect(clippy::print_stderr, reason = "a skip is to be seen")]
pub(crate) fn redis_is_there() -> bool {
    let there = Command::new("redis-server")
        .arg("--version")
        .output()
        .is_ok();
    if !there {
        let ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
        assert!(!ci, "redis-server is missing: apt-get install redis-server");
        eprintln!("SKIPPED: redis-server is missing: apt-get install redis-server");
    }
    there
}

#[test]
fn a_consumer_drains_a_full_log_in_each_round() {
    let report = bench(&["consumer", "--seconds", "1"]);
    assert_shape(&report, "consumer", &["log", "consumer"]);
    assert_eq!(report["arrived"].as_array().unwrap().len(), 3, "{report}");
    let table = run(&["bench", "consumer", "--seconds", "1", "--rounds", "1"]);
    assert_eq!(code(&table), 0, "{}", stderr(&table));
    let table = String::from_utf8(table.stdout).unwrap();
    for part in ["CPU µs/record", "ours / floor", "lost 0, doubled 0"] {
        assert!(table.contains(part), "{table}");
    }
}

/// One acknowledged record that did not arrive is found, whoever should have got it.
#[test]
fn a_lost_record_is_found_and_the_bench_fails() {
    for (kind, place) in [("pipeline", "aws"), ("gateway", "log")] {
        let args = ["bench", kind, "--seconds", "1", "--rounds", "1"];
        let hook = ["--rate", "1000", "--lose-one", "--output", "json"];
        let output = run(&[args.as_slice(), &hook].concat());
        let said = stderr(&output);
        assert_eq!(code(&output), 1, "{said}");
        assert!(said.starts_with("test hook: "), "{said}");
        assert!(
            said.contains(&format!("{place}: at least 1 lost")),
            "{said}"
        );
        let report = json(&output);
        assert_eq!(report["lost"], 1, "{report}");
        assert_eq!(report["doubled"], 0, "{report}");
    }
}

/// No hook: a file goes while the bench runs, and just its records are missing at the end.
#[test]
fn a_segment_that_somebody_removes_is_missed() {
    let temporary = tempfile::tempdir().unwrap();
    let mut bench = cloudsync()
        .args(["bench", "--seconds", "3", "--rounds", "1", "--rate", "1000"])
        .args(["--destinations", "file", "--output", "json"])
        .env("TMPDIR", temporary.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let segment = loop {
        let places = std::fs::read_dir(temporary.path()).unwrap();
        let directory = places.map(|place| place.unwrap().path()).next();
        if let Some(directory) = directory.filter(|it| it.join("aws").is_dir())
            && let Some(segment) = segments(&directory, "aws").pop()
        {
            break segment;
        }
        assert_eq!(bench.try_wait().unwrap(), None, "it has ended");
        std::thread::yield_now();
    };
    let lines = zstd::decode_all(&std::fs::read(&segment).unwrap()[..]).unwrap();
    let lines = String::from_utf8(lines).unwrap().lines().count();
    std::fs::remove_file(segment).unwrap();
    let output = bench.wait_with_output().unwrap();
    assert_eq!(code(&output), 1, "{}", stderr(&output));
    let report = json(&output);
    assert!(lines > 0, "an empty segment shows nothing: {report}");
    assert_eq!(report["lost"], lines, "{report}");
    assert_eq!(report["doubled"], 0, "{report}");
}

#[test]
fn what_does_not_fit_together_is_refused_before_anything_starts() {
    for args in [
        &["unary", "--batch", "2"][..],
        &["consumer", "--rate", "1"],
        &["gateway", "--resend", "0.1"],
        &["gateway", "--destinations", "file"],
        &["unary", "--dedupe", "keys"],
        &["consumer", "--dedupe", "all"],
        &["--dedupe", "all", "--plot", "x.svg"],
        &["--dedupe", "off", "--resend", "0.1"],
        &["--dedupe", "all", "--resend", "0.1"],
        &["gateway", "--seconds", "0"],
        &["gateway", "--payload-bytes", "1"],
        &["nonsense"],
    ] {
        let output = run(&[&["bench"][..], args].concat());
        assert_eq!(code(&output), 2, "{args:?}: {}", stderr(&output));
    }
    let elsewhere = cloudsync()
        .args(["bench", "gateway"])
        .env("CLOUDSYNC_KAFKA__BROKERS", "127.0.0.1:1")
        .output()
        .unwrap();
    assert_eq!(code(&elsewhere), 2, "{}", stderr(&elsewhere));
}

// === what stays behind ===

/// A bench in the middle of its work.
struct Running {
    bench: Child,
    stderr: BufReader<std::process::ChildStderr>,
    roles: Vec<u32>,
}

impl Running {
    fn start(temporary: &Path) -> Self {
        // Whoever runs the tests under nohup has SIGHUP ignored, and the bench would respect it.
        let mut bench = Command::new("env")
            .args(["--default-signal=HUP", env!("CARGO_BIN_EXE_cloudsync")])
            .args(["bench", "pipeline", "--seconds", "600", "--rate", "100"])
            .env("TMPDIR", temporary)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = BufReader::new(bench.stderr.take().unwrap());
        let mut line = String::new();
        while !line.starts_with("round 1") {
            line.clear();
            assert_ne!(stderr.read_line(&mut line).unwrap(), 0, "it has ended");
        }
        let roles = children(bench.id());
        Self {
            bench,
            stderr,
            roles,
        }
    }

    fn signal(&self, name: &str) {
        let pid = self.bench.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(sent.unwrap().success());
    }

    /// Returns when nobody is left who could write to stderr, which every process of it can.
    fn end(mut self) -> (Option<i32>, String) {
        let mut said = String::new();
        self.stderr.read_to_string(&mut said).unwrap();
        let status = self.bench.wait().unwrap();
        let left: Vec<_> = self.roles.iter().filter(|pid| is_role(**pid)).collect();
        assert!(left.is_empty(), "{left:?} are still there");
        (status.code(), said)
    }
}

/// The processes whose parent is `parent`.
fn children(parent: u32) -> Vec<u32> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap() {
        let name = entry.unwrap().file_name();
        let Ok(pid) = name.to_string_lossy().parse::<u32>() else {
            continue;
        };
        // One that ends meanwhile is none of ours.
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
        if fields.split_whitespace().nth(1) == Some(parent.to_string().as_str()) {
            found.push(pid);
        }
    }
    found
}

/// Whether a process of a bench runs under this number; one that has ended has no command line.
fn is_role(pid: u32) -> bool {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line).contains("bench-role")
}

/// Ctrl-C, and the terminal that goes away.
#[test]
fn a_stopped_bench_leaves_no_process_and_no_file_behind() {
    for (signal, expected) in [("INT", 130), ("HUP", 129)] {
        let temporary = tempfile::tempdir().unwrap();
        let running = Running::start(temporary.path());
        // Log, gateway, two consumers, the clients; producer and two readers of the floor.
        assert_eq!(running.roles.len(), 8);
        running.signal(signal);
        let (code, said) = running.end();
        assert_eq!(code, Some(expected), "{said}");
        assert!(said.contains(&format!("SIG{signal}: stopped")), "{said}");
        assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 0);
    }
}

#[test]
fn a_killed_bench_leaves_no_process_behind() {
    let temporary = tempfile::tempdir().unwrap();
    let running = Running::start(temporary.path());
    assert!(running.roles.iter().all(|pid| is_role(*pid)));
    running.signal("KILL");
    assert_eq!(running.end().0, None);
}
