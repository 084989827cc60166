//! Streams against a gateway that does what it may do.

use crate::server::{Act, LONG, Refuse, Scripted, record, settings};
use cloudsync::client::{self, ClientMetrics, Verdict};
use cloudsync::reason::Refusal;
use cloudsync::{Client, ClientError, ClientSettings, ErrorReason, SyncRecord};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::time::timeout;
use tonic::{Code, Status};

const RECORDS: usize = 100;

async fn send_all(
    settings: ClientSettings,
    records: usize,
) -> Result<client::Summary, ClientError> {
    let client = Client::new(settings).unwrap();
    let records = client::iter((0..records).map(record));
    timeout(LONG, client.send_all(records)).await.unwrap()
}

/// Each record was taken, and those without a fault in between once.
fn assert_taken(server: &Scripted, records: usize) {
    let expected: Vec<_> = (0..records).map(|n| record(n).request_id).collect();
    server.seen(|seen| {
        let taken: Vec<_> = seen.taken.keys().cloned().collect();
        assert_eq!(taken, expected);
    });
}

#[tokio::test]
async fn everything_is_sent_once_and_in_order() {
    let server = Scripted::start([]).await;
    let summary = send_all(server.settings(), RECORDS).await.unwrap();
    assert_eq!((summary.acked, summary.rejected), (100, 0));
    assert_eq!((summary.resent, summary.connections), (0, 1));
    let order: Vec<_> = (0..RECORDS).map(|n| record(n).request_id).collect();
    server.seen(|seen| assert_eq!(seen.order, order));
}

#[tokio::test]
async fn lost_acknowledgements_are_asked_for_again_under_the_same_ids() {
    let server = Scripted::start([Act::LoseAck, Act::LoseAck, Act::LoseAck]).await;
    let summary = send_all(server.settings(), RECORDS).await.unwrap();
    assert_eq!((summary.acked, summary.rejected), (100, 0));
    assert_eq!(summary.connections, 4);
    assert_taken(&server, RECORDS);
    server.seen(|seen| {
        // The first batch was taken by all four streams, by three of them in vain.
        assert_eq!(seen.taken[&record(0).request_id], 4);
        assert_eq!(seen.taken[&record(99).request_id], 1);
    });
}

#[tokio::test]
async fn no_record_goes_beyond_the_credit() {
    let server = Scripted::start([Act::Credit(10)]).await;
    let summary = send_all(server.settings(), RECORDS).await.unwrap();
    assert_eq!((summary.acked, summary.connections), (100, 1));
    server.seen(|seen| assert_eq!(seen.beyond_credit, 0));
}

#[tokio::test]
async fn a_gateway_that_drains_gets_nothing_more_and_the_rest_goes_to_the_next() {
    let wait = Duration::from_millis(5);
    let status = Refusal::retryable(ErrorReason::Draining, wait, "stopping").to_status();
    let end = Arc::new(Notify::new());
    let server = Scripted::start([Act::Drain(status, Arc::clone(&end))]).await;
    let hooks = Arc::new(Hooks::default());
    let mut stream = Client::new(hooks.settings(&server)).unwrap().stream();
    stream.send(record(0)).await.unwrap();
    stream.flush().await.unwrap();
    // With this verdict came the word; what is given now stays here.
    stream.send(record(1)).await.unwrap();
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(hooks.sent.load(Relaxed), 1);
    end.notify_one();
    let summary = timeout(LONG, stream.close()).await.unwrap().unwrap();
    assert_eq!(
        (summary.acked, summary.resent, summary.connections),
        (2, 0, 2)
    );
    assert_taken(&server, 2);
}

#[tokio::test]
async fn a_poisoned_record_in_the_middle_of_a_batch_is_named_and_harms_no_other() {
    let server = Scripted::start([]).await;
    server.script.refuse(50, Refuse::ForGood);
    server.script.refuse(53, Refuse::ForNow(3));
    let summary = send_all(server.settings(), RECORDS).await.unwrap();
    assert_eq!((summary.acked, summary.rejected), (99, 1));
    let (sequence, rejection) = &summary.rejections[0];
    assert_eq!(*sequence, 50);
    assert_eq!(rejection.request_id, record(50).request_id);
    assert_eq!(rejection.reason(), ErrorReason::FieldTooLong);
    server.seen(|seen| {
        assert_eq!(seen.taken.len(), 99);
        assert!(seen.taken.values().all(|times| *times == 1));
    });
}

