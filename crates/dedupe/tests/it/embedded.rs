//! The embedded store: the laws, and what outlives a process.

use crate::child::{self, BATCH, Process, batch};
use crate::conformance::{World, conformance, done, subject};
use async_trait::async_trait;
use cloudsync_dedupe::memory::MemoryLimits;
use cloudsync_dedupe::settings::look_at;
use cloudsync_dedupe::{
    Claim, DedupeSettings, DedupeStore, EmbeddedStore, Lookup, OpenError, Subject, Token, open,
};
use parking_lot::Mutex;
use std::fmt::{self, Write};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tempfile::TempDir;
use tokio::time::Instant;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, span};

const HOUR: Duration = Duration::from_secs(60 * 60);

/// Where a sync costs nothing, if there is such a place.
pub(crate) fn quick_directory() -> TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

/// Its clock is tokio's, which a test moves.
struct OnDisk {
    directory: TempDir,
    began: Instant,
}

impl OnDisk {
    fn new() -> Self {
        let (directory, began) = (quick_directory(), Instant::now());
        Self { directory, began }
    }
}

#[async_trait]
impl World for OnDisk {
    fn settings(&self) -> DedupeSettings {
        DedupeSettings {
            url: format!("file://{}", self.directory.path().display()),
            ..DedupeSettings::default()
        }
    }

    async fn pass(&self, time: Duration) {
        tokio::time::advance(time).await;
    }

    async fn now(&self) -> Duration {
        self.began.elapsed()
    }
}

mod laws {
    use super::*;
    conformance!(OnDisk::new(), #[tokio::test(start_paused = true)]);
}

fn limits() -> MemoryLimits {
    MemoryLimits::of(&DedupeSettings::default())
}

fn open_at(directory: &Path, wall: SystemTime) -> EmbeddedStore {
    let wall = move || wall;
    EmbeddedStore::open_with_clock(directory, "aws", limits(), wall).unwrap()
}

fn file(directory: &Path, number: u64) -> PathBuf {
    directory.join("aws").join(format!("{number:020}.marks"))
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory.join("aws")).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|it| it == "marks"));
    files.sort();
    files
}

async fn known(store: &EmbeddedStore, subjects: &[Subject]) -> Vec<bool> {
    let found = store.lookup(subjects).await.unwrap();
    found.iter().map(|it| *it != Lookup::Unknown).collect()
}

// === restarts ===

#[tokio::test]
async fn marks_outlive_the_process_and_claims_do_not() {
    let directory = quick_directory();
    let (me, other) = (Token::random(), Token::random());
    let [done, dead, held, forgotten, later] = [1, 2, 3, 4, 5].map(subject);
    let store = child::open(directory.path());
    let _granted = store.claim(me, &[done, held]).await.unwrap();
    store.complete(&[done, forgotten]).await.unwrap();
    store.dead_letter(None, &[dead, later]).await.unwrap();
    store.forget(&[forgotten]).await.unwrap();
    store.complete(&[later]).await.unwrap();
    store.dead_letter(None, &[later]).await.unwrap();
    drop(store);
    // What was written stays where it is; what comes goes into another file.
    let first = fs::read(file(directory.path(), 0)).unwrap();
    for known_before in [3, 4] {
        let store = child::open(directory.path());
        let all = [done, dead, held, forgotten, later];
        let found = store.lookup(&all).await.unwrap();
        let expected = [
            Lookup::Done {
                position: done.position,
            },
            Lookup::DeadLettered {
                position: dead.position,
            },
            Lookup::Unknown,
            Lookup::Unknown,
            Lookup::Done {
                position: later.position,
            },
        ];
        assert_eq!(found, expected);
        assert!(matches!(
            store.claim(other, &[held]).await.unwrap()[0],
            Claim::Granted(_)
        ));
        let stats = store.stats().await.unwrap();
        let expected = (known_before + 1, 1, 0);
        assert_eq!((stats.entries, stats.in_progress, stats.marked), expected);
        assert!(stats.effective_window.is_some());
        store.complete(&[subject(6)]).await.unwrap();
    }
    assert_eq!(files(directory.path()).len(), 3);
    assert_eq!(fs::read(file(directory.path(), 0)).unwrap(), first);
}

