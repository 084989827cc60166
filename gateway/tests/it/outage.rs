//! A log that is gone for a while, and a gateway that is full meanwhile.

use crate::world::{PATIENCE, World, assert_refused, encoded, record, until};
use cloudsync::v1::data_sync_service_client::DataSyncServiceClient;
use cloudsync::v1::{
    ErrorReason, SyncDataRequest, SyncDataStreamRequest, SyncDataStreamResponse, SyncRecordRequest,
};
use futures::{StreamExt, stream};
use std::sync::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Response, Streaming};

type Client = DataSyncServiceClient<Channel>;
type Answers = Response<Streaming<SyncDataStreamResponse>>;

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

/// Starts `calls` calls of `records` records each, and gives them up when all of those are queued.
async fn cancelled(world: &World, calls: usize, records: usize) {
    let mut running = JoinSet::new();
    for call in 0..calls {
        let mut client = world.client().await;
        let requests = (0..records).map(move |n| SyncDataRequest {
            record: vec![encoded(&record(format!("{call}/{n}"), format!("{call}")))],
        });
        let requests = stream::iter(requests).chain(stream::pending());
        running.spawn(async move { client.sync_data(requests).await });
    }
    until(async || world.producer.in_flight() == calls * records).await;
    running.shutdown().await;
}

/// Opens `count` streams, as soon as the gateway takes them.
async fn opened(client: &Client, count: usize) -> Vec<Answers> {
    let streams = Mutex::new(Vec::new());
    until(async || {
        let opened = client.clone().sync_data_stream(stream::pending()).await;
        streams.lock().unwrap().extend(opened.ok());
        streams.lock().unwrap().len() == count
    })
    .await;
    streams.into_inner().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_call_keeps_its_share_until_the_log_has_answered() {
    const CALLS: usize = 8;
    const RECORDS: usize = 64;
    let mut world = World::start_with(|settings, kafka| {
        settings.max_in_flight_records = RECORDS;
        settings.max_streams = CALLS;
        kafka.queue_records = u32::try_from(RECORDS).unwrap();
    })
    .await;
    world.stop_log().await;
    cancelled(&world, CALLS, RECORDS / CALLS).await;
    // The gateway has seen the end of all of them when it opens as many others.
    let client = world.client().await;
    let others = opened(&client, CALLS - 1).await;
    let (batches, incoming) = mpsc::channel(1);
    let mut last = client.clone();
    let acks = last.sync_data_stream(ReceiverStream::new(incoming));
    let mut acks = acks.await.unwrap().into_inner();

    // Their records have not left the gateway, so there is room for no other.
    let request = SyncRecordRequest {
        record: vec![encoded(&record("one more", "k"))],
    };
    let mut single = client.clone();
    let refused = single.sync_record(request);
    let status = tokio::time::timeout(PATIENCE, refused).await.unwrap();
    assert_refused(
        &status.unwrap_err(),
        Code::ResourceExhausted,
        ErrorReason::Overloaded,
    );

    // What waits behind them keeps its order when the log is back.
    let sizes = [48, 16, 40, 24, 1, 63, 33, 31];
    let total: usize = sizes.iter().sum();
    let send = async {
        let mut ids = 0..;
        for size in sizes {
            let records = ids.by_ref().take(size);
            let records = records.map(|n| encoded(&record(format!("{n:04}"), "ordered")));
            let batch = SyncDataStreamRequest {
                records: records.collect(),
            };
            batches.send(batch).await.unwrap();
        }
        drop(batches);
    };
    let hear = async {
        while let Some(answer) = acks.message().await.unwrap() {
            assert!(answer.rejections.is_empty(), "{:?}", answer.rejections[0]);
            if answer.acked_count == total as u64 {
                return;
            }
        }
        panic!("the stream ended before everything was acknowledged");
    };
    futures::join!(send, hear, world.start_log());
    drop(others);
    let log = world.log().await;
    let ordered = log.iter().filter(|stored| stored.key == "ordered");
    let ids: Vec<_> = ordered.map(|stored| &stored.record.request_id).collect();
    assert_eq!(ids.len(), total);
    let wrong = ids.windows(2).find(|pair| pair[0] >= pair[1]);
    assert_eq!(wrong, None, "two records of one key in the wrong order");
}