#[tokio::test]
async fn what_would_end_the_same_way_is_not_tried_again() {
    for code in [
        Code::Unauthenticated,
        Code::Unimplemented,
        Code::InvalidArgument,
    ] {
        let server = Scripted::start([Act::End(Status::new(code, "no"))]).await;
        let error = send_all(server.settings(), 1).await.unwrap_err();
        assert!(!error.is_retryable(), "{error}");
        let ClientError::Refused(status) = error else {
            panic!("{error}")
        };
        assert_eq!(status.code(), code);
        server.seen(|seen| assert_eq!(seen.streams, 1));
    }
    for code in [
        Code::Unavailable,
        Code::Unknown,
        Code::Internal,
        Code::Cancelled,
    ] {
        let server = Scripted::start([Act::End(Status::new(code, "for now"))]).await;
        assert_eq!(send_all(server.settings(), 1).await.unwrap().acked, 1);
    }
}

#[tokio::test]
async fn it_gives_up_when_nothing_comes_and_says_what_was_last() {
    let server = Scripted::start(vec![Act::Silence; 9]).await;
    let settings = ClientSettings {
        give_up_after: Duration::from_millis(200),
        connect_timeout: Duration::from_millis(200),
        ..server.settings()
    };
    let silent = send_all(settings.clone(), 3).await.unwrap_err();
    let ClientError::GaveUp { unacknowledged, .. } = silent else {
        panic!("{silent}")
    };
    assert_eq!(unacknowledged, 3);

    // A port where nobody listens, and one whose listener never answers.
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = closed.local_addr().unwrap();
    for closed in [Some(closed), None] {
        let settings = ClientSettings {
            endpoint: format!("http://{address}"),
            ..settings.clone()
        };
        let error = send_all(settings, 3).await.unwrap_err();
        assert!(error.is_retryable());
        let text = error.to_string();
        let refused = text.contains("Connection refused");
        assert_eq!(refused, closed.is_none(), "{text}");
    }
}

/// It is lost when it was silent for longer than anything may wait: no reason to give up.
#[tokio::test]
async fn a_stream_with_nothing_under_way_never_gives_up() {
    let silence = Duration::from_millis(3_500);
    let server = Scripted::start([Act::EndIdle(silence)]).await;
    let hooks = Arc::new(Hooks::default());
    let settings = ClientSettings {
        give_up_after: Duration::from_secs(3),
        connect_timeout: LONG,
        ..hooks.settings(&server)
    };
    let mut stream = Client::new(settings).unwrap().stream();
    stream.send(record(0)).await.unwrap();
    stream.flush().await.unwrap();
    timeout(LONG, hooks.lost.notified()).await.unwrap();
    stream.send(record(1)).await.unwrap();
    let summary = timeout(LONG, stream.close()).await.unwrap().unwrap();
    assert_eq!((summary.acked, summary.connections), (2, 2));
}

#[derive(Debug, Default)]
struct Hooks {
    sent: AtomicUsize,
    lost: Notify,
}

impl Hooks {
    fn settings(self: &Arc<Self>, server: &Scripted) -> ClientSettings {
        ClientSettings {
            linger: Duration::ZERO,
            metrics: Some(Arc::clone(self) as Arc<dyn ClientMetrics>),
            ..server.settings()
        }
    }
}

impl ClientMetrics for Hooks {
    fn sent(&self, records: usize, _: usize, _: usize) {
        self.sent.fetch_add(records, Relaxed);
    }
    fn disconnected(&self, _: &str) {
        self.lost.notify_one();
    }
}

