//! HTTP on the same port, byte for byte.

use crate::world::World;
use cloudsync_gateway::MissingId;
use std::collections::HashMap;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

struct Answer {
    status: u16,
    headers: HashMap<String, String>,
    body: String,
}

/// One HTTP/1.1 exchange, as it goes over the wire.
async fn exchange(world: &World, request: &str, headers: &[&str], body: &str) -> Answer {
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    let mut text = format!("{request} HTTP/1.1\r\nHost: cloudsync\r\nConnection: close\r\n");
    for header in headers {
        text += &format!("{header}\r\n");
    }
    text += &format!("Content-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let mut lines = head.lines();
    let status = lines
        .next()
        .unwrap()
        .split(' ')
        .nth(1)
        .unwrap()
        .parse()
        .unwrap();
    let headers = lines.map(|line| {
        let (name, value) = line.split_once(": ").unwrap();
        (name.to_ascii_lowercase(), value.to_owned())
    });
    Answer {
        status,
        headers: headers.collect(),
        body: body.to_owned(),
    }
}

async fn post(world: &World, headers: &[&str], body: &str) -> Answer {
    exchange(world, "POST /api/datasync", headers, body).await
}

const CURL: [&str; 3] = [
    "User-Agent: curl/8.5.0",
    "Accept: */*",
    "Content-Type: application/x-www-form-urlencoded",
];

/// `curl -d '"Test message for dual-cloud sync"' http://…/api/datasync`
#[tokio::test]
async fn curl_with_a_bare_string_reads_the_sentence() {
    let world = World::start(|_| {}).await;
    let answer = post(&world, &CURL, r#""Test message for dual-cloud sync""#).await;
    assert_eq!(answer.status, 202);
    assert_eq!(answer.body, "Data message queued for synchronization.");
    assert_eq!(answer.headers["content-type"], "text/plain; charset=utf-8");
    assert_eq!(answer.headers["content-length"], "40");
    let log = world.log().await;
    let [stored] = &log[..] else {
        panic!("{} records", log.len())
    };
    assert_eq!(
        stored.record.payload,
        r#""Test message for dual-cloud sync""#
    );
    assert_eq!(stored.record.content_type, "application/json");
    assert_eq!(stored.record.request_id, answer.headers["x-request-id"]);
}

#[tokio::test]
async fn the_answer_is_json_where_it_is_asked_for_or_says_more() {
    let world = World::start(|_| {}).await;
    let json = ["Accept: application/json", "Idempotency-Key: order-7"];
    let key = [
        "Idempotency-Key: \"order-7\"",
        "Content-Type: application/json; charset=utf-8",
    ];
    let asked = post(&world, &json, r#""text""#).await;
    let object = post(&world, &key, "\n { \"a\" : [1, 2]\t} \r\n").await;
    let log = world.log().await;
    for (answer, stored) in [asked, object].iter().zip(&log) {
        assert_eq!(
            (answer.status, answer.headers["content-type"].as_str()),
            (202, "application/json")
        );
        let expected = format!(
            r#"{{"message":"Data message queued for synchronization.","request_id":"order-7","position":{{"topic":"data-topic","partition":{},"offset":{}}}}}"#,
            stored.partition, stored.offset
        );
        assert_eq!(answer.body, expected);
        assert_eq!(answer.headers["x-request-id"], "order-7");
    }
    // As it was sent, white space inside included.
    assert_eq!(log[1].record.payload, "{ \"a\" : [1, 2]\t}");
}

#[tokio::test]
async fn id_and_key_come_from_the_body_or_beside_it() {
    let world = World::start(|settings| settings.missing_id = MissingId::Reject).await;
    let event = r#"{"id":"ci37868143","properties":{"net":"ci","mag":2.1}}"#;
    let pointers = "POST /api/datasync?id-pointer=/id&key-pointer=/properties/net";
    let answer = exchange(&world, pointers, &[], event).await;
    assert_eq!(
        (answer.status, answer.headers["x-request-id"].as_str()),
        (202, "ci37868143")
    );
    let beside = exchange(
        &world,
        "POST /api/datasync?key=a%20b",
        &["Idempotency-Key: 9"],
        "1",
    )
    .await;
    assert_eq!(beside.status, 202, "{}", beside.body);
    let mut keys: Vec<_> = world
        .log()
        .await
        .into_iter()
        .map(|s| (s.record.request_id, s.record.key))
        .collect();
    keys.sort();
    let expected = [("9", "a b"), ("ci37868143", "ci")];
    assert_eq!(
        keys,
        expected.map(|(id, key)| (id.to_owned(), key.to_owned()))
    );

    let nowhere = exchange(&world, "POST /api/datasync?id-pointer=/nil", &[], event).await;
    assert_eq!(nowhere.status, 400);
    let missing = post(&world, &[], event).await;
    assert!(
        missing.body.contains(r#""reason":"REQUEST_ID_MISSING""#),
        "{}",
        missing.body
    );
}

#[tokio::test]
async fn what_is_refused_is_a_problem() {
    let world = World::start(|settings| settings.max_record_bytes = 1_000).await;
    let long = format!("\"{}\"", "x".repeat(1_000));
    let very_long = format!("\"{}\"", "x".repeat(100_000));
    let xml = ["Content-Type: application/xml"];
    let cases: [(&str, &[&str], &str, u16, &str); 9] = [
        ("POST /api/datasync", &[], "", 400, "INVALID_JSON"),
        (
            "POST /api/datasync",
            &[],
            "{\"a\":1}\n{\"a\":2}",
            400,
            "INVALID_JSON",
        ),
        ("POST /api/datasync", &[], "[1,2]", 400, "INVALID_JSON"),
        (
            "POST /api/datasync",
            &xml,
            "<a/>",
            415,
            "UNSUPPORTED_MEDIA_TYPE",
        ),
        ("POST /api/datasync", &[], &long, 413, "RECORD_TOO_LARGE"),
        (
            "POST /api/datasync",
            &[],
            &very_long,
            413,
            "RECORD_TOO_LARGE",
        ),
        (
            "POST /api/datasync?kee=a",
            &[],
            "1",
            400,
            "MALFORMED_RECORD",
        ),
        ("GET /api/datasync", &[], "", 405, "about:blank"),
        ("POST /api/other", &[], "1", 404, "about:blank"),
    ];
    for (request, headers, body, status, word) in cases {
        let answer = exchange(&world, request, headers, body).await;
        assert_eq!(answer.status, status, "{request}: {}", answer.body);
        assert_eq!(answer.headers["content-type"], "application/problem+json");
        let problem: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(problem["status"], status);
        assert!(answer.body.contains(word), "{request}: {}", answer.body);
        assert!(problem["type"].is_string() && problem["title"].is_string());
        assert!(!problem["detail"].as_str().unwrap().is_empty());
    }
    let method = exchange(&world, "GET /api/datasync", &[], "").await;
    assert_eq!(method.headers["allow"], "POST");
    assert!(world.log().await.is_empty());
}
