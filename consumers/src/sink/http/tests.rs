use super::*;
use crate::parse::{Named, Polled};
use cloudsync::SyncRecord;
use cloudsync_kafka::PolledRecord;
use prost::Message;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

const LIMIT: Duration = Duration::from_secs(4);

/// A server that gives its first request these bytes, and keeps what it was sent.
struct Canned {
    address: SocketAddr,
    requests: JoinSet<Vec<String>>,
}

impl Canned {
    /// Answers with `answer`, then leaves the connection open if `open`.
    async fn start(answer: &'static [u8], open: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut requests = JoinSet::new();
        requests.spawn(async move {
            let Ok(accepted) = timeout(LIMIT / 2, listener.accept()).await else {
                return Vec::new();
            };
            let mut stream = accepted.unwrap().0;
            let mut bytes = vec![0; 4_096];
            let read = stream.read(&mut bytes).await.unwrap();
            stream.write_all(answer).await.unwrap();
            if open {
                std::future::pending::<()>().await;
            }
            vec![String::from_utf8_lossy(&bytes[..read]).into_owned()]
        });
        Self { address, requests }
    }

    async fn asked(mut self) -> Vec<String> {
        self.requests.join_next().await.unwrap().unwrap()
    }
}

fn sink(url: String) -> HttpSink {
    let settings = DestinationSettings {
        allow_private: true,
        ..DestinationSettings::new(url, "g")
    };
    HttpSink::new(&settings).unwrap()
}

async fn post(sink: &HttpSink, limit: Duration) -> Result<Applied, SinkError> {
    let record = SyncRecord {
        request_id: "r1".into(),
        key: "k".into(),
        payload: Bytes::from_static(b"{\"n\":1}"),
        content_type: "application/json".into(),
        ..SyncRecord::default()
    };
    let record = PolledRecord {
        offset: 5,
        timestamp_ms: 0,
        key: None,
        value: Some(record.encode_to_vec().into()),
        headers: None,
    };
    let polled = Polled::parse(record, "aws", 12);
    let view = polled.view().unwrap();
    let record = Outgoing {
        polled: &polled,
        view,
        named: Named::of(&view, 12),
        partition: 2,
    };
    sink.apply(&record, limit).await
}

#[tokio::test]
async fn a_record_is_one_post_that_says_what_it_is() {
    let server = Canned::start(
        b"HTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\nok",
        false,
    )
    .await;
    let sink = sink(format!("http://me:hush@{}/in?a=b", server.address));
    let applied = post(&sink, LIMIT).await.unwrap();
    let receipt = Receipt::new("it answered 201 Created: ok");
    assert_eq!(applied, Applied::Created(receipt));
    let request = server.asked().await.pop().unwrap();
    let head = request.to_ascii_lowercase();
    assert!(
        request.starts_with("POST /in?a=b HTTP/1.1\r\n"),
        "{request}"
    );
    assert!(request.ends_with("\r\n\r\n{\"n\":1}"), "{request}");
    for line in [
        "x-cloudsync-id: r1\r\n",
        "x-cloudsync-sequence: 2/5\r\n",
        "content-type: application/json\r\n",
        "authorization: basic bwu6ahvzaa==\r\n",
    ] {
        assert!(head.contains(line), "{line:?} in {request}");
    }
    let value = |name: &str| head.split_once(name)?.1.split("\r\n").next();
    assert_eq!(value("idempotency-key: "), value("x-cloudsync-identity: "));
    assert!(
        !head.contains("hush"),
        "the user is not in the URL any more: {request}"
    );
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = Canned::start(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", false).await;
    let to = format!(
        "HTTP/1.1 307 Temporary Redirect\r\nlocation: http://{}/x\r\ncontent-length: 0\r\n\r\n",
        elsewhere.address
    );
    let server = Canned::start(to.leak().as_bytes(), false).await;
    let error = post(&sink(format!("http://{}/", server.address)), LIMIT).await;
    let error = error.unwrap_err();
    assert_eq!(error.class, ErrorClass::Denied);
    assert!(
        error.chain().contains("none is followed"),
        "{}",
        error.chain()
    );
    assert_eq!(elsewhere.asked().await, Vec::<String>::new());
}

#[tokio::test]
async fn what_does_not_answer_is_away_and_what_breaks_off_is_tried_again() {
    let hangs = Canned::start(b"", true).await;
    let short = Duration::from_millis(200);
    let error = post(&sink(format!("http://{}/", hangs.address)), short).await;
    assert_eq!(error.unwrap_err().class, ErrorClass::Outage);
    let breaks_off = Canned::start(b"", false).await;
    let error = post(&sink(format!("http://{}/", breaks_off.address)), LIMIT).await;
    assert_eq!(error.unwrap_err().class, ErrorClass::Transient);
    let no_http = Canned::start(b"SSH-2.0-OpenSSH_9.2\r\n", false).await;
    let error = post(&sink(format!("http://{}/", no_http.address)), LIMIT).await;
    assert_eq!(error.unwrap_err().class, ErrorClass::Transient);
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = nobody.local_addr().unwrap();
    drop(nobody);
    let nobody = sink(format!("http://me:hush@{address}/"));
    for error in [
        post(&nobody, LIMIT).await.unwrap_err(),
        nobody.reach().await.unwrap_err(),
    ] {
        assert_eq!(error.class, ErrorClass::Outage);
        let text = error.chain();
        assert!(
            text.contains("takes no connection") && !text.contains("hush"),
            "{text}"
        );
    }
    // A server without TLS, asked for it.
    let plain = Canned::start(b"HTTP/1.1 400 Bad Request\r\n\r\n", false).await;
    let secure = sink(format!("https://{}/", plain.address));
    let error = secure.reach().await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Outage, "{}", error.chain());
}

#[tokio::test]
async fn an_answer_whose_body_never_ends_is_an_answer() {
    let endless = Canned::start(
        b"HTTP/1.1 200 OK\r\ncontent-length: 99999\r\n\r\nbegins",
        true,
    )
    .await;
    let applied = post(&sink(format!("http://{}/", endless.address)), LIMIT).await;
    assert!(matches!(applied, Ok(Applied::Created(_))), "{applied:?}");
}

#[tokio::test]
async fn what_an_answer_repeats_of_the_password_is_hidden() {
    let echo = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 44\r\n\r\n\
                 hush Basic bWU6aHVzaA== is bad, to-ken/1 too";
    let server = Canned::start(echo, false).await;
    let sink = sink(format!(
        "http://me:hush@{}/?n=1&t=to-ken%2F1",
        server.address
    ));
    let error = post(&sink, LIMIT).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Rejected);
    let text = error.chain();
    assert!(text.contains("*** Basic *** is bad, *** too"), "{text}");
    assert!(!text.contains("hush") && !text.contains("bWU6"), "{text}");
}
