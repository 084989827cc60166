//! What a user hangs into a client is asked, and told.

use crate::server::{Act, LONG, Refuse, Scripted, record};
use cloudsync::client::{self, ClientMetrics, TraceContext, TraceSource};
use cloudsync::v1::Rejection;
use cloudsync::{Client, ClientSettings};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::time::timeout;

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[derive(Debug)]
struct Caller(&'static str);

impl TraceSource for Caller {
    fn current(&self) -> Option<TraceContext> {
        Some(TraceContext {
            traceparent: self.0.to_owned(),
            tracestate: String::new(),
        })
    }
}

#[derive(Debug, Default)]
struct Told {
    connected: AtomicU64,
    disconnected: AtomicU64,
    sent: AtomicU64,
    again: AtomicU64,
    acked: AtomicU64,
    rejected: AtomicU64,
    unacknowledged: AtomicU64,
}

impl ClientMetrics for Told {
    fn connected(&self) {
        self.connected.fetch_add(1, Relaxed);
    }
    fn disconnected(&self, reason: &str) {
        assert!(!reason.is_empty());
        self.disconnected.fetch_add(1, Relaxed);
    }
    fn sent(&self, records: usize, bytes: usize, again: usize) {
        assert!(records > 0 && bytes > records);
        self.sent.fetch_add(records as u64, Relaxed);
        self.again.fetch_add(again as u64, Relaxed);
    }
    fn acked(&self, records: u64, age: Duration) {
        assert!(age < LONG);
        self.acked.fetch_add(records, Relaxed);
    }
    fn rejected(&self, rejection: &Rejection) {
        assert!(!rejection.message.is_empty());
        self.rejected.fetch_add(1, Relaxed);
    }
    fn unacknowledged(&self, records: usize) {
        self.unacknowledged.store(records as u64, Relaxed);
    }
}

#[tokio::test]
async fn every_call_carries_the_trace_of_its_caller() {
    let server = Scripted::start([Act::LoseAck]).await;
    for (source, arrives) in [(PARENT, true), ("no\nheader", false)] {
        let settings = ClientSettings {
            trace: Some(Arc::new(Caller(source))),
            ..server.settings()
        };
        let client = Client::new(settings).unwrap();
        client.send_one(record(0)).await.unwrap();
        client.sync_data(client::iter([record(1)])).await.unwrap();
        let all = client.send_all(client::iter([record(2)]));
        timeout(LONG, all).await.unwrap().unwrap();
        server.seen(|seen| {
            let parents = seen
                .headers
                .iter()
                .map(|headers| headers.get("traceparent"));
            let arrived = parents.filter(|parent| parent.is_some_and(|it| it == PARENT));
            // The stream was opened twice, the first time in vain.
            assert_eq!(
                (seen.headers.len(), arrived.count()),
                if arrives { (4, 4) } else { (7, 4) }
            );
        });
    }
}

#[tokio::test]
async fn the_metrics_add_up() {
    let server = Scripted::start([Act::LoseAck]).await;
    server.script.refuse(9, Refuse::ForGood);
    let told = Arc::new(Told::default());
    let settings = ClientSettings {
        metrics: Some(Arc::clone(&told) as Arc<dyn ClientMetrics>),
        ..server.settings()
    };
    let client = Client::new(settings).unwrap();
    let all = client.send_all(client::iter((0..50).map(record)));
    let summary = timeout(LONG, all).await.unwrap().unwrap();
    assert_eq!((summary.acked, summary.rejected), (49, 1));
    let get = |counter: &AtomicU64| counter.load(Relaxed);
    assert_eq!(get(&told.acked), 49);
    assert_eq!(get(&told.rejected), 1);
    assert_eq!((get(&told.connected), get(&told.disconnected)), (2, 2));
    assert_eq!(get(&told.again), summary.resent);
    assert_eq!(get(&told.sent) - get(&told.again), 50);
    assert_eq!(get(&told.unacknowledged), 0);
}
