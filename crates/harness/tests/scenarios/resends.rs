//! Clients send again; destinations hold everything once.

use crate::support::{both_hold, plain_load, running, seed, stop};
use cloudsync_harness::client::{Load, send};

#[tokio::test]
async fn fifty_thousand_records_with_a_fifth_sent_again() {
    let data = tempfile::tempdir().unwrap();
    let mut up = running(data.path()).await;
    let load = Load {
        resend: 0.2,
        ..plain_load(&up, "resend", 50_000, 500, seed())
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
    stop(&mut up).await;
}
