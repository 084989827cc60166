//! `bench dedupe`: what it prints, and that it leaves a Redis as it was. No speed is asserted.

#![cfg(target_os = "linux")]

use crate::bench::redis_is_there;
use crate::support::{cloudsync, code, json, run, stderr};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::time::Instant;

const TINY: [&str; 12] = [
    "bench",
    "dedupe",
    "--seconds",
    "1",
    "--rounds",
    "2",
    "--batch",
    "64",
    "--ids",
    "200k",
    "--output",
    "json",
];

/// A row for each store and kind of work, whose sums are those of its rounds.
fn assert_costs(report: &Value, stores: &[&str]) {
    let costs = report["costs"].as_array().unwrap();
    assert_eq!(costs.len(), 2 * stores.len(), "{report}");
    for (at, row) in costs.iter().enumerate() {
        assert_eq!(row["store"], stores[at / 2], "{report}");
        assert_eq!(row["work"], ["claim_complete", "lookup_complete"][at % 2]);
        assert_eq!(row["batch"], 64);
        let (redis, floor) = (at / 2 > 1, at / 2 > 0);
        let rounds = row["rounds"].as_array().unwrap();
        assert_eq!(rounds.len(), 2, "{row}");
        let of_rounds = rounds.iter().map(|round| round["ids"].as_u64().unwrap());
        assert_eq!(row["ids"].as_u64().unwrap(), of_rounds.sum::<u64>());
        for cells in rounds.iter().chain([row]) {
            assert_cells(cells, redis);
            assert_eq!(cells["floor"].is_object(), floor, "{row}");
            assert_eq!(cells["rate_ratio"].is_f64(), floor, "{row}");
            if floor {
                assert_cells(&cells["floor"], redis);
            }
        }
        // Of two rounds, the middle of both.
        let rates = rounds
            .iter()
            .map(|it| it["ids_per_second"].as_f64().unwrap());
        let middle = rates.sum::<f64>() / 2.0;
        let told = row["ids_per_second"].as_f64().unwrap();
        assert!((told - middle).abs() < 0.01, "{row}");
    }
}

fn assert_cells(cells: &Value, redis: bool) {
    let above_zero = |name: &str| cells[name].as_f64().is_some_and(|it| it > 0.0);
    assert!(above_zero("ids_per_second"), "{cells}");
    assert!(above_zero("client_us_per_id"), "{cells}");
    assert_eq!(above_zero("redis_us_per_id"), redis, "{cells}");
}

fn assert_memory(report: &Value, stores: &[&str]) {
    let rows = report["memory"].as_array().unwrap();
    assert_eq!(rows.len(), stores.len(), "{report}");
    for (row, store) in rows.iter().zip(stores) {
        assert_eq!(row["store"], *store, "{report}");
        // Whole calls.
        assert!((200_000..200_256).contains(&row["ids"].as_u64().unwrap()));
        let bytes = row["bytes_per_id"].as_f64().unwrap();
        assert!((10.0..1_000.0).contains(&bytes), "{report}");
        let on_disk = *store == "embedded";
        assert_eq!(row["open_seconds"].is_f64(), on_disk, "{report}");
    }
}

#[test]
fn each_dedupe_store_is_measured_beside_its_floor() {
    if !redis_is_there() {
        return;
    }
    let output = run(&TINY);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let report = json(&output);
    assert_eq!(report["kind"], "dedupe");
    assert_eq!(report["complaints"], Value::Array(Vec::new()), "{report}");
    let stores = ["memory", "embedded", "buckets", "keys"];
    assert_costs(&report, &stores);
    assert_memory(&report, &stores);
}

#[test]
fn without_a_redis_the_others_are_measured_and_it_says_so() {
    let (nothing, temporary) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let here = || {
        let mut command = cloudsync();
        command.env("PATH", nothing.path());
        command.env("TMPDIR", temporary.path());
        command
    };
    let output = here().args(TINY).output().unwrap();
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert!(
        stderr(&output).contains("--redis URL"),
        "{}",
        stderr(&output)
    );
    let report = json(&output);
    let stores = ["memory", "embedded"];
    assert_costs(&report, &stores);
    assert_memory(&report, &stores);
    let asked = ["bench", "dedupe", "--stores", "keys"];
    let output = here().args(asked).output().unwrap();
    assert_eq!(code(&output), 1);
    assert!(
        stderr(&output).contains("redis-server"),
        "{}",
        stderr(&output)
    );
    assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 0);
}

/// A Redis with a key of its owner.
struct Server(Child, u16);

impl Server {
    fn start() -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let child = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--save", "", "--port"])
            .arg(port.to_string())
            .stdout(Stdio::null())
            .spawn();
        let server = Self(child.unwrap(), port);
        let until = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < until, "redis-server does not listen");
            std::thread::yield_now();
        }
        assert_eq!(server.ask("SET theirs kept"), "+OK");
        server
    }

    /// The first line of the answer.
    fn ask(&self, command: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.1)).unwrap();
        stream
            .write_all(format!("{command}\r\n").as_bytes())
            .unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn bench(&self) -> Command {
        let mut bench = cloudsync();
        let url = format!("redis://127.0.0.1:{}", self.1);
        bench.args(["bench", "dedupe", "--redis", &url]);
        bench.args(["--stores", "buckets,keys", "--batch", "64"]);
        bench
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn a_redis_of_somebody_is_left_as_it_was_also_by_an_interrupted_bench() {
    if !redis_is_there() {
        return;
    }
    let server = Server::start();
    let tiny = ["--seconds", "1", "--rounds", "1", "--ids", "2000"];
    let output = server.bench().args(tiny).output().unwrap();
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let table = String::from_utf8(output.stdout).unwrap();
    for part in [
        "claim + complete",
        "lookup + complete",
        "B an id",
        "Again: ",
    ] {
        assert!(table.contains(part), "{table}");
    }
    assert_eq!(server.ask("DBSIZE"), ":1");

    let mut bench = server.bench();
    let bench = bench.args(["--seconds", "600"]).stdout(Stdio::null());
    let mut bench = bench.stderr(Stdio::piped()).spawn().unwrap();
    let until = Instant::now() + Duration::from_secs(60);
    // In the middle of a turn.
    while server.ask("DBSIZE") == ":1" {
        assert!(Instant::now() < until, "it writes nothing");
        std::thread::yield_now();
    }
    let pid = bench.id().to_string();
    let sent = Command::new("kill").args(["-s", "INT", &pid]).status();
    assert!(sent.unwrap().success());
    let mut said = String::new();
    let mut pipe = bench.stderr.take().unwrap();
    // Ends when nobody is left who could write to it, which every process of the bench can.
    pipe.read_to_string(&mut said).unwrap();
    assert_eq!(bench.wait().unwrap().code(), Some(130), "{said}");
    assert_eq!(server.ask("DBSIZE"), ":1", "{said}");
    assert_eq!(server.ask("EXISTS theirs"), ":1");
}

#[test]
fn what_bench_dedupe_cannot_measure_is_refused() {
    for args in [
        &["--redis", "memory:"][..],
        &["--redis", "redis://127.0.0.1:1?x"],
        &["--batch", "0"],
        &["--ids", "0"],
        &["--ids", "1g"],
        &["--stores", "disk"],
        &["--rate", "1"],
    ] {
        let output = run(&[&["bench", "dedupe"][..], args].concat());
        assert_eq!(code(&output), 2, "{args:?}: {}", stderr(&output));
    }
    let output = run(&["bench", "--seconds", "1", "dedupe"]);
    assert_eq!(code(&output), 2, "{}", stderr(&output));
}
