//! A log that is gone for a while, and a gateway that is full meanwhile.

use crate::world::{World, assert_refused, encoded, record, until};
use cloudsync::v1::{ErrorReason, SyncRecordRequest};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Code;

async fn readyz(world: &World) -> String {
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    let request = b"GET /readyz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn an_outage_is_told_and_passes() {
    let mut world = World::start(|settings| settings.max_in_flight_records = 1).await;
    let mut client = world.client().await;
    let request = |id: &str| SyncRecordRequest {
        record: vec![encoded(&record(id, "k"))],
    };
    client.sync_record(request("before")).await.unwrap();
    assert!(readyz(&world).await.starts_with("HTTP/1.1 200 OK"));

    world.stop_log().await;
    let mut second = client.clone();
    let during = async {
        until(async || world.producer.in_flight() == 1).await;
        // There is room for one record, and it is taken.
        let status = second.sync_record(request("full")).await.unwrap_err();
        assert_refused(&status, Code::ResourceExhausted, ErrorReason::Overloaded);
        assert_eq!(
            status.metadata().get("grpc-retry-pushback-ms").unwrap(),
            "250"
        );
        assert!(
            status
                .message()
                .contains("gateway.max_in_flight_records = 1"),
            "{status:?}"
        );
    };
    let (lost, ()) = futures::join!(client.sync_record(request("lost")), during);
    assert_refused(
        &lost.unwrap_err(),
        Code::Unavailable,
        ErrorReason::LogUnavailable,
    );
    let waiting = readyz(&world).await;
    assert!(waiting.starts_with("HTTP/1.1 503"), "{waiting}");
    assert!(
        waiting.contains(r#"{"condition":"log","for":"#),
        "{waiting}"
    );

    world.start_log().await;
    until(async || readyz(&world).await.starts_with("HTTP/1.1 200")).await;
    client.sync_record(request("after")).await.unwrap();
    let log = world.log().await;
    let ids: Vec<_> = log
        .iter()
        .map(|stored| stored.record.request_id.as_str())
        .collect();
    assert!(
        ids == ["before", "after"] || ids == ["before", "lost", "after"],
        "{ids:?}"
    );
    assert_eq!((world.counters.acked(), world.counters.refused()), (2, 2));
}
