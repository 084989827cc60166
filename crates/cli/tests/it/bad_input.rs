//! Wrong input of every kind, one line a case: the exit code, what the message names, and that it
//! fits on a screen and shows nothing of our insides.

use crate::support::{cloudsync, code, run, stderr, text};
use crate::up::Up;
use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::process::Output;

/// Lines of a message that fit on a screen.
const SCREEN: usize = 24;

/// What is typed behind `cloudsync`, and what stderr has to name; the exit code is 2. `FILE` and
/// `DIR` stand for a file with one record and the directory that it lies in.
type Typed = (&'static str, Names);
type Names = &'static [&'static str];

const TYPED: &[Typed] = &[
    ("nonsense", &["unrecognized subcommand 'nonsense'"]),
    ("sned", &["similar subcommand exists: 'send'"]),
    ("send", &["<FILE>"]),
    ("demo --resend 2", &["--resend", "a number from 0 to 1"]),
    ("demo --records 0", &["--records", "at least 1"]),
    ("demo --recount", &["--data-dir"]),
    ("demo --recount --data-dir DIR", &["holds no demo"]),
    ("demo --recount --data-dir /nonexistent", &["/nonexistent"]),
    ("consumer", &["--destination <NAME>"]),
    ("consumer --destination gcp", &["gcp", "aws, azure"]),
    (
        "topics ensure --replication 0",
        &["kafka.replication", "--replication"],
    ),
    ("lag --watch 0", &["--watch", "at least 1"]),
    ("completions tcsh", &["possible values", "bash"]),
    ("up --log cloudsync=loud", &["--log", "not a log level"]),
    (
        "gateway --listen localhost:9000",
        &[
            "gateway.listen (flag --listen)",
            "such as 127.0.0.1:9000",
            "localhost",
        ],
    ),
    (
        "gateway --listen 0.0.0.0:0 --admin-listen 127.0.0.1:0",
        &["--insecure"],
    ),
    (
        "send FILE --format xml",
        &["--format", "ndjson, json, lines, csv"],
    ),
    ("send FILE --from-line 0", &["--from-line", "at least 1"]),
    (
        "send FILE --id-pointer id",
        &["--id-pointer", "begin with /"],
    ),
    (
        "send FILE --format lines --id-pointer /id",
        &["--id-pointer", "CSV"],
    ),
    (
        "send FILE --endpoint nonsense",
        &["nonsense", "http://127.0.0.1:50051"],
    ),
    (
        "send FILE --endpoint ftp://h",
        &["--endpoint", "http://127.0.0.1:50051"],
    ),
    ("send FILE --rejects DIR", &["cannot write"]),
    (
        "send FILE --rejects /nonexistent/x",
        &["cannot write /nonexistent/x"],
    ),
    (
        "send /nonexistent.ndjson",
        &["cannot open /nonexistent.ndjson", "No such file"],
    ),
    ("send DIR", &["it is a directory"]),
    ("send FILE/x", &["cannot open", "Not a directory"]),
    (
        "config check --config /nonexistent.toml",
        &["/nonexistent.toml", "cannot be read"],
    ),
    ("config check --config DIR", &["it is a directory"]),
];

/// A settings file, and what stderr has to name; the exit code is 2.
const FILES: &[(&[u8], &[&str])] = &[
    (b"[kafka\n", &["line 1", "column 7", "is not TOML"]),
    (
        b"[kafka]\n\nbrokerz = 1\n",
        &["kafka.brokerz", "line 3", "did you mean `brokers`?"],
    ),
    (b"a = 1\na = 2\n", &["line 2", "is not TOML"]),
    (b"\xff\xfe", &["cannot be read", "UTF-8"]),
    (
        b"[kafka]\npartitions = 0\n",
        &["kafka.partitions = 0", "line 2", "1..=10000"],
    ),
    (
        b"kafka.retention = \"week\"\n",
        &["kafka.retention", "line 1", "as in 7d"],
    ),
    (
        b"[kafka]\npartitions = 0\n[gateway]\nmax_streams = 0\n[dedupe]\nlease = \"0s\"\n",
        &["3 settings are wrong", "line 2", "line 4", "line 6"],
    ),
    (
        b"[destinations.aws]\ngroup = \"g\"\n[destinations.azure]\ngroup = \"g\"\n",
        &["destinations.aws.group and destinations.azure.group are both g"],
    ),
    (
        b"kafka.max_record_bytes = 500000\n",
        &[
            "gateway.max_record_bytes = 1000000 does not fit",
            "1004096 at least",
        ],
    ),
    (
        b"[destinations.aws]\nmode = \"record\"\nattempt_timeout = \"20s\"\n",
        &[
            "destinations.aws.attempt_timeout = 20s",
            "dedupe.lease = 30s",
            "40s",
            "line 3",
        ],
    ),
];

