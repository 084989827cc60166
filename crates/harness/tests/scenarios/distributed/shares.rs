//! How replicas share the partitions of a destination: each has one owner, whatever their number.

use super::World;
use crate::support::CATCH_UP;
use cloudsync_harness::fleet::{Kind, PARTITIONS, Side};
use cloudsync_harness::redis::Aof;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Ids that are sent to each number of replicas.
const SENT: u32 = 2_400;

async fn polled(side: &Side) -> Vec<u64> {
    let mut polled = Vec::new();
    for replica in &side.replicas {
        let numbers = replica.numbers().await.unwrap();
        polled.push(numbers.consumer("records_polled"));
    }
    polled
}

#[tokio::test]
async fn one_to_thirteen_replicas_own_each_partition_once() {
    let kind = Kind::new("batch", Some("buckets")).replicas(1);
    let Some(mut world) = World::start_for(&[kind], &["aws"], Aof::Everysec).await else {
        return;
    };
    for replicas in [1, 2, 3, 12, 13] {
        let side = &mut world.fleet.sides[0];
        while side.replicas.len() < replicas {
            side.add_replica().unwrap();
        }
        let deadline = Instant::now() + CATCH_UP;
        while !side.is_shared() {
            let owned = side.owned();
            assert!(Instant::now() < deadline, "{owned:?}\n{}", side.tail());
            sleep(Duration::from_millis(50)).await;
        }
        side.ready().await.unwrap();
        let before = world.count().await;
        let polled_before = polled(&world.fleet.sides[0]).await;
        let prefix = format!("of{replicas}");
        world.send(&prefix, 0, (0..SENT).collect()).await;
        let count = world.count().await.since(&before);
        assert_eq!(count.balance(), Vec::<String>::new());
        let side = &world.fleet.sides[0];
        let now = polled(side).await;
        let shares: Vec<_> = now.iter().zip(&polled_before).map(|(a, b)| a - b).collect();
        let owned = side.owned();
        let held: Vec<_> = owned.iter().map(BTreeSet::len).collect();
        println!("{replicas} replicas: partitions {held:?}, records {shares:?}");
        assert!(side.is_shared(), "{owned:?}");
        assert_eq!(shares.iter().sum::<u64>(), u64::from(SENT));
        for (share, held) in shares.iter().zip(&held) {
            assert_eq!(*share > 0, *held > 0, "{shares:?} {held:?}");
        }
        let idle = held.iter().filter(|held| **held == 0).count();
        assert_eq!(idle, replicas.saturating_sub(PARTITIONS), "{held:?}");
    }
}
