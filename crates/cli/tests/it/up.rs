//! `up`: what it prints, what can be sent to it, how it ends.

use crate::support::{cloudsync, code, run, segments, stderr, text};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::time::Duration;
use tokio::time::Instant;

const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Up {
    child: Child,
    lines: mpsc::Receiver<String>,
    said: String,
}

impl Up {
    pub(crate) fn start(data: &Path) -> Self {
        Self::start_with(data, &[])
    }

    fn start_with(data: &Path, settings: &[(&str, &str)]) -> Self {
        let mut child = cloudsync()
            .envs(settings.iter().copied())
            .args(["up", "--data-dir", text(data), "--listen", "127.0.0.1:0"])
            .args([
                "--admin-listen",
                "127.0.0.1:0",
                "--log-listen",
                "127.0.0.1:0",
            ])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = mpsc::channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            stderr
                .lines()
                .map_while(Result::ok)
                .all(|line| sender.send(line).is_ok())
        });
        let mut up = Self {
            child,
            lines,
            said: String::new(),
        };
        up.until("Ctrl-C ends it.");
        up
    }

    fn until(&mut self, wanted: &str) {
        let end = Instant::now() + PATIENCE;
        while !self.said.contains(wanted) {
            let left = end.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left);
            let line = line.unwrap_or_else(|_| panic!("no {wanted:?} in:\n{}", self.said));
            self.said.push_str(&line);
            self.said.push('\n');
        }
    }

    /// The address behind `mark` in what it printed.
    pub(crate) fn address(&self, mark: &str) -> String {
        let mut lines = self.said.lines();
        let rest = lines.find_map(|line| line.strip_prefix(mark)).unwrap();
        let rest = rest.trim_start().trim_start_matches("http://");
        rest.split([',', '/']).next().unwrap().to_owned()
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(
            std::process::Command::new("kill")
                .args(["-s", name, &pid])
                .status()
                .unwrap()
                .success()
        );
    }

    /// Ends it as an operator does.
    pub(crate) fn end(&mut self) {
        self.signal("TERM");
        assert_eq!(self.wait(), 0, "{}", self.said);
    }

    fn wait(&mut self) -> i32 {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().unwrap_or(-1);
            }
            assert!(Instant::now() < end, "it does not end:\n{}", self.said);
            std::thread::yield_now();
        }
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ended = self.child.kill().is_ok();
        let _status = self.child.wait().is_ok();
    }
}

