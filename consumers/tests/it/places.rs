//! Chains that are not ours, places that are not ours, and logs that begin anew.

use super::support::{Log, Sent, at, get, memory, segments};
use cloudsync_consumers::chain::reader::{SegmentReader, raw_lines};
use cloudsync_consumers::chain::segment::{Header, seal};
use cloudsync_consumers::{DestinationSettings, RunError};
use tempfile::TempDir;

#[tokio::test(flavor = "multi_thread")]
async fn another_logs_chain_pauses_and_nothing_is_settled() {
    let temp = TempDir::new().unwrap();
    let settings = at(temp.path());
    let log = Log::start(1).await;
    let mut sent = Sent::default();
    log.fill(&mut sent, 0..300).await;
    let running = log.consume(settings.clone(), &memory());
    log.settled("aws-sync-group").await;
    running.drain().await;

    // Another log under the same log id: its chain is put where the new log's would go.
    let other = Log::start(1).await;
    let mut unsent = Sent::default();
    other.fill(&mut unsent, 1_000..1_400).await;
    let ids = [&log, &other].map(|log| log.broker.log_id().to_string());
    let topic = temp.path().join("data-topic");
    std::fs::rename(topic.join(&ids[0]), topic.join(&ids[1])).unwrap();
    let path = &segments(temp.path())[0];
    let object = std::fs::read(path).unwrap();
    let header = SegmentReader::open(&object).unwrap().header;
    let header = Header {
        log: ids[1].clone(),
        ..header
    };
    std::fs::write(path, seal(&header, &raw_lines(&object).unwrap()).unwrap()).unwrap();

    let running = other.consume(settings.clone(), &memory());
    running.waits_for("foreign_chain: data-topic/").await;
    let (reasons, _) = other.dead_letters().await;
    assert!(reasons.is_empty(), "nothing is set aside: {reasons:?}");
    let lag = cloudsync_kafka::lag(&other.settings, "aws-sync-group")
        .await
        .unwrap();
    assert_eq!(
        lag[0].committed.unwrap_or(0),
        0,
        "only the origin is committed"
    );
    let counters = running.drain().await;
    assert_eq!((get(&counters.delivered), get(&counters.segments)), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_begun_anew_gets_its_own_chain_beside_the_old_one() {
    let temp = TempDir::new().unwrap();
    let settings = at(temp.path());
    let mut sent = Sent::default();
    for part in 0..2 {
        let log = Log::start(2).await;
        log.fill(&mut sent, part * 1_000..(part + 1) * 1_000).await;
        let running = log.consume(settings.clone(), &memory());
        log.settled("aws-sync-group").await;
        assert!(running.readiness.is_ready());
        running.drain().await;
    }
    sent.is_delivered(&settings.url).await;
}

/// A new group over an old chain: it finds every segment in place, and doubles nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_group_finds_the_chain_that_is_there() {
    let temp = TempDir::new().unwrap();
    let settings = DestinationSettings {
        flush_records: 100,
        ..at(temp.path())
    };
    let log = Log::start(1).await;
    let mut sent = Sent::default();
    log.fill(&mut sent, 0..1_000).await;
    let running = log.consume(settings.clone(), &memory());
    log.settled("aws-sync-group").await;
    running.drain().await;
    let before = segments(temp.path());

    let again = DestinationSettings {
        group: "another-group".into(),
        ..settings.clone()
    };
    let running = log.consume(again, &memory());
    log.fill(&mut sent, 1_000..1_100).await;
    log.settled("another-group").await;
    let counters = running.drain().await;
    assert_eq!(get(&counters.adopted), before.len() as u64);
    assert_eq!(get(&counters.delivered), 100);
    sent.is_delivered(&settings.url).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_of_another_destination_is_not_taken_over() {
    let temp = TempDir::new().unwrap();
    let log = Log::start(1).await;
    let mut sent = Sent::default();
    log.fill(&mut sent, 0..100).await;
    let running = log.consume(at(&temp.path().join("one")), &memory());
    log.settled("aws-sync-group").await;
    running.drain().await;
    log.fill(&mut sent, 100..200).await;
    let running = log.consume(at(&temp.path().join("two")), &memory());
    running
        .waits_for("destination_changed: the group has read this partition for another url")
        .await;
    let counters = running.drain().await;
    assert_eq!(get(&counters.polled), 0);
    assert!(segments(&temp.path().join("two")).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_segment_in_our_place_pauses_and_says_so() {
    let temp = TempDir::new().unwrap();
    let log = Log::start(1).await;
    let mut sent = Sent::default();
    log.fill(&mut sent, 0..100).await;
    let settings = at(temp.path());
    let running = log.consume(settings.clone(), &memory());
    log.settled("aws-sync-group").await;
    running.drain().await;
    let path = &segments(temp.path())[0];
    let mut object = std::fs::read(path).unwrap();
    let last = object.len() - 1;
    object[last] ^= 1;
    std::fs::write(path, object).unwrap();
    let again = DestinationSettings {
        group: "another-group".into(),
        ..settings
    };
    let running = log.consume(again, &memory());
    running.waits_for("damaged_segment: data-topic/").await;
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prefix_of_another_destination_ends_the_consumer_with_the_way_out() {
    let temp = TempDir::new().unwrap();
    let marker = r#"{"destination":"azure","mode":"batch","format":1}"#;
    std::fs::write(temp.path().join("cloudsync-destination.json"), marker).unwrap();
    let log = Log::start(1).await;
    let mut running = log.consume(at(temp.path()), &memory());
    let error = running.ended().await.unwrap_err();
    let RunError::Destination { source, .. } = error else {
        panic!("{error}")
    };
    assert!(
        source.to_string().contains("give it another prefix"),
        "{source}"
    );
}
