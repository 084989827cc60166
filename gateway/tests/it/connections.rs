//! Connections: how many, and what each holds.

use crate::wire::post;
use crate::world::{PATIENCE, World, assert_refused, encoded, record, until};
use cloudsync::v1::data_sync_service_client::DataSyncServiceClient;
use cloudsync::v1::{ErrorReason, SyncDataStreamRequest, SyncRecord, SyncRecordRequest};
use futures::stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic::Code;

/// Streams that are held back fill what their client may send; a call beside them still gets
/// through.
#[tokio::test]
async fn held_streams_leave_room_for_others_of_their_connection() {
    let calls: u32 = 16;
    let mut world = World::start(|settings| {
        settings.max_streams_per_connection = calls;
        settings.max_in_flight_records = 1;
    })
    .await;
    // What is admitted is not answered, and nothing more is admitted.
    world.stop_log().await;
    let channel = world.channel().await;
    let mut held = Vec::new();
    for number in 1..calls {
        let mut client = DataSyncServiceClient::new(channel.clone());
        let big = SyncRecord {
            payload: vec![7; 900_000].into(),
            ..record(number.to_string(), "key")
        };
        let batch = SyncDataStreamRequest {
            records: vec![encoded(&big)],
        };
        let answers = client.sync_data_stream(stream::iter(vec![batch; 8]));
        held.push(answers.await.unwrap().into_inner());
    }
    let mut client = DataSyncServiceClient::new(channel);
    // Often enough for all that may be sent to have been sent.
    for _ in 0..200 {
        let request = SyncRecordRequest {
            record: vec![encoded(&record("one", "key"))],
        };
        let answer = timeout(PATIENCE, client.sync_record(request)).await;
        let status = answer.expect("it got through").unwrap_err();
        assert_refused(&status, Code::ResourceExhausted, ErrorReason::Overloaded);
    }
}

/// A connection that the gateway has let in.
async fn let_in(world: &World) -> TcpStream {
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    let request = b"GET /livez HTTP/1.1\r\nHost: cloudsync\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"ok") {
        assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0);
    }
    stream
}

#[tokio::test]
async fn one_connection_too_many_is_told_so() {
    let world = World::start(|settings| settings.max_connections = 2).await;
    let (first, second) = (let_in(&world).await, let_in(&world).await);
    let problem = post(&world, &[], "1").await.problem(503, "OVERLOADED");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("gateway.max_connections = 2"), "{detail}");
    let endpoint = format!("http://{}", world.address);
    let channel = tonic::transport::Endpoint::new(endpoint).unwrap();
    let mut client = DataSyncServiceClient::new(channel.connect_lazy());
    let request = || SyncRecordRequest {
        record: vec![encoded(&record("one", "key"))],
    };
    let status = client.sync_record(request()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    // Those that are in notice nothing, and a place that is given back is another's.
    drop(second);
    until(async || post(&world, &[], "1").await.status == 202).await;
    drop(first);
    until(async || client.clone().sync_record(request()).await.is_ok()).await;
}
