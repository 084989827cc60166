//! Where is my record? Asked of a gateway whose destinations have no consumers.

use crate::wire::{Answer, exchange};
use crate::world::{World, assert_refused, encoded, record};
use cloudsync::v1::destination_receipt::State;
use cloudsync::v1::{
    ErrorReason, GetReceiptRequest, SyncRecordRequest, SyncRecordResponse, WatchReceiptsRequest,
};
use tonic::Code;

fn name(request_id: &str, key: &str) -> GetReceiptRequest {
    GetReceiptRequest {
        request_id: request_id.to_owned(),
        key: key.to_owned(),
    }
}

async fn send(world: &World, id: &str, key: &str) -> SyncRecordResponse {
    let request = SyncRecordRequest {
        record: vec![encoded(&record(id, key))],
    };
    let answer = world.client().await.sync_record(request).await;
    answer.unwrap().into_inner()
}

#[tokio::test]
async fn what_was_acknowledged_is_known_also_under_an_id_that_the_gateway_made() {
    let world = World::start(|_| {}).await;
    let mut client = world.client().await;
    for (id, key) in [("id-1", "k"), ("id-1", ""), ("", "k")] {
        let sent = send(&world, id, key).await;
        let asked = name(&sent.request_id, key);
        let receipt = client.get_receipt(asked).await.unwrap().into_inner();
        let receipt = receipt.receipt.unwrap();
        assert_eq!(receipt.position, sent.position);
        let accepted = receipt.accept_time.unwrap();
        let lies = world.log().await;
        let stored = lies
            .iter()
            .find(|it| it.record.request_id == sent.request_id && it.record.key == key);
        let stored = stored.unwrap().record.accept_time.unwrap();
        assert_eq!(accepted.seconds, stored.seconds);
        assert_eq!(accepted.nanos / 1_000_000, stored.nanos / 1_000_000);
        let names = receipt
            .destinations
            .iter()
            .map(|it| it.destination.as_str());
        assert_eq!(names.collect::<Vec<_>>(), ["aws", "azure"]);
        let mut states = receipt.destinations.iter().map(|it| it.state.as_ref());
        assert!(states.all(|it| matches!(it, Some(State::Pending(_)))));
    }
}

#[tokio::test]
async fn what_cannot_be_known_is_refused_with_its_reason() {
    let world = World::start(|_| {}).await;
    let mut client = world.client().await;
    send(&world, "id-1", "k").await;
    let too_long = "x".repeat(129);
    for (asked, code, reason) in [
        (
            name("id-1", ""),
            Code::NotFound,
            ErrorReason::ReceiptUnknown,
        ),
        (
            name("", "k"),
            Code::InvalidArgument,
            ErrorReason::RequestIdMissing,
        ),
        (
            name(&too_long, ""),
            Code::InvalidArgument,
            ErrorReason::FieldTooLong,
        ),
    ] {
        let status = client.get_receipt(asked.clone()).await.unwrap_err();
        assert_refused(&status, code, reason);
        let records = vec![name("id-1", "k"), asked];
        let watched = client
            .watch_receipts(WatchReceiptsRequest { records })
            .await;
        assert_refused(&watched.unwrap_err(), code, reason);
    }
    for count in [0, 1_001] {
        let records = vec![name("id-1", "k"); count];
        let watched = client
            .watch_receipts(WatchReceiptsRequest { records })
            .await;
        assert_refused(
            &watched.unwrap_err(),
            Code::InvalidArgument,
            ErrorReason::BatchSize,
        );
    }
}

#[tokio::test]
async fn a_gateway_that_keeps_none_knows_none() {
    let world = World::start(|settings| settings.receipts = 0).await;
    send(&world, "id-1", "k").await;
    let asked = world.client().await.get_receipt(name("id-1", "k")).await;
    assert_refused(
        &asked.unwrap_err(),
        Code::NotFound,
        ErrorReason::ReceiptUnknown,
    );
}

#[tokio::test]
async fn watching_ends_when_the_gateway_drains_and_there_are_only_so_many() {
    let mut world = World::start(|_| {}).await;
    send(&world, "id-1", "k").await;
    let mut client = world.client().await;
    let mut watching = Vec::new();
    let refused = loop {
        let records = vec![name("id-1", "k")];
        match client
            .watch_receipts(WatchReceiptsRequest { records })
            .await
        {
            Ok(watch) => watching.push(watch.into_inner()),
            Err(status) => break status,
        }
    };
    assert_refused(&refused, Code::ResourceExhausted, ErrorReason::Overloaded);
    assert_eq!(watching.len(), 64);
    for watch in &mut watching {
        let first = watch.message().await.unwrap().unwrap();
        assert_eq!(first.receipts.len(), 1);
    }
    world.shutdown.drain();
    for watch in &mut watching {
        let status = watch.message().await.unwrap_err();
        assert_refused(&status, Code::Unavailable, ErrorReason::Draining);
    }
    drop(watching);
    world.ended().await;
}

async fn get(world: &World, path: &str) -> Answer {
    exchange(world, &format!("GET {path}"), &[], "").await
}

#[tokio::test]
async fn http_says_the_same() {
    let world = World::start(|_| {}).await;
    let sent = send(&world, "list/7 ä", "a b").await;
    let position = sent.position.unwrap();
    let path = "/api/receipts/list%2F7%20%C3%A4";
    let found = get(&world, &format!("{path}?key=a%20b")).await;
    assert_eq!(found.status, 200, "{}", found.body);
    let receipt = found.json();
    assert_eq!(receipt["request_id"], "list/7 ä");
    assert_eq!(receipt["accepted"]["partition"], position.partition);
    assert_eq!(receipt["accepted"]["offset"], position.offset);
    assert!(receipt["accepted"]["time"].as_str().unwrap().ends_with('Z'));
    assert_eq!(receipt["destinations"][1]["destination"], "azure");
    assert_eq!(receipt["destinations"][1]["state"], "pending");
    for (path, expected, reason) in [
        (path.to_owned(), 404, "RECEIPT_UNKNOWN"),
        (format!("{path}?keys=a"), 400, "MALFORMED_RECORD"),
        (format!("{path}?key=a&key=b"), 400, "MALFORMED_RECORD"),
        ("/api/receipts/%ff".to_owned(), 400, "MALFORMED_RECORD"),
        (
            format!("/api/receipts/{}", "x".repeat(129)),
            400,
            "FIELD_TOO_LONG",
        ),
    ] {
        get(&world, &path).await.problem(expected, reason);
    }
}