/// A variable behind `CLOUDSYNC_`, and what stderr has to name; the exit code is 2.
const VARIABLES: &[(&str, &str, &[&str])] = &[
    (
        "GATEWY__LISTEN",
        "x",
        &["CLOUDSYNC_GATEWY__LISTEN", "`gateway`?"],
    ),
    (
        "GATEWAY__MISSING_ID",
        "guess",
        &["\"guess\" is none of: generate, content, reject"],
    ),
    (
        "GATEWAY_LISTEN",
        "127.0.0.1:0",
        &["two underscores", "CLOUDSYNC_GATEWAY__LISTEN"],
    ),
    (
        "DESTINATIONS__AWS__URL",
        "gs://bucket",
        &[
            "destinations.aws.url is refused",
            "there are: s3://bucket/prefix, az://",
        ],
    ),
    (
        "DESTINATIONS__AWS__URL",
        "file://share/aws",
        &["a directory is file:///share/aws"],
    ),
    (
        "DESTINATIONS__AWS__MODE",
        "x",
        &["destinations.aws.mode", "is none of: batch, record"],
    ),
    ("DEDUPE__WINDOW", "60", &["dedupe.window", "as in"]),
    (
        "KAFKA__LIBRDKAFKA__ACKS",
        "1",
        &["\"acks\" = \"1\" is refused", "in-sync"],
    ),
    (
        "KAFKA__LIBRDKAFKA__ENABLE_IDEMPOTENCE",
        "false",
        &["is refused"],
    ),
    (
        "KAFKA__LIBRDKAFKA__GROUP_ID",
        "x",
        &["has a setting of its own"],
    ),
    (
        "KAFKA__LIBRDKAFKA__TEST_MOCK_NUM_BROKERS",
        "1",
        &["test hook"],
    ),
    (
        "DEDUPE__URL_FILE",
        "/nonexistent",
        &["/nonexistent cannot be read"],
    ),
    (
        "KAFKA__BROKERS_FILE",
        "/dev/null",
        &["unknown field `brokers_file`"],
    ),
];

fn check(what: &str, output: &Output, expected: i32, says: &[String]) {
    let said = stderr(output);
    assert_eq!(code(output), expected, "{what}\n{said}");
    for wanted in says {
        assert!(said.contains(wanted), "{what}: no {wanted:?} in\n{said}");
    }
    assert!(said.lines().count() <= SCREEN, "{what}\n{said}");
    for inside in ["panicked", "RUST_BACKTRACE", "stack backtrace", "src/"] {
        assert!(!said.contains(inside), "{what}: {inside} in\n{said}");
    }
}

fn words(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// A half of the cases at a time: most of a case is the start of a process.
fn both_halves<T: Sync>(cases: &[T], check: impl Fn(&T) + Sync) {
    std::thread::scope(|scope| {
        for half in cases.chunks(cases.len().div_ceil(2)) {
            scope.spawn(|| half.iter().for_each(&check));
        }
    });
}

#[test]
fn what_is_typed_wrongly_is_2_and_says_what_would_do() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("input.ndjson");
    std::fs::write(&file, "{}\n").unwrap();
    both_halves(TYPED, |(line, says)| {
        let line = line
            .replace("FILE", text(&file))
            .replace("DIR", text(directory.path()));
        let args: Vec<_> = line.split_whitespace().collect();
        check(&line, &run(&args), 2, &words(says));
    });
}

#[test]
fn wrong_settings_are_2_and_name_the_key_and_its_place() {
    both_halves(FILES, |(content, says)| {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        let output = run(&["config", "check", "--config", text(file.path())]);
        check(&String::from_utf8_lossy(content), &output, 2, &words(says));
    });
    both_halves(VARIABLES, |(name, value, says)| {
        let mut command = cloudsync();
        command.args(["config", "check"]);
        command.env(format!("CLOUDSYNC_{name}"), value);
        check(name, &command.output().unwrap(), 2, &words(says));
    });
    let both = cloudsync()
        .args(["config", "check"])
        .env("CLOUDSYNC_DEDUPE__URL", "memory:")
        .env("CLOUDSYNC_DEDUPE__URL_FILE", "/dev/null")
        .output();
    check("both", &both.unwrap(), 2, &words(&["unset one of the two"]));
}

