//! Batches in, a result for each record out.

use crate::support::{PATIENCE, eventually, fill, log, record};
use bytes::Bytes;
use cloudsync_kafka::{
    KafkaSettings, PolledRecord, ProduceError, ProduceRecord, Producer, read_topic,
    read_topic_since, topic_ends,
};
use rdkafka::mocking::MockCluster;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;
use tokio::task::JoinSet;

#[tokio::test(flavor = "multi_thread")]
async fn every_record_lies_where_its_result_says() {
    let (_broker, settings) = log().await;
    let producer = Producer::new(&settings).unwrap();
    producer.warm_up().await.unwrap();
    let mut running = JoinSet::new();
    for batch in 0..50usize {
        let (producer, settings) = (producer.clone(), settings.clone());
        running.spawn(async move {
            let numbers = batch * 1_000..(batch + 1) * 1_000;
            let records: Vec<_> = numbers
                .map(|number| record(number, settings.partitions))
                .collect();
            let results = producer.produce(&settings.topic, records.clone()).await;
            assert_eq!(results.len(), records.len());
            let places = results.into_iter().map(|one| one.unwrap().unwrap());
            places.zip(records).collect::<Vec<(i64, ProduceRecord)>>()
        });
    }
    let mut expected = HashMap::new();
    while let Some(batch) = running.join_next().await {
        for (offset, record) in batch.unwrap() {
            expected.insert((record.partition, offset), (record.key, record.value));
        }
    }
    assert_eq!(
        expected.len(),
        50_000,
        "every record has a place of its own"
    );
    let (found, read) = mpsc::channel();
    let count = read_topic(&settings, &settings.topic, move |partition, record| {
        let (key, value) = (record.key.unwrap(), record.value.unwrap());
        found
            .send(((partition, record.offset), (key, value)))
            .unwrap();
    });
    assert_eq!(count.await.unwrap(), 50_000);
    assert!(read.iter().collect::<HashMap<_, _>>() == expected);
    only_what_was_written_since(&settings, &producer, &expected).await;
    assert_eq!(producer.close(PATIENCE).await, 0);
    let after = producer.produce(&settings.topic, vec![record(0, 12)]).await;
    assert!(
        matches!(after[..], [Err(ProduceError::Unavailable { .. })]),
        "{after:?}"
    );
}

