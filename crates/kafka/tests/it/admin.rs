//! Topics, lag, dead letters.

use crate::support::{fill, log};
use bytes::Bytes;
use cloudsync::identity::Fingerprint;
use cloudsync_kafka::{
    Cause, DeadLetter, DeadLetterHeaders, DeadLetterProducer, Fold, KafkaSettings, Line,
    PartitionLag, PolledRecord, Position, Producer, Reason, RecordHeaders, Redrive, Redriver,
    Settled, TopicState, ensure_topics, lag, read_topic, read_topic_with_headers, trouble,
};
use std::net::TcpListener;
use std::sync::mpsc;
use std::time::SystemTime;

#[tokio::test(flavor = "multi_thread")]
async fn topics_are_made_once_and_more_partitions_are_a_warning() {
    let (_broker, settings) = log().await;
    let again = ensure_topics(&settings).await.unwrap();
    let states: Vec<_> = again
        .iter()
        .map(|one| (one.topic.as_str(), one.state, one.partitions))
        .collect();
    let existed = TopicState::Existed;
    assert_eq!(
        states,
        [("data-topic", existed, 12), ("data-topic-dlq", existed, 4)]
    );
    assert!(again.iter().all(|one| one.warning.is_none()));
    let fewer = KafkaSettings {
        partitions: 6,
        ..settings
    };
    let reports = ensure_topics(&fewer).await.unwrap();
    assert!(
        reports[0]
            .warning
            .as_ref()
            .unwrap()
            .contains("keys go to the first 6")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_never_committed_lags_by_the_whole_log() {
    let (_broker, settings) = log().await;
    let producer = Producer::new(&settings).unwrap();
    fill(&producer, &settings, 0..1_200).await;
    let behind = lag(&settings, "nobody").await.unwrap();
    assert_eq!(behind.len(), 12);
    let first = PartitionLag {
        partition: 0,
        committed: None,
        start: 0,
        end: 100,
    };
    assert_eq!((behind[0], behind[0].lag()), (first, 100));
}

#[tokio::test(flavor = "multi_thread")]
async fn why_nobody_answers_is_told() {
    let (_broker, settings) = log().await;
    assert!(trouble(&settings).await.unwrap().is_none());
    // Nobody listens there: the port is free again.
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr();
    let nobody = nobody.unwrap().to_string();
    for (brokers, reason) in [
        (nobody.as_str(), "Connection refused"),
        (
            "kafka.invalid:9092",
            "Failed to resolve 'kafka.invalid:9092'",
        ),
    ] {
        let settings = KafkaSettings {
            brokers: brokers.to_owned(),
            ..settings.clone()
        };
        let found = trouble(&settings).await.unwrap().unwrap().to_string();
        let told = format!("kafka at {brokers} did not answer: {brokers}: ");
        assert!(found.starts_with(&told), "{found}");
        assert!(found.contains(reason), "{found}");
        if brokers == nobody {
            let asked = lag(&settings, "nobody").await.unwrap_err();
            assert_eq!(asked.to_string(), found);
        }
    }
}

/// A record of `largest` bytes, a tombstone and something else, with the longest headers.
fn letters(largest: usize) -> Vec<DeadLetter> {
    let value: Bytes = (0..largest).map(|at| ((at * at) >> 7) as u8).collect();
    let values = [Some(value), None, Some(Bytes::from_static(b"not a record"))];
    let mut theirs = RecordHeaders::default();
    theirs.push("theirs", None);
    theirs.push(
        "traceparent",
        Some(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
    );
    (0..)
        .zip(values)
        .map(|(offset, value)| DeadLetter {
            original: PolledRecord {
                offset,
                timestamp_ms: 0,
                key: (offset == 1).then(|| Bytes::from_static(b"key")),
                value,
                headers: Some(Box::new(theirs.clone())),
            },
            origin: Position {
                topic: "data-topic".into(),
                partition: 11,
                offset,
            },
            group: "aws-sync-group".to_owned(),
            destination: "aws".to_owned(),
            reason: Reason::Undecodable,
            detail: "x".repeat(100_000),
            cause: Cause {
                class: Some("throttled"),
                code: Some("x".repeat(100_000).into()),
                attempts: u32::MAX,
                first_at: Some(SystemTime::now()),
            },
            fingerprint: Some(Fingerprint(u64::MAX)),
            failed_at: SystemTime::now(),
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_keeps_its_bytes_even_if_it_is_the_largest_record() {
    let (_broker, settings) = log().await;
    let producer = Producer::new(&settings).unwrap();
    let dead_letters = DeadLetterProducer::new(producer, &settings);
    let letters = letters(settings.max_record_bytes);
    let results = dead_letters.produce(letters.clone()).await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    let (found, read) = mpsc::channel();
    let all = read_topic_with_headers(&settings, &settings.dlq_topic, move |_, record, headers| {
        let headers = DeadLetterHeaders::parse(&headers).unwrap();
        found
            .send((headers.origin.clone(), (record, headers)))
            .unwrap();
    });
    assert_eq!(all.await.unwrap(), 3);
    let mut read: Vec<_> = read.iter().collect();
    read.sort_by_key(|(origin, _)| origin.offset);
    for ((_, (record, headers)), letter) in read.iter().zip(&letters) {
        assert_eq!(
            (&record.key, &record.value),
            (&letter.original.key, &letter.original.value)
        );
        assert_eq!(headers.origin, letter.origin);
        assert_eq!(headers.reason, "undecodable");
    }
    let nothing = read_topic(&settings, &settings.topic, |_, _| {})
        .await
        .unwrap();
    assert_eq!(nothing, 0);
    come_back(&settings, &letters).await;
}

/// Each of `letters`, also the largest, goes back as it was, and is settled by a marker.
async fn come_back(settings: &KafkaSettings, letters: &[DeadLetter]) {
    let mut fold = Fold::default();
    let mut entries = Vec::new();
    for (partition, record) in everything(settings, &settings.dlq_topic).await {
        let line = Line::read(partition, record);
        fold.take(&line);
        let Line::Entry(entry) = line else {
            panic!("{line:?}")
        };
        entries.push(*entry);
    }
    entries.sort_by_key(|entry| entry.original.offset);
    let redriver = Redriver::new(Producer::new(settings).unwrap(), settings);
    let back = redriver.redrive(&entries).await;
    assert!(back.iter().all(Result::is_ok), "{back:?}");
    let settled = redriver.settle(&entries, Settled::Redriven).await;
    assert!(settled.iter().all(Result::is_ok), "{settled:?}");
    for (partition, record) in everything(settings, &settings.dlq_topic).await {
        fold.take(&Line::read(partition, record));
    }
    assert!(
        fold.ids()
            .all(|id| fold.settled(id) == Some(Settled::Redriven))
    );
    assert_eq!((fold.ids().count(), fold.foreign()), (letters.len(), 0));
    let again = everything(settings, &settings.topic).await;
    assert_eq!(again.len(), letters.len());
    for (partition, record) in again {
        assert_eq!(partition, 11, "undecodable: where it was");
        let headers = record.headers.unwrap();
        let redrive = Redrive::of(&headers).unwrap();
        assert_eq!((&*redrive.destination, redrive.count), ("aws", 1));
        let origin = redrive.origin.unwrap();
        let letter = letters.iter().find(|letter| letter.origin == origin);
        let original = &letter.unwrap().original;
        assert_eq!(
            (&record.key, &record.value),
            (&original.key, &original.value)
        );
        let theirs = original.headers.as_deref().unwrap();
        assert!(headers.iter().take(theirs.len()).eq(theirs.iter()));
    }
}

async fn everything(settings: &KafkaSettings, topic: &str) -> Vec<(i32, PolledRecord)> {
    let (found, read) = mpsc::channel();
    let visit = move |partition, record| found.send((partition, record)).unwrap();
    read_topic(settings, topic, visit).await.unwrap();
    read.iter().collect()
}