#[test]
fn a_secret_stands_in_no_message() {
    let output = cloudsync()
        .args(["consumer", "--destination", "aws"])
        .args(["--admin-listen", "127.0.0.1:0"])
        .env(
            "CLOUDSYNC_DESTINATIONS__AWS__URL",
            "ftp://me:hush@host/x?sig=hush",
        )
        .output()
        .unwrap();
    let says = words(&["ftp://me:***@host/x?sig=***", "file:///dir", "AWS__URL"]);
    check("a secret", &output, 2, &says);
    assert!(!stderr(&output).contains("hush"));
}

fn up_at(data: &Path, log: &str) -> Output {
    let free = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
    let data = ["up", "--data-dir", text(data), "--log-listen", log];
    run(&[&data[..], &free].concat())
}

#[test]
fn a_data_directory_that_cannot_be_used_is_1_and_says_why() {
    const FREE: &str = "127.0.0.1:0";
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let file = path("file");
    std::fs::write(&file, "").unwrap();
    check("a file", &up_at(&file, FREE), 1, &words(&[text(&file)]));
    let below = file.join("below");
    let says = words(&[text(&below), "Not a directory"]);
    check("below a file", &up_at(&below, FREE), 1, &says);
    if Path::new("/proc/self").is_dir() {
        // Not even root writes there.
        let data = Path::new("/proc/cloudsync");
        check("read-only", &up_at(data, FREE), 1, &words(&[text(data)]));
    }
    let newer = path("newer");
    std::fs::create_dir_all(newer.join("log")).unwrap();
    std::fs::write(
        newer.join("log/format.json"),
        r#"{"format":99,"log_id":""}"#,
    )
    .unwrap();
    let says = words(&["has format 99", "run the version that wrote it"]);
    check("newer", &up_at(&newer, FREE), 1, &says);

    let data = path("data");
    let running = Up::start(&data);
    let says = words(&["in use by another process", "choose another directory"]);
    check("in use", &up_at(&data, FREE), 1, &says);
    let log = running.address("✔ log");
    let mut says = words(&[&log, "--log-listen"]);
    if cfg!(target_os = "linux") {
        says.push("by cloudsync (process ".to_owned());
    }
    check("a port", &up_at(&path("other"), &log), 1, &says);
    assert!(!path("other").exists());
}

/// A file that is sent to a running gateway, and what comes of it.
struct Sent {
    name: &'static str,
    content: Vec<u8>,
    /// Records that are in the log afterwards all the same.
    acked: u64,
    says: &'static [&'static str],
}

/// Three records.
const GOOD: &str = "{\"id\":\"0\"}\n{\"id\":\"1\"}\n{\"id\":\"2\"}\n";

/// Name, what follows [`GOOD`] (in .ndjson) or is all there is, records acknowledged, and what
/// stderr has to name; the exit code is 1.
const SENT: &[(&str, &[u8], u64, Names)] = &[
    (
        "a.ndjson",
        b"{\"id\": x}\n{\"id\":\"z\"}\n",
        4,
        &["line 4: is not JSON", "column 8"],
    ),
    (
        "b.ndjson",
        b"{\"id\":\"\xff\"}\n",
        3,
        &["line 4: is not UTF-8"],
    ),
    (
        "c.ndjson",
        b"{\"name\":1}\n",
        3,
        &["line 4: there is nothing at /id"],
    ),
    (
        "d.ndjson",
        b"{\"id\":[1]}\n",
        3,
        &["line 4: /id is an array; it must be text"],
    ),
    (
        "e.json",
        b"[{\"id\":1},{\"id\":2},,]",
        2,
        &["element 3 is empty", "--from-line 3"],
    ),
    (
        "f.json",
        b"[{\"id\":1},{\"id\":2}",
        1,
        &["the array is not closed", "element 2"],
    ),
    (
        "g.json",
        b"[{\"id\":1}]\n[2]",
        1,
        &["behind the array", "--format ndjson"],
    ),
    (
        "h.csv",
        b"id,n\n1,a\n2\n3,c\n",
        2,
        &["line 3: the row has 1 fields, and the header 2"],
    ),
    (
        "i.csv",
        b"id,n\n1,a\n2,\"b",
        1,
        &["line 3: a quote is not closed"],
    ),
    (
        "j.csv",
        b"id,id\n1,a\n",
        0,
        &["j.csv cannot be read as CSV", "two columns are called id"],
    ),
    (
        "csv",
        b"id,n\n1,a\n",
        0,
        &["line 1: is not JSON", "if the file is CSV", "--format csv"],
    ),
    ("k.ndjson.gz", b"{}", 0, &["k.ndjson.gz is no gzip"]),
    (
        "l.ndjson.zst",
        b"\x1f\x8b\x08\x00",
        0,
        &["l.ndjson.zst is no zstd"],
    ),
];

