//! The proxy with faults itself: each does what it says at the server behind, and is counted.

use cloudsync_cli::faults::{Fault, FaultyProxy, Outage, Plan};
use cloudsync_harness::endpoint::{Behaviour, Endpoint};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// Longest wait for an answer; one that hangs is told from one that does not by that.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is answered to a post of `id`, to the end of the connection.
async fn post(to: SocketAddr, id: &str) -> io::Result<String> {
    let request = format!(
        "POST /b/o?x=1 HTTP/1.1\r\nhost: bucket.example\r\nauthorization: signed\r\n\
         if-none-match: *\r\nidempotency-key: {id}\r\ncontent-length: 5\r\nconnection: close\r\n\r\n\
         hello"
    );
    let mut stream = TcpStream::connect(to).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[tokio::test]
async fn each_fault_does_what_it_says() {
    let endpoint = Endpoint::start(Behaviour::default()).await.unwrap();
    // What is answered (nothing: an empty answer, or none), and the effects at the server.
    for (fault, says, effects) in [
        (Fault::Broken, "HTTP/1.1 50", 0),
        (Fault::Throttle, "HTTP/1.1 429", 0),
        (Fault::Denied, "HTTP/1.1 403", 0),
        (Fault::CutRequest, "", 0),
        (Fault::LostReply, "", 1),
        (Fault::CutReply, "HTTP/1.1 201", 1),
        (Fault::Hang, "", 0),
    ] {
        let plan = Plan::of([(fault, 1.0)]);
        let proxy = FaultyProxy::start(endpoint.address(), plan, 1)
            .await
            .unwrap();
        assert_eq!(proxy.missing(), [fault]);
        let id = fault.to_string();
        let answer = timeout(PATIENCE, post(proxy.address(), &id)).await;
        assert_eq!(answer.is_err(), fault == Fault::Hang, "{fault}: {answer:?}");
        let answer = answer.ok().and_then(Result::ok).unwrap_or_default();
        if says.is_empty() {
            assert_eq!(answer, "", "{fault}");
        } else {
            assert!(answer.starts_with(says), "{fault}: {answer:?}");
        }
        let throttled = answer.contains("retry-after: 1\r\n");
        assert_eq!(throttled, fault == Fault::Throttle, "{fault}: {answer:?}");
        let whole = answer.ends_with("201 Created\n");
        assert!(!whole, "{fault}: {answer:?}");
        let seen = endpoint.seen();
        assert_eq!(
            seen.get(&id).map_or(0, |seen| seen.effects),
            effects,
            "{fault}"
        );
        assert_eq!((proxy.missing(), proxy.counts()[&fault]), (Vec::new(), 1));
    }
}

#[tokio::test]
async fn it_is_away_or_lets_nobody_in_while_it_is_told_so() {
    let endpoint = Endpoint::start(Behaviour::default()).await.unwrap();
    let mut proxy = FaultyProxy::start(endpoint.address(), Plan::none(), 1)
        .await
        .unwrap();
    let at = proxy.address();
    let through = |answer: io::Result<String>| answer.unwrap().starts_with("HTTP/1.1 201");
    assert!(through(post(at, "1").await));
    proxy.set_outage(Some(Outage::Refuses)).await.unwrap();
    let refused = post(at, "2").await.unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    proxy.set_outage(Some(Outage::Answers)).await.unwrap();
    assert!(post(at, "3").await.unwrap().starts_with("HTTP/1.1 503"));
    proxy.set_outage(None).await.unwrap();
    proxy.set_denied(true);
    assert!(post(at, "4").await.unwrap().starts_with("HTTP/1.1 403"));
    proxy.set_denied(false);
    assert!(through(post(at, "5").await));
    assert_eq!(endpoint.with_effect(), 2);
    assert_eq!(proxy.counts()[&Fault::Away], 1);
    assert_eq!(proxy.counts()[&Fault::Denied], 1);
}

/// What a signature covers gets there as it was, the condition, too; where the server is to ignore it
/// the answer says that the object was written over.
#[tokio::test]
async fn a_request_goes_through_as_it_is() {
    for ignores_conditions in [false, true] {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let plan = Plan {
            ignores_conditions,
            ..Plan::none()
        };
        let upstream = server.local_addr().unwrap();
        let proxy = FaultyProxy::start(upstream, plan, 1).await.unwrap();
        let behind = async {
            let (mut stream, _) = server.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"hello") {
                assert!(stream.read_buf(&mut request).await.unwrap() > 0);
            }
            let status = if ignores_conditions { 412 } else { 200 };
            let answer =
                format!("HTTP/1.1 {status} x\r\netag: \"e\"\r\ncontent-length: 2\r\n\r\nok");
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8(request).unwrap()
        };
        let (request, answer) = tokio::join!(behind, post(proxy.address(), "1"));
        assert!(
            request.starts_with("POST /b/o?x=1 HTTP/1.1\r\n"),
            "{request}"
        );
        assert!(request.contains("host: bucket.example\r\n"), "{request}");
        assert!(request.contains("authorization: signed\r\n"), "{request}");
        assert!(request.contains("if-none-match: *\r\n"), "{request}");
        let answer = answer.unwrap();
        if ignores_conditions {
            let taken = answer.starts_with("HTTP/1.1 201") && answer.contains("etag: ");
            assert!(taken, "{answer}");
        } else {
            let whole = answer.contains("etag: \"e\"\r\n") && answer.ends_with("ok");
            assert!(whole, "{answer}");
        }
        assert_eq!(proxy.missing(), []);
    }
}