fn http(address: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Waits until `wanted` lines with `text` lie at both destinations.
pub(crate) fn delivered(data: &Path, wanted: usize, text: &str) {
    let end = Instant::now() + PATIENCE;
    for name in ["aws", "azure"] {
        loop {
            let lines = segments(data, name).into_iter().flat_map(|segment| {
                let plain = zstd::decode_all(&std::fs::read(segment).unwrap()[..]).unwrap();
                String::from_utf8(plain)
                    .unwrap()
                    .lines()
                    .map(str::to_owned)
                    .collect::<Vec<_>>()
            });
            let found = lines.filter(|line| line.contains(text)).count();
            assert!(found <= wanted, "{found} at {name}");
            if found == wanted {
                break;
            }
            assert!(Instant::now() < end, "{found} of {wanted} at {name}");
            std::thread::yield_now();
        }
    }
}

/// `/metrics` has what docs/metrics.md says, and counts what was sent.
fn metrics_are_as_described(address: &str) {
    let get = "GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let table = include_str!("../../../../docs/metrics.md");
    let rows = table.lines().filter_map(|line| line.strip_prefix("| `"));
    let described: BTreeSet<_> = rows
        .map(|row| {
            let mut cells = row.split(" | ");
            let name = cells.next().unwrap().trim_end_matches('`');
            (name.to_owned(), cells.next().unwrap().to_owned())
        })
        .collect();
    let wanted = [
        "cloudsync_gateway_records_accepted_total 3\n",
        "cloudsync_consumer_records_delivered_total{destination=\"aws\"} 3\n",
        "cloudsync_consumer_records_delivered_total{destination=\"azure\"} 3\n",
    ];
    let end = Instant::now() + PATIENCE;
    loop {
        let text = http(address, get);
        let kinds = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        let served: BTreeSet<_> = kinds
            .map(|line| line.split_once(' ').unwrap())
            .map(|(name, kind)| (name.to_owned(), kind.to_owned()))
            .collect();
        assert_eq!(served, described);
        // An object is there a moment before it is counted.
        if wanted.iter().all(|line| text.contains(line)) {
            return;
        }
        assert!(Instant::now() < end, "not {wanted:?} in:\n{text}");
        std::thread::yield_now();
    }
}

/// The command that it prints shows what landed, where a shell has the programs of it.
fn reads_back(said: &str, wanted: &str) {
    let command = said.lines().find(|line| line.starts_with("find ")).unwrap();
    let (command, _) = command.split_once(" | jq").unwrap();
    let shell = |line: &str| std::process::Command::new("sh").args(["-c", line]).output();
    if shell("zstdcat --version").unwrap().status.success() {
        let read = shell(command).unwrap().stdout;
        assert!(
            String::from_utf8(read).unwrap().contains(wanted),
            "{command}"
        );
    }
}

#[test]
fn what_is_pasted_arrives_at_both_destinations_and_a_signal_ends_it() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let mut up = Up::start(&data);
    let gateway = up.address("✔ gateway");
    let admin = up.address("✔ admin");
    let ready = http(
        &admin,
        "GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
    );
    assert!(ready.starts_with("HTTP/1.1 200"), "{ready}");

    // What `curl -d` sends.
    let body = "\"Test message for dual-cloud sync\"";
    let answer = http(
        &gateway,
        &format!(
            "POST /api/datasync HTTP/1.1\r\nhost: x\r\nconnection: close\r\naccept: */*\r\n\
             content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ),
    );
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    assert!(
        answer.ends_with("\r\n\r\nData message queued for synchronization."),
        "{answer}"
    );

    let file = directory.path().join("input.ndjson");
    std::fs::write(
        &file,
        "{\"id\":\"a\",\"n\":\"sent\"}\nnonsense\n{\"id\":\"b\",\"n\":\"sent\"}\n",
    )
    .unwrap();
    let endpoint = format!("http://{gateway}");
    let send = |endpoint: &str| {
        let sent = run(&[
            "send",
            text(&file),
            "--id-pointer",
            "/id",
            "--endpoint",
            endpoint,
            "--output",
            "json",
        ]);
        assert_eq!(code(&sent), 1, "one line is no record: {}", stderr(&sent));
        sent
    };
    let sent = send(&endpoint);
    let summary: serde_json::Value = serde_json::from_slice(&sent.stdout).unwrap();
    assert_eq!(
        (&summary["sent"], &summary["acked"]),
        (&2.into(), &2.into())
    );
    assert_eq!(summary["not_records"], 1);
    assert!(stderr(&sent).contains("line 2: "), "{}", stderr(&sent));

    delivered(&data, 1, "Test message for dual-cloud sync");
    reads_back(&up.said, "Test message for dual-cloud sync");
    delivered(&data, 2, "\"n\":\"sent\"");
    for address in [&gateway, &admin] {
        metrics_are_as_described(address);
    }
    up.signal("INT");
    assert_eq!(up.wait(), 0, "{}", up.said);

    // Begun again on the same directory, it is the same log, and nothing arrives twice.
    let mut up = Up::start(&data);
    delivered(&data, 2, "\"n\":\"sent\"");
    // What was delivered before is known: sent again it is in the log, and at no destination twice.
    send(&format!("http://{}", up.address("✔ gateway")));
    lag_is_zero(&up.address("✔ log"), 1 + 2 + 2);
    delivered(&data, 2, "\"n\":\"sent\"");
    up.signal("TERM");
    assert_eq!(up.wait(), 0, "{}", up.said);
}

#[test]
fn a_file_is_gone_on_with_and_what_is_no_record_is_listed() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let mut up = Up::start(&data);
    let file = directory.path().join("input.ndjson");
    let line = |number: u32| match number {
        50 | 150 => "no record\n".to_owned(),
        _ => format!("{{\"id\":\"id {number}\",\"n\":\"in a file\"}}\n"),
    };
    let lines: String = (1..=200).map(line).collect();
    std::fs::write(&file, lines).unwrap();
    let rejects = directory.path().join("rejects.ndjson");
    let endpoint = format!("http://{}", up.address("✔ gateway"));
    let send = |first: &str| {
        let sent = run(&[
            "send",
            text(&file),
            "--id-pointer",
            "/id",
            "--endpoint",
            &endpoint,
            "--from-line",
            first,
            "--rejects",
            text(&rejects),
            "--output",
            "json",
        ]);
        assert_eq!(code(&sent), 1, "lines are no records: {}", stderr(&sent));
        let summary: serde_json::Value = serde_json::from_slice(&sent.stdout).unwrap();
        let rejects = std::fs::read_to_string(&rejects).unwrap();
        let numbers = rejects.lines().map(|line| {
            let reject: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(reject["unit"], "line");
            reject["number"].as_u64().unwrap()
        });
        let counts = ["acked", "duplicates_at_gateway"];
        let counts = counts.map(|name| summary[name].as_u64().unwrap());
        (counts, numbers.collect::<Vec<_>>())
    };
    assert_eq!(send("101"), ([99, 0], vec![150]));
    // Acknowledged = duplicates at the gateway + records in the log.
    assert_eq!(send("1"), ([198, 99], vec![50, 150]));
    delivered(&data, 198, "\"n\":\"in a file\"");
    lag_is_zero(&up.address("✔ log"), 198);
    up.signal("TERM");
    assert_eq!(up.wait(), 0, "{}", up.said);

    // At another place nothing is there yet, whatever the dedupe store knows of the old one.
    let elsewhere = directory.path().join("elsewhere");
    let url = |name: &str| format!("file://{}", text(&elsewhere.join(name)));
    let mut up = Up::start_with(
        &data,
        &[
            ("CLOUDSYNC_DESTINATIONS__AWS__URL", &url("aws")),
            ("CLOUDSYNC_DESTINATIONS__AWS__GROUP", "aws-anew"),
            ("CLOUDSYNC_DESTINATIONS__AZURE__URL", &url("azure")),
            ("CLOUDSYNC_DESTINATIONS__AZURE__GROUP", "azure-anew"),
        ],
    );
    delivered(&elsewhere, 198, "\"n\":\"in a file\"");
    up.signal("TERM");
    assert_eq!(up.wait(), 0, "{}", up.said);
}

