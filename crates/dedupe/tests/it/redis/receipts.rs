//! What gateways share of the records that they have accepted.

use super::servers::{Deployment, PATIENCE, Server, Shape, at_hand};
use super::settings;
use crate::conformance::subject;
use cloudsync_dedupe::receipts::{MOST_WAITING, open_shared};
use cloudsync_dedupe::settings::Layout;
use cloudsync_dedupe::{Accepted, DedupeSettings, Receipts};
use std::future::ready;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

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

/// Writes what waits, until `done`; then the gateway ends.
#[expect(clippy::future_not_send, reason = "the test awaits it where it is")]
async fn write(receipts: &Receipts, done: impl AsyncFn() -> bool) {
    let end = Notify::new();
    let watching = async {
        while !done().await {
            sleep(Duration::from_millis(10)).await;
        }
        end.notify_one();
    };
    let both = Box::pin(async { tokio::join!(receipts.write_behind(end.notified()), watching) });
    timeout(PATIENCE, both).await.unwrap();
}

/// One gateway writes, and another one finds all of it.
pub(super) async fn are_written_and_found(settings: &DedupeSettings) {
    let (one, other) = (gateway(settings, 1), gateway(settings, 1));
    let all: Vec<Accepted> = (0..2_500).map(accepted).collect();
    one.remember(&all);
    let subjects: Vec<_> = (0..2_501).map(subject).collect();
    let is_written = async || {
        let (found, _) = other.find(&subjects[..2_500]).await;
        found.iter().all(Option::is_some)
    };
    write(&one, is_written).await;
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
    one.remember(&[accepted(1)]);
    let keys = format!("cs1:{{{}.receipts.*", settings.namespace);
    let is_written = async || {
        let found = deployment.servers[0].ask(&["KEYS", &keys]);
        found.contains("receipts")
    };
    write(&one, is_written).await;
    // What a namespace is laid out like is for the consumers to say.
    let meta = format!("{}:meta", settings.namespace);
    assert_eq!(deployment.servers[0].ask(&["EXISTS", &meta]), "int(0)");
    while other.find(&[subject(1)]).await != (vec![None], None) {
        sleep(Duration::from_millis(20)).await;
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
    let all: Vec<Accepted> = (0..too_many).map(accepted).collect();
    receipts.remember(&all);
    assert_eq!(receipts.dropped(), 7, "there is no room for them");
    write(&receipts, async || receipts.dropped() == too_many).await;
    // What this process remembers itself is told all the same, and the rest is not denied.
    let last = too_many - 1;
    let (found, unasked) = receipts.find(&[subject(last), subject(0)]).await;
    assert_eq!(found, [Some(accepted(last)), None]);
    assert!(unasked.unwrap().is_retryable());
}

/// What waits is written at the end, but nobody's end waits for a server that stands still.
#[tokio::test]
async fn a_gateway_ends_beside_a_redis_that_stands_still() {
    if !at_hand() {
        return;
    }
    let server = Server::start("save \"\"");
    let url = format!("redis://127.0.0.1:{}", server.port);
    let settings = DedupeSettings {
        // Its own patience would be longer than the test's.
        redis_response_timeout: PATIENCE * 10,
        ..settings(&url, Layout::Buckets)
    };
    let receipts = gateway(&settings, 1);
    receipts.remember(&[accepted(1)]);
    let keys = format!("cs1:{{{}.receipts.*", settings.namespace);
    let is_written = async || server.ask(&["KEYS", &keys]).contains("receipts");
    write(&receipts, is_written).await;
    server.signal("STOP");
    receipts.remember(&[accepted(2)]);
    let ended = Box::pin(receipts.write_behind(ready(())));
    let ended = timeout(PATIENCE, ended).await;
    server.signal("CONT");
    assert!(ended.is_ok(), "it waits for an answer that does not come");
}