#[tokio::test]
async fn a_clock_that_stepped_back_forgets_nothing_early_and_keeps_nothing_for_ever() {
    let directory = quick_directory();
    let noon = UNIX_EPOCH + 500_000 * HOUR;
    let store = open_at(directory.path(), noon);
    store.complete(&[subject(1)]).await.unwrap();
    drop(store);
    // Half an hour later, and it reads a year before.
    let store = open_at(directory.path(), noon - 8_766 * HOUR);
    assert_eq!(known(&store, &[subject(1)]).await, [true]);
    store.complete(&[subject(2)]).await.unwrap();
    drop(store);
    let store = open_at(directory.path(), noon + HOUR - Duration::from_secs(1));
    assert_eq!(known(&store, &[subject(1), subject(2)]).await, [true, true]);
    drop(store);
    let store = open_at(directory.path(), noon + HOUR + Duration::from_secs(1));
    assert_eq!(known(&store, &[subject(1)]).await, [false]);
    drop(store);
    // What nobody needs is gone from the disk as well.
    let store = open_at(directory.path(), noon + 3 * HOUR);
    assert_eq!(known(&store, &[subject(2)]).await, [false]);
    assert_eq!(files(directory.path()), Vec::<PathBuf>::new());
}

/// Whoever looks may have other settings than the consumer whose store it is.
#[tokio::test]
async fn looking_drops_nothing_and_makes_nothing() {
    let world = OnDisk::new();
    let narrow = DedupeSettings {
        max_entries: 64,
        window: Duration::from_secs(1),
        lease: Duration::from_secs(1),
        ..world.settings()
    };
    let none = look_at(&narrow, "aws").unwrap_err();
    assert!(matches!(none, OpenError::Files { .. }), "{none}");
    assert_eq!(fs::read_dir(world.directory.path()).unwrap().count(), 0);
    let all: Vec<Subject> = (0..5_000).map(subject).collect();
    let two_hours_ago = SystemTime::now() - 2 * HOUR;
    let long = MemoryLimits {
        window: 24 * HOUR,
        ..limits()
    };
    let store =
        EmbeddedStore::open_with_clock(world.directory.path(), "aws", long, move || two_hours_ago);
    store.unwrap().complete(&all).await.unwrap();
    let before = files(world.directory.path());
    let store = look_at(&narrow, "aws").unwrap();
    assert_eq!(store.stats().await.unwrap().entries, 5_000);
    assert_eq!(store.lookup(&all[..1]).await.unwrap(), [done(all[0])]);
    drop(store);
    assert_eq!(files(world.directory.path()), before);
    let store = EmbeddedStore::open(world.directory.path(), "aws", long).unwrap();
    assert_eq!(known(&store, &all).await, vec![true; 5_000]);
}

#[test]
fn what_was_told_is_known_after_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let mut told: Vec<u64> = Vec::new();
    for round in 0..5 {
        let start = round * 1_000_000;
        let mut process = Process::start("mark", directory.path(), start);
        let lines = 20 + 40 * round;
        for _ in 0..lines {
            told.push(process.says().unwrap().parse().unwrap());
        }
        process.kill();
        // It may have said more than was read.
        let rest = std::iter::from_fn(|| process.says());
        told.extend(rest.filter_map(|line| line.parse::<u64>().ok()));
    }
    assert!(told.len() >= 500);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let store = child::open(directory.path());
        for first in told {
            let expected: Vec<Lookup> = batch(first)
                .iter()
                .map(|it| Lookup::Done {
                    position: it.position,
                })
                .collect();
            let found = store.lookup(&batch(first)).await.unwrap();
            assert_eq!(found, expected, "{first}");
        }
    });
}