fn sent() -> Vec<Sent> {
    let mut all = Vec::new();
    for (name, content, acked, says) in SENT {
        let front = if name.ends_with(".ndjson") { GOOD } else { "" };
        all.push(Sent {
            name,
            content: [front.as_bytes(), content].concat(),
            acked: *acked,
            says,
        });
    }
    let long = |text: String| [GOOD.as_bytes(), text.as_bytes()].concat();
    all.push(Sent {
        name: "m.ndjson",
        content: long(format!("{{\"id\":\"{}\"}}\n", "x".repeat(129))),
        acked: 3,
        says: &["line 4", "129 bytes, the limit is 128"],
    });
    all.push(Sent {
        name: "n.ndjson",
        content: long(format!("{}\n{{\"id\":\"last\"}}\n", "x".repeat(1_200_000))),
        acked: 4,
        says: &[
            "line 4: it has 1200000 bytes, and a record has at most 1000000",
            "split it",
        ],
    });
    all
}

/// How many were acknowledged, and what was said.
fn send(up: &Up, file: &Path, expected: i32, says: &[&str]) -> (u64, String) {
    let endpoint = format!("http://{}", up.address("✔ gateway"));
    let options = [
        "--id-pointer",
        "/id",
        "--endpoint",
        &endpoint,
        "--output",
        "json",
    ];
    let output = run(&[&["send", text(file)][..], &options].concat());
    check(text(file), &output, expected, &words(says));
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    (summary["acked"].as_u64().unwrap(), stderr(&output))
}

#[test]
fn what_was_accepted_before_bad_input_is_kept_and_its_line_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let up = Up::start(&directory.path().join("data"));
    for case in sent() {
        let file = directory.path().join(case.name);
        std::fs::write(&file, &case.content).unwrap();
        let (acked, said) = send(&up, &file, 1, case.says);
        assert_eq!(acked, case.acked, "{}: {said}", case.name);
    }
    let empty = directory.path().join("empty.ndjson");
    std::fs::write(&empty, "").unwrap();
    assert_eq!(send(&up, &empty, 0, &["there was nothing to send"]).0, 0);

    // What is pointed at in vain is told once, before anything is sent.
    let misspelt = directory.path().join("misspelt.csv");
    std::fs::write(&misspelt, "Id,n\n1,a\n2,b\n").unwrap();
    let output = run(&["send", text(&misspelt), "--id-pointer", "/id"]);
    let says = words(&["no column at /id; did you mean /Id? there are: /Id, /n"]);
    check("misspelt", &output, 2, &says);
    assert_eq!(stderr(&output).lines().count(), 1);

    // A packed file that was cut off: what came out of it whole was sent, and the way on is told.
    let level = flate2::Compression::default();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
    for number in 0..40_000 {
        writeln!(encoder, "{{\"id\":\"{number}\"}}").unwrap();
    }
    let whole = encoder.finish().unwrap();
    let half = directory.path().join("half.ndjson.gz");
    std::fs::write(&half, &whole[..whole.len() / 2]).unwrap();
    let says = &["half.ndjson.gz is cut off or damaged", "gzip, behind line "];
    let (acked, said) = send(&up, &half, 1, says);
    assert!(acked > 1_000 && acked < 40_000, "{acked}");
    let way_on = format!("--from-line {}", acked + 1);
    assert!(said.contains(&way_on), "{acked}: {said}");
}

/// Nobody listens there: the port is free again.
#[test]
fn a_gateway_that_is_away_is_told_and_ctrl_c_is_130() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr();
    let endpoint = format!("http://{}", nobody.unwrap());
    let mut child = cloudsync()
        .args(["send", "-", "--format", "lines", "--endpoint", &endpoint])
        .stdin(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(b"one\n").unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stderr.take().unwrap()));
    let told = lines.next().unwrap().unwrap();
    let waits = format!("no answer from {endpoint} yet (");
    assert!(told.starts_with(&waits), "{told}");
    assert!(told.contains("Connection refused"), "{told}");
    assert!(told.contains("): 1 records wait"), "{told}");
    let pid = child.id().to_string();
    let killed = std::process::Command::new("kill")
        .args(["-s", "INT", &pid])
        .status();
    assert!(killed.unwrap().success());
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{rest:?}");
    assert!(
        rest.iter()
            .any(|line| line.contains("go on with --from-line 1")),
        "{rest:?}"
    );
    drop(input);
}
