//! Holds the package table of ARCHITECTURE.md: who may use whom, and which crate lives where.

use cargo_metadata::{DependencyKind, MetadataCommand, Package};
use std::collections::{BTreeMap, BTreeSet};

/// Package → packages of ours that it may use (normal dependencies; dev-dependencies are free).
const MAY_USE: [(&str, &[&str]); 9] = [
    ("cloudsync", &[]),
    ("cloudsync-kafka", &["cloudsync"]),
    ("cloudsync-dedupe", &["cloudsync"]),
    ("cloudsync-devbroker", &[]),
    ("cloudsync-runtime", &[]),
    (
        "cloudsync-gateway",
        &[
            "cloudsync",
            "cloudsync-kafka",
            "cloudsync-dedupe",
            "cloudsync-runtime",
        ],
    ),
    (
        "cloudsync-consumers",
        &[
            "cloudsync",
            "cloudsync-kafka",
            "cloudsync-dedupe",
            "cloudsync-runtime",
        ],
    ),
    (
        "cloudsync-cli",
        &[
            "cloudsync",
            "cloudsync-kafka",
            "cloudsync-dedupe",
            "cloudsync-devbroker",
            "cloudsync-runtime",
            "cloudsync-gateway",
            "cloudsync-consumers",
        ],
    ),
    (
        "cloudsync-harness",
        &[
            "cloudsync",
            "cloudsync-kafka",
            "cloudsync-dedupe",
            "cloudsync-devbroker",
            "cloudsync-runtime",
            "cloudsync-gateway",
            "cloudsync-consumers",
            "cloudsync-cli",
        ],
    ),
];

/// Third-party crate → the packages that may use it.
const LIVES_IN: [(&str, &[&str]); 23] = [
    ("rdkafka", &["cloudsync-kafka"]),
    ("redis", &["cloudsync-dedupe"]),
    ("deadpool-redis", &["cloudsync-dedupe"]),
    ("kafka-protocol", &["cloudsync-devbroker"]),
    (
        "flate2",
        &["cloudsync-devbroker", "cloudsync-gateway", "cloudsync-cli"],
    ),
    ("snap", &["cloudsync-devbroker"]),
    ("lz4_flex", &["cloudsync-devbroker"]),
    (
        "opentelemetry",
        &[
            "cloudsync-runtime",
            "cloudsync-gateway",
            "cloudsync-consumers",
            "cloudsync",
        ],
    ),
    ("opentelemetry_sdk", &["cloudsync-runtime"]),
    ("opentelemetry-otlp", &["cloudsync-runtime"]),
    ("opentelemetry-prometheus", &["cloudsync-runtime"]),
    ("prometheus", &["cloudsync-runtime"]),
    ("tracing-subscriber", &["cloudsync-runtime"]),
    ("axum", &["cloudsync-gateway"]),
    ("object_store", &["cloudsync-consumers"]),
    ("reqwest", &["cloudsync-consumers"]),
    ("tokio-rustls", &["cloudsync-consumers"]),
    ("clap", &["cloudsync-cli"]),
    ("indicatif", &["cloudsync-cli"]),
    ("hdrhistogram", &["cloudsync-cli"]),
    ("csv-core", &["cloudsync-cli"]),
    ("anyhow", &["cloudsync-cli", "cloudsync-harness"]),
    ("proptest", &[]),
];

/// Crates the project has agreed on, each used by somebody. Those in the second list belong to
/// parts that do not exist yet; the test fails when one of them arrives and is not moved up.
const AGREED: [&str; 10] = [
    "tonic",
    "prost",
    "tonic-prost-build",
    "tokio",
    "rdkafka",
    "redis",
    "deadpool-redis",
    "uuid",
    "tracing",
    "opentelemetry",
];
const AGREED_FOR_LATER: [&str; 1] = ["tracing-opentelemetry"];

fn packages() -> Vec<Package> {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml");
    let metadata = MetadataCommand::new()
        .manifest_path(manifest)
        .no_deps()
        .exec()
        .unwrap();
    metadata.packages
}

fn normal(package: &Package) -> BTreeSet<String> {
    let dependencies = package.dependencies.iter();
    let normal = dependencies.filter(|dependency| dependency.kind == DependencyKind::Normal);
    normal.map(|dependency| dependency.name.clone()).collect()
}

#[test]
fn packages_use_only_those_they_may() {
    let table: BTreeMap<_, _> = MAY_USE.into_iter().collect();
    let packages = packages();
    let ours: BTreeSet<_> = packages
        .iter()
        .map(|package| package.name.to_string())
        .collect();
    let named: BTreeSet<_> = table.keys().map(|name| (*name).to_owned()).collect();
    assert_eq!(ours, named, "the table names every package");
    for package in &packages {
        let allowed = table[package.name.as_str()];
        for used in normal(package).intersection(&ours) {
            assert!(
                allowed.contains(&used.as_str()),
                "{} must not use {used}",
                package.name
            );
        }
    }
}

#[test]
fn third_party_crates_live_where_they_belong() {
    for package in packages() {
        let normal = normal(&package);
        for (dependency, homes) in LIVES_IN {
            let home = homes.contains(&package.name.as_str());
            assert!(
                home || !normal.contains(dependency),
                "{} must not use {dependency}",
                package.name
            );
        }
    }
}

#[test]
fn the_server_half_is_for_the_gateway_only() {
    for package in packages() {
        let dependencies = package
            .dependencies
            .iter()
            .filter(|d| d.kind == DependencyKind::Normal);
        for dependency in dependencies {
            let server = match dependency.name.as_str() {
                "cloudsync" => dependency
                    .features
                    .iter()
                    .any(|feature| feature == "server"),
                "tonic" => dependency
                    .features
                    .iter()
                    .any(|f| f == "server" || f == "transport"),
                _ => false,
            };
            let gateway = package.name.as_str() == "cloudsync-gateway";
            assert!(!server || gateway, "{}: {}", package.name, dependency.name);
        }
    }
}

#[test]
fn the_agreed_crates_are_used() {
    let used: BTreeSet<_> = packages()
        .iter()
        .flat_map(|package| package.dependencies.clone())
        .filter(|dependency| dependency.kind != DependencyKind::Development)
        .map(|dependency| dependency.name)
        .collect();
    for agreed in AGREED {
        assert!(used.contains(agreed), "nobody uses {agreed}");
    }
    for later in AGREED_FOR_LATER {
        assert!(
            !used.contains(later),
            "{later} has arrived: move it to AGREED"
        );
    }
}

/// Every other crate forbids it; there it is denied, and one file asks for it.
#[test]
fn unsafe_code_stands_in_one_file() {
    for package in packages() {
        let source = package.manifest_path.parent().unwrap().join("src");
        let root = std::fs::read_to_string(source.join("lib.rs")).unwrap();
        let forbids = root.contains("#![forbid(unsafe_code)]");
        assert_eq!(
            forbids,
            package.name.as_str() != "cloudsync-kafka",
            "{}",
            package.name
        );
    }
    let kafka = concat!(env!("CARGO_MANIFEST_DIR"), "/../kafka/src");
    for entry in walkdir(std::path::Path::new(kafka)) {
        let text = std::fs::read_to_string(&entry).unwrap();
        let asks = text.contains("unsafe_code");
        assert_eq!(
            asks,
            entry.ends_with("librdkafka.rs"),
            "{}",
            entry.display()
        );
    }
}

fn walkdir(directory: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .flat_map(|path| {
            if path.is_dir() {
                walkdir(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}
