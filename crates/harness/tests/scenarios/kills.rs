//! `kill -9` of everything, at named moments and at any, while a client streams and retries.

use crate::support::{ASSIGNED, START, both_hold, plain_load, repetitions, seed, start};
use cloudsync_harness::client::{Load, Sent, send};
use cloudsync_harness::program::{Up, was_killed};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::sleep;

const MOMENTS: [&str; 4] = [
    "before-produce-ack",
    "between-write-and-mark",
    "between-mark-and-commit",
    "during-rebalance",
];

/// Each moment at least once, then by turns: 10 deaths with `./test` and `./test full`.
fn deaths() -> u32 {
    (repetitions() * 2).clamp(4, 10)
}

#[tokio::test]
async fn killed_again_and_again_it_loses_nothing() {
    let doubled = kill_again_and_again("batch", 3_000).await;
    println!("ids there twice, each sent again across a kill: aws, azure {doubled:?}");
}

/// Each record an object of its own, under a name that follows from what it is: whatever is sent
/// again, and whatever the dedupe store forgot, it is there once.
#[tokio::test]
async fn killed_again_and_again_in_record_mode_nothing_is_doubled() {
    assert_eq!(kill_again_and_again("record", 600).await, [0, 0]);
}

/// Out: how many names are there more than once, at each destination.
async fn kill_again_and_again(mode: &str, rate: u32) -> [usize; 2] {
    let seed = seed();
    let mut choices = StdRng::seed_from_u64(seed);
    let data = tempfile::tempdir().unwrap();
    let mut up = Up::new(data.path()).unwrap();
    for destination in ["AWS", "AZURE"] {
        up.program.set(
            &format!("CLOUDSYNC_DESTINATIONS__{destination}__MODE"),
            mode,
        );
    }
    let client = stream(&up, seed, rate);
    let mut hits: BTreeMap<&str, u32> = BTreeMap::new();
    for death in 0..deaths() {
        let moment = MOMENTS[death as usize % MOMENTS.len()];
        arm(&mut up, moment, &mut choices).await;
        let status = up.program.wait(START).await.unwrap();
        assert!(
            was_killed(status),
            "{moment}: {status}\n{}",
            up.program.tail()
        );
        *hits.entry(moment).or_default() += 1;
    }
    up.program.set("CLOUDSYNC_KILL_AT", "");
    for _ in 0..2 {
        kill_at_any_moment(&mut up, &mut choices).await;
        *hits.entry("any").or_default() += 1;
    }
    start(&mut up).await;
    let sent = client.await.unwrap().unwrap();
    println!(
        "deaths by moment: {hits:?}; resent by the client: {}",
        sent.stats.resent
    );
    assert!(
        MOMENTS.iter().all(|moment| hits.contains_key(moment)),
        "{hits:?}"
    );
    assert!(
        sent.stats.connections > 1,
        "the client never lost its connection"
    );
    both_hold(&up, &sent.journal).await
}

/// Starts the program so that it dies at `moment`.
async fn arm(up: &mut Up, moment: &str, choices: &mut StdRng) {
    let rebalance = moment == "during-rebalance";
    let times = if rebalance {
        1
    } else {
        choices.random_range(1..6)
    };
    up.program
        .set("CLOUDSYNC_KILL_AT", &format!("{moment}:{times}"));
    let assigned = up.program.wrote(ASSIGNED);
    up.program.start().unwrap();
    if rebalance {
        // One consumer a group gives its partitions up only when it leaves, and then only if
        // it has some.
        up.program
            .wait_until_wrote(ASSIGNED, assigned + 1, START)
            .await
            .unwrap();
        up.program.terminate().unwrap();
    }
}

async fn kill_at_any_moment(up: &mut Up, choices: &mut StdRng) {
    start(up).await;
    sleep(Duration::from_millis(choices.random_range(0..800))).await;
    up.program.kill().unwrap();
}

/// A client that goes on through every death: fast enough to keep all parts busy, slow enough to
/// last through all of them.
fn stream(up: &Up, seed: u64, rate: u32) -> JoinHandle<anyhow::Result<Sent>> {
    let load = Load {
        resend: 0.05,
        rate: Some(rate),
        ..plain_load(up, "kill", 2 * rate * deaths(), 300, seed)
    };
    #[expect(clippy::disallowed_methods, reason = "a test awaits its own task")]
    tokio::spawn(send(load))
}
