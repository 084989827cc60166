//! A group's members: partitions come and go, nothing is lost, commits stand.

use crate::support::{
    Member, PATIENCE, Seen, assigned, eventually, fill, group, leave, log, next_event,
};
use bytes::Bytes;
use cloudsync_kafka::consumer::flow::QueueLimits;
use cloudsync_kafka::{
    CommitError, CommitTracker, Committed, Consumer, Event, GroupSettings, KafkaSettings, Outcome,
    ProduceRecord, Producer, Receipt, lag,
};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn members_come_and_go_and_every_record_is_seen_once() {
    let (_broker, settings) = log().await;
    let producer = Producer::new(&settings).unwrap();
    let seen = Arc::new(Seen::default());
    let first = Member::start(&settings, group("g"), &seen);
    fill(&producer, &settings, 0..40_000).await;
    let second = Member::start(&settings, group("g"), &seen);
    fill(&producer, &settings, 40_000..70_000).await;
    eventually("the partitions are shared", || {
        (
            first.owned.load(Ordering::Relaxed),
            second.owned.load(Ordering::Relaxed),
        ) == (6, 6)
    })
    .await;
    let closing = tokio::time::timeout(PATIENCE, first.close());
    let filling = fill(&producer, &settings, 70_000..100_000);
    let (closed, ()) = tokio::join!(closing, filling);
    closed.unwrap();
    eventually("everything is seen", || seen.distinct() == 100_000).await;
    assert_eq!(second.owned.load(Ordering::Relaxed), 12);
    second.close().await;
    assert_eq!(seen.numbers(), (0..100_000).collect::<BTreeSet<_>>());
    assert_eq!(
        seen.total(),
        100_000,
        "moving partitions redelivered settled records"
    );
    let behind: i64 = lag(&settings, "g")
        .await
        .unwrap()
        .iter()
        .map(|one| one.lag())
        .sum();
    assert_eq!(behind, 0, "the last commits were made at the end");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_committed_is_where_the_next_member_starts() {
    let (broker, settings) = log().await;
    let settings = KafkaSettings {
        partitions: 1,
        ..settings
    };
    let producer = Producer::new(&settings).unwrap();
    fill(&producer, &settings, 0..100).await;

    let (consumer, mut events) = Consumer::start(&settings, group("g")).unwrap();
    let mut mine = assigned(&mut events).await;
    mine.retain(|one| one.partition == 0);
    let one = mine.pop().unwrap();
    assert_eq!(
        (one.committed, one.log_start, one.log_end, one.start),
        (None, 0, 100, 0)
    );
    assert_eq!(consumer.high_watermark(0).await.unwrap(), 100);
    assert_eq!(
        consumer.log_id().await.unwrap(),
        broker.log_id().to_string()
    );

    // A group's origin can be committed before anything is settled,
    let mut tracker = CommitTracker::new(0, one.epoch, one.start);
    let committer = consumer.committer();
    committer.commit_now(tracker.watermark()).await.unwrap();
    let committed = async || lag(&settings, "g").await.unwrap()[0].committed;
    assert_eq!(committed().await, Some(0));
    // then what a segment covers, without asking for it,
    tracker.cover(40, Receipt::new("segment"));
    committer.submit(tracker.watermark());
    let until = tokio::time::Instant::now() + PATIENCE;
    while committed().await != Some(40) {
        assert!(tokio::time::Instant::now() < until);
    }
    // or asking.
    tracker.cover(60, Receipt::new("segment"));
    committer.commit_now(tracker.watermark()).await.unwrap();
    assert_eq!(committed().await, Some(60));
    leave(consumer, events).await;
    let late = committer.commit_now(tracker.watermark()).await;
    assert_eq!(late, Err(CommitError::Closed));

    let (consumer, mut events) = Consumer::start(&settings, group("g")).unwrap();
    let mut again = assigned(&mut events).await;
    again.retain(|one| one.partition == 0);
    let mut one = again.pop().unwrap();
    let expected = Committed {
        offset: 60,
        metadata: "batch 1".to_owned(),
    };
    assert_eq!((one.committed.as_ref(), one.start), (Some(&expected), 60));
    let batch = one.records.recv().await.unwrap();
    assert_eq!(
        (batch[0].offset, batch[0].value.as_deref()),
        (60, Some(&b"60"[..]))
    );
    // The watermark of the earlier assignment does not move this one.
    let zombie = consumer.committer().commit_now(tracker.watermark()).await;
    assert!(
        matches!(zombie, Err(CommitError::NotOwned { .. })),
        "{zombie:?}"
    );
    leave(consumer, events).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_waits_for_work_in_flight_and_commits_it() {
    let (_broker, settings) = log().await;
    let producer = Producer::new(&settings).unwrap();
    fill(&producer, &settings, 0..1_200).await;
    let (first, mut events) = Consumer::start(&settings, group("g")).unwrap();
    let mut mine = assigned(&mut events).await;
    assert_eq!(mine.len(), 12);
    let mut trackers = Vec::new();
    for one in &mut mine {
        let mut tracker = CommitTracker::new(one.partition, one.epoch, one.start);
        let batch = one.records.recv().await.unwrap();
        tracker.polled(batch[0].offset).unwrap();
        trackers.push(tracker);
    }
    let (second, mut second_events) = Consumer::start(&settings, group("g")).unwrap();
    let Event::Revoking { partitions, done } = next_event(&mut events).await else {
        panic!()
    };
    // Nothing more comes, and nobody else gets the partitions while one record is in flight.
    for one in mine
        .iter_mut()
        .filter(|one| partitions.contains(&one.partition))
    {
        assert!(one.records.recv().await.is_none());
    }
    for tracker in &mut trackers {
        let early = tokio::time::timeout(Duration::from_millis(20), second_events.recv()).await;
        let given =
            matches!(&early, Ok(Some(Event::Assigned { partitions })) if !partitions.is_empty());
        assert!(!given, "{early:?}");
        // It ends during the drain, and a commit can be made meanwhile.
        tracker.settle(0, Outcome::Duplicate).unwrap();
        if partitions.first() == Some(&tracker.partition()) {
            first
                .committer()
                .commit_now(tracker.watermark())
                .await
                .unwrap();
        } else {
            first.committer().submit(tracker.watermark());
        }
    }
    done.done();
    let moved = assigned(&mut second_events).await;
    let of = |one: &cloudsync_kafka::AssignedPartition| one.partition;
    assert_eq!(
        moved.iter().map(of).collect::<BTreeSet<_>>(),
        partitions.iter().copied().collect::<BTreeSet<_>>()
    );
    assert!(moved.iter().all(|one| one.start == 1), "{moved:?}");
    // What has moved cannot be committed from here any more.
    let gone = trackers
        .iter()
        .find(|one| partitions.contains(&one.partition()))
        .unwrap();
    let late = first.committer().commit_now(gone.watermark()).await;
    assert!(
        matches!(late, Err(CommitError::NotOwned { .. })),
        "{late:?}"
    );
    // Nobody reads the events any more: both end all the same.
    drop((events, second_events));
    tokio::join!(first.close(), second.close());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_is_not_read_is_paused_and_the_others_go_on() {
    let (_broker, settings) = log().await;
    let producer = Producer::new(&settings).unwrap();
    let number = 30_000usize;
    fill(&producer, &settings, 0..12 * number).await;
    let queue = QueueLimits {
        records: 1_000,
        bytes: 200_000,
        total_bytes: 1_000_000,
    };
    let (consumer, mut events) = Consumer::start(
        &settings,
        GroupSettings {
            queue,
            ..group("g")
        },
    )
    .unwrap();
    let mut mine = assigned(&mut events).await;
    let unread = mine.pop().unwrap();
    let reader = |mut one: cloudsync_kafka::AssignedPartition| async move {
        let mut next = one.start;
        while next < i64::try_from(number).unwrap() {
            let batch = tokio::time::timeout(PATIENCE, one.records.recv())
                .await
                .unwrap()
                .unwrap();
            for record in batch {
                assert_eq!(record.offset, next);
                next += 1;
            }
        }
        one
    };
    let mut others = tokio::task::JoinSet::new();
    for one in mine {
        others.spawn(reader(one));
    }
    let _others = others.join_all().await;
    // What waits is bounded by the limits and one turn of the poll thread.
    let waiting = unread.records.waiting();
    assert!((1_000..=number / 2).contains(&waiting), "{waiting}");
    // And all the rest comes, in order, through many pauses.
    reader(unread).await;
    leave(consumer, events).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offset_that_the_log_does_not_hold_starts_over_at_its_beginning() {
    let (_broker, settings) = log().await;
    let settings = KafkaSettings {
        partitions: 1,
        ..settings
    };
    let producer = Producer::new(&settings).unwrap();
    fill(&producer, &settings, 0..10).await;
    let (consumer, mut events) = Consumer::start(&settings, group("g")).unwrap();
    let mine = assigned(&mut events).await;
    let one = mine.iter().find(|one| one.partition == 0).unwrap();
    let mut tracker = CommitTracker::new(0, one.epoch, 0);
    tracker.cover(1_000, Receipt::new("a segment of another log"));
    consumer
        .committer()
        .commit_now(tracker.watermark())
        .await
        .unwrap();
    leave(consumer, events).await;

    let (consumer, mut events) = Consumer::start(&settings, group("g")).unwrap();
    let mut again = assigned(&mut events).await;
    let one = again.iter_mut().find(|one| one.partition == 0).unwrap();
    assert_eq!(one.committed.as_ref().map(|at| at.offset), Some(1_000));
    assert_eq!((one.start, one.log_end), (0, 10));
    assert_eq!(one.records.recv().await.unwrap()[0].offset, 0);
    // The commit of this assignment may go below that of the earlier one.
    let mut tracker = CommitTracker::new(0, one.epoch, one.start);
    tracker.cover(10, Receipt::new("segment"));
    consumer
        .committer()
        .commit_now(tracker.watermark())
        .await
        .unwrap();
    assert_eq!(lag(&settings, "g").await.unwrap()[0].committed, Some(10));
    leave(consumer, events).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_is_dropped_is_replaced_and_what_it_did_not_settle_comes_again() {
    let (_broker, settings) = log().await;
    let producer = Producer::new(&settings).unwrap();
    let seen = Arc::new(Seen::default());
    let (first, mut events) = Consumer::start(&settings, group("g")).unwrap();
    let held = assigned(&mut events).await;
    let second = Member::start(&settings, group("g"), &seen);
    let Event::Revoking { done, .. } = next_event(&mut events).await else {
        panic!()
    };
    done.done();
    fill(&producer, &settings, 0..5_000).await;
    // It has read, settled nothing, and is dropped without a word.
    drop((first, held));
    eventually("everything is seen", || seen.distinct() == 5_000).await;
    second.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tombstones_keys_and_times_arrive_as_they_are() {
    let (_broker, settings) = log().await;
    let producer = Producer::new(&settings).unwrap();
    let (key, value) = (Bytes::from_static(b"k"), Bytes::from_static(b"v"));
    let batch = vec![
        ProduceRecord {
            partition: 5,
            key: key.clone(),
            value: Bytes::new(),
        },
        ProduceRecord {
            partition: 5,
            key: Bytes::new(),
            value: value.clone(),
        },
    ];
    let results = producer.produce(&settings.topic, batch).await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    let (consumer, mut events) = Consumer::start(&settings, group("g")).unwrap();
    let mut mine = assigned(&mut events).await;
    let one = mine.iter_mut().find(|one| one.partition == 5).unwrap();
    let mut records = one.records.recv().await.unwrap();
    if records.len() < 2 {
        records.extend(one.records.recv().await.unwrap());
    }
    assert_eq!(
        (&records[0].key, &records[0].value),
        (&Some(key), &Some(Bytes::new()))
    );
    assert_eq!((&records[1].key, &records[1].value), (&None, &Some(value)));
    assert!(
        records
            .iter()
            .all(|record| record.timestamp_ms > 1_700_000_000_000)
    );
    leave(consumer, events).await;
}
