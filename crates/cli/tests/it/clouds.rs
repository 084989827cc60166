//! Destinations in object stores: a real S3 and a real Blob service on this machine.

use crate::support::{cloudsync, code, json, run, stderr, text, tree};
use cloudsync_harness::clouds::{self, Clouds};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Output;
use tempfile::TempDir;

fn started(directory: &TempDir) -> Option<Clouds> {
    if clouds::at_hand() {
        return Some(Clouds::start(directory.path()).unwrap());
    }
    let ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
    assert!(!ci, "{}", clouds::MISSING);
    println!("SKIPPED: {}", clouds::MISSING);
    None
}

/// Runs the program with the variables of `clouds`, but for those in `without`, and `more`.
fn run_in(clouds: &Clouds, args: &[&str], without: &[&str], more: &[(&str, &str)]) -> Output {
    let of_theirs = clouds.variables().iter();
    let of_theirs = of_theirs.filter(|(name, _)| !without.contains(&name.as_str()));
    cloudsync()
        .args(args)
        .envs(of_theirs.map(|(name, value)| (name, value)))
        .envs(more.iter().copied())
        .output()
        .unwrap()
}

const BOTH: &[&str] = &[
    "demo",
    "--destination",
    "aws=s3://cloudsync/try",
    "--destination",
    "azure=az://cloudsync/try",
    "--output",
    "json",
];
const KEY: &[&str] = &["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];

/// Twice into one bucket: each run is whole, and a recount finds what it wrote.
#[test]
fn a_demo_fills_both_clouds_and_another_one_beside_it() {
    let (temp, kept) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let Some(clouds) = started(&temp) else { return };
    let record = [
        ("CLOUDSYNC_DESTINATIONS__AWS__MODE", "record"),
        ("CLOUDSYNC_DESTINATIONS__AZURE__MODE", "record"),
    ];
    let directory = kept.path().join("demo");
    let keep = [BOTH, &["--data-dir", text(&directory)]].concat();
    for (args, more) in [(BOTH, &[][..]), (&keep, &[]), (BOTH, &record)] {
        let output = run_in(&clouds, args, &[], more);
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        assert!(
            stderr(&output).contains("to s3://cloudsync/try/demo-"),
            "{}",
            stderr(&output)
        );
        let ledger = json(&output);
        for destination in ledger["destinations"].as_array().unwrap() {
            assert_eq!(destination["delivered"], 1_707, "{ledger}");
        }
    }
    let again = [
        "demo",
        "--recount",
        "--data-dir",
        text(&directory),
        "--output",
        "json",
    ];
    let output = run_in(&clouds, &again, &[], &[]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert_eq!(json(&output)["destinations"][1]["delivered"], 1_707);
}

/// The arguments of the `cloudsync verify` that a demo has printed.
fn printed_verify(demo: &Output) -> Vec<String> {
    let said = stderr(demo);
    let mut lines = said
        .lines()
        .filter(|line| line.contains("cloudsync verify "));
    let line = lines.next().unwrap_or_else(|| panic!("{said}"));
    let (_, arguments) = line.split_once("cloudsync ").unwrap();
    arguments.split(' ').map(str::to_owned).collect()
}

/// The objects that the S3 service keeps below `directory`, as files; no marker.
fn objects(directory: &Path) -> Vec<PathBuf> {
    let bucket = directory.join("buckets/cloudsync/try");
    let files = tree(&bucket).into_iter();
    let files = files.filter(|(path, content)| content.is_some() && path.is_file());
    let of_data = |path: &PathBuf| !path.ends_with("cloudsync-destination.json");
    files.map(|(path, _)| path).filter(of_data).collect()
}

#[test]
fn what_is_missing_or_altered_in_a_bucket_is_named_and_mended() {
    let temp = TempDir::new().unwrap();
    let Some(clouds) = started(&temp) else { return };
    for mode in ["batch", "record"] {
        let kept = TempDir::new().unwrap();
        let modes = [
            ("CLOUDSYNC_DESTINATIONS__AWS__MODE", mode),
            ("CLOUDSYNC_DESTINATIONS__AZURE__MODE", mode),
        ];
        let directory = kept.path().join("demo");
        let keep = [BOTH, &["--data-dir", text(&directory)]].concat();
        let demo = run_in(&clouds, &keep, &[], &modes);
        assert_eq!(code(&demo), 0, "{}", stderr(&demo));
        let verify = printed_verify(&demo);
        let verify = |more: &[&'static str]| {
            let arguments = verify
                .iter()
                .map(String::as_str)
                .chain(more.iter().copied());
            run_in(&clouds, &arguments.collect::<Vec<_>>(), &[], &modes)
        };
        let equal = verify(&[]);
        assert_eq!(code(&equal), 0, "{mode}: {}", stderr(&equal));
        let files = objects(temp.path());
        let [first, second, third] = [&files[0], &files[4], &files[8]];
        std::fs::remove_file(first).unwrap();
        std::fs::remove_file(second).unwrap();
        let mut altered = std::fs::read(third).unwrap();
        let at = altered.len() / 2;
        altered[at] ^= 1;
        std::fs::write(third, altered).unwrap();
        let found = verify(&[]);
        assert_eq!(code(&found), 1, "{mode}: {}", stderr(&found));
        let told = String::from_utf8_lossy(&found.stdout).into_owned();
        let missing = told.matches("missing at aws: ").count();
        assert!(missing >= 2, "{mode}: {told}");
        // A record that is gone is named by what it was; an object by where it lay.
        let named = if mode == "batch" {
            &[first, second, third][..]
        } else {
            &[third]
        };
        for file in named {
            let name = file.file_name().unwrap().to_str().unwrap();
            assert!(told.contains(name), "{mode}: {name} in {told}");
        }
        let repaired = verify(&["--repair"]);
        assert_eq!(code(&repaired), 0, "{mode}: {}", stderr(&repaired));
        assert_eq!(code(&verify(&[])), 0, "{mode}");
        std::fs::remove_dir_all(temp.path().join("buckets/cloudsync/try")).unwrap();
    }
}

/// Each request may fail in every way that the proxy knows, before and after it was applied.
#[test]
fn bad_clouds_are_ridden_out_and_one_without_conditions_is_refused() {
    let temp = TempDir::new().unwrap();
    let Some(clouds) = started(&temp) else { return };
    let record = [
        ("CLOUDSYNC_DESTINATIONS__AWS__MODE", "record"),
        ("CLOUDSYNC_DESTINATIONS__AZURE__MODE", "record"),
    ];
    let faults = [BOTH, &["--faults", "aws=5%,azure=3%"]].concat();
    let output = run_in(&clouds, &faults, &[], &record);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert!(
        stderr(&output).contains("faults at azure, in "),
        "{}",
        stderr(&output)
    );
    for destination in json(&output)["destinations"].as_array().unwrap() {
        assert_eq!(destination["delivered"], 1_707, "{destination}");
        assert_eq!(destination["dead_lettered"], 0, "{destination}");
    }
    let blind = [BOTH, &["--faults", "aws=unconditional"]].concat();
    let output = run_in(&clouds, &blind, &[], &[]);
    assert_eq!(code(&output), 1, "{}", stderr(&output));
    assert!(
        stderr(&output).contains("overwrites objects"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_destination_that_leads_nowhere_is_a_usage_error() {
    for (flag, expected) in [
        ("gcp=s3://b/x", "there are: aws, azure"),
        ("aws=gs://b/x", "there are: s3://bucket/prefix, az://"),
        ("aws=s3:///x", "names no bucket"),
        ("aws", "write NAME=URL"),
    ] {
        let output = run(&["demo", "--destination", flag]);
        assert_eq!(code(&output), 2, "{}", stderr(&output));
        assert!(stderr(&output).contains(expected), "{}", stderr(&output));
    }
}

/// What `doctor` says of the destination `aws` at `s3://cloudsync/doctor`.
fn doctor(clouds: &Clouds, without: &[&str], more: &[(&str, &str)]) -> (String, String) {
    let at = [("CLOUDSYNC_DESTINATIONS__AWS__URL", "s3://cloudsync/doctor")];
    let more = [&at[..], more].concat();
    let output = run_in(clouds, &["doctor", "--output", "json"], without, &more);
    let report = json(&output);
    let checks = report["checks"].as_array().unwrap().iter();
    let mut of_aws = checks.filter(|check| check["check"] == "destination aws");
    let check = of_aws.next().unwrap_or_else(|| panic!("{report}"));
    let part = |name: &str| check[name].as_str().unwrap().to_owned();
    (part("state"), part("detail"))
}

/// A service on this machine that hands out keys: answers each path of `answers` with its text.
fn handing_out(answers: Vec<(&'static str, String)>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut reader = BufReader::new(stream);
            let mut line = String::new();
            let _read = reader.read_line(&mut line);
            let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
            while reader.read_line(&mut line).is_ok_and(|read| read > 2) {}
            let found = answers.iter().find(|(of, _)| *of == path);
            let (status, body) = match found {
                Some((_, body)) => ("200 OK", body.as_str()),
                None => ("404 Not Found", ""),
            };
            let length = body.len();
            let mut stream = reader.into_inner();
            let _sent = write!(
                stream,
                "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            );
            let _rest = stream.read(&mut [0; 1]);
        }
    });
    address
}

/// The container's and the instance's service for keys, which hand out `id` and `secret`.
fn service_for_keys(id: &str, secret: &str) -> String {
    let handed = format!(
        r#"{{"AccessKeyId":"{id}","SecretAccessKey":"{secret}","Token":"","Code":"Success",
        "Type":"AWS-HMAC","LastUpdated":"2026-01-01T00:00:00Z","Expiration":"2099-01-01T00:00:00Z"}}"#
    );
    let roles = "/latest/meta-data/iam/security-credentials/";
    let of_the_role = "/latest/meta-data/iam/security-credentials/the-role";
    handing_out(vec![
        ("/latest/api/token", "a-session".to_owned()),
        (roles, "the-role".to_owned()),
        (of_the_role, handed.clone()),
        ("/of-the-container", handed),
    ])
}

/// Keys from each place that can be had here: the environment, the settings, a profile, the
/// container's service, the instance's.
#[test]
fn keys_are_found_where_the_clouds_own_tools_find_them() {
    let temp = TempDir::new().unwrap();
    let Some(clouds) = started(&temp) else { return };
    let [id, secret] = [KEY[0], KEY[1]].map(|name| clouds.variable(name));
    let file = temp.path().join("credentials");
    let profile = format!("[sync]\naws_access_key_id = {id}\naws_secret_access_key = {secret}\n");
    std::fs::write(&file, profile).unwrap();
    let secret_file = temp.path().join("secret");
    std::fs::write(&secret_file, secret).unwrap();
    let (file, secret_file) = (text(&file), text(&secret_file));
    let service = service_for_keys(id, secret);
    let full_uri = format!("{service}/of-the-container");
    let of_settings = [
        ("CLOUDSYNC_DESTINATIONS__AWS__S3__ACCESS_KEY_ID", id),
        (
            "CLOUDSYNC_DESTINATIONS__AWS__S3__SECRET_ACCESS_KEY_FILE",
            secret_file,
        ),
    ];
    let of_the_profile = [
        ("AWS_SHARED_CREDENTIALS_FILE", file),
        ("CLOUDSYNC_DESTINATIONS__AWS__S3__PROFILE", "sync"),
    ];
    let of_the_environment = [
        ("AWS_SHARED_CREDENTIALS_FILE", file),
        ("AWS_PROFILE", "sync"),
    ];
    let of_the_container = [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", full_uri.as_str()),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", secret_file),
    ];
    let of_the_instance = [("AWS_METADATA_ENDPOINT", service.as_str())];
    let ways: [(&str, &[(&str, &str)]); 5] = [
        ("settings", &of_settings),
        ("a profile that is set", &of_the_profile),
        ("a profile of the environment", &of_the_environment),
        ("the container", &of_the_container),
        ("the instance", &of_the_instance),
    ];
    assert_eq!(doctor(&clouds, &[], &[]).0, "ok", "the environment");
    let nowhere = [
        ("AWS_SHARED_CREDENTIALS_FILE", "/nowhere"),
        ("AWS_CONFIG_FILE", "/nowhere"),
    ];
    for (way, variables) in ways {
        let (state, said) = doctor(&clouds, KEY, &[&nowhere[..], variables].concat());
        assert_eq!(state, "ok", "{way}: {said}");
        assert!(said.contains("refuses a second create"), "{said}");
    }
}

#[test]
fn who_is_not_let_in_is_told_which_right_is_missing() {
    let temp = TempDir::new().unwrap();
    let Some(clouds) = started(&temp) else { return };
    for (variable, value, expected) in [
        ("AWS_SECRET_ACCESS_KEY", "hush", "403 SignatureDoesNotMatch"),
        (
            "AWS_SECRET_ACCESS_KEY",
            "hush",
            "which takes the right s3:GetObject",
        ),
        (
            "AWS_PROFILE",
            "nobody",
            "stands neither in ~/.aws/credentials",
        ),
        (
            "AWS_ENDPOINT_URL_S3",
            "http://192.0.2.1:9",
            "without TLS; use https",
        ),
        (
            "CLOUDSYNC_DESTINATIONS__AWS__URL",
            "s3://no-such-bucket/x",
            "404 NoSuchBucket",
        ),
    ] {
        let without = if variable == "AWS_PROFILE" { KEY } else { &[] };
        let (state, said) = doctor(&clouds, without, &[(variable, value)]);
        assert_eq!(state, "fail", "{said}");
        assert!(said.contains(expected) && !said.contains("hush"), "{said}");
    }
}
