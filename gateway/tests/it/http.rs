//! HTTP on the same port, byte for byte.

use crate::wire::{Answer, NDJSON, Sending, exchange, post};
use crate::world::{World, until};
use cloudsync_gateway::MissingId;
use std::time::Duration;

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

/// One rule for the three forms: what stands apart is a record.
#[tokio::test]
async fn a_value_without_what_a_pointer_points_at_is_one_refused_record() {
    let world = World::start(|_| {}).await;
    let request = "POST /api/datasync?id-pointer=/id";
    let cases = [
        (&[][..], "{}", 400, (1, 1)),
        (&[], r#"[{},{"id":"a"},{}]"#, 207, (3, 2)),
        (&[NDJSON], "{}\n{\"id\":\"b\"}\nno JSON\n", 207, (3, 2)),
        // No record stands apart.
        (&[], "no JSON", 400, (0, 0)),
        (&[], "[{},", 400, (0, 0)),
    ];
    for (headers, body, status, expected) in cases {
        let counts = || (world.counters.received(), world.counters.refused());
        let before = counts();
        let answer = exchange(&world, request, headers, body).await;
        assert_eq!(answer.status, status, "{body}: {}", answer.body);
        let after = counts();
        let counted = (after.0 - before.0, after.1 - before.1);
        assert_eq!(counted, expected, "{body}");
    }
}

#[tokio::test]
async fn a_body_may_be_packed() {
    let world = World::start(|_| {}).await;
    let value = r#"{"text":"packed"}"#;
    let gzip = gzip(value.as_bytes());
    let zstd = zstd::encode_all(value.as_bytes(), 3).unwrap();
    let packings = [("gzip", &gzip), ("GZIP, identity", &gzip), ("zstd", &zstd)];
    for (encoding, packed) in packings {
        let answer = post(&world, &[&format!("Content-Encoding: {encoding}")], packed).await;
        assert_eq!(answer.status, 202, "{encoding}: {}", answer.body);
    }
    let log = world.log().await;
    assert_eq!(log.len(), 3);
    assert!(log.iter().all(|stored| stored.record.payload == value));

    for (encoding, packed) in [("gzip", &gzip), ("zstd", &zstd)] {
        let encoding = format!("Content-Encoding: {encoding}");
        let cut = post(&world, &[&encoding], &packed[..packed.len() - 2]).await;
        cut.problem(400, "INVALID_JSON");
        post(&world, &[&encoding], value)
            .await
            .problem(400, "INVALID_JSON");
    }
    let twice = post(&world, &["Content-Encoding: gzip, zstd"], &gzip).await;
    twice.problem(415, "UNSUPPORTED_MEDIA_TYPE");
    assert_eq!(twice.headers["accept-encoding"], "gzip, zstd");
}

/// What unpacks to more than is taken is refused when that much has come out of it.
#[tokio::test]
async fn a_body_that_unpacks_without_end_is_too_large() {
    let world = World::start(|settings| settings.max_body_bytes = 2_000_000).await;
    let string = zeros(b"\"", 1 << 30);
    assert!(string.len() < 200_000, "{}", string.len());
    let answer = post(&world, &["Content-Encoding: zstd"], &string).await;
    let problem = answer.problem(413, "RECORD_TOO_LARGE");
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("gateway.max_record_bytes")
    );
    let list = zeros(b"[", 1 << 30);
    let answer = post(&world, &["Content-Encoding: zstd"], &list).await;
    let problem = answer.problem(413, "BODY_TOO_LARGE");
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("2000000 bytes")
    );
    let gzip = gzip(&vec![b' '; 64 << 20]);
    let answer = post(&world, &["Content-Encoding: gzip"], &gzip).await;
    answer.problem(413, "RECORD_TOO_LARGE");
}

