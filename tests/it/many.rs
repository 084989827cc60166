//! Many streams of one client at once.

use crate::server::{LONG, Scripted, record};
use cloudsync::Client;
use std::sync::Arc;
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tokio::time::timeout;

const STREAMS: usize = 10_000;

/// All of them are open together: none ends before each has its first record acknowledged.
#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_streams_share_connections_and_none_starves() {
    let server = Scripted::start([]).await;
    let client = Client::new(server.settings()).unwrap();
    let together = Arc::new(Barrier::new(STREAMS));
    let mut streams = JoinSet::new();
    for n in 0..STREAMS {
        let (client, together) = (client.clone(), Arc::clone(&together));
        streams.spawn(async move {
            let mut stream = client.stream();
            stream.send(record(2 * n)).await.unwrap();
            stream.flush().await.unwrap();
            together.wait().await;
            stream.send(record(2 * n + 1)).await.unwrap();
            stream.close().await.unwrap().acked
        });
    }
    let acked: Vec<u64> = timeout(LONG, streams.join_all()).await.unwrap();
    assert!(acked.iter().all(|acked| *acked == 2));
    server.seen(|seen| {
        assert_eq!(seen.taken.len(), 2 * STREAMS);
        assert_eq!(seen.streams as usize, STREAMS);
    });
}
