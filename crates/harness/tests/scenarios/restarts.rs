//! A stop that was asked for finishes what was taken.

use crate::support::{both_hold, plain_load, repetitions, running, seed, start, stop};
use cloudsync_harness::client::{Load, send};

#[tokio::test]
async fn graceful_restarts_under_load() {
    let seed = seed();
    let data = tempfile::tempdir().unwrap();
    let mut up = running(data.path()).await;
    let load = Load {
        rate: Some(4_000),
        ..plain_load(&up, "restart", 20_000, 300, seed)
    };
    #[expect(clippy::disallowed_methods, reason = "a test awaits its own task")]
    let client = tokio::spawn(send(load));
    for _ in 0..repetitions().clamp(2, 5) {
        stop(&mut up).await;
        start(&mut up).await;
    }
    let sent = client.await.unwrap().unwrap();
    assert_eq!(sent.journal.acked_names(), 20_000);
    let doubled = both_hold(&up, &sent.journal).await;
    println!("ids there twice, each sent again across a restart: {doubled:?}");
}
