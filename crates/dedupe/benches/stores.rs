//! What the stores of one process cost an id, beside the least that the same bytes cost the disk.
//!
//! `cargo bench -p cloudsync-dedupe` runs all of it; words behind `--` choose: `cost`, `size`.
//! Files lie below the current directory, which should be on a real disk. Each measurement is a
//! process of its own. Prints tables, and ends with 1 where the embedded store misses a floor.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark prints its table"
)]

use cloudsync::identity::{Fingerprint, Id16};
use cloudsync_dedupe::memory::MemoryLimits;
use cloudsync_dedupe::{
    DedupeSettings, DedupeStore, EmbeddedStore, LogPosition, Lookup, MemoryStore, Subject,
};
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

const BATCH: u64 = 256;
/// Bytes of a batch on the disk: its header and its records.
const BATCH_BYTES: usize = 32 + 37 * 256;
/// Ids of a measurement of cost, for one task and for twelve.
const COST: [(u64, u64); 2] = [(1, 1 << 20), (12, 3 << 20)];
const SIZES: [u64; 2] = [1_000_000, 10_000_000];
const CPU_FLOOR: f64 = 1.0;
const BYTES_FLOOR: f64 = 40.0;
const OPEN_FLOOR: f64 = 5.0;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|it| it == "one") {
        return report(one(&arguments[1..]).map(|()| true));
    }
    let chosen: Vec<&String> = arguments.iter().filter(|it| !it.starts_with('-')).collect();
    let wanted = |part: &str| chosen.is_empty() || chosen.iter().any(|it| *it == part);
    report(all(&wanted))
}

fn report(result: Result<bool>) -> ExitCode {
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(1)
        }
    }
}

/// Runs the chosen parts. Out: whether every floor was reached.
fn all(wanted: &dyn Fn(&str) -> bool) -> Result<bool> {
    let directory = tempfile::tempdir_in(".")?;
    let mut held = true;
    let mut floor = |what: &str, found: f64, most: f64| {
        if found > most {
            println!("MISSED: {what}: {found:.2} > {most}");
            held = false;
        }
    };
    if wanted("cost") {
        println!(
            "| look up and complete, batches of {BATCH} | tasks | ids/s | CPU µs an id | wall µs an id |"
        );
        println!("|---|---|---|---|---|");
        for (tasks, ids) in COST {
            for store in ["memory", "embedded", "floor"] {
                let line = ["cost", store, &tasks.to_string(), &ids.to_string()];
                let [wall, cpu] = child(&line, directory.path())?;
                let (wall, cpu) = (wall * 1e6 / ids as f64, cpu * 1e6 / ids as f64);
                let named = if store == "floor" {
                    "append and fdatasync of the same bytes"
                } else {
                    store
                };
                println!(
                    "| {named} | {tasks} | {:.0} | {cpu:.2} | {wall:.2} |",
                    1e6 / wall
                );
                if store == "embedded" {
                    floor("CPU µs an id", cpu, CPU_FLOOR);
                }
            }
        }
        println!();
    }
    if wanted("size") {
        println!("| ids | store | bytes an id, resident | by its own count | s to open | CPU s |");
        println!("|---|---|---|---|---|---|");
        for ids in SIZES {
            let given = ids.to_string();
            let [resident, counted] = child(&["size", "memory", &given], directory.path())?;
            println!("| {ids} | memory | {resident:.1} | {counted:.1} | | |");
            let [resident, counted] = child(&["size", "embedded", &given], directory.path())?;
            floor("bytes an id", counted, BYTES_FLOOR);
            if ids > SIZES[0] {
                // Of fewer ids the stacks and buffers of the process are too large a part.
                floor("resident bytes an id", resident, BYTES_FLOOR);
            }
            let [wall, cpu] = child(&["open", "embedded", &given], directory.path())?;
            println!("| {ids} | embedded | {resident:.1} | {counted:.1} | {wall:.2} | {cpu:.2} |");
            floor("seconds to open", wall, OPEN_FLOOR);
        }
    }
    Ok(held)
}

/// A measurement in a process of its own: two numbers on a line.
fn child(arguments: &[&str], directory: &Path) -> Result<[f64; 2]> {
    let output = Command::new(std::env::current_exe()?)
        .arg("one")
        .arg(directory)
        .args(arguments)
        .stderr(std::process::Stdio::inherit())
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    let numbers: Vec<f64> = text.split_whitespace().flat_map(str::parse).collect();
    let numbers = <[f64; 2]>::try_from(numbers);
    numbers.map_err(|_| format!("{arguments:?} ended with {}", output.status).into())
}

// === in the child ===

fn one(arguments: &[String]) -> Result<()> {
    let [directory, part, store, rest @ ..] = arguments else {
        return Err("too few arguments".into());
    };
    let directory = Path::new(directory);
    let numbers: Vec<u64> = rest.iter().flat_map(|it| it.parse()).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()?;
    let [a, b] = match (part.as_str(), store.as_str(), &numbers[..]) {
        ("cost", "floor", [tasks, ids]) => append(directory, *tasks, *ids)?,
        ("cost", _, [tasks, ids]) => runtime.block_on(cost(directory, store, *tasks, *ids))?,
        ("size", _, [ids]) => runtime.block_on(size(directory, store, *ids))?,
        ("open", _, [ids]) => runtime.block_on(reopen(directory, *ids))?,
        _ => return Err("unknown arguments".into()),
    };
    println!("{a} {b}");
    Ok(())
}