/// `count` zeros behind `first`, packed.
fn zeros(first: &[u8], count: usize) -> Vec<u8> {
    use std::io::{Read, Write};
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.write_all(first).unwrap();
    let mut zeros = std::io::repeat(b'0').take(count as u64);
    std::io::copy(&mut zeros, &mut encoder).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn gzip(plain: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn a_body_that_does_not_come_is_given_up() {
    let timeout = Duration::from_millis(200);
    let world = World::start(|settings| settings.body_timeout = timeout).await;
    let mut sending = Sending::post(&world, &[]).await;
    sending.send("{\"a\":").await;
    let answer = sending.answer().await;
    let problem = answer.problem(408, "BODY_TIMEOUT");
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("200ms (gateway.body_timeout)")
    );
    assert_eq!(post(&world, &[], "1").await.status, 202);
}

/// Bodies that are being read count, before there is a record.
#[tokio::test]
async fn bodies_have_a_limit_together() {
    let world = World::start(|settings| settings.max_in_flight_bytes = 100).await;
    let mut first = Sending::post(&world, &[]).await;
    first.send(format!("\"{}", "x".repeat(80))).await;
    // It is under way as soon as another one is refused for it.
    until(async || {
        let second = post(&world, &[], "\"y\"".repeat(10)).await;
        second.status == 429
    })
    .await;
    let refused = post(&world, &[], format!("\"{}\"", "y".repeat(40))).await;
    let problem = refused.problem(429, "OVERLOADED");
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("gateway.max_in_flight_bytes = 100")
    );
    first.send("\"").await;
    first.end().await;
    assert_eq!(first.answer().await.status, 202);
    let again = post(&world, &[], format!("\"{}\"", "y".repeat(40))).await;
    assert_eq!(again.status, 202);
}

#[tokio::test]
async fn a_client_that_waits_to_be_asked_is_refused_without_being_asked() {
    let world = World::start(|_| {}).await;
    let headers = ["Expect: 100-continue", "Content-Type: text/csv"];
    let sending = Sending::post(&world, &headers).await;
    let answer = sending.rest().await;
    assert!(answer.starts_with("HTTP/1.1 415"), "{answer}");
    let mut asked = Sending::post(&world, &headers[..1]).await;
    asked.read_until("100 Continue\r\n\r\n").await;
    asked.send("1").await;
    asked.end().await;
    assert_eq!(asked.answer().await.status, 202);
}

#[tokio::test]
async fn what_is_there_and_what_is_not() {
    let world = World::start(|_| {}).await;
    let get = async |path: &str| exchange(&world, &format!("GET {path}"), &[], "").await;
    assert_eq!(get("/livez").await.body, "ok");
    assert_eq!(get("/readyz").await.json()["ready"], true);
    let described = get("/openapi.json").await.json();
    assert_eq!(described["openapi"], "3.1.0");

    assert_eq!(post(&world, &[], "1").await.status, 202);
    let metrics = get("/metrics").await;
    assert_eq!(
        metrics.headers["content-type"],
        "text/plain; version=0.0.4; charset=utf-8"
    );
    for line in [
        "cloudsync_gateway_records_received_total 1",
        "cloudsync_gateway_records_accepted_total 1",
        "cloudsync_gateway_in_flight_records 0",
    ] {
        assert!(
            metrics.body.lines().any(|it| it == line),
            "{}",
            metrics.body
        );
    }

    let cases = [
        ("GET /api/datasync", 405, "POST"),
        ("DELETE /api/datasync", 405, "POST"),
        ("POST /livez", 405, "GET,HEAD"),
        ("PUT /openapi.json", 405, "GET,HEAD"),
        ("POST /api/other", 404, ""),
        ("GET /", 404, ""),
    ];
    for (request, status, allow) in cases {
        let answer: Answer = exchange(&world, request, &[], "").await;
        assert_eq!(answer.status, status, "{request}");
        assert_eq!(answer.headers["content-type"], "application/problem+json");
        let problem = answer.json();
        assert_eq!(
            (&problem["status"], &problem["type"]),
            (&status.into(), &"about:blank".into())
        );
        assert!(!problem["detail"].as_str().unwrap().is_empty());
        assert_eq!(
            answer.headers.get("allow").map_or("", String::as_str),
            allow,
            "{request}"
        );
    }
}
