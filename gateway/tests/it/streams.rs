//! `SyncData` and `SyncDataStream`: a verdict for every record.

use crate::world::{World, assert_refused, encoded, record};
use bytes::Bytes;
use cloudsync::limits::MAX_BATCH_RECORDS;
use cloudsync::v1::{
    ErrorReason, Rejection, SyncDataRequest, SyncDataStreamRequest, SyncDataStreamResponse,
    SyncRecord,
};
use futures::{StreamExt, stream};
use std::collections::HashSet;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::{Code, Status, Streaming};

fn batch(records: impl IntoIterator<Item = SyncRecord>) -> SyncDataStreamRequest {
    SyncDataStreamRequest {
        records: records.into_iter().map(|r| encoded(&r)).collect(),
    }
}

/// Sends `requests` and hears every answer; checks what must hold between them.
async fn exchange(
    world: &World,
    requests: Vec<SyncDataStreamRequest>,
) -> (Vec<SyncDataStreamResponse>, Option<Status>) {
    let mut client = world.client().await;
    let answers = client
        .sync_data_stream(stream::iter(requests))
        .await
        .unwrap()
        .into_inner();
    hear(answers).await
}

async fn hear(
    mut answers: Streaming<SyncDataStreamResponse>,
) -> (Vec<SyncDataStreamResponse>, Option<Status>) {
    let mut heard: Vec<SyncDataStreamResponse> = Vec::new();
    loop {
        match answers.message().await {
            Ok(Some(answer)) => {
                let before = heard.last().map_or(0, |last| last.acked_count);
                let credit = heard.last().map_or(0, |last| last.credit_count);
                assert!(answer.acked_count >= before && answer.credit_count >= credit);
                assert!(
                    answer
                        .rejections
                        .iter()
                        .all(|rejection| rejection.index >= before)
                );
                heard.push(answer);
            }
            Ok(None) => return (heard, None),
            Err(status) => return (heard, Some(status)),
        }
    }
}

fn rejections(heard: &[SyncDataStreamResponse]) -> Vec<&Rejection> {
    heard.iter().flat_map(|answer| &answer.rejections).collect()
}

#[tokio::test]
async fn one_bad_record_gets_its_verdict_and_the_others_theirs() {
    let world = World::start(|_| {}).await;
    let mut middle = batch([record("b-0", "k"), record("b-1", "k"), record("", "k")]);
    middle.records.insert(1, Bytes::from_static(&[10, 200]));
    let requests = vec![
        batch([record("a-0", "k"), record("a-1", "k")]),
        middle,
        batch([]),
        batch([record("x".repeat(129), "k"), record("c-1", "k")]),
    ];
    let (heard, ended) = exchange(&world, requests).await;
    assert!(ended.is_none(), "{ended:?}");
    // The first answer grants credit before anything was sent.
    assert_eq!(heard[0].acked_count, 0);
    assert!(heard[0].credit_count >= 1_000);
    assert_eq!(heard.last().unwrap().acked_count, 8);
    let rejected = rejections(&heard);
    let told: Vec<_> = rejected.iter().map(|r| (r.index, r.reason())).collect();
    assert_eq!(
        told,
        [
            (3, ErrorReason::MalformedRecord),
            (6, ErrorReason::FieldTooLong)
        ]
    );
    assert!(rejected[1].message.contains("129 bytes, the limit is 128"));
    let assigned: Vec<_> = heard.iter().flat_map(|a| &a.assigned_request_ids).collect();
    assert_eq!((assigned.len(), assigned[0].index), (1, 5));

    let log = world.log().await;
    let ids: Vec<_> = log
        .iter()
        .map(|stored| stored.record.request_id.as_str())
        .collect();
    // One key, so one partition, and there the order of the stream.
    assert_eq!(
        ids,
        ["a-0", "a-1", "b-0", "b-1", &assigned[0].request_id, "c-1"]
    );
}

#[tokio::test]
async fn ten_thousand_records_are_acked_cumulatively() {
    let world = World::start(|_| {}).await;
    let requests = (0..100)
        .map(|b| batch((0..100).map(|r| record(format!("{b}-{r}"), format!("key-{}", r % 37)))));
    let (heard, ended) = exchange(&world, requests.collect()).await;
    assert!(ended.is_none(), "{ended:?}");
    assert_eq!(heard.last().unwrap().acked_count, 10_000);
    assert!(rejections(&heard).is_empty());
    let log = world.log().await;
    let ids: HashSet<_> = log.iter().map(|stored| &stored.record.request_id).collect();
    assert_eq!((log.len(), ids.len()), (10_000, 10_000));
    // In its partition, a key's records lie as they were sent.
    let mut last = std::collections::HashMap::new();
    for stored in &log {
        let (b, r) = stored.record.request_id.split_once('-').unwrap();
        let place = b.parse::<u32>().unwrap() * 100 + r.parse::<u32>().unwrap();
        let before = last.insert(stored.key.clone(), place);
        assert!(
            before < Some(place),
            "{}: {before:?} before {place}",
            stored.record.key
        );
    }
    assert_eq!(
        (world.counters.received(), world.counters.acked()),
        (10_000, 10_000)
    );
}

