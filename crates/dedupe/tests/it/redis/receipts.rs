//! What gateways share of the records that they have accepted.

use super::servers::{Deployment, Shape, at_hand};
use super::settings;
use crate::conformance::subject;
use cloudsync_dedupe::receipts::{MOST_WAITING, open_shared};
use cloudsync_dedupe::settings::Layout;
use cloudsync_dedupe::{Accepted, DedupeSettings, Receipts};
use std::time::Duration;

fn accepted(n: u64) -> Accepted {
    Accepted {
        subject: subject(n),
        at: 1_800_000_000_000 + n,
        destinations: if n.is_multiple_of(3) {
            0b10
        } else {
            Accepted::EVERYWHERE
        },
    }
}

/// A gateway's, which itself remembers the last `limit` ids.
fn gateway(settings: &DedupeSettings, limit: usize) -> Receipts {
    let names = ["aws", "azure"].map(str::to_owned).to_vec();
    Receipts::new(limit, open_shared(settings, names).unwrap())
}

/// Writes what waits, as a gateway does that ends.
async fn write(receipts: &Receipts) {
    receipts.write_behind(std::future::ready(())).await;
}

/// One gateway writes, and another one finds all of it.
pub(super) async fn are_written_and_found(settings: &DedupeSettings) {
    let (one, other) = (gateway(settings, 1), gateway(settings, 1));
    let all: Vec<Accepted> = (0..2_500).map(accepted).collect();
    one.remember(all.iter().copied());
    write(&one).await;
    let subjects: Vec<_> = (0..2_501).map(subject).collect();
    let (found, unasked) = other.find(&subjects).await;
    assert_eq!(unasked, None);
    for (n, found) in (0..).zip(found) {
        assert_eq!(found, (n < 2_500).then(|| accepted(n)), "{n}");
    }
    assert_eq!((one.dropped(), one.len(), other.len()), (0, 1, 0));
}

#[tokio::test]
async fn gateways_find_what_each_other_accepted() {
    if !at_hand() {
        return;
    }
    for shape in [Shape::Standalone, Shape::Sentinel, Shape::Cluster] {
        for layout in [Layout::Buckets, Layout::Keys] {
            are_written_and_found(&settings(&Deployment::shared(shape).url, layout)).await;
        }
    }
}

#[tokio::test]
async fn they_are_forgotten_after_two_windows() {
    if !at_hand() {
        return;
    }
    let deployment = Deployment::shared(Shape::Standalone);
    let settings = DedupeSettings {
        window: Duration::from_secs(1),
        lease: Duration::from_secs(1),
        ..settings(&deployment.url, Layout::Buckets)
    };
    let (one, other) = (gateway(&settings, 1), gateway(&settings, 1));
    one.remember([accepted(1)].into_iter());
    write(&one).await;
    while other.find(&[subject(1)]).await != (vec![None], None) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn what_redis_does_not_take_is_dropped_and_counted() {
    let nowhere = DedupeSettings {
        redis_connect_timeout: Duration::from_millis(100),
        ..settings("redis://127.0.0.1:1/0", Layout::Buckets)
    };
    let receipts = gateway(&nowhere, 10);
    let too_many = u64::try_from(MOST_WAITING).unwrap() + 7;
    receipts.remember((0..too_many).map(accepted));
    assert_eq!(receipts.dropped(), 7, "there is no room for them");
    write(&receipts).await;
    assert_eq!(receipts.dropped(), too_many);
    // What this process remembers itself is told all the same, and the rest is not denied.
    let last = too_many - 1;
    let (found, unasked) = receipts.find(&[subject(last), subject(0)]).await;
    assert_eq!(found, [Some(accepted(last)), None]);
    assert!(unasked.unwrap().is_retryable());
}