fn open(directory: &Path, store: &str, name: &str) -> Result<Arc<dyn DedupeStore>> {
    let limits = MemoryLimits {
        max_entries: 20_000_000,
        window: Duration::from_secs(24 * 60 * 60),
        ..MemoryLimits::of(&DedupeSettings::default())
    };
    Ok(match store {
        "memory" => Arc::new(MemoryStore::new(name, limits)),
        _ => Arc::new(EmbeddedStore::open(directory, name, limits)?),
    })
}

/// Wall and CPU seconds.
async fn cost(directory: &Path, store: &str, tasks: u64, ids: u64) -> Result<[f64; 2]> {
    let store = open(directory, store, &format!("cost-{tasks}"))?;
    let (wall, cpu) = (Instant::now(), cpu_seconds()?);
    mark(&store, tasks, ids).await?;
    Ok([wall.elapsed().as_secs_f64(), cpu_seconds()? - cpu])
}

/// Bytes an id: resident, and as the store counts.
async fn size(directory: &Path, store: &str, ids: u64) -> Result<[f64; 2]> {
    let store = open(directory, store, &format!("size-{ids}"))?;
    // What the runtime and the callers need is there before.
    mark(&store, 4, BATCH * 4).await?;
    let before = resident()?;
    mark(&store, 4, ids).await?;
    let resident = resident()? - before;
    let stats = store.stats().await?;
    Ok([resident, stats.bytes as f64].map(|bytes| bytes / ids as f64))
}

/// Wall and CPU seconds.
async fn reopen(directory: &Path, ids: u64) -> Result<[f64; 2]> {
    let (wall, cpu) = (Instant::now(), cpu_seconds()?);
    let store = open(directory, "embedded", &format!("size-{ids}"))?;
    let took = [wall.elapsed().as_secs_f64(), cpu_seconds()? - cpu];
    let entries = store.stats().await?.entries;
    if entries < ids {
        return Err(format!("{entries} of {ids} ids are known").into());
    }
    Ok(took)
}

/// Looks up and marks `ids` ids that nobody knows, from `tasks` tasks at a time.
async fn mark(store: &Arc<dyn DedupeStore>, tasks: u64, ids: u64) -> Result<()> {
    let mut running = JoinSet::new();
    let each = ids.div_ceil(tasks * BATCH);
    for task in 0..tasks {
        let store = Arc::clone(store);
        running.spawn(async move {
            for turn in 0..each {
                let first = (turn * tasks + task) * BATCH;
                let batch: Vec<Subject> = (first..first + BATCH)
                    .map(|n| subject(n, ids ^ each))
                    .collect();
                let found = store.lookup(&batch).await?;
                if found.iter().any(|it| *it != Lookup::Unknown) {
                    return Err("an id was known".into());
                }
                store.complete(&batch).await?;
            }
            Ok(())
        });
    }
    while let Some(ended) = running.join_next().await {
        let ended: Result<()> = ended?;
        ended?;
    }
    Ok(())
}

/// As spread as real ids are, and cheap to make.
fn subject(n: u64, seed: u64) -> Subject {
    let spread = |mut x: u64| {
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    };
    let low = spread(n.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ seed << 40);
    let mut id = [0; 16];
    id[..8].copy_from_slice(&low.to_le_bytes());
    id[8..].copy_from_slice(&spread(low).to_le_bytes());
    Subject {
        id: Id16(id),
        fingerprint: Fingerprint(low),
        shard: 0,
        position: LogPosition {
            partition: 3,
            offset: i64::try_from(n).unwrap_or(i64::MAX),
        },
    }
}

/// What a store writes, by nothing but a file: as many batches in one write as there are tasks.
/// Out: wall and CPU seconds.
fn append(directory: &Path, tasks: u64, ids: u64) -> Result<[f64; 2]> {
    let path = directory.join("floor");
    let mut file = File::create(&path)?;
    let bytes = vec![7; BATCH_BYTES * usize::try_from(tasks)?];
    let (wall, cpu) = (Instant::now(), cpu_seconds()?);
    for _ in 0..ids.div_ceil(tasks * BATCH) {
        file.write_all(&bytes)?;
        file.sync_data()?;
    }
    let took = [wall.elapsed().as_secs_f64(), cpu_seconds()? - cpu];
    fs::remove_file(path)?;
    Ok(took)
}

/// Of all threads of this process, in user and kernel.
fn cpu_seconds() -> Result<f64> {
    // As many ticks a second as Linux tells user space on every machine.
    const TICKS: f64 = 100.0;
    let stat = fs::read_to_string("/proc/self/stat")?;
    let behind_name = stat.rsplit(") ").next().unwrap_or_default();
    let fields: Vec<&str> = behind_name.split(' ').collect();
    let ticks = |at: usize| fields.get(at).and_then(|it| it.parse::<f64>().ok());
    let sum = ticks(11).zip(ticks(12)).map(|(user, kernel)| user + kernel);
    Ok(sum.ok_or("no CPU time in /proc/self/stat")? / TICKS)
}

/// Resident bytes of this process.
fn resident() -> Result<f64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|it| it.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|it| it.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    Ok(kibibytes.ok_or("no VmRSS in /proc/self/status")? * 1024.0)
}
