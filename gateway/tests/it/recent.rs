//! What the log has acknowledged of late is not written again.

use crate::wire::{NDJSON, exchange, post};
use crate::world::{World, encoded, record, until};
use cloudsync::SyncRecord;
use cloudsync::v1::{
    Position, SyncDataRequest, SyncDataStreamRequest, SyncRecordRequest, SyncRecordResponse,
};
use cloudsync_gateway::MissingId;
use futures::stream;
use serde_json::json;

async fn send(world: &World, record: &SyncRecord) -> SyncRecordResponse {
    let request = SyncRecordRequest {
        record: vec![encoded(record)],
    };
    let answer = world.client().await.sync_record(request).await;
    answer.unwrap().into_inner()
}

/// Whether it was a duplicate, and where it lies.
async fn told(world: &World, record: &SyncRecord) -> (bool, Position) {
    let answer = send(world, record).await;
    assert_eq!(answer.request_id, record.request_id);
    (answer.duplicate, answer.position.unwrap())
}

/// What must add up in every world whose clients have all heard their answers.
async fn adds_up(world: &World) {
    let counters = &world.counters;
    let (acked, duplicates) = (counters.acked(), counters.duplicates_at_gateway());
    assert_eq!(acked, duplicates + world.log().await.len() as u64);
    assert_eq!(counters.received(), acked + counters.refused());
}

#[tokio::test]
async fn the_same_record_five_times_is_written_once() {
    let world = World::start(|_| {}).await;
    let sent = record("id-1", "account-7");
    let (duplicate, first) = told(&world, &sent).await;
    assert!(!duplicate);
    told(&world, &record("id-2", "account-7")).await;
    for _ in 0..4 {
        assert_eq!(told(&world, &sent).await, (true, first.clone()));
    }
    assert_eq!(world.log().await.len(), 2);
    assert_eq!(world.counters.duplicates_at_gateway(), 4);
    adds_up(&world).await;
}

/// The consumers judge it: a conflict, a record for one who has not got it yet, or a duplicate.
#[tokio::test]
async fn any_difference_is_written() {
    let world = World::start(|_| {}).await;
    let first = record("id-1", "k");
    let to = |names: &[&str]| SyncRecord {
        destinations: names.iter().map(|name| (*name).to_owned()).collect(),
        ..first.clone()
    };
    let others = [
        first.clone(),
        SyncRecord {
            payload: "{}".into(),
            ..first.clone()
        },
        SyncRecord {
            content_type: "text/plain".into(),
            ..first.clone()
        },
        record("id-1", "another key"),
        to(&["aws"]),
        to(&["azure"]),
        to(&["azure", "aws"]),
    ];
    for (at, other) in others.iter().enumerate() {
        assert!(!told(&world, other).await.0, "{other:?}");
        assert_eq!(world.log().await.len(), at + 1);
    }
    // The last one under this id counts; the order of the names does not.
    assert!(told(&world, &to(&["aws", "azure"])).await.0);
    // What is no part of the content makes no other record.
    let again = SyncRecord {
        attributes: [("a".to_owned(), "b".to_owned())].into(),
        create_time: Some(prost_types::Timestamp::default()),
        ..to(&["aws", "azure"])
    };
    assert!(told(&world, &again).await.0);
    adds_up(&world).await;
}

#[tokio::test]
async fn what_the_log_has_not_acknowledged_is_not_known() {
    let mut world = World::start(|_| {}).await;
    let client = world.client().await;
    world.stop_log().await;
    let call = || {
        let mut client = client.clone();
        let request = SyncRecordRequest {
            record: vec![encoded(&record("id-1", "k"))],
        };
        async move { client.sync_record(request).await.unwrap().into_inner() }
    };
    let log_is_back = async {
        // Both are on their way: the second one was not answered from memory.
        until(async || world.producer.in_flight() == 2).await;
        assert_eq!(world.counters.acked(), 0);
        world.start_log().await;
    };
    let (first, second, ()) = futures::join!(call(), call(), log_is_back);
    assert!(!first.duplicate && !second.duplicate);
    assert_eq!(world.log().await.len(), 2);
    // From now on it is known, where the first of the two lies.
    let third = call().await;
    assert!(third.duplicate);
    let places = [first.position, second.position].into_iter().flatten();
    assert_eq!(third.position, places.min_by_key(|place| place.offset));
    adds_up(&world).await;
}

#[tokio::test]
async fn beyond_the_limit_the_oldest_are_written_again() {
    let world = World::start(|settings| settings.recent_ids = 3).await;
    let duplicates = async |ids: &[&str]| {
        let mut told_again = Vec::new();
        for id in ids {
            told_again.push(told(&world, &record(*id, "k")).await.0);
        }
        told_again
    };
    assert_eq!(duplicates(&["a", "b", "c", "d"]).await, [false; 4]);
    assert_eq!(duplicates(&["d", "c", "b"]).await, [true; 3]);
    assert_eq!(duplicates(&["a", "b"]).await, [false; 2]);
    assert_eq!(duplicates(&["d", "a", "b"]).await, [true; 3]);
    adds_up(&world).await;
}

