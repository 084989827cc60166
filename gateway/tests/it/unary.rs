//! `SyncRecord`: one record, one verdict.

use crate::world::{World, assert_refused, encoded, record};
use cloudsync::v1::{ErrorReason, SyncRecord, SyncRecordRequest};
use cloudsync_gateway::MissingId;
use tonic::Code;
use tonic_types::StatusExt;

fn request(record: &SyncRecord) -> SyncRecordRequest {
    SyncRecordRequest {
        record: vec![encoded(record)],
    }
}

#[tokio::test]
async fn a_record_is_answered_with_its_place() {
    let world = World::start(|_| {}).await;
    let mut client = world.client().await;
    let sent = record("id-1", "account-7");
    let answer = client
        .sync_record(request(&sent))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (answer.request_id.as_str(), answer.duplicate),
        ("id-1", false)
    );
    let position = answer.position.unwrap();

    let log = world.log().await;
    let [stored] = &log[..] else {
        panic!("{} records", log.len())
    };
    assert_eq!(position.topic, "data-topic");
    assert_eq!(
        (stored.partition, stored.offset),
        (position.partition, position.offset)
    );
    assert_eq!(stored.key, "account-7");
    assert_eq!(
        stored.partition,
        cloudsync::partition::partition_of(b"account-7", 12)
    );
    assert_eq!(stored.record.tenant, "default");
    assert!(stored.record.accept_time.is_some());
    let as_sent = SyncRecord {
        tenant: String::new(),
        accept_time: None,
        ..stored.record.clone()
    };
    assert_eq!(as_sent, sent);
}

/// Not valid, with the reason and the field at fault.
fn refused_records() -> [(SyncRecord, ErrorReason, &'static str); 4] {
    let valid = record("id-1", "k");
    let id = "record.request_id";
    let unknown = SyncRecord {
        destinations: vec!["gcp".into()],
        ..valid.clone()
    };
    let owned = SyncRecord {
        tenant: "default".into(),
        ..valid
    };
    [
        (record("", "k"), ErrorReason::RequestIdMissing, id),
        (record("x".repeat(129), "k"), ErrorReason::FieldTooLong, id),
        (
            unknown,
            ErrorReason::UnknownDestination,
            "record.destinations",
        ),
        (owned, ErrorReason::GatewayOwnedField, "record.tenant"),
    ]
}

#[tokio::test]
async fn a_refusal_is_a_status_with_details() {
    let world = World::start(|settings| settings.missing_id = MissingId::Reject).await;
    let mut client = world.client().await;
    for (record, reason, field) in &refused_records() {
        let status = client.sync_record(request(record)).await.unwrap_err();
        assert_refused(&status, Code::InvalidArgument, *reason);
        let details = status.get_error_details();
        assert_eq!(
            details.bad_request().unwrap().field_violations[0].field,
            *field
        );
    }
    let valid = encoded(&record("id-1", "k"));
    for records in [vec![], vec![valid; 2], vec![vec![10, 9].into()]] {
        let status = client
            .sync_record(SyncRecordRequest { record: records })
            .await
            .unwrap_err();
        assert_refused(&status, Code::InvalidArgument, ErrorReason::MalformedRecord);
    }
    assert!(world.log().await.is_empty());
}

#[tokio::test]
async fn the_largest_record_passes_and_one_byte_more_does_not() {
    let world = World::start(|_| {}).await;
    let mut client = world.client().await;
    let filled = |payload: usize| SyncRecord {
        payload: vec![7; payload].into(),
        ..record("id-1", "k")
    };
    let frame = encoded(&filled(900_000)).len() - 900_000;
    // The last one is refused before the service sees it, and in the same words.
    for bytes in [1_000_001, 5 << 20] {
        let status = client
            .sync_record(request(&filled(bytes - frame)))
            .await
            .unwrap_err();
        assert_refused(
            &status,
            Code::ResourceExhausted,
            ErrorReason::RecordTooLarge,
        );
    }
    // The connection is as good as before.
    client
        .sync_record(request(&filled(1_000_000 - frame)))
        .await
        .unwrap();
    assert_eq!(world.log().await.len(), 1);
    assert_eq!((world.counters.acked(), world.counters.refused()), (1, 1));
}

#[tokio::test]
async fn equal_records_without_an_id_are_one_effect_where_the_content_makes_it() {
    let world = World::start(|settings| settings.missing_id = MissingId::Content).await;
    let mut client = world.client().await;
    let mut ids = Vec::new();
    for key in ["a", "a", "b"] {
        let answer = client.sync_record(request(&record("", key))).await.unwrap();
        ids.push(answer.into_inner().request_id);
    }
    assert!(ids[0] == ids[1] && ids[1] != ids[2], "{ids:?}");
    let log = world.log().await;
    assert!(
        log.iter()
            .all(|stored| ids.contains(&stored.record.request_id))
    );
}
