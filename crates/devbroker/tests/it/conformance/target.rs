//! What the cases run against.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use parking_lot::Mutex;
use tempfile::TempDir;

use crate::child::BrokerProcess;

/// A broker, or three, that can be killed and comes back on its data.
pub(crate) struct Target {
    dir: TempDir,
    bootstrap: String,
    kind: Kind,
}

enum Kind {
    Embedded(Mutex<Option<BrokerProcess>>),
    Kafka { nodes: u32 },
}

impl Target {
    /// The embedded log, in a process of its own, on disk.
    pub(crate) fn embedded() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let process = BrokerProcess::start(dir.path(), "127.0.0.1:0");
        Self {
            bootstrap: process.address.to_string(),
            kind: Kind::Embedded(Mutex::new(Some(process))),
            dir,
        }
    }

    /// So many nodes of Apache Kafka; `None`, where they cannot be started here.
    pub(crate) fn kafka(nodes: u32) -> Option<Self> {
        let missing: Vec<&str> = ["java", "mvn"]
            .into_iter()
            .filter(|it| !is_there(it))
            .collect();
        if !missing.is_empty() {
            assert!(
                std::env::var("CI").as_deref() != Ok("true"),
                "{missing:?} missing, and CI=true"
            );
            println!(
                "skipped: Apache Kafka needs {missing:?} (apt install openjdk-17-jre-headless maven)"
            );
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let bootstrap = kafka(dir.path(), &["start", "0", &nodes.to_string()]);
        Some(Self {
            bootstrap,
            kind: Kind::Kafka { nodes },
            dir,
        })
    }

    pub(crate) fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    pub(crate) fn is_embedded(&self) -> bool {
        matches!(self.kind, Kind::Embedded(_))
    }

    /// SIGKILL of the node whose turn it is; everything, where there is one.
    pub(crate) fn kill(&self, turn: u32) {
        match &self.kind {
            Kind::Embedded(process) => process.lock().take().unwrap().kill(),
            Kind::Kafka { nodes } => {
                let node = turn % nodes + 1;
                kafka(self.dir.path(), &["kill", &node.to_string()]);
            }
        }
    }

    /// Starts again what was killed, at the same address.
    pub(crate) fn revive(&self) {
        match &self.kind {
            Kind::Embedded(process) => {
                let started = BrokerProcess::start(self.dir.path(), &self.bootstrap);
                *process.lock() = Some(started);
            }
            Kind::Kafka { .. } => {
                kafka(self.dir.path(), &["start", "0"]);
            }
        }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if let Kind::Kafka { .. } = self.kind {
            kafka(self.dir.path(), &["kill"]);
        }
    }
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/services/kafka")
}

/// `kafka VERB DIR REST...`; what it printed.
fn kafka(dir: &Path, arguments: &[&str]) -> String {
    let (verb, rest) = arguments.split_first().unwrap();
    let output = Command::new(script())
        .arg(verb)
        .arg(dir)
        .args(rest)
        // What a broker needs for short tests.
        .env(
            "KAFKA_EXTRA",
            "log.retention.check.interval.ms=500\nlog.initial.task.delay.ms=500",
        )
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(output.status.success(), "kafka {verb}: {}", output.status);
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn is_there(program: &str) -> bool {
    let found = Command::new("sh")
        .args(["-c", &format!("command -v {program}")])
        .stdout(Stdio::null())
        .status();
    found.is_ok_and(|status| status.success())
}
