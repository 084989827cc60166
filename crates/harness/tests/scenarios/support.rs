//! What the scenarios share.
//!
//! `TEST_REPEAT` sets how often each fault is tried (`./test`: 5, `./test full`: 10, which
//! stands for all that [`rounds`] are asked for, else 2).

use cloudsync_harness::checker::{Verdict, check};
use cloudsync_harness::client::Load;
use cloudsync_harness::journal::Journal;
use cloudsync_harness::program::{Program, Up};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long a start may take on a busy machine.
pub(crate) const START: Duration = Duration::from_secs(60);
/// How long the destinations may need to catch up.
pub(crate) const CATCH_UP: Duration = Duration::from_secs(120);

/// What the program logs when a consumer has got its partitions.
pub(crate) const ASSIGNED: &str = "partitions assigned";

/// How often each fault is tried.
pub(crate) fn repetitions() -> u32 {
    std::env::var("TEST_REPEAT")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(2)
}

/// How often a fault is tried of which `all` are wanted with all repetitions, and up to 5 else.
pub(crate) fn rounds(all: u32) -> u32 {
    match repetitions() {
        10.. => all,
        few => few.min(5).min(all),
    }
}

/// A number that no other run has, for request ids and seeds; printed, so that a run can be told.
pub(crate) fn seed() -> u64 {
    let seed = std::env::var("TEST_SEED").ok().and_then(|n| n.parse().ok());
    let seed = seed.unwrap_or_else(rand::random);
    println!("TEST_SEED={seed}");
    seed
}

/// `cloudsync up` on `data`, ready.
pub(crate) async fn running(data: &Path) -> Up {
    let mut up = Up::new(data).unwrap();
    start(&mut up).await;
    up
}

/// Starts `up`, for the first time or again, and waits until it is ready.
pub(crate) async fn start(up: &mut Up) {
    up.program.start().unwrap();
    up.program.ready(START).await.unwrap();
}

/// Ends `up` as an operator does: it finishes what it has taken.
pub(crate) async fn stop(up: &mut Up) {
    up.program.terminate().unwrap();
    let status = up.program.wait(Duration::from_secs(20)).await.unwrap();
    assert!(status.success(), "{status}\n{}", up.program.tail());
}

/// A role of its own, on the Kafka at `kafka`, with both destinations below `data`.
pub(crate) fn program(
    arguments: Vec<String>,
    admin: SocketAddr,
    kafka: &str,
    data: &Path,
) -> Program {
    let mut program = Program::new(arguments, admin, data);
    program.set("CLOUDSYNC_ADMIN__LISTEN", &admin.to_string());
    program.set("CLOUDSYNC_KAFKA__BROKERS", kafka);
    program.set("CLOUDSYNC_KAFKA__REPLICATION", "1");
    for name in ["aws", "azure"] {
        let of = |key| format!("CLOUDSYNC_DESTINATIONS__{}__{key}", name.to_uppercase());
        let url = format!("file://{}/{name}", data.display());
        program.set(&of("URL"), &url);
        program.set(&of("GROUP"), &format!("{name}-sync-group"));
    }
    program
}

/// `records` for `up` under `keys` keys, each sent once, as fast as it goes.
pub(crate) fn plain_load(up: &Up, prefix: &str, records: u32, keys: u32, seed: u64) -> Load {
    Load {
        endpoint: up.endpoint(),
        prefix: prefix.into(),
        records,
        keys,
        resend: 0.0,
        rate: None,
        seed,
    }
}

/// Waits until `directory` holds everything that was acknowledged; returns the last look at it.
pub(crate) async fn caught_up(directory: &Path, name: &str, journal: &Journal) -> Verdict {
    let deadline = Instant::now() + CATCH_UP;
    loop {
        let verdict = check(directory, name, journal).unwrap();
        if verdict.lost.is_empty() || Instant::now() > deadline {
            return verdict;
        }
        sleep(Duration::from_millis(200)).await;
    }
}

/// Both destinations of `up` hold what was acknowledged, each record of the log once; returns how
/// many names are there more than once.
pub(crate) async fn both_hold(up: &Up, journal: &Journal) -> [usize; 2] {
    let mut doubled = [0; 2];
    for (at, name) in ["aws", "azure"].into_iter().enumerate() {
        let verdict = caught_up(&up.data.join(name), name, journal).await;
        println!("{name}: {}", verdict.summary());
        let log = up.program.tail();
        assert!(
            verdict.is_clean_but_for_resends(),
            "{name}: {}\n{log}",
            verdict.summary()
        );
        doubled[at] = verdict.doubled.len();
    }
    doubled
}
