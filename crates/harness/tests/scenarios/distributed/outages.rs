//! Redis dies, forgets everything, or is away, while clients send everything twice.
//!
//! Nothing is lost, and into files each record of the log is written once. In `record` mode no id
//! is there twice, whatever Redis forgot. In `batch` mode an id is there twice only where Redis
//! forgot it or could not be asked: no more of them than were wiped and counted as bypassed. A
//! plain endpoint has nothing twice but what Redis forgot: while it cannot be asked nothing is
//! posted.

use super::{World, kinds, until};
use crate::support::{CATCH_UP, repetitions, rounds};
use cloudsync_harness::fleet::{Fleet, Kind, PLAIN};
use cloudsync_harness::ledger::Count;
use cloudsync_harness::redis::Aof;
use rand::Rng;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Ids a second of each client.
pub(super) const RATE: u32 = 300;

/// How often each side's replicas have found Redis away, and back.
pub(super) fn told(fleet: &Fleet, what: &str) -> Vec<usize> {
    let side = |side: &cloudsync_harness::fleet::Side| {
        side.replicas
            .iter()
            .map(|replica| replica.wrote(what))
            .sum()
    };
    fleet.sides.iter().map(side).collect()
}

/// As [`kinds`], where a plain endpoint does not wait for long when Redis has forgotten leases.
pub(super) fn quick_kinds() -> Vec<Kind> {
    let quick = |kind: Kind| {
        kind.with("DEDUPE__LEASE", "4s")
            .with("DESTINATIONS__AWS__ATTEMPT_TIMEOUT", "1s")
            .with("DESTINATIONS__AZURE__ATTEMPT_TIMEOUT", "1s")
    };
    let if_plain = |kind: Kind| {
        if kind.mode == PLAIN {
            quick(kind)
        } else {
            kind
        }
    };
    kinds().into_iter().map(if_plain).collect()
}

pub(super) const AWAY: &str = "the dedupe store is away";
pub(super) const BACK: &str = "the dedupe store is back";

impl World {
    /// `kill -9`; goes on once every side has found Redis away.
    pub(super) async fn kill_redis(&mut self) {
        let before = told(&self.fleet, AWAY);
        self.redis().kill().unwrap();
        until("Redis is missed", CATCH_UP, &self.fleet, |fleet| {
            let now = told(fleet, AWAY);
            now.iter().zip(&before).all(|(now, before)| now > before)
        })
        .await;
    }

    /// Starts it again; goes on once every side has found it back.
    pub(super) async fn begin_redis(&mut self) {
        let before = told(&self.fleet, BACK);
        self.redis().begin().await.unwrap();
        until("Redis is found again", CATCH_UP, &self.fleet, |fleet| {
            let now = told(fleet, BACK);
            now.iter().zip(&before).all(|(now, before)| now > before)
        })
        .await;
    }

    /// Whoever may goes on without Redis and counts what it did not ask; a plain endpoint waits.
    pub(super) fn went_on_without(&self, count: &Count) {
        for (row, side) in count.sides.iter().zip(&self.fleet.sides) {
            let (bypassed, said) = (row.bypassed, format!("{}: {}", row.side, row.bypassed));
            assert_eq!(bypassed > 0, side.kind.mode != PLAIN, "{said} not asked");
        }
    }

    /// Waits until Redis knows something again of every side, whose keys begin with one of `keys`.
    pub(super) async fn all_are_known(&mut self, keys: &[&str]) {
        let deadline = Instant::now() + CATCH_UP;
        for keys in keys {
            let is_of_ids = |key: &String| !key.ends_with(":marker");
            while !self.redis().keys(keys).await.unwrap().iter().any(is_of_ids) {
                assert!(Instant::now() < deadline, "nothing of {keys}");
                sleep(Duration::from_millis(50)).await;
            }
        }
    }

    /// Any moment will do.
    pub(super) async fn any_moment(&mut self) {
        let wait = self.choices.random_range(200..1_500);
        sleep(Duration::from_millis(wait)).await;
    }
}

async fn killed_again_and_again(aof: Aof) {
    let Some(mut world) = World::start(&kinds(), aof).await else {
        return;
    };
    let stream = world.stream(RATE);
    let rounds = rounds(20);
    for _ in 0..rounds {
        world.any_moment().await;
        world.kill_redis().await;
        world.begin_redis().await;
    }
    let count = world.finish(stream).await;
    println!("Redis killed {rounds} times, {aof:?}");
    world.went_on_without(&count);
    world.holds(&count, None, 0);
}

#[tokio::test]
async fn redis_killed_again_and_again_with_its_log_synced_every_second() {
    killed_again_and_again(Aof::Everysec).await;
}

#[tokio::test]
async fn redis_killed_again_and_again_with_its_log_always_synced() {
    killed_again_and_again(Aof::Always).await;
}

#[tokio::test]
async fn redis_wiped_again_and_again() {
    let Some(mut world) = World::start(&quick_kinds(), Aof::No).await else {
        return;
    };
    let stream = world.stream(RATE);
    let rounds = rounds(10);
    let keys: Vec<_> = world.fleet.sides.iter().map(|side| side.keys()).collect();
    let keys: Vec<_> = keys.iter().map(String::as_str).collect();
    let mut wiped = vec![0; keys.len()];
    for _ in 0..rounds {
        world.any_moment().await;
        // What is sent the second time must have been known, and some of it must be to come.
        sleep(super::BEHIND).await;
        world.all_are_known(&keys).await;
        let counts = world.redis().wipe(&keys).await.unwrap();
        assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
        wiped
            .iter_mut()
            .zip(&counts)
            .for_each(|(sum, count)| *sum += count);
    }
    sleep(super::BEHIND).await;
    let count = world.finish(stream).await;
    println!("wiped {rounds} times, ids by side {wiped:?}");
    for (row, side) in count.sides.iter().zip(&world.fleet.sides) {
        let twice = row.verdict.doubled.len();
        assert_eq!(
            side.kind.mode != "record",
            twice > 0,
            "{}: {twice}",
            row.side
        );
    }
    world.holds(&count, Some(&wiped), 0);
}

#[tokio::test]
async fn redis_away_for_a_while() {
    let Some(mut world) = World::start(&kinds(), Aof::Everysec).await else {
        return;
    };
    let away = Duration::from_secs(if repetitions() >= 10 { 30 } else { 10 });
    let stream = world.stream(RATE);
    world.any_moment().await;
    world.kill_redis().await;
    // How long it is away is what this is about.
    sleep(away).await;
    world.begin_redis().await;
    let count = world.finish(stream).await;
    println!("Redis was away for {away:?}");
    world.went_on_without(&count);
    world.holds(&count, None, 0);
}