#[tokio::test]
async fn with_0_everything_is_written() {
    let world = World::start(|settings| settings.recent_ids = 0).await;
    for offset in 0..3 {
        let (duplicate, position) = told(&world, &record("id-1", "k")).await;
        assert_eq!((duplicate, position.offset), (false, offset));
    }
    adds_up(&world).await;
}

#[tokio::test]
async fn equal_content_is_written_once_where_it_makes_the_id() {
    let world = World::start(|settings| settings.missing_id = MissingId::Content).await;
    let sent = record("", "k");
    let first = send(&world, &sent).await;
    let again = send(&world, &sent).await;
    assert_eq!((first.duplicate, again.duplicate), (false, true));
    assert_eq!(first.request_id, again.request_id);
    assert_eq!(first.position, again.position);

    // On a stream its id is named each time.
    let mut client = world.client().await;
    let requests = stream::iter(vec![SyncDataRequest {
        record: vec![encoded(&sent)],
    }]);
    let summary = client.sync_data(requests).await.unwrap().into_inner();
    assert_eq!((summary.accepted_count, summary.duplicate_count), (1, 1));
    let named = &summary.assigned_request_ids[0];
    assert_eq!(named.request_id, first.request_id);
    adds_up(&world).await;

    // An id that is new each time is not worth remembering.
    let world = World::start(|_| {}).await;
    for _ in 0..2 {
        assert!(!send(&world, &sent).await.duplicate);
    }
    assert_eq!(world.log().await.len(), 2);
}

#[tokio::test]
async fn a_stream_counts_them_in_its_order() {
    let world = World::start(|_| {}).await;
    told(&world, &record("a", "k")).await;
    told(&world, &record("c", "l")).await;
    let batch = |ids: &[&str]| SyncDataStreamRequest {
        records: ids.iter().map(|id| encoded(&record(*id, "k"))).collect(),
    };
    // Known, new twice in one batch, refused; then known only by the batch before.
    let refused = "x".repeat(129);
    let (batches, incoming) = tokio::sync::mpsc::channel(1);
    let incoming = tokio_stream::wrappers::ReceiverStream::new(incoming);
    let answers = world.client().await.sync_data_stream(incoming).await;
    let mut answers = answers.unwrap().into_inner();
    let mut heard = Vec::new();
    let batches_sent = [batch(&["a", "b", "b", &refused]), batch(&["b", "c", "a"])];
    for (requests, until) in batches_sent.into_iter().zip([4, 7]) {
        batches.send(requests).await.unwrap();
        loop {
            let answer = answers.message().await.unwrap().unwrap();
            if answer.acked_count == until {
                heard.push(answer.duplicate_count);
                break;
            }
        }
    }
    // "c" was sent under another key before: that is another record.
    assert_eq!(heard, [1, 3]);
    drop(batches);
    assert_eq!(answers.message().await.unwrap(), None);
    adds_up(&world).await;
}

#[tokio::test]
async fn http_says_so_too() {
    let world = World::start(|_| {}).await;
    let key = ["Idempotency-Key: order-7"];
    let first = post(&world, &key, r#""text""#).await;
    assert!(!first.headers.contains_key("idempotent-replayed"));
    let again = post(&world, &key, r#""text""#).await;
    assert_eq!((again.status, again.body), (202, first.body));
    assert_eq!(again.headers["idempotent-replayed"], "true");
    let asked = ["Idempotency-Key: order-7", "Accept: application/json"];
    let asked = post(&world, &asked, r#""text""#).await.json();
    assert_eq!(asked["duplicate"], true);
    let log = world.log().await;
    assert_eq!(asked["position"]["offset"], log[0].offset);

    let list = post(&world, &["Idempotency-Key: list"], "[1,2]")
        .await
        .json();
    assert_eq!(list["duplicates"], 0);
    let headers = [
        NDJSON,
        "Idempotency-Key: list",
        "Accept: application/x-ndjson",
    ];
    let lines = post(&world, &headers, "1\n2\n3\n").await;
    let lines: Vec<serde_json::Value> = lines
        .body
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for (line, before) in lines.iter().zip(list["records"].as_array().unwrap()) {
        assert_eq!(line["duplicate"], true);
        assert_eq!(line["position"], before["position"]);
    }
    assert_eq!(lines[2].get("duplicate"), None);
    let sums = ["accepted", "duplicates", "refused"].map(|sum| &lines[3][sum]);
    assert_eq!(sums, [&json!(3), &json!(2), &json!(0)]);
    let metrics = exchange(&world, "GET /metrics", &[], "").await.body;
    for line in [
        "cloudsync_gateway_records_duplicates_total 4",
        "cloudsync_gateway_recent_ids 4",
    ] {
        assert!(metrics.lines().any(|said| said == line), "{metrics}");
    }
    adds_up(&world).await;
}
