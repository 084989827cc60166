//! How streams end, and when they do not.

use crate::server::{Act, LONG, Scripted, record, send_all, settings};
use cloudsync::client::ClientMetrics;
use cloudsync::reason::Refusal;
use cloudsync::{Client, ClientError, ClientSettings, ErrorReason};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::time::timeout;
use tonic::{Code, Status};

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
    // With this verdict came the word. All that went there has its verdict, so what is given now
    // goes elsewhere at once; the old gateway never ends the stream.
    stream.send(record(1)).await.unwrap();
    let summary = timeout(LONG, stream.close()).await.unwrap().unwrap();
    assert_eq!(
        (summary.acked, summary.resent, summary.connections),
        (2, 0, 2)
    );
    // And not when its time to end was over.
    assert_eq!(hooks.why.get().unwrap(), "the gateway drains");
    server.assert_taken(2);
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
    lost: Notify,
    /// Why the first connection was over.
    why: OnceLock<String>,
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
    fn disconnected(&self, why: &str) {
        self.why.get_or_init(|| why.to_owned());
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
async fn a_stream_without_records_connects_to_nothing() {
    let server = Scripted::start([]).await;
    let summary = send_all(server.settings(), 0).await.unwrap();
    assert_eq!((summary.acked, summary.connections), (0, 0));
    let nowhere = settings("127.0.0.1:9".parse().unwrap());
    assert_eq!(send_all(nowhere, 0).await.unwrap().acked, 0);
}
