//! A store in a process of its own: this test binary, started again.

use crate::conformance::subject;
use cloudsync_dedupe::memory::MemoryLimits;
use cloudsync_dedupe::{DedupeSettings, DedupeStore, EmbeddedStore, Lookup, Subject};
use std::io::{BufRead, BufReader, Lines, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;

const DIRECTORY: &str = "DEDUPE_TEST_DIRECTORY";
const FIRST: &str = "DEDUPE_TEST_FIRST";
const SAYS: &str = "child: ";
/// Ids of one call, and callers at a time.
pub(crate) const BATCH: u64 = 7;
const CALLERS: u64 = 5;

/// A process that opened the store of `aws`; killed when dropped.
pub(crate) struct Process {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Process {
    /// Runs the child `role`, one of the tests below.
    pub(crate) fn start(role: &str, directory: &Path, first: u64) -> Self {
        Self::run(command(role, directory, first))
    }

    /// On a disk of its own, of so many KiB, mounted at `mount` where only that process sees it.
    /// `None`, which is said, where this machine does not allow that.
    #[expect(clippy::print_stderr, reason = "a skip is to be seen")]
    pub(crate) fn on_small_disk(role: &str, mount: &Path, kibibytes: u32) -> Option<Self> {
        let unshare = ["unshare", "--map-root-user", "--mount", "sh", "-c"];
        let mount_there = format!(
            "mount -t tmpfs -o size={kibibytes}k none '{}'",
            mount.display()
        );
        let allowed = Command::new(unshare[0])
            .args(&unshare[1..])
            .arg(&mount_there)
            .output();
        if !allowed.is_ok_and(|output| output.status.success()) {
            let ci = std::env::var("CI").as_deref() == Ok("true");
            assert!(!ci, "a disk cannot be mounted here, and CI=true");
            eprintln!("skipped: this user cannot mount a disk in a namespace of their own");
            return None;
        }
        let inner = command(role, mount, 0);
        let mut outer = Command::new(unshare[0]);
        outer
            .args(&unshare[1..])
            .arg(format!("{mount_there} && exec \"$0\" \"$@\""))
            .arg(inner.get_program())
            .args(inner.get_args());
        for (key, value) in inner.get_envs() {
            outer.env(key, value.unwrap_or_default());
        }
        Some(Self::run(outer))
    }

    fn run(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it says next; `None` at its end.
    pub(crate) fn says(&mut self) -> Option<String> {
        let mut lines = self.lines.by_ref().map_while(Result::ok);
        // The framework's own words may stand before it on the line.
        lines.find_map(|line| Some(line.split_once(SAYS)?.1.to_owned()))
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn succeeds(mut self) -> bool {
        self.child.wait().unwrap().success()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}

fn command(role: &str, directory: &Path, first: u64) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([
            "--exact",
            &format!("child::{role}"),
            "--ignored",
            "--nocapture",
        ])
        .env(DIRECTORY, directory)
        .env(FIRST, first.to_string());
    command
}

/// What the parent asked for; `None` for somebody who runs ignored tests.
fn asked() -> Option<(String, u64)> {
    let directory = std::env::var(DIRECTORY).ok()?;
    let first = std::env::var(FIRST).ok()?;
    Some((directory, first.parse().unwrap()))
}

pub(crate) fn open(directory: &Path) -> EmbeddedStore {
    let limits = MemoryLimits::of(&DedupeSettings::default());
    EmbeddedStore::open(directory, "aws", limits).unwrap()
}

pub(crate) fn batch(first: u64) -> Vec<Subject> {
    (first..first + BATCH).map(subject).collect()
}

#[test]
#[ignore = "the process of other tests, not a test"]
fn hold() {
    let Some((directory, _)) = asked() else {
        return;
    };
    let _store = open(directory.as_ref());
    println!("{SAYS}open");
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

/// Marks for ever, and says the first id of each batch that it was told is marked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the process of other tests, not a test"]
async fn mark() {
    let Some((directory, first)) = asked() else {
        return;
    };
    let store = Arc::new(open(directory.as_ref()));
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..CALLERS {
        let store = Arc::clone(&store);
        callers.spawn(async move {
            for turn in 0..1_000_000 {
                let first = first + (turn * CALLERS + caller) * BATCH;
                store.complete(&batch(first)).await.unwrap();
                println!("{SAYS}{first}");
            }
        });
    }
    callers.join_all().await;
}

/// Marks until the disk is full, makes room, and looks whether all that counted is kept.
#[tokio::test]
#[ignore = "the process of other tests, not a test"]
async fn fill() {
    let Some((directory, _)) = asked() else {
        return;
    };
    let directory: &Path = directory.as_ref();
    let ballast = directory.join("ballast");
    std::fs::write(&ballast, vec![1; 128 << 10]).unwrap();
    let store = open(directory);
    let (mut marked, mut refused) = (Vec::new(), 0);
    let mut first = 0;
    while refused < 100 {
        match store.complete(&batch(first)).await {
            Ok(()) => {
                marked.push(first);
                // 291 bytes each.
                assert!(marked.len() < 10_000, "more than the disk can hold");
            }
            Err(error) => {
                assert!(error.is_retryable());
                let text = error.to_string();
                assert!(text.contains("No space left"), "{text}");
                assert!(text.contains("/aws is unavailable: cannot "), "{text}");
                refused += 1;
            }
        }
        first += BATCH;
    }
    std::fs::remove_file(&ballast).unwrap();
    for _ in 0..100 {
        store.complete(&batch(first)).await.unwrap();
        marked.push(first);
        first += BATCH;
    }
    drop(store);
    let store = open(directory);
    for first in &marked {
        let found = store.lookup(&batch(*first)).await.unwrap();
        let done = |found: &Lookup| matches!(found, Lookup::Done { .. });
        assert!(found.iter().all(done), "{first}");
    }
    println!("{SAYS}{} kept", marked.len());
}
