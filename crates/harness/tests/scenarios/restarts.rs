//! A stop that was asked for finishes what was taken.

use crate::support::{START, both_hold, repetitions, seed};
use cloudsync_harness::client::{Load, send};
use cloudsync_harness::program::Up;
use std::time::Duration;

#[tokio::test]
async fn graceful_restarts_under_load() {
    let seed = seed();
    let data = tempfile::tempdir().unwrap();
    let mut up = Up::new(data.path()).unwrap();
    up.program.start().unwrap();
    up.program.ready(START).await.unwrap();
    let load = Load {
        endpoint: up.endpoint(),
        prefix: "restart".into(),
        records: 20_000,
        keys: 300,
        resend: 0.0,
        rate: Some(4_000),
        seed,
    };
    #[expect(clippy::disallowed_methods, reason = "a test awaits its own task")]
    let client = tokio::spawn(send(load));
    for _ in 0..repetitions().clamp(2, 5) {
        up.program.terminate().unwrap();
        let status = up.program.wait(Duration::from_secs(20)).await.unwrap();
        assert!(status.success(), "{status}\n{}", up.program.tail());
        up.program.start().unwrap();
        up.program.ready(START).await.unwrap();
    }
    let sent = client.await.unwrap().unwrap();
    assert_eq!(sent.journal.acked_names(), 20_000);
    let doubled = both_hold(&up, &sent.journal).await;
    println!("ids there twice, each sent again across a restart: {doubled:?}");
}
