//! Settings as a configuration file says them.

use cloudsync_dedupe::{DedupeSettings, OnUnavailable, open};
use std::time::Duration;

#[test]
fn a_section_is_read_with_its_defaults_and_unknown_names_are_refused() {
    let text = r#"{"window": "2 h", "max_memory": "64 MiB", "on_unavailable": "pause"}"#;
    let settings: DedupeSettings = serde_json::from_str(text).unwrap();
    let expected = DedupeSettings {
        window: Duration::from_secs(7_200),
        max_memory: Some(64 << 20),
        on_unavailable: OnUnavailable::Pause,
        ..DedupeSettings::default()
    };
    assert_eq!(settings, expected);
    let printed = serde_json::to_string(&settings).unwrap();
    assert_eq!(
        serde_json::from_str::<DedupeSettings>(&printed).unwrap(),
        settings
    );
    let error = serde_json::from_str::<DedupeSettings>(r#"{"leese": "30 s"}"#).unwrap_err();
    assert!(error.to_string().contains("leese"), "{error}");
    let error = serde_json::from_str::<DedupeSettings>(r#"{"lease": 30}"#).unwrap_err();
    assert!(error.to_string().contains("string"), "{error}");
}

#[test]
fn what_cannot_be_opened_is_said_without_secrets() {
    let url = "etcd://user:secret@host:6379/0".to_owned();
    let error = open(
        &DedupeSettings {
            url,
            ..DedupeSettings::default()
        },
        "aws",
    )
    .unwrap_err();
    let expected =
        r#"dedupe.url has the scheme "etcd"; this build has memory:, file:///dir, redis:"#;
    assert!(error.to_string().starts_with(expected), "{error}");
    let url = "redis://user:secret@host:port".to_owned();
    let settings = DedupeSettings {
        url,
        ..DedupeSettings::default()
    };
    let error = open(&settings, "aws").unwrap_err().to_string();
    assert!(
        error.starts_with("dedupe.url: an address is no host:port"),
        "{error}"
    );
    assert!(!error.contains("secret"), "{error}");
    let url = "file://state".to_owned();
    let error = open(
        &DedupeSettings {
            url,
            ..DedupeSettings::default()
        },
        "aws",
    )
    .unwrap_err();
    let expected =
        "dedupe.url = file://state names no directory; it is file:///dir, from the root on";
    assert_eq!(error.to_string(), expected);
    assert!(error.is_usage());
    let lease = Duration::from_millis(900);
    let error = open(
        &DedupeSettings {
            lease,
            ..DedupeSettings::default()
        },
        "aws",
    )
    .unwrap_err();
    let expected = "dedupe.lease = 900 ms is out of range: at least 1 s, at most the window";
    assert_eq!(error.to_string(), expected);
}
