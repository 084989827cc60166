//! Wrong usage and wrong configuration: exit code 2, and what is wrong.

use crate::support::{cloudsync, code, run, stderr, text};
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::Stdio;

#[test]
fn wrong_usage_ends_with_2_and_help_with_0() {
    assert_eq!(code(&run(&["--help"])), 0);
    for args in [
        &["nonsense"][..],
        &["demo", "--resend", "2"],
        &["consumer"],
        &["demo", "--recount"],
        &["demo", "input.json", "--recount", "--data-dir", "."],
    ] {
        assert_eq!(code(&run(args)), 2, "{args:?}");
    }
    let none = run(&["demo", "--records", "0"]);
    assert_eq!(code(&none), 2);
    assert!(
        stderr(&none).contains("a whole number of at least 1"),
        "{}",
        stderr(&none)
    );
    let missing = run(&["send", "/nonexistent.ndjson"]);
    assert_eq!(code(&missing), 2);
    assert!(
        stderr(&missing).contains("cannot open /nonexistent.ndjson"),
        "{}",
        stderr(&missing)
    );
    let unknown = run(&["consumer", "--destination", "gcp"]);
    assert_eq!(code(&unknown), 2);
    let expected = "there is no destination gcp; the settings have aws, azure";
    let said = stderr(&unknown);
    assert_eq!(said.matches(expected).count(), 1, "once: {said}");
    let unset = run(&["consumer", "--destination", "aws"]);
    assert_eq!(code(&unset), 2);
    let said = stderr(&unset);
    let expected = "destinations.aws.url is not set";
    assert_eq!(said.matches(expected).count(), 1, "once: {said}");
}

#[test]
fn every_wrong_setting_is_named_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("cloudsync.toml");
    std::fs::write(&file, "[kafka]\nbrokerz = \"x\"\n").unwrap();
    // `send` takes nothing from the settings, and says so all the same.
    for command in [&["gateway"][..], &["send", "/dev/null"]] {
        let output = cloudsync()
            .args(["--config", text(&file)])
            .args(command)
            .env("CLOUDSYNC_GATEWAY__MISSING_ID", "guess")
            .env("CLOUDSYNC_GATEWY__LISTEN", "127.0.0.1:0")
            .output()
            .unwrap();
        assert_eq!(code(&output), 2, "{command:?}");
        let said = stderr(&output);
        for expected in [
            "3 settings are wrong",
            "kafka.brokerz (file ",
            "; did you mean `brokers`?",
            "(environment CLOUDSYNC_GATEWAY__MISSING_ID)",
            "gatewy.listen (environment CLOUDSYNC_GATEWY__LISTEN)",
            "; did you mean `gateway`?",
        ] {
            assert_eq!(said.matches(expected).count(), 1, "{expected}: {said}");
        }
    }

    let open = run(&[
        "gateway",
        "--listen",
        "0.0.0.0:0",
        "--admin-listen",
        "127.0.0.1:0",
    ]);
    assert_eq!(code(&open), 2, "{}", stderr(&open));
    let said = stderr(&open);
    assert_eq!(said.matches("without TLS").count(), 1, "once: {said}");
}

#[test]
fn a_taken_port_names_its_owner_and_the_flag() {
    let directory = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for flag in ["--listen", "--admin-listen", "--log-listen"] {
        let data = directory.path().join("data");
        let mut args = vec!["up", "--data-dir", text(&data)];
        for free in ["--listen", "--admin-listen", "--log-listen"] {
            args.extend([
                free,
                if free == flag {
                    address.as_str()
                } else {
                    "127.0.0.1:0"
                },
            ]);
        }
        let output = run(&args);
        let said = stderr(&output);
        assert_eq!(code(&output), 1, "{said}");
        assert!(
            said.contains(&format!("cannot listen on {address}")),
            "{said}"
        );
        assert!(said.contains(flag), "{said}");
        assert!(!data.exists(), "a directory was left behind");
        if cfg!(target_os = "linux") {
            let owner = format!("(process {})", std::process::id());
            assert!(said.contains(&owner), "{said}");
        }
    }
}

#[test]
fn without_kafka_the_topics_command_says_what_it_waits_for_and_then_what_to_do() {
    // Nobody listens there: the port is free again.
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr();
    let nobody = nobody.unwrap().to_string();
    let mut child = cloudsync()
        .args(["topics", "ensure", "--brokers", &nobody])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    assert!(first.contains(&format!("kafka at {nobody}")), "{first}");
    assert!(child.try_wait().unwrap().is_none(), "it is told at once");
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert_eq!(rest.len(), 1, "{rest:?}");
    assert!(rest[0].contains("with --brokers where it is"), "{rest:?}");
    assert!(rest[0].contains("Connection refused"), "{rest:?}");
}

#[test]
fn the_settings_in_force_are_printed_and_checked() {
    let printed = run(&["config", "print", "--up"]);
    assert_eq!(code(&printed), 0, "{}", stderr(&printed));
    let text = String::from_utf8(printed.stdout).unwrap();
    assert!(text.contains("[destinations.aws]\n"), "{text}");
    assert!(text.contains("brokers = \"embedded\""), "{text}");
    // It can be taken elsewhere: nothing in it lies below the directory that it was printed in.
    let here = std::env::current_dir().unwrap();
    assert!(!text.contains(here.to_str().unwrap()), "{text}");
    assert!(
        text.contains("# url: the directory aws below --data-dir"),
        "{text}"
    );
    // What was printed sets the same.
    let file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    std::fs::write(file.path(), &text).unwrap();
    let path = file.path().to_str().unwrap();
    let again = run(&["config", "print", "--up", "--config", path]);
    assert_eq!(String::from_utf8(again.stdout).unwrap(), text);
    assert_eq!(code(&run(&["config", "check", "--config", path])), 0);
    let wrong = cloudsync()
        .args(["config", "check"])
        .env("CLOUDSYNC_GATEWAY__LISTN", "127.0.0.1:1")
        .output()
        .unwrap();
    assert_eq!(code(&wrong), 2);
    assert!(stderr(&wrong).contains("listen"), "{}", stderr(&wrong));
}

#[test]
fn completions_know_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let words = run(&["completions", shell]);
        assert_eq!(code(&words), 0);
        let words = String::from_utf8(words.stdout).unwrap();
        assert!(
            words.contains("topics") && words.contains("from-line"),
            "{shell}"
        );
    }
}