#[tokio::test]
async fn a_batch_that_is_too_large_is_refused_record_by_record() {
    let world = World::start(|_| {}).await;
    let many = SyncDataStreamRequest {
        records: vec![Bytes::new(); 20_000],
    };
    let requests = vec![batch([record("a", "k")]), many, batch([record("b", "k")])];
    let (heard, ended) = exchange(&world, requests).await;
    assert!(ended.is_none(), "{ended:?}");
    assert_eq!(heard.last().unwrap().acked_count, 20_002);
    let rejected = rejections(&heard);
    assert!(
        rejected
            .iter()
            .all(|rejection| rejection.reason() == ErrorReason::BatchSize)
    );
    let indexes: Vec<_> = rejected.iter().map(|rejection| rejection.index).collect();
    assert_eq!(indexes, (1..20_001).collect::<Vec<u64>>());
    assert!(
        heard
            .iter()
            .all(|answer| answer.rejections.len() <= 2 * MAX_BATCH_RECORDS)
    );
    assert_eq!(world.log().await.len(), 2);
}

#[tokio::test]
async fn what_is_no_message_ends_the_stream_after_its_records() {
    let world = World::start(|_| {}).await;
    let payload = vec![0; 900_000];
    let large = SyncRecord {
        payload: payload.into(),
        ..record("l", "k")
    };
    let requests = vec![batch([record("a", "k")]), batch(vec![large; 5])];
    let (heard, ended) = exchange(&world, requests).await;
    assert_refused(
        &ended.unwrap(),
        Code::InvalidArgument,
        ErrorReason::BatchSize,
    );
    assert_eq!(heard.last().unwrap().acked_count, 1);

    // Field 1 as a number: no batch.
    let mut grpc = Grpc::new(world.channel().await);
    grpc.ready().await.unwrap();
    let wrong = stream::iter([prost_types::Timestamp {
        seconds: 1,
        nanos: 0,
    }]);
    let path = "/cloudsync.v1.DataSyncService/SyncDataStream"
        .parse()
        .unwrap();
    let codec = tonic_prost::ProstCodec::default();
    let answers = grpc
        .streaming(tonic::Request::new(wrong), path, codec)
        .await
        .unwrap();
    let (_, ended) = hear(answers.into_inner()).await;
    assert_refused(
        &ended.unwrap(),
        Code::InvalidArgument,
        ErrorReason::MalformedRecord,
    );
}

#[tokio::test]
async fn a_client_without_haste_is_answered_as_it_goes() {
    let world = World::start(|settings| settings.max_in_flight_records = 10).await;
    let (sender, requests) = mpsc::channel(1);
    let mut client = world.client().await;
    let requests = ReceiverStream::new(requests);
    let mut answers = client
        .sync_data_stream(requests)
        .await
        .unwrap()
        .into_inner();
    for round in 1..=3u64 {
        // More than the gateway has room for at once: it takes them one batch after the other.
        for half in 0..2 {
            let ids = (0..10).map(|r| record(format!("{round}-{half}-{r}"), ""));
            sender.send(batch(ids)).await.unwrap();
        }
        while answers.message().await.unwrap().unwrap().acked_count < round * 20 {}
    }
    drop(sender);
    assert_eq!(answers.message().await.unwrap(), None);
    assert_eq!(world.log().await.len(), 60);
}

#[tokio::test]
async fn single_records_are_summed_up() {
    let world = World::start(|_| {}).await;
    let mut client = world.client().await;
    let mut requests: Vec<SyncDataRequest> = (0..2_000)
        .map(|n| SyncDataRequest {
            record: vec![encoded(&record(format!("id-{n}"), "k"))],
        })
        .collect();
    requests[7].record = vec![encoded(&record("", "k"))];
    requests[900].record.clear();
    requests[1_500].record.push(Bytes::new());
    requests[1_501].record = vec![Bytes::from_static(b"\xff")];
    let summary = client
        .sync_data(stream::iter(requests))
        .await
        .unwrap()
        .into_inner();
    assert_eq!((summary.accepted_count, summary.rejected_count), (1_997, 3));
    let told: Vec<_> = summary
        .rejections
        .iter()
        .map(|r| (r.index, r.reason()))
        .collect();
    let malformed = ErrorReason::MalformedRecord;
    assert_eq!(
        told,
        [(900, malformed), (1_500, malformed), (1_501, malformed)]
    );
    assert_eq!(summary.assigned_request_ids.len(), 1);
    assert_eq!(summary.assigned_request_ids[0].index, 7);
    let log = world.log().await;
    assert_eq!(log.len(), 1_997);
    let in_order = log
        .iter()
        .filter_map(|stored| stored.record.request_id.strip_prefix("id-"));
    assert!(in_order.map(|n| n.parse::<u32>().unwrap()).is_sorted());

    // No record at all, and more rejections than a summary names.
    let none = client
        .sync_data(stream::empty())
        .await
        .unwrap()
        .into_inner();
    assert_eq!((none.accepted_count, none.rejected_count), (0, 0));
    let bad = stream::repeat_with(SyncDataRequest::default).take(150);
    let summary = client.sync_data(bad).await.unwrap().into_inner();
    assert_eq!(
        (summary.rejected_count, summary.rejections.len()),
        (150, 100)
    );
}
