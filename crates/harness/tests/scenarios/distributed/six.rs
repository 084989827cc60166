//! The six scenarios, each with its sums: how clients send, and what becomes of it.

use super::{World, all_kinds, kinds, until};
use crate::support::{CATCH_UP, repetitions};
use cloudsync_harness::client::{Load, send_order};
use cloudsync_harness::fleet::{Fleet, Kind, PLAIN};
use cloudsync_harness::ledger::Count;
use cloudsync_harness::redis::Aof;
use cloudsync_harness::side::Side;
use rand::Rng;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// What is sent in the sixth scenario, duplicates included.
const MANY: u32 = 100_000;
/// The same for records that are written one by one, without all repetitions: a file and its
/// directory are synced for each, which some disks do a few hundred times a second.
const FEWER: u32 = 12_000;
/// Ids that are sent once more after partitions have moved, and how many of them another replica
/// than the one that wrote has to recognise.
const AGAIN: u32 = 6_000;
const AT_LEAST: u64 = 1_000;

impl World {
    async fn paced(&mut self, prefix: &str, rate: u32, order: Vec<u32>) {
        let load = Load {
            rate: Some(rate),
            ..self.load(prefix, 0)
        };
        self.told.add(send_order(load, order).await.unwrap());
    }

    /// What has come since `before`: its sums hold, and each of `ids` ids has one effect at every
    /// destination that asks the shared store.
    async fn adds_up(&self, name: &str, before: &Count, ids: u64) -> Count {
        let count = self.count().await.since(before);
        println!("{name}: {count}");
        assert_eq!(count.balance(), Vec::<String>::new(), "{name}");
        assert_eq!((count.names, count.acked), (ids, count.sent), "{name}");
        for (row, side) in count.sides.iter().zip(&self.fleet.sides) {
            if side.kind.layout.is_some() {
                assert_eq!(row.delivered, ids, "{name} {}", row.side);
                assert_eq!(row.verdict.doubled.len(), 0, "{name} {}", row.side);
                // Where a store is slow, `record` mode goes on without it, and names decide; before
                // a plain endpoint it is waited for.
                let asked = side.kind.mode != "batch" || row.bypassed == 0;
                assert!(asked, "{name} {}: Redis is too slow here", row.side);
            }
        }
        count
    }
}

#[tokio::test]
async fn scenarios_one_to_five_in_every_mode_and_layout() {
    let Some(mut world) = World::start(&all_kinds(), Aof::No).await else {
        return;
    };
    let before = world.count().await;
    world.paced("s1", 2, (0..20).collect()).await;
    world.adds_up("S1, one every 0.5 s", &before, 20).await;

    let before = world.count().await;
    world.paced("s2", 10, (0..50).collect()).await;
    world.adds_up("S2, one every 0.1 s", &before, 50).await;

    let before = world.count().await;
    world.send("s3", 0, vec![0; 5]).await;
    world
        .adds_up("S3, the same one five times", &before, 1)
        .await;

    let before = world.count().await;
    let all: Vec<u32> = (0..100).collect();
    world.send("s4", 0, all.clone()).await;
    // How long it was away is what this is about.
    sleep(Duration::from_secs(5)).await;
    world.send("s4", 0, all.clone()).await;
    world.send("s4", 1, all.clone()).await;
    world.adds_up("S4, again after 5 s", &before, 100).await;
    world.fleet.restart().await.unwrap();
    world.send("s4", 0, all).await;
    let ledger = world.adds_up("S4, and after a restart of everything", &before, 100);
    assert_eq!(ledger.await.sent, 400);

    let before = world.count().await;
    let client = |gateway| send_order(world.load("s5", gateway), (0..200).collect());
    let (one, two, three) = tokio::join!(client(0), client(0), client(1));
    for sent in [one, two, three] {
        world.told.add(sent.unwrap());
    }
    let ledger = world.adds_up("S5, three clients at once", &before, 200);
    assert_eq!(ledger.await.sent, 600);
}

/// With a fifth of them sent before, at random.
fn mixed(world: &mut World, count: u32) -> (Vec<u32>, u64) {
    let mut order: Vec<u32> = Vec::new();
    let mut fresh = 0;
    for _ in 0..count {
        if fresh > 0 && world.choices.random_bool(0.2) {
            order.push(world.choices.random_range(0..fresh));
        } else {
            order.push(fresh);
            fresh += 1;
        }
    }
    (order, u64::from(fresh))
}