/// Neither goes on for nobody: the task, which holds the hooks, ends.
#[tokio::test]
async fn a_dropped_stream_ends_connected_or_not() {
    let server = Scripted::start([Act::Silence]).await;
    let nowhere = settings("127.0.0.1:9".parse().unwrap());
    for endpoint in [server.settings().endpoint, nowhere.endpoint] {
        let hooks = Arc::new(Hooks::default());
        let settings = ClientSettings {
            endpoint,
            ..hooks.settings(&server)
        };
        let mut stream = Client::new(settings).unwrap().stream();
        stream.send(record(0)).await.unwrap();
        drop(stream);
        let ended = async {
            while Arc::strong_count(&hooks) > 1 {
                tokio::task::yield_now().await;
            }
        };
        timeout(LONG, ended).await.unwrap();
    }
}

/// Every other record is refused, so no two verdicts join; nobody reads them for a while.
#[tokio::test]
async fn unread_verdicts_hold_nothing_up_and_none_is_missing() {
    let server = Scripted::start([]).await;
    for n in (0..600).step_by(2) {
        server.script.refuse(n, Refuse::ForGood);
    }
    let (mut sender, mut verdicts) = Client::new(server.settings()).unwrap().stream().split();
    for n in 0..600 {
        sender.send(record(n)).await.unwrap();
    }
    let all = async {
        while sender.stats().acked + sender.stats().rejected < 600 {
            tokio::task::yield_now().await;
        }
    };
    timeout(LONG, all).await.unwrap();
    sender.finish();
    for n in 0..600 {
        let verdict = verdicts.next().await.unwrap().unwrap();
        let rejected = matches!(verdict, Verdict::Rejected { sequence, .. } if sequence == n);
        assert!(
            rejected || verdict == Verdict::Acked(n..n + 1),
            "{n}: {verdict:?}"
        );
    }
    assert!(verdicts.next().await.is_none());
}

#[tokio::test]
async fn what_is_refused_for_now_is_not_overtaken_by_what_was_not_sent_yet() {
    let server = Scripted::start([]).await;
    server.script.refuse(2, Refuse::ForNow(1));
    let (mut sender, mut verdicts) = Client::new(server.settings()).unwrap().stream().split();
    for n in 0..4 {
        sender.send(record(n)).await.unwrap();
    }
    let mut acked = 0;
    while acked < 3 {
        let Verdict::Acked(range) = verdicts.next().await.unwrap().unwrap() else {
            panic!("none is refused for good")
        };
        acked += range.end - range.start;
    }
    sender.send(record(4)).await.unwrap();
    sender.finish();
    while let Some(verdict) = verdicts.next().await {
        verdict.unwrap();
    }
    let order: Vec<_> = [0, 1, 3, 2, 4].map(|n| record(n).request_id).into();
    server.seen(|seen| assert_eq!(seen.order, order));
}

#[tokio::test]
async fn an_endpoint_that_cannot_be_is_refused_at_once() {
    for (endpoint, why) in [
        ("https://127.0.0.1:1", "there is no TLS yet"),
        ("127.0.0.1:1", "it does not begin with http://"),
        ("http://", ""),
    ] {
        let error = Client::new(ClientSettings::to(endpoint)).unwrap_err();
        assert!(matches!(error, ClientError::Endpoint { .. }), "{error}");
        assert!(error.to_string().contains(why), "{error}");
    }
}

#[tokio::test]
async fn never_is_a_time_as_well() {
    let server = Scripted::start([Act::LoseAck]).await;
    let settings = ClientSettings {
        give_up_after: Duration::MAX,
        connect_timeout: Duration::MAX,
        deadline: Duration::MAX,
        ..server.settings()
    };
    let client = Client::new(settings.clone()).unwrap();
    client.send_one(record(0)).await.unwrap();
    assert_eq!(send_all(settings, 10).await.unwrap().acked, 10);
}

#[tokio::test]
async fn a_record_that_is_too_large_is_named_and_the_rest_is_sent() {
    let server = Scripted::start([]).await;
    let large = SyncRecord {
        payload: vec![0; 1_000_001].into(),
        ..record(1)
    };
    let client = Client::new(server.settings()).unwrap();
    let records = client::iter([record(0), large, record(2)]);
    let summary = timeout(LONG, client.send_all(records))
        .await
        .unwrap()
        .unwrap();
    assert_eq!((summary.acked, summary.rejected), (2, 1));
    let (sequence, rejection) = &summary.rejections[0];
    assert_eq!(*sequence, 1);
    assert_eq!(rejection.reason(), ErrorReason::RecordTooLarge);
}

