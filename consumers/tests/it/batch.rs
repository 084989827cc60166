//! Batch mode: what lies at the destination is what the log says, whatever restarts in between.

use super::support::{Log, Sent, at, get, memory, segments};
use cloudsync_consumers::{DeliveredLine, DestinationSettings, IdTally, read_back};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tempfile::TempDir;

#[tokio::test(flavor = "multi_thread")]
async fn every_record_comes_to_its_end_and_the_sums_hold() {
    let log = Log::start(3).await;
    let mut sent = Sent::default();
    log.fill(&mut sent, 0..20_000).await;
    let temp = TempDir::new().unwrap();
    let settings = at(temp.path());
    let running = log.consume(settings.clone(), &memory());
    log.settled("aws-sync-group").await;
    running.is_ready().await;
    let counters = running.drain().await;

    let read = sent.is_delivered(&settings.url).await;
    assert_eq!(read.records, sent.records, "every offset is accounted for");
    assert_eq!(get(&counters.delivered), 20_000);
    assert_eq!(get(&counters.duplicates), sent.duplicates);
    assert_eq!(get(&counters.not_addressed), sent.not_addressed);
    assert_eq!(
        get(&counters.dead_lettered),
        sent.conflicts + sent.undecodable
    );
    assert_eq!(get(&counters.redelivered), 0);
    assert_eq!(get(&counters.dedupe_bypassed), 0);
    assert_eq!(counters.tally().count, 20_000);
    let (reasons, _) = log.dead_letters().await;
    assert_eq!(reasons["id_conflict"], sent.conflicts);
    assert_eq!(reasons["undecodable"], sent.undecodable);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_graceful_restart_reads_nothing_again() {
    let log = Log::start(2).await;
    let temp = TempDir::new().unwrap();
    let settings = at(temp.path());
    let (mut sent, store) = (Sent::default(), memory());
    for part in 0..3 {
        log.fill(&mut sent, part * 2_000..(part + 1) * 2_000).await;
        let running = log.consume(settings.clone(), &store);
        log.settled("aws-sync-group").await;
        let counters = running.drain().await;
        assert_eq!(get(&counters.redelivered), 0);
        assert_eq!(get(&counters.delivered), 2_000);
    }
    sent.is_delivered(&settings.url).await;
}

/// Consumers that end anywhere, with a store that forgets everything each time: no record of the
/// log is lost or doubled. (Nothing is sent again across the ends.)
#[tokio::test(flavor = "multi_thread")]
async fn consumers_that_end_anywhere_lose_and_double_nothing() {
    let log = Log::start(2).await;
    let temp = TempDir::new().unwrap();
    let settings = DestinationSettings {
        flush_records: 300,
        flush_interval: Some(Duration::from_millis(20)),
        ..at(temp.path())
    };
    let mut sent = Sent::default();
    let mut adopted = 0;
    let mut rounds = 0..30u64;
    // As often as it takes for one to end between a segment and its commit.
    while let Some(round) = rounds.next()
        && (round < 5 || adopted == 0)
    {
        log.fill(&mut sent, round * 3_000..(round + 1) * 3_000)
            .await;
        let before = segments(temp.path()).len();
        let running = log.consume(settings.clone(), &memory());
        let what = || format!("segments in round {round}");
        super::support::eventually(what, || segments(temp.path()).len() > before + 3).await;
        adopted += get(&running.counters.adopted);
        running.tear_away();
    }
    let running = log.consume(settings.clone(), &memory());
    log.settled("aws-sync-group").await;
    adopted += get(&running.drain().await.adopted);
    assert!(
        adopted > 0,
        "no end left an uncommitted segment behind: the test proves nothing"
    );

    // What was sent again is known only inside one life of the store: so compare with the log.
    let mut offsets = BTreeSet::new();
    let mut ids = BTreeMap::new();
    let mut visit = |line: DeliveredLine<'_>| {
        assert!(
            offsets.insert((line.partition, line.offset)),
            "a log record twice"
        );
        ids.insert(line.id16, line.fingerprint);
    };
    let read = read_back(&settings, &mut visit).await.unwrap();
    assert_eq!((read.damage_count, read.gaps.len()), (0, 0));
    assert_eq!(read.records, sent.records);
    for id in sent.expected.keys() {
        assert!(ids.contains_key(id), "lost");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_members_share_the_partitions_and_hand_them_over() {
    let log = Log::start(4).await;
    let temp = TempDir::new().unwrap();
    let settings = at(temp.path());
    let (mut sent, store) = (Sent::default(), memory());
    let first = log.consume(settings.clone(), &store);
    log.fill(&mut sent, 0..4_000).await;
    let second = log.consume(settings.clone(), &store);
    log.fill(&mut sent, 4_000..12_000).await;
    first.drain().await;
    log.fill(&mut sent, 12_000..14_000).await;
    log.settled("aws-sync-group").await;
    second.drain().await;
    sent.is_delivered(&settings.url).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_partition_flushes_what_it_has() {
    let log = Log::start(1).await;
    let temp = TempDir::new().unwrap();
    let settings = at(temp.path());
    let running = log.consume(settings.clone(), &memory());
    running.is_ready().await;
    let mut sent = Sent::default();
    sent.expect("one", "1");
    log.append(vec![log.record("one", "1", &[])]).await;
    log.settled("aws-sync-group").await;
    // A duplicate alone makes an empty segment, so that the offset can settle.
    log.append(vec![log.record("one", "1", &[])]).await;
    log.settled("aws-sync-group").await;
    running.drain().await;
    let read = sent.is_delivered(&settings.url).await;
    assert_eq!((read.objects, read.lines, read.records), (2, 1, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn null_counts_what_arrives() {
    let log = Log::start(2).await;
    let mut sent = Sent::default();
    log.fill(&mut sent, 0..5_000).await;
    let settings = DestinationSettings::new("null://", "aws-sync-group");
    let running = log.consume(settings, &memory());
    log.settled("aws-sync-group").await;
    let tally = running.drain().await.tally();
    let mut expected = IdTally::default();
    sent.expected.keys().for_each(|id| expected.add(*id));
    assert_eq!(tally, expected);
}
