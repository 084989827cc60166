//! Wrong usage and wrong configuration: exit code 2, and what is wrong.

use crate::support::{cloudsync, code, run, stderr, text};
use std::net::TcpListener;

#[test]
fn wrong_usage_ends_with_2_and_help_with_0() {
    assert_eq!(code(&run(&["--help"])), 0);
    for args in [
        &["nonsense"][..],
        &["demo", "--resend", "2"],
        &["consumer"],
        &["demo", "--recount"],
    ] {
        assert_eq!(code(&run(args)), 2, "{args:?}");
    }
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
    assert!(stderr(&unknown).contains(expected), "{}", stderr(&unknown));
    let unset = run(&["consumer", "--destination", "aws"]);
    assert_eq!(code(&unset), 2);
    assert!(
        stderr(&unset).contains("destinations.aws.url is not set"),
        "{}",
        stderr(&unset)
    );
}

#[test]
fn every_wrong_setting_is_named_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("cloudsync.toml");
    std::fs::write(&file, "[kafka]\nbrokerz = \"x\"\n").unwrap();
    let output = cloudsync()
        .args(["--config", text(&file), "gateway"])
        .env("CLOUDSYNC_GATEWAY__MISSING_ID", "guess")
        .output()
        .unwrap();
    assert_eq!(code(&output), 2);
    let said = stderr(&output);
    assert!(said.contains("2 settings are wrong"), "{said}");
    assert!(said.contains("kafka.brokerz (file "), "{said}");
    assert!(
        said.contains("(environment CLOUDSYNC_GATEWAY__MISSING_ID)"),
        "{said}"
    );

    let open = run(&[
        "gateway",
        "--listen",
        "0.0.0.0:0",
        "--admin-listen",
        "127.0.0.1:0",
    ]);
    assert_eq!(code(&open), 2, "{}", stderr(&open));
    assert!(stderr(&open).contains("without TLS"), "{}", stderr(&open));
}

#[test]
fn a_taken_port_names_its_owner_and_the_flag() {
    let directory = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for flag in ["--listen", "--admin-listen", "--log-listen"] {
        let mut args = vec!["up", "--data-dir", text(directory.path())];
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
        if cfg!(target_os = "linux") {
            let owner = format!("(process {})", std::process::id());
            assert!(said.contains(&owner), "{said}");
        }
    }
}