/// Beside them consumers that share no store do the same work: those show that it is the store that
/// recognises what another replica wrote.
#[tokio::test]
async fn scenario_six_in_batch_mode_while_partitions_move() {
    let alone = Kind::new("batch", None);
    let kinds = kinds().into_iter().filter(|kind| kind.mode == "batch");
    scenario_six(MANY, kinds.chain([alone]).collect()).await;
}

#[tokio::test]
async fn scenario_six_in_record_mode_while_partitions_move() {
    let many = if repetitions() >= 10 { MANY } else { FEWER };
    let kinds = kinds().into_iter().filter(|kind| kind.mode == "record");
    scenario_six(many, kinds.collect()).await;
}

#[tokio::test]
async fn scenario_six_at_a_plain_endpoint_while_partitions_move() {
    let many = if repetitions() >= 10 { MANY } else { FEWER };
    let alone = Kind::new(PLAIN, None);
    let kinds = kinds().into_iter().filter(|kind| kind.mode == PLAIN);
    scenario_six(many, kinds.chain([alone]).collect()).await;
}

/// A third replica of each destination comes while `many` are sent, and one is replaced after.
async fn scenario_six(many: u32, kinds: Vec<Kind>) {
    let kinds: Vec<_> = kinds.into_iter().map(|kind| kind.replicas(2)).collect();
    let Some(mut world) = World::start(&kinds, Aof::No).await else {
        return;
    };
    let before = world.count().await;
    let (order, ids) = mixed(&mut world, many);
    let began = Instant::now();
    let (first, second) = order.split_at(order.len() / 2);
    world.send("s6", 0, first.to_vec()).await;
    let sending = send_order(world.load("s6", 1), second.to_vec());
    let joining = async {
        for side in &mut world.fleet.sides {
            side.add_replica().unwrap();
        }
        for side in &mut world.fleet.sides {
            side.ready().await.unwrap();
        }
    };
    let (sent, ()) = tokio::join!(sending, joining);
    world.told.add(sent.unwrap());
    let name = format!("S6, {many} with a fifth sent before");
    world.adds_up(&name, &before, ids).await;
    println!("{name}: {:?}", began.elapsed());
    // All may have been sent before the third one had its share.
    let shared = |fleet: &Fleet| fleet.sides.iter().all(Side::is_shared);
    until("partitions are shared", CATCH_UP, &world.fleet, shared).await;

    let before = world.count().await;
    world.fleet.restart_gateways().await.unwrap();
    for side in &mut world.fleet.sides {
        side.stop(0).await.unwrap();
        side.replicas[0].start().unwrap();
    }
    for side in &mut world.fleet.sides {
        side.ready().await.unwrap();
    }
    until("partitions are shared", CATCH_UP, &world.fleet, shared).await;
    world.send("s6", 0, (0..AGAIN).collect()).await;
    recognised(&world, &before).await;
}

/// What was sent again after the first replica of each side was replaced: it has written nothing
/// since it started, so what it recognises it knows from the store.
async fn recognised(world: &World, before: &Count) {
    let count = world.count().await.since(before);
    println!("sent again after one replica was replaced: {count}");
    assert_eq!(count.balance(), Vec::<String>::new());
    for (row, side) in count.sides.iter().zip(&world.fleet.sides) {
        let numbers = side.replicas[0].numbers().await.unwrap();
        // What it could not ask the store for, it recognised by the name.
        let bypassed = numbers.consumer("dedupe_bypassed");
        let met = numbers
            .consumer("records_duplicates")
            .saturating_sub(bypassed);
        let wrote = numbers.consumer("records_delivered");
        println!(
            "    {}: the new replica recognised {met}, wrote {wrote}",
            row.side
        );
        if side.kind.layout.is_some() {
            assert!(
                met >= AT_LEAST && wrote == 0,
                "{}: {met}, {wrote}",
                row.side
            );
            assert_eq!(
                (row.delivered, row.verdict.doubled.len()),
                (0, 0),
                "{}",
                row.side
            );
        } else {
            assert!(
                !row.verdict.doubled.is_empty(),
                "{} shares nothing",
                row.side
            );
        }
    }
}