#[tokio::test]
async fn flush_waits_for_all_and_the_stream_goes_on() {
    let server = Scripted::start([Act::LoseAck]).await;
    let mut stream = Client::new(server.settings()).unwrap().stream();
    stream.flush().await.unwrap();
    for n in 0..10 {
        assert_eq!(stream.send(record(n)).await.unwrap(), n as u64);
    }
    timeout(LONG, stream.flush()).await.unwrap().unwrap();
    assert_eq!(stream.summary().acked, 10);
    assert_taken(&server, 10);
    // A record that is too large is no reason to end.
    let large = SyncRecord {
        payload: vec![0; 1_000_001].into(),
        ..record(10)
    };
    let error = stream.send(large).await.unwrap_err();
    assert!(
        matches!(error, ClientError::RecordTooLarge { .. }),
        "{error}"
    );
    stream.send(record(10)).await.unwrap();
    let summary = timeout(LONG, stream.close()).await.unwrap().unwrap();
    assert_eq!(summary.acked, 11);
    assert_taken(&server, 11);
}

#[tokio::test]
async fn the_halves_of_a_stream_work_in_two_tasks() {
    let server = Scripted::start([]).await;
    server.script.refuse(1, Refuse::ForGood);
    let (mut sender, mut verdicts) = Client::new(server.settings()).unwrap().stream().split();
    let listener = tokio::spawn(async move {
        let (mut acked, mut rejected) = (Vec::new(), Vec::new());
        while let Some(verdict) = verdicts.next().await {
            match verdict.unwrap() {
                Verdict::Acked(range) => acked.extend(range),
                Verdict::Rejected { sequence, .. } => rejected.push(sequence),
            }
        }
        (acked, rejected)
    });
    for n in 0..3 {
        sender.send(record(n)).await.unwrap();
    }
    timeout(LONG, sender.flush()).await.unwrap().unwrap();
    assert_eq!(sender.stats().acked + sender.stats().rejected, 3);
    sender.finish();
    let heard = timeout(LONG, listener).await.unwrap().unwrap();
    assert_eq!(heard, (vec![0, 2], vec![1]));
}

/// A window of two records: the third waits for a verdict, which the handle itself takes in.
#[tokio::test]
async fn a_full_window_waits_and_does_not_hang() {
    let server = Scripted::start([Act::LoseAck]).await;
    let settings = ClientSettings {
        window_records: 2,
        ..server.settings()
    };
    let summary = send_all(settings, RECORDS).await.unwrap();
    assert_eq!(summary.acked, 100);
    assert_taken(&server, RECORDS);
}

#[tokio::test]
async fn ids_are_made_before_the_first_attempt() {
    let server = Scripted::start([Act::LoseAck, Act::LoseAck]).await;
    let client = Client::new(server.settings()).unwrap();
    let nameless = SyncRecord {
        payload: "x".into(),
        ..SyncRecord::default()
    };
    let summary = client.send_all(client::iter([nameless])).await.unwrap();
    assert_eq!(summary.acked, 1);
    server.seen(|seen| {
        let times: Vec<_> = seen.taken.values().copied().collect();
        assert_eq!(times, [3], "three attempts, one id");
        let id = seen.order[0].parse::<uuid::Uuid>().unwrap();
        assert_eq!(id.get_version_num(), 7);
    });
}

#[tokio::test]
async fn a_stream_without_records_connects_to_nothing() {
    let server = Scripted::start([]).await;
    let summary = send_all(server.settings(), 0).await.unwrap();
    assert_eq!((summary.acked, summary.connections), (0, 0));
    let nowhere = settings("127.0.0.1:9".parse().unwrap());
    assert_eq!(send_all(nowhere, 0).await.unwrap().acked, 0);
}
