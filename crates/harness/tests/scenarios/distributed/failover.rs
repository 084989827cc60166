//! Redis in several servers, one of which dies while clients send everything twice.
//!
//! Sentinel replaces a master by a replica that is behind: what had not come to it is forgotten, and
//! counted here from both servers, a mark at a time. A Cluster misses a third of its slots for a
//! while. Nothing is lost; what is there twice is bounded by what was forgotten or not asked.

use super::outages::{AWAY, BACK, RATE, quick_kinds, told};
use super::{World, redis_at_hand, until};
use crate::support::{CATCH_UP, rounds};
use cloudsync_harness::deployment::Deployment;
use cloudsync_harness::fleet::{DESTINATIONS, Fleet, PLAIN};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Marks of each side that the replica misses, at least.
const MISSED: u64 = 100;
/// Replicas of a destination, all of which lose the store at once.
const REPLICAS: u32 = 3;

/// What each side has marked in the master and not in its replica.
fn missing(had: &[BTreeSet<String>], has: &[BTreeSet<String>]) -> Vec<u64> {
    let both = had.iter().zip(has);
    both.map(|(had, has)| had.difference(has).count() as u64)
        .collect()
}

impl World {
    fn prefixes(&self) -> Vec<String> {
        self.fleet.sides.iter().map(|side| side.keys()).collect()
    }

    /// Cuts the replica off, and waits until every side has marked enough that it does not know;
    /// kills the master, and waits until the replica has taken its place. Out: the marks that are
    /// forgotten, by side.
    async fn fail_over_to_one_that_is_behind(&mut self, keys: &[&str]) -> Vec<u64> {
        let [master, replica, ..] = &mut self.redis.servers[..] else {
            unreachable!("a master and a replica");
        };
        // What has been sent to it would still come; so nothing more is sent to it either.
        replica.stand_still().unwrap();
        let cut_off = master.ask(&["CLIENT", "KILL", "TYPE", "replica"]).await;
        assert_eq!(cut_off.unwrap().number(), Some(1));
        let before = master.marks(keys).await.unwrap();
        let deadline = Instant::now() + CATCH_UP;
        loop {
            let now = missing(&master.marks(keys).await.unwrap(), &before);
            if now.iter().all(|count| *count >= MISSED) {
                break;
            }
            assert!(Instant::now() < deadline, "marked since: {now:?}");
            sleep(Duration::from_millis(100)).await;
        }
        let had = master.kill_and_tell(keys).await.unwrap();
        replica.go_on().unwrap();
        let has = replica.marks(keys).await.unwrap();
        // Nobody has written to it meanwhile.
        assert!(!self.redis.replica_is_master().await.unwrap());
        let deadline = Instant::now() + CATCH_UP;
        while !self.redis.replica_is_master().await.unwrap() {
            assert!(Instant::now() < deadline, "the Sentinels do nothing");
            sleep(Duration::from_millis(100)).await;
        }
        missing(&had, &has)
    }
}

#[tokio::test]
async fn sentinels_fail_over_to_a_replica_that_is_behind() {
    if !redis_at_hand() {
        return;
    }
    let data = tempfile::tempdir().unwrap();
    let redis = Deployment::sentinel(data.path()).await.unwrap();
    let mut world = World::on(redis, data, &quick_kinds(), &DESTINATIONS).await;
    let stream = world.stream(RATE);
    let prefixes = world.prefixes();
    let keys: Vec<_> = prefixes.iter().map(String::as_str).collect();
    world.all_are_known(&keys).await;
    let (away, back) = (told(&world.fleet, AWAY), told(&world.fleet, BACK));
    let lost = world.fail_over_to_one_that_is_behind(&keys).await;
    until("Redis is found again", CATCH_UP, &world.fleet, |fleet| {
        let grew = |what, before: &[usize]| {
            let now = told(fleet, what);
            now.iter().zip(before).all(|(now, before)| now > before)
        };
        grew(AWAY, &away) && grew(BACK, &back)
    })
    .await;
    // What had been marked comes once more now.
    let enough = world.fleet.records() + 8 * u64::from(RATE);
    let has_grown = |fleet: &Fleet| fleet.records() >= enough;
    until("records after it", CATCH_UP, &world.fleet, has_grown).await;
    let count = world.finish(stream).await;
    println!("failed over; marks that were lost, by side {lost:?}");
    assert!(lost.iter().all(|lost| *lost > 0), "{lost:?}");
    world.went_on_without(&count);
    world.holds(&count, Some(&lost), REPLICAS);
}

#[tokio::test]
async fn a_cluster_misses_one_of_its_masters_again_and_again() {
    if !redis_at_hand() {
        return;
    }
    let data = tempfile::tempdir().unwrap();
    let redis = Deployment::cluster(data.path()).await.unwrap();
    let mut world = World::on(redis, data, &quick_kinds(), &DESTINATIONS).await;
    let stream = world.stream(RATE);
    let rounds = rounds(10).div_ceil(2);
    for _ in 0..rounds {
        world.any_moment().await;
        world.kill_redis().await;
        world.begin_redis().await;
        world.redis.is_whole().await.unwrap();
    }
    let count = world.finish(stream).await;
    println!("a master killed {rounds} times");
    let plain = world.fleet.sides.iter().zip(&count.sides);
    let mut plain = plain.filter(|(side, _)| side.kind.mode == PLAIN);
    assert!(
        plain.all(|(_, row)| row.bypassed == 0),
        "a plain endpoint waits"
    );
    world.holds(&count, None, 0);
}
