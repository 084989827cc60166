//! Replicas that die, stand still, come and go, while clients send everything twice.
//!
//! Nothing is lost, and each record of the log is written once. Redis is well in all of these: no
//! id is there twice, but where a replica says that it could not ask in time (`dedupe_bypassed`).

use super::{World, kinds, until};
use crate::support::{CATCH_UP, START, repetitions, rounds};
use cloudsync_harness::client::send_order;
use cloudsync_harness::fleet::{ASSIGNED, Fleet, Kind, PLAIN, Side};
use cloudsync_harness::program::Program;
use cloudsync_harness::redis::Aof;
use futures::future::join_all;
use rand::Rng;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Ids a second of each client.
const RATE: u32 = 200;
/// Ids at once, so that a replica has work in hand when it is hit.
const BURST: u32 = 4_000;
/// Longer than a group takes to miss a member (12 s) and to share out its partitions, so that
/// others meet leases that still run.
const LONG: Duration = Duration::from_secs(25);
/// Ends twice while its holder stands still.
const SHORT: Duration = Duration::from_secs(7);
/// How often partitions are given to somebody on each side in a storm, at least.
const ENOUGH: usize = 5;
/// How long a storm lasts: a second for each repetition, and these.
const STORM: Duration = Duration::from_secs(8);

fn leased(lease: Duration, attempt: &str) -> Vec<Kind> {
    // With all repetitions both layouts; else the one whose ended leases can be seen, see `said`.
    let kinds = match repetitions() {
        10.. => kinds(),
        _ => ["batch", "record", PLAIN]
            .map(|mode| Kind::new(mode, Some("buckets")))
            .to_vec(),
    };
    let with = |kind: Kind| {
        kind.with("DEDUPE__LEASE", &format!("{}s", lease.as_secs()))
            .with("DESTINATIONS__AWS__ATTEMPT_TIMEOUT", attempt)
            .with("DESTINATIONS__AZURE__ATTEMPT_TIMEOUT", attempt)
    };
    kinds.into_iter().map(with).collect()
}

/// What each side that writes under leases has said of `what`. In the layout `keys` an ended
/// lease leaves nothing in Redis, so whoever takes it over meets nothing: those sides are left
/// out.
fn said(fleet: &Fleet, what: &str) -> Vec<u64> {
    let sides = fleet.sides.iter().filter(|side| {
        let seen = what != "taken_over" || side.kind.layout == Some("buckets");
        side.kind.is_leased() && seen
    });
    sides.map(|side| side.said(what)).collect()
}

fn assignments(fleet: &Fleet) -> Vec<usize> {
    fleet.sides.iter().map(Side::assignments).collect()
}

fn all_grew<T: PartialOrd>(before: &[T], now: &[T]) -> bool {
    before.iter().zip(now).all(|(before, now)| now > before)
}

impl World {
    /// Sends a burst, and does `fault` to the replica `victim` of every side: under leases while it
    /// writes.
    async fn hit(
        &mut self,
        round: u32,
        victim: usize,
        fault: impl Fn(&mut Program) -> anyhow::Result<()> + Send + Sync,
    ) {
        let mut before = Vec::new();
        for side in self.fleet.sides.iter().filter(|side| side.kind.is_leased()) {
            before.push(written(side, victim).await);
        }
        let load = self.load(&format!("burst{round}"), 0);
        let sending = send_order(load, (0..BURST).collect());
        #[expect(clippy::disallowed_methods, reason = "a test awaits its own task")]
        self.others.push(tokio::spawn(sending));
        let (leased, others): (Vec<_>, Vec<_>) = self
            .fleet
            .sides
            .iter_mut()
            .partition(|side| side.kind.is_leased());
        // All at once: where one side is looked at after the other, the last ones are done with the
        // burst by then, and hold nothing that could be taken over.
        let fault = &fault;
        let hits = leased
            .into_iter()
            .zip(before)
            .map(|(side, before)| async move {
                let deadline = Instant::now() + CATCH_UP;
                while written(side, victim).await < before + 100 {
                    assert!(Instant::now() < deadline, "{}", side.tail());
                }
                fault(&mut side.replicas[victim]).unwrap();
            });
        join_all(hits).await;
        for side in others {
            fault(&mut side.replicas[victim]).unwrap();
        }
    }

    /// As [`World::hit`]; then waits until others have the victim's partitions and, once its leases
    /// have ended, have taken them over. Out: when it was hit.
    async fn hit_and_replaced(
        &mut self,
        round: u32,
        victim: usize,
        fault: impl Fn(&mut Program) -> anyhow::Result<()> + Send + Sync,
    ) -> Instant {
        let taken_over = said(&self.fleet, "taken_over");
        let moved = assignments(&self.fleet);
        self.hit(round, victim, fault).await;
        let since = Instant::now();
        let have = |fleet: &Fleet| all_grew(&moved, &assignments(fleet));
        until("others have its partitions", CATCH_UP, &self.fleet, have).await;
        let have = |fleet: &Fleet| all_grew(&taken_over, &said(fleet, "taken_over"));
        until("its leases are taken over", CATCH_UP, &self.fleet, have).await;
        since
    }
}