#[test]
fn a_full_disk_refuses_loses_nothing_and_goes_on_with_space() {
    let mount = tempfile::tempdir().unwrap();
    let Some(mut process) = Process::on_small_disk("fill", mount.path(), 512) else {
        return;
    };
    let said = process.says().unwrap();
    let kept: u64 = said.strip_suffix(" kept").unwrap().parse().unwrap();
    assert!(process.succeeds());
    assert!(kept * BATCH > 1_000, "{kept}");
}

// === who may open it ===

#[test]
fn a_directory_is_open_once() {
    let directory = tempfile::tempdir().unwrap();
    let mut process = Process::start("hold", directory.path(), 0);
    assert_eq!(process.says().unwrap(), "open");
    let refused = EmbeddedStore::open(directory.path(), "aws", limits()).unwrap_err();
    let expected = format!(
        "{} is in use by process {}: end it, or set another dedupe.url",
        directory.path().join("aws").display(),
        process.id()
    );
    assert_eq!(refused.to_string(), expected);
    // The destinations of one directory are apart.
    let azure = EmbeddedStore::open(directory.path(), "azure", limits()).unwrap();
    assert!(EmbeddedStore::open(directory.path(), "azure", limits()).is_err());
    drop(azure);
    EmbeddedStore::open(directory.path(), "azure", limits()).unwrap();
    process.kill();
    child::open(directory.path());
}

#[test]
fn what_another_version_wrote_is_refused() {
    let directory = quick_directory();
    drop(child::open(directory.path()));
    let mut header = b"csdedupe\x02\x00\x00\x00".to_vec();
    header.extend_from_slice(&crc32c::crc32c(&header).to_le_bytes());
    let file = file(directory.path(), 7);
    fs::write(&file, header).unwrap();
    let refused = EmbeddedStore::open(directory.path(), "aws", limits()).unwrap_err();
    assert!(matches!(refused, OpenError::Version { found: 2, .. }));
    let expected = format!(
        "{} is of format 2, and this program reads format 1: use the program that wrote it, or \
         another dedupe.url",
        file.display()
    );
    assert_eq!(refused.to_string(), expected);
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let directory = quick_directory();
    fs::write(directory.path().join("aws"), "a file").unwrap();
    let refused = EmbeddedStore::open(directory.path(), "aws", limits()).unwrap_err();
    let text = refused.to_string();
    let path = directory.path().join("aws");
    let expected = format!("cannot make the directory {}: ", path.display());
    assert!(text.starts_with(&expected), "{text}");
    for name in ["", ".", "..", "a/b", ".hidden"] {
        let refused = EmbeddedStore::open(directory.path(), name, limits()).unwrap_err();
        assert!(matches!(refused, OpenError::Destination { .. }), "{name}");
    }
}

#[tokio::test]
async fn destinations_do_not_see_each_other() {
    let world = OnDisk::new();
    let aws = world.open();
    let azure = open(&world.settings(), "azure").unwrap();
    aws.complete(&[subject(1)]).await.unwrap();
    let found = azure.lookup(&[subject(1)]).await.unwrap();
    assert_eq!(found, [Lookup::Unknown]);
}

// === damage ===

/// What was warned of, a line each.
#[derive(Clone, Default)]
struct Warnings(Arc<Mutex<Vec<String>>>);

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        write!(self.0, "{field}={value:?} ").unwrap();
    }
}

