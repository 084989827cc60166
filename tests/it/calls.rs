//! The calls that are no stream of the client's own.

use crate::server::{LONG, Refuse, Scripted, record};
use cloudsync::client;
use cloudsync::reason::Refusal;
use cloudsync::{Client, ClientError, ClientSettings, ErrorReason, SyncRecord};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::time::timeout;
use tonic::{Code, Status};

fn overloaded() -> Status {
    Refusal::retryable(ErrorReason::Overloaded, Duration::from_millis(1), "busy").to_status()
}

#[tokio::test]
async fn one_record_is_sent_until_it_is_taken_under_one_id() {
    let server = Scripted::start([]).await;
    let answers = [
        overloaded(),
        Status::unavailable("gone"),
        Status::internal("?"),
    ];
    server.script.singles.lock().unwrap().extend(answers);
    let client = Client::new(server.settings()).unwrap();
    let nameless = SyncRecord::default();
    let answer = timeout(LONG, client.send_one(nameless))
        .await
        .unwrap()
        .unwrap();
    server.seen(|seen| {
        assert_eq!(seen.singles, 4);
        assert_eq!(seen.taken[&answer.request_id], 4);
    });
}

#[tokio::test]
async fn one_record_that_is_refused_for_good_is_sent_once() {
    let server = Scripted::start([]).await;
    let text = "record.key is too long";
    let refusal = Refusal::of_field(ErrorReason::FieldTooLong, "record.key", text).to_status();
    let mut forbidden = overloaded();
    let never = "-1".parse().unwrap();
    forbidden
        .metadata_mut()
        .insert("grpc-retry-pushback-ms", never);
    for (status, reason) in [
        (refusal, ErrorReason::FieldTooLong),
        (forbidden, ErrorReason::Overloaded),
    ] {
        server.script.singles.lock().unwrap().push_back(status);
        let client = Client::new(server.settings()).unwrap();
        let error = client.send_one(record(0)).await.unwrap_err();
        assert!(!error.is_retryable(), "{error}");
        assert_eq!(error.reason(), Some(reason));
    }
    server.seen(|seen| assert_eq!(seen.singles, 2));
}

#[tokio::test]
async fn one_record_ends_by_its_deadline() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let settings = ClientSettings {
        deadline: Duration::from_millis(100),
        ..crate::server::settings(silent.local_addr().unwrap())
    };
    let client = Client::new(settings).unwrap();
    let error = timeout(LONG, client.send_one(record(0)))
        .await
        .unwrap()
        .unwrap_err();
    let told = matches!(error, ClientError::DeadlineExceeded { .. });
    assert!(told && error.is_retryable(), "{error}");

    // A wait that would end behind the deadline is not waited for.
    let server = Scripted::start([]).await;
    let day = Duration::from_secs(86_400);
    let busy = Refusal::retryable(ErrorReason::Overloaded, day, "busy").to_status();
    server.script.singles.lock().unwrap().push_back(busy);
    let client = Client::new(server.settings()).unwrap();
    let error = timeout(LONG, client.send_one(record(0)))
        .await
        .unwrap()
        .unwrap_err();
    assert!(error.to_string().contains("busy"), "{error}");
}

#[tokio::test]
async fn the_bare_call_returns_the_summary_and_may_be_repeated() {
    let server = Scripted::start([]).await;
    server.script.refuse(7, Refuse::ForGood);
    let client = Client::new(server.settings()).unwrap();
    for time in 1..=2 {
        let records = client::iter((0..20).map(record));
        let call = client.sync_data(records);
        let summary = timeout(LONG, call).await.unwrap().unwrap();
        assert_eq!((summary.accepted_count, summary.rejected_count), (19, 1));
        assert_eq!(summary.rejections[0].index, 7);
        server.seen(|seen| {
            assert_eq!(seen.taken.len(), 19);
            assert!(seen.taken.values().all(|times| *times == time));
        });
    }
}

#[tokio::test]
async fn the_bare_call_tells_why_it_failed() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let settings = crate::server::settings(nobody.local_addr().unwrap());
    drop(nobody);
    let client = Client::new(settings).unwrap();
    let call = client.sync_data(client::iter([record(0)]));
    let error = timeout(LONG, call).await.unwrap().unwrap_err();
    assert!(error.is_retryable(), "{error}");
    let ClientError::Refused(status) = error else {
        panic!("{error}")
    };
    assert_eq!(status.code(), Code::Unavailable);
}