async fn written(side: &Side, at: usize) -> u64 {
    let numbers = side.replicas[at].numbers().await.unwrap();
    numbers.consumer("records_delivered")
}

#[tokio::test]
async fn a_replica_killed_again_and_again() {
    let Some(mut world) = World::start(&leased(LONG, "8s"), Aof::No).await else {
        return;
    };
    let stream = world.stream(RATE);
    let rounds = rounds(50);
    for round in 0..rounds {
        let victim = world.choices.random_range(0..3);
        world.hit_and_replaced(round, victim, Program::kill).await;
        for side in &mut world.fleet.sides {
            side.replicas[victim].start().unwrap();
            side.ready().await.unwrap();
        }
    }
    let count = world.finish(stream).await;
    let (busy, taken_over) = (said(&world.fleet, "busy"), said(&world.fleet, "taken_over"));
    println!("killed {rounds} times: busy {busy:?} taken over {taken_over:?}");
    assert!(busy.iter().all(|busy| *busy > 0), "{busy:?}");
    assert!(taken_over.iter().all(|taken| *taken > 0), "{taken_over:?}");
    world.holds(&count, None, rounds);
}

/// It stands still for more than two leases, until others have taken over what it held; then it
/// goes on where it was, as if it still had everything.
#[tokio::test]
async fn a_replica_that_stands_still_for_two_leases() {
    let Some(mut world) = World::start(&leased(SHORT, "2s"), Aof::No).await else {
        return;
    };
    let stream = world.stream(RATE);
    let rounds = rounds(10).div_ceil(2);
    for round in 0..rounds {
        let victim = world.choices.random_range(0..3);
        let stand_still = |replica: &mut Program| replica.stand_still();
        let since = world.hit_and_replaced(round, victim, stand_still).await;
        // Two leases are what this is about.
        tokio::time::sleep_until(since + 2 * SHORT).await;
        for side in &mut world.fleet.sides {
            let replica = &mut side.replicas[victim];
            let assigned = replica.wrote(ASSIGNED);
            replica.go_on().unwrap();
            let again = replica.wait_until_wrote(ASSIGNED, assigned + 1, START);
            again.await.unwrap();
        }
    }
    let count = world.finish(stream).await;
    let (busy, taken_over) = (said(&world.fleet, "busy"), said(&world.fleet, "taken_over"));
    println!("stood still {rounds} times: busy {busy:?} taken over {taken_over:?}");
    assert!(taken_over.iter().all(|taken| *taken > 0), "{taken_over:?}");
    world.holds(&count, None, rounds);
}

/// Replicas come and go, each on its own, with up to half a second between two changes; one of
/// each side stays.
#[tokio::test]
async fn a_storm_of_rebalances() {
    storm(&kinds(), RATE, 0).await;
}

#[tokio::test]
async fn a_storm_among_twelve_replicas_with_half_a_million_records() {
    if repetitions() < 10 {
        println!("SKIPPED: needs minutes; ./test full has it");
        return;
    }
    let twelve = Kind::new("batch", Some("buckets")).replicas(12);
    storm(&[twelve], 4_000, 500_000).await;
}

/// Clients send `rate` ids a second, until the log has `records` at least.
async fn storm(kinds: &[Kind], rate: u32, records: u64) {
    let Some(mut world) = World::start(kinds, Aof::No).await else {
        return;
    };
    let replicas = kinds.iter().map(|kind| kind.replicas).min().unwrap_or(1);
    let stream = world.stream(rate);
    let before = assignments(&world.fleet);
    let began = Instant::now();
    let patience = CATCH_UP + Duration::from_millis(records);
    let long = STORM + Duration::from_secs(1) * repetitions();
    let (mut changes, mut ending) = (0, BTreeSet::new());
    let moved = |fleet: &Fleet| {
        let now = assignments(fleet);
        now.iter()
            .zip(&before)
            .map(|(now, before)| now - before)
            .collect::<Vec<_>>()
    };
    while began.elapsed() < long
        || world.fleet.records() < records
        || moved(&world.fleet).iter().any(|moved| *moved < ENOUGH)
    {
        let many = world.fleet.records();
        assert!(
            began.elapsed() < patience,
            "{many} records, {:?}",
            moved(&world.fleet)
        );
        let wait = world.choices.random_range(0..500);
        sleep(Duration::from_millis(wait)).await;
        let side = world.choices.random_range(0..world.fleet.sides.len());
        let at = world.choices.random_range(1..replicas);
        let replica = &mut world.fleet.sides[side].replicas[at];
        if !ending.contains(&(side, at)) {
            // One that has only just started may end by the signal itself.
            replica.terminate().unwrap();
            ending.insert((side, at));
            changes += 1;
        } else if replica.exited().unwrap().is_some() {
            replica.start().unwrap();
            ending.remove(&(side, at));
            changes += 1;
        }
    }
    for (side, at) in ending {
        let replica = &mut world.fleet.sides[side].replicas[at];
        replica.wait(START).await.unwrap();
        replica.start().unwrap();
    }
    for side in &mut world.fleet.sides {
        side.ready().await.unwrap();
    }
    println!(
        "{changes} changes, assignments by side {:?}",
        moved(&world.fleet)
    );
    let count = world.finish(stream).await;
    world.holds(&count, None, 0);
}
