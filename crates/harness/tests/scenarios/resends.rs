//! Clients send again; destinations hold everything once.

use crate::support::{both_hold, plain_load, seed, start, stop};
use cloudsync_harness::client::{Load, send};
use cloudsync_harness::program::Up;
use cloudsync_kafka::{KafkaSettings, read_topic};

#[tokio::test]
async fn fifty_thousand_records_with_a_fifth_sent_again() {
    let duplicates = a_fifth_again("500000").await;
    // All but those whose first sending was still on its way.
    assert!(duplicates > 5_000, "{duplicates}");
}

/// All of them come to the consumers then.
#[tokio::test]
async fn and_the_same_by_a_gateway_that_remembers_nothing() {
    assert_eq!(a_fifth_again("0").await, 0);
}

/// A gateway that forgets the oldest while they are sent again.
#[tokio::test]
async fn and_the_same_by_one_that_remembers_a_few() {
    let duplicates = a_fifth_again("10000").await;
    assert!(duplicates > 500, "{duplicates}");
}

/// Out: how many the gateway recognised.
async fn a_fifth_again(recent_ids: &str) -> u64 {
    let data = tempfile::tempdir().unwrap();
    let mut up = Up::new(data.path()).unwrap();
    up.program.set("CLOUDSYNC_GATEWAY__RECENT_IDS", recent_ids);
    start(&mut up).await;
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
    // Acked + in the log unacknowledged (what the client itself sent once more may be)
    // = duplicates at the gateway + records in the log.
    let acked: u32 = sent.journal.entries().map(|(_, entry)| entry.acked).sum();
    let (acked, stands_for) = (u64::from(acked), sent.stats.duplicates + in_log(&up).await);
    let unacknowledged = stands_for.checked_sub(acked);
    println!(
        "{recent_ids}: acked {acked}, stands for {stands_for}, {:?}",
        sent.stats
    );
    assert!(unacknowledged.is_some_and(|it| it <= sent.stats.resent));
    assert_eq!(
        both_hold(&up, &sent.journal).await,
        [0, 0],
        "nothing twice without a fault"
    );
    stop(&mut up).await;
    sent.stats.duplicates
}

/// Records in the log of `up`, read from there.
async fn in_log(up: &Up) -> u64 {
    let kafka = KafkaSettings {
        brokers: up.log.to_string(),
        replication: 1,
        ..KafkaSettings::default()
    };
    read_topic(&kafka, &kafka.topic, |_, _| {}).await.unwrap()
}
