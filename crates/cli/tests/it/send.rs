//! `send`: its formats, its bounds, and what it shows.

use crate::support::{cloudsync, code, run, stderr, text};
use crate::up::Up;
use std::io::Write;
use std::process::{Output, Stdio};

fn summary(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", stderr(output)))
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let level = flate2::Compression::fast();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

/// All of these say the same: 1,000 records with the ids of the first.
#[test]
fn every_format_packed_or_not_gives_the_same_records() {
    let directory = tempfile::tempdir().unwrap();
    let up = Up::start(&directory.path().join("data"));
    let endpoint = format!("http://{}", up.address("✔ gateway"));
    let of = |separator: &str, element: fn(u32) -> String| {
        let elements: Vec<_> = (0..1_000).map(element).collect();
        elements.join(separator)
    };
    let object = |number| format!("{{\"id\":\"{number}\",\"n\":\"x\"}}");
    let ndjson = of("\n", object);
    let array = format!("[{}]", of(",\n", object));
    let csv = format!("id,n\n{}\n", of("\r\n", |number| format!("{number},x")));
    let zstd = |plain: &str| zstd::encode_all(plain.as_bytes(), 1).unwrap();
    let files = [
        ("a.ndjson", ndjson.clone().into_bytes()),
        ("a.ndjson.gz", gzip(ndjson.as_bytes())),
        ("a.json", array.clone().into_bytes()),
        ("a.json.zst", zstd(&array)),
        ("a.csv", csv.clone().into_bytes()),
        ("a.csv.gz", gzip(csv.as_bytes())),
        ("named otherwise", zstd(&ndjson)),
    ];
    let options = [
        "--id-pointer",
        "/id",
        "--endpoint",
        &endpoint,
        "--output",
        "json",
    ];
    for (name, content) in files {
        let file = directory.path().join(name);
        std::fs::write(&file, content).unwrap();
        let sent = run(&[&["send", text(&file)][..], &options].concat());
        assert_eq!(code(&sent), 0, "{name}: {}", stderr(&sent));
        assert_eq!(summary(&sent)["acked"], 1_000, "{name}");
        let rest = run(&[&["send", text(&file), "--from-line", "991"][..], &options].concat());
        // The header of CSV is a line as well.
        let expected = if name.contains("csv") { 11 } else { 10 };
        assert_eq!(summary(&rest)["acked"], expected, "{name}");
    }
    // Standard input, packed: nothing but its first bytes tells.
    for (format, content) in [("auto", gzip(ndjson.as_bytes())), ("csv", zstd(&csv))] {
        let mut child = cloudsync()
            .args(["send", "-", "--format", format])
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(&content).unwrap();
        let sent = child.wait_with_output().unwrap();
        assert_eq!(summary(&sent)["acked"], 1_000, "{}", stderr(&sent));
    }
}

#[test]
fn what_is_no_row_is_listed_with_its_line() {
    let directory = tempfile::tempdir().unwrap();
    let up = Up::start(&directory.path().join("data"));
    let endpoint = format!("http://{}", up.address("✔ gateway"));
    let file = directory.path().join("b.csv.gz");
    let rejects = directory.path().join("rejects");
    std::fs::write(&file, gzip(b"id,n\n1,x\n2\n3,x\n")).unwrap();
    let output = ["--endpoint", &endpoint, "--output", "json"];
    let listed = ["send", text(&file), "--rejects", text(&rejects)];
    let sent = run(&[&listed[..], &output].concat());
    assert_eq!(code(&sent), 1, "{}", stderr(&sent));
    assert_eq!(summary(&sent)["acked"], 2);
    assert_eq!(
        std::fs::read_to_string(&rejects).unwrap(),
        "{\"unit\":\"line\",\"number\":3,\"reason\":\"the row has 1 fields, and the header 2\"}\n"
    );
}

/// Memory does not grow with the file. Linux only: elsewhere nobody tells the peak.
#[cfg(target_os = "linux")]
#[test]
fn a_large_file_is_sent_in_little_memory() {
    const RECORDS: u64 = 300_000;
    const MOST: u64 = 100 << 10;
    let directory = tempfile::tempdir().unwrap();
    let up = Up::start(&directory.path().join("data"));
    let endpoint = format!("http://{}", up.address("✔ gateway"));
    let file = directory.path().join("large.ndjson");
    let mut out = std::io::BufWriter::new(std::fs::File::create(&file).unwrap());
    let filler = "x".repeat(400);
    for number in 0..RECORDS {
        writeln!(out, "{{\"id\":{number},\"filler\":\"{filler}\"}}").unwrap();
    }
    out.into_inner().unwrap().sync_all().unwrap();
    assert!(std::fs::metadata(&file).unwrap().len() > 120 << 20);
    // Its end is held open, so that the peak can be read while it is there: standard input.
    let mut child = cloudsync()
        .args(["send", "-", "--id-pointer", "/id", "--endpoint", &endpoint])
        .args(["--output", "json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    std::io::copy(&mut std::fs::File::open(&file).unwrap(), &mut input).unwrap();
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    drop(input);
    let sent = child.wait_with_output().unwrap();
    assert_eq!(summary(&sent)["acked"], RECORDS);
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak: u64 = peak
        .unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap();
    assert!(peak <= MOST, "{peak} KiB");
}

#[test]
fn quiet_says_nothing_but_what_was_asked_for_and_what_is_wrong() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let demo = run(&[
        "demo",
        "--records",
        "100",
        "--quiet",
        "--data-dir",
        text(&data),
    ]);
    assert_eq!(code(&demo), 0, "{}", stderr(&demo));
    assert_eq!(stderr(&demo), "");
    assert!(
        String::from_utf8(demo.stdout)
            .unwrap()
            .contains("Nothing lost")
    );
    let wrong = run(&["send", "/nonexistent", "-q"]);
    assert_eq!(code(&wrong), 2);
    assert!(stderr(&wrong).contains("cannot open /nonexistent"));
}

#[test]
fn a_reader_that_goes_away_is_no_failure_and_no_panic() {
    for args in [
        &["--help"][..],
        &["completions", "bash"],
        &["config", "print"],
        &["config", "schema"],
    ] {
        let mut child = cloudsync()
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(code(&output), 0, "{args:?}: {}", stderr(&output));
        assert_eq!(stderr(&output), "", "{args:?}");
    }
}
