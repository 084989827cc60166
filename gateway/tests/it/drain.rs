//! Draining under load: what was acknowledged is in the log.

use crate::world::{World, assert_refused, encoded, record, until};
use cloudsync::v1::{ErrorReason, SyncDataRequest, SyncDataStreamRequest};
use futures::stream;
use std::collections::HashSet;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

const STREAMS: usize = 4;
const BATCH: u64 = 50;

/// Sends batches without end; returns the ids that were acknowledged when the gateway ended it.
async fn send_until_told(world: &World, stream: usize) -> Vec<String> {
    let id = move |n: u64| format!("{stream}/{n:08}");
    let batches = stream::iter((0u64..).map(move |b| {
        SyncDataStreamRequest {
            records: (b * BATCH..(b + 1) * BATCH)
                .map(|n| encoded(&record(id(n), format!("key-{stream}"))))
                .collect(),
        }
    }));
    let mut client = world.client().await;
    let mut answers = client.sync_data_stream(batches).await.unwrap().into_inner();
    let (mut acked, mut draining) = (0, false);
    let status = loop {
        match answers.message().await {
            Ok(Some(answer)) => {
                assert!(answer.rejections.is_empty(), "{:?}", answer.rejections[0]);
                assert!(answer.draining || !draining);
                (acked, draining) = (answer.acked_count, answer.draining);
            }
            Ok(None) => panic!("the stream ended as if it were complete"),
            Err(status) => break status,
        }
    };
    assert!(draining, "the end was not announced: {status:?}");
    assert_refused(&status, Code::Unavailable, ErrorReason::Draining);
    (0..acked).map(id).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_acknowledged_is_in_the_log() {
    let mut world = World::start(|_| {}).await;
    // One more that has sent something and waits: no summary for it, but a clear end.
    let (sender, requests) = mpsc::channel(1);
    let mut client = world.client().await;
    let first = SyncDataRequest {
        record: vec![encoded(&record("single", "k"))],
    };
    sender.send(first).await.unwrap();
    let waiting = client.sync_data(ReceiverStream::new(requests));

    let streams: Vec<_> = (0..STREAMS)
        .map(|stream| send_until_told(&world, stream))
        .collect();
    let drain = async {
        until(async || world.counters.acked() >= 20_000).await;
        world.shutdown.drain();
    };
    let streams = futures::future::join_all(streams);
    let (acked, summary, ()) = futures::join!(streams, waiting, drain);
    assert_refused(
        &summary.unwrap_err(),
        Code::Unavailable,
        ErrorReason::Draining,
    );
    drop(sender);
    world.ended().await;

    let log = world.log().await;
    let ids: HashSet<_> = log
        .iter()
        .map(|stored| stored.record.request_id.as_str())
        .collect();
    assert_eq!(ids.len(), log.len(), "nothing is written twice");
    let acked: Vec<_> = acked.into_iter().flatten().collect();
    assert!(acked.len() >= 19_000, "{}", acked.len());
    let missing: Vec<_> = acked
        .iter()
        .filter(|id| !ids.contains(id.as_str()))
        .collect();
    assert!(
        missing.is_empty(),
        "{} acked records are not in the log",
        missing.len()
    );
    // What the gateway took it finished: it acked neither more nor less than it wrote.
    assert_eq!(world.counters.acked(), log.len() as u64);
    assert_eq!(
        world.counters.received(),
        world.counters.acked() + world.counters.refused()
    );
    for stream in 0..STREAMS {
        let key = format!("key-{stream}");
        let of_key = log.iter().filter(|stored| stored.key == key);
        let ids: Vec<_> = of_key.map(|stored| &stored.record.request_id).collect();
        let wrong = ids.windows(2).find(|pair| pair[0] >= pair[1]);
        assert_eq!(wrong, None, "two records of one key in the wrong order");
    }
    assert_eq!(world.tasks.finish(crate::world::PATIENCE).await, 0);
}

#[tokio::test]
async fn a_gateway_without_calls_ends_at_once() {
    let mut world = World::start(|_| {}).await;
    let idle = world.channel().await;
    world.shutdown.drain();
    world.ended().await;
    drop(idle);
    assert!(
        std::net::TcpListener::bind(world.address).is_ok(),
        "the port is free again"
    );
}
