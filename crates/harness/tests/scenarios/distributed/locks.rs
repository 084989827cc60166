//! The layout `keys` read by somebody with `redis-cli`, while the system runs: which ids are
//! locked, and which are done.

use super::World;
use crate::support::START;
use cloudsync_harness::fleet::Kind;
use cloudsync_harness::program::was_killed;
use cloudsync_harness::redis::Aof;
use std::collections::BTreeSet;
use std::time::Duration;

const LEASE: Duration = Duration::from_secs(20);
/// Ids that are done, and as many on their way when the only replica dies.
const IDS: u32 = 30;

/// What stands under the keys of one destination.
#[derive(Debug, Default)]
struct Shown {
    done: usize,
    /// Whole values; the rest of each lease.
    locked: Vec<(String, i64)>,
}

async fn shown(world: &World) -> Shown {
    let mut shown = Shown::default();
    let redis = &world.redis.servers[0];
    let keys = redis.keys(&world.fleet.sides[0].keys()).await.unwrap();
    for key in keys.iter().filter(|key| !key.ends_with(":marker")) {
        let value = redis.ask(&["GET", key]).await.unwrap();
        let left = redis.ask(&["PTTL", key]).await.unwrap();
        let (value, left) = (value.text().unwrap(), left.number().unwrap());
        let state = value.split(' ').next().unwrap();
        match state {
            "done" => {
                assert!(
                    left > i64::try_from(LEASE.as_millis()).unwrap(),
                    "{key}: {left}"
                );
                shown.done += 1;
            }
            "locked" => shown.locked.push((value.to_owned(), left)),
            other => unreachable!("{key} is {other}"),
        }
    }
    shown
}

#[tokio::test]
async fn whoever_looks_sees_what_is_locked_and_what_is_done() {
    let kind = Kind::new("record", Some("keys"))
        .replicas(1)
        .with("DEDUPE__LEASE", &format!("{}s", LEASE.as_secs()))
        .with("KILL_AT", &format!("between-write-and-mark:{}", IDS + 1));
    let Some(mut world) = World::start_for(&[kind], &["aws"], Aof::Everysec).await else {
        return;
    };
    world.send("locks", 0, (0..IDS).collect()).await;
    world.count().await;
    let all_done = shown(&world).await;
    assert_eq!((all_done.done, all_done.locked.len()), (IDS as usize, 0));

    world.send("locks", 0, (IDS..2 * IDS).collect()).await;
    let replica = &mut world.fleet.sides[0].replicas[0];
    let status = replica.wait(START).await.unwrap();
    assert!(was_killed(status), "{status}\n{}", replica.tail());
    let while_dead = shown(&world).await;
    let Shown { done, locked } = &while_dead;
    println!(
        "done {done} locked {}, such as {:?}",
        locked.len(),
        locked.first()
    );
    assert!(
        !locked.is_empty() && *done >= IDS as usize,
        "{while_dead:?}"
    );
    let holders: BTreeSet<_> = locked
        .iter()
        .map(|(value, _)| value.split(' ').nth(1))
        .collect();
    assert_eq!(holders.len(), 1, "one process held them all: {locked:?}");
    let lease = i64::try_from(LEASE.as_millis()).unwrap();
    assert!(
        locked.iter().all(|(_, left)| (1..=lease).contains(left)),
        "{locked:?}"
    );

    let replica = &mut world.fleet.sides[0].replicas[0];
    replica.set("CLOUDSYNC_KILL_AT", "");
    replica.start().unwrap();
    let count = world.count().await;
    world.holds(&count, None, 1);
    let in_the_end = shown(&world).await;
    assert_eq!(
        (in_the_end.done, in_the_end.locked.len()),
        (2 * IDS as usize, 0)
    );
}
