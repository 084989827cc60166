//! Clients send again; destinations hold everything once.

use crate::support::{START, both_hold, seed};
use cloudsync_harness::client::{Load, send};
use cloudsync_harness::program::Up;
use std::time::Duration;

#[tokio::test]
async fn fifty_thousand_records_with_a_fifth_sent_again() {
    let data = tempfile::tempdir().unwrap();
    let mut up = Up::new(data.path()).unwrap();
    up.program.start().unwrap();
    up.program.ready(START).await.unwrap();
    let load = Load {
        endpoint: up.endpoint(),
        prefix: "resend".into(),
        records: 50_000,
        keys: 500,
        resend: 0.2,
        rate: None,
        seed: seed(),
    };
    let sent = send(load).await.unwrap();
    assert_eq!(sent.journal.acked_names(), 50_000);
    assert_eq!(sent.stats.rejected, 0);
    let given: u32 = sent.journal.entries().map(|(_, entry)| entry.given).sum();
    assert!(
        (59_000..61_000).contains(&given),
        "about a fifth again: {given}"
    );
    assert_eq!(
        both_hold(&up, &sent.journal).await,
        [0, 0],
        "nothing twice without a fault"
    );
    up.program.terminate().unwrap();
    let status = up.program.wait(Duration::from_secs(20)).await.unwrap();
    assert!(status.success(), "{status}\n{}", up.program.tail());
}