/// Commits follow at times.
fn lag_is_zero(brokers: &str, records: i64) {
    let nope = run(&["lag", "--brokers", brokers, "--group", "nope"]);
    assert_eq!(code(&nope), 1);
    let said = stderr(&nope);
    assert!(said.contains("by nope: there is no such group"), "{said}");
    assert!(said.contains("aws-sync-group, azure-sync-group"), "{said}");
    let end = Instant::now() + PATIENCE;
    loop {
        let lag = run(&["lag", "--brokers", brokers, "--output", "json"]);
        assert_eq!(code(&lag), 0, "{}", stderr(&lag));
        let lag: serde_json::Value = serde_json::from_slice(&lag.stdout).unwrap();
        let groups = lag["groups"].as_array().unwrap();
        let names: Vec<_> = groups.iter().map(|it| it["group"].as_str()).collect();
        assert_eq!(names, [Some("aws-sync-group"), Some("azure-sync-group")]);
        let partitions = groups[0]["partitions"].as_array().unwrap();
        let committed = partitions
            .iter()
            .map(|it| it["committed"].as_i64().unwrap_or(0));
        if groups.iter().all(|it| it["lag"] == 0) {
            assert_eq!(committed.sum::<i64>(), records, "what the log holds");
            return;
        }
        assert!(Instant::now() < end, "{lag}");
    }
}