impl tracing::Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        self.0.lock().push(line.0);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// Opens `bytes` as the one file there is. Out: which of `subjects` are known, and what was warned
/// of.
fn open_bytes(bytes: &[u8], subjects: &[Subject]) -> (Vec<bool>, Vec<String>) {
    let directory = quick_directory();
    fs::create_dir(directory.path().join("aws")).unwrap();
    fs::write(file(directory.path(), 0), bytes).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let mut seen: Vec<(Vec<bool>, Vec<String>)> = Vec::new();
    // Opened again it says the same; what was cut is told once.
    for _ in 0..2 {
        let warnings = Warnings::default();
        let of_store = warnings.clone();
        let found = tracing::subscriber::with_default(of_store, || {
            let store = child::open(directory.path());
            runtime.block_on(known(&store, subjects))
        });
        seen.push((found, warnings.0.lock().clone()));
    }
    let second = seen.pop().unwrap();
    let first = seen.pop().unwrap();
    assert_eq!(first.0, second.0);
    let is_cut = |line: &String| line.contains("cut off");
    assert!(!second.1.iter().any(is_cut), "{second:?}");
    first
}

/// Three blocks of two marks, and where each block ends.
fn small_log() -> (Vec<u8>, Vec<Subject>, Vec<usize>) {
    let directory = quick_directory();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let subjects: Vec<Subject> = (0..6).map(subject).collect();
    let store = child::open(directory.path());
    let path = file(directory.path(), 0);
    let ends = subjects.chunks(2).map(|two| {
        runtime.block_on(store.complete(two)).unwrap();
        usize::try_from(fs::metadata(&path).unwrap().len()).unwrap()
    });
    let ends = ends.collect();
    (fs::read(&path).unwrap(), subjects, ends)
}

#[test]
fn every_cut_of_a_small_log_opens_to_what_is_whole() {
    let (bytes, subjects, ends) = small_log();
    for length in 0..bytes.len() {
        let (found, warned) = open_bytes(&bytes[..length], &subjects);
        let whole = ends.iter().filter(|end| **end <= length).count();
        let expected: Vec<bool> = (0..6).map(|n| n < 2 * whole).collect();
        assert_eq!(found, expected, "cut at {length}");
        let sound = ends.iter().rev().find(|end| **end <= length);
        // Nothing but the header is nothing at all.
        let sound = sound.copied().unwrap_or(if length >= 16 { 16 } else { 0 });
        if sound == length {
            assert_eq!(warned, Vec::<String>::new(), "cut at {length}");
        } else {
            assert_eq!(warned.len(), 1, "cut at {length}: {warned:?}");
            assert!(
                warned[0].contains(&format!("from={sound} ")) && warned[0].contains("0.marks"),
                "{warned:?}"
            );
        }
    }
}

#[test]
fn every_flipped_bit_of_a_small_log_costs_one_block_and_is_told() {
    let (bytes, subjects, ends) = small_log();
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let (found, warned) = open_bytes(&changed, &subjects);
        let hit = ends.iter().position(|end| bit / 8 < *end).unwrap();
        let in_header = bit / 8 < 16;
        let expected: Vec<bool> = (0..6).map(|n| in_header || n / 2 != hit).collect();
        assert_eq!(found, expected, "bit {bit}");
        assert_eq!(warned.len(), 1, "bit {bit}: {warned:?}");
        assert!(warned[0].contains("from=") && warned[0].contains("0.marks"));
    }
}

#[tokio::test]
async fn a_missing_file_is_told_and_the_others_count() {
    let directory = quick_directory();
    for n in 0..3 {
        let store = child::open(directory.path());
        store.complete(&[subject(n)]).await.unwrap();
    }
    fs::remove_file(file(directory.path(), 1)).unwrap();
    let warnings = Warnings::default();
    let store = {
        let _here = tracing::subscriber::set_default(warnings.clone());
        child::open(directory.path())
    };
    let subjects: Vec<Subject> = (0..3).map(subject).collect();
    assert_eq!(known(&store, &subjects).await, [true, false, true]);
    let warned = warnings.0.lock().clone();
    assert!(
        warned.len() == 1 && warned[0].contains("from=1 to=1"),
        "{warned:?}"
    );
}