async fn only_what_was_written_since(
    settings: &KafkaSettings,
    producer: &Producer,
    before: &HashMap<(i32, i64), (Bytes, Bytes)>,
) {
    let ends = topic_ends(settings, &settings.topic).await.unwrap();
    let partitions = ends.values().map(|end| u64::try_from(*end).unwrap());
    assert_eq!(partitions.sum::<u64>(), before.len() as u64);
    let late = producer.produce(&settings.topic, vec![record(3, 12)]).await;
    assert!(late.iter().all(Result::is_ok), "{late:?}");
    let (found, read) = mpsc::channel();
    let visit = move |partition, record: PolledRecord, _| {
        found.send((partition, record.offset)).unwrap();
    };
    let count = read_topic_since(settings, &settings.topic, &ends, visit).await;
    assert_eq!(count.unwrap(), 1);
    assert_eq!(read.iter().collect::<Vec<_>>(), [(3, ends[&3])]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_oversize_record_is_refused_alone_and_the_largest_one_is_taken() {
    let (_broker, settings) = log().await;
    let producer = Producer::new(&settings).unwrap();
    let limit = settings.max_record_bytes;
    let of = |bytes: usize| {
        // Not compressible, so that the log's own limit is met as well.
        let mut state = 1u64;
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            state.to_be_bytes()[0]
        };
        let value: Bytes = (0..bytes).map(|_| next()).collect();
        ProduceRecord {
            partition: 3,
            key: Bytes::new(),
            value,
        }
    };
    let batch = vec![of(10), of(limit + 1), of(limit), of(5_000_000), of(20)];
    let results = producer.produce(&settings.topic, batch).await;
    let offsets: Vec<_> = results
        .iter()
        .map(|one| one.as_ref().map(|offset| offset.unwrap()))
        .collect();
    let too_large = |bytes| ProduceError::TooLarge { bytes, limit };
    let refused = [too_large(limit + 1), too_large(5_000_000)];
    assert_eq!(
        offsets,
        [Ok(0), Err(&refused[0]), Ok(1), Err(&refused[1]), Ok(2)]
    );
    assert!(!refused[0].is_retryable());
    assert_eq!(producer.in_flight(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_makes_the_caller_wait_and_is_never_an_error() {
    let (_broker, settings) = log().await;
    let settings = KafkaSettings {
        queue_records: 10,
        max_record_bytes: 1_000,
        queue_bytes: 70_000,
        ..settings
    };
    let producer = Producer::new(&settings).unwrap();
    let mut running = JoinSet::new();
    for task in 0..40 {
        let (producer, topic) = (producer.clone(), settings.topic.clone());
        running.spawn(async move {
            // Larger than the whole queue.
            let batch: Vec<_> = (0..23)
                .map(|number| record(task * 23 + number, 12))
                .collect();
            producer.produce(&topic, batch).await
        });
    }
    let mut taken = 0;
    while let Some(results) = running.join_next().await {
        assert!(producer.in_flight() <= 10);
        taken += results.unwrap().into_iter().map(Result::unwrap).count();
    }
    assert_eq!((taken, producer.in_flight()), (40 * 23, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_call_leaves_its_records_on_their_way_and_no_room_taken() {
    let (_broker, settings) = log().await;
    let settings = KafkaSettings {
        queue_records: 100,
        ..settings
    };
    let producer = Producer::new(&settings).unwrap();
    for round in 0..20 {
        let batch: Vec<_> = (0..90)
            .map(|number| record(round * 90 + number, 12))
            .collect();
        let call = producer.produce(&settings.topic, batch);
        let given = tokio::time::timeout(Duration::from_millis(round as u64 % 4), call).await;
        drop(given);
    }
    eventually("all room is free again", || producer.in_flight() == 0).await;
    fill(&producer, &settings, 0..1_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_keep_the_order_of_the_calls_whatever_the_room_and_whoever_gives_up() {
    let (_broker, settings) = log().await;
    let settings = KafkaSettings {
        queue_records: 10,
        ..settings
    };
    let producer = Producer::new(&settings).unwrap();
    // All for one partition; each batch is larger than all the room.
    let batch = |call: usize| {
        let numbers = call * 23..(call + 1) * 23;
        numbers
            .map(|number| record(number * 12, 12))
            .collect::<Vec<_>>()
    };
    let calls = (0..60).map(|call| producer.produce(&settings.topic, batch(call)));
    let mut calls: Vec<_> = calls.map(Some).collect();
    // Some of them give up, and who was last is the first to be waited for.
    for given_up in calls.iter_mut().step_by(3) {
        given_up.take();
    }
    let mut running: JoinSet<_> = calls.into_iter().rev().flatten().collect();
    while let Some(results) = running.join_next().await {
        let results = results.unwrap();
        assert!(results.iter().all(Result::is_ok), "{results:?}");
    }
    eventually("all room is free again", || producer.in_flight() == 0).await;
    let (found, read) = mpsc::channel();
    let count = read_topic(&settings, &settings.topic, move |_, record| {
        let number: usize = std::str::from_utf8(&record.value.unwrap())
            .unwrap()
            .parse()
            .unwrap();
        found.send(number / 12).unwrap();
    });
    assert!(count.await.unwrap() >= 40 * 23);
    let read: Vec<_> = read.iter().collect();
    let wrong = read.windows(2).find(|pair| pair[0] >= pair[1]);
    assert_eq!(wrong, None, "two records in the wrong order");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_fatal_error_another_producer_takes_over() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("data-topic", 12, 1).unwrap();
    let denied = RDKafkaRespErr::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED;
    cluster.request_errors(RDKafkaApiKey::InitProducerId, &[denied]);
    let settings = KafkaSettings {
        brokers: cluster.bootstrap_servers(),
        ..KafkaSettings::default()
    };
    let producer = Producer::new(&settings).unwrap();
    let (mut failures, mut results) = (0, vec![]);
    let until = tokio::time::Instant::now() + PATIENCE;
    while !matches!(results[..], [Ok(_)]) {
        assert!(tokio::time::Instant::now() < until, "{results:?}");
        results = producer.produce("data-topic", vec![record(1, 12)]).await;
        if let [Err(error)] = &results[..] {
            assert!(error.is_retryable(), "{error}");
            failures += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    assert!(failures > 0, "the error was not met");
    assert_eq!(producer.close(PATIENCE).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_log_acknowledges_without_an_offset_has_none() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("data-topic", 12, 1).unwrap();
    let had_before = RDKafkaRespErr::RD_KAFKA_RESP_ERR_DUPLICATE_SEQUENCE_NUMBER;
    cluster.request_errors(RDKafkaApiKey::Produce, &[had_before]);
    let settings = KafkaSettings {
        brokers: cluster.bootstrap_servers(),
        // One request for all five.
        linger: Duration::from_secs(1),
        ..KafkaSettings::default()
    };
    let producer = Producer::new(&settings).unwrap();
    let five: Vec<_> = (0..5).map(|number| record(number * 12, 12)).collect();
    let results = producer.produce("data-topic", five).await;
    assert_eq!(results, vec![Ok(None); 5]);
    let results = producer.produce("data-topic", vec![record(0, 12)]).await;
    assert_eq!(results, [Ok(Some(0))]);
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_says_what_stays_unacknowledged_and_ends_it() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let brokers = port.local_addr().unwrap().to_string();
    drop(port);
    let settings = KafkaSettings {
        brokers,
        ..KafkaSettings::default()
    };
    let producer = Arc::new(Producer::new(&settings).unwrap());
    let caller = Arc::clone(&producer);
    let mut call = JoinSet::new();
    let batch: Vec<_> = (0..5).map(|number| record(number, 12)).collect();
    call.spawn(async move { caller.produce("data-topic", batch).await });
    eventually("the records are queued", || producer.in_flight() == 5).await;
    assert_eq!(producer.close(Duration::from_millis(200)).await, 5);
    let results = call.join_next().await.unwrap().unwrap();
    assert_eq!(results.len(), 5);
    assert!(
        results
            .iter()
            .all(|one| one.as_ref().is_err_and(ProduceError::is_retryable))
    );
    eventually("all room is free again", || producer.in_flight() == 0).await;
}

/// Records of a partition that is not there leave nothing behind in the client, or its queue would
/// fill up for good.
#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_is_not_there_fails_and_holds_nothing() {
    let (_broker, settings) = log().await;
    let producer = Producer::new(&settings).unwrap();
    producer.warm_up().await.unwrap();
    let first = producer.produce(&settings.topic, vec![record(0, 12)]).await;
    assert!(first[0].is_ok(), "{first:?}");
    let nowhere = |number| ProduceRecord {
        partition: 99,
        ..record(number, 12)
    };
    let batch: Vec<_> = (0..100).map(nowhere).collect();
    let results = producer.produce(&settings.topic, batch).await;
    assert_eq!(results.len(), 100);
    assert!(results.iter().all(Result::is_err), "{results:?}");
    assert_eq!(producer.close(PATIENCE).await, 0);
}