/// After Ctrl-C what was sent is not given up: its answers are waited for, and are in the sum.
#[test]
fn an_interrupted_send_takes_the_answers_that_are_on_their_way() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let up = Up::start(&data);
    let endpoint = format!("http://{}", up.address("✔ gateway"));
    let mut child = cloudsync()
        .args(["send", "-", "--id-pointer", "/id", "--endpoint", &endpoint])
        .args(["--output", "json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut line = || said.next().unwrap().unwrap();
    writeln!(input, "{{\"id\":\"first\",\"n\":\"interrupted\"}}").unwrap();
    delivered(&data, 1, "interrupted");
    // The gateway is there, and does not answer.
    up.signal("STOP");
    for number in 2..=500 {
        writeln!(input, "{{\"id\":\"{number}\",\"n\":\"interrupted\"}}").unwrap();
    }
    let waits = line();
    assert!(waits.contains(": 499 records wait"), "{waits}");
    let interrupt = ["-s", "INT", &child.id().to_string()].map(str::to_owned);
    let killed = std::process::Command::new("kill").args(interrupt).status();
    assert!(killed.unwrap().success());
    let waits = line();
    assert!(waits.contains("waits for 499 answers"), "{waits}");
    up.signal("CONT");
    let stopped = line();
    assert!(stopped.contains("go on with --from-line 501"), "{stopped}");
    let output = child.wait_with_output().unwrap();
    assert_eq!(code(&output), 130);
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&summary["sent"], &summary["acked"]),
        (&500.into(), &500.into())
    );
    drop(input);
    delivered(&data, 500, "interrupted");
}

#[test]
fn without_an_answer_it_says_what_it_waits_for_and_ends_all_the_same() {
    // Nobody listens there: the port is free again.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let directory = tempfile::tempdir().unwrap();
    let mut child = cloudsync()
        .args([
            "consumer",
            "--destination",
            "aws",
            "--admin-listen",
            "127.0.0.1:0",
        ])
        .args(["--brokers", &nobody.to_string()])
        .env(
            "CLOUDSYNC_DESTINATIONS__AWS__URL",
            format!("file://{}", text(directory.path())),
        )
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stderr = BufReader::new(child.stderr.take().unwrap());
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        stderr
            .lines()
            .map_while(Result::ok)
            .all(|line| sender.send(line).is_ok())
    });
    let mut up = Up {
        child,
        lines,
        said: String::new(),
    };
    up.until("✖ destination aws");
    assert!(up.said.contains("waits for"), "{}", up.said);
    up.until("Connection refused");
    up.signal("TERM");
    assert_eq!(up.wait(), 0, "{}", up.said);
}

/// What somebody writes at the moment cannot be counted.
#[test]
fn a_recount_beside_a_running_up_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let demo = run(&["demo", "--records", "10", "--data-dir", text(&data)]);
    assert_eq!(code(&demo), 0, "{}", stderr(&demo));
    let recount = || run(&["demo", "--data-dir", text(&data), "--recount"]);
    let mut up = Up::start(&data);
    let refused = recount();
    assert_eq!(code(&refused), 1);
    let said = stderr(&refused);
    let log = format!("the log in {}", data.join("log").display());
    assert!(said.contains(&log), "{said}");
    assert!(said.contains("written by another process"), "{said}");
    up.signal("TERM");
    assert_eq!(up.wait(), 0, "{}", up.said);
    assert_eq!(code(&recount()), 0);
}
