//! NDJSON: a record a line, taken while they come.

use crate::http::gzip;
use crate::wire::{NDJSON, Sending, exchange, post};
use crate::world::{World, until};
use serde_json::{Value, json};
use std::time::Duration;

const TELL: &str = "Accept: application/x-ndjson";

/// The lines of an answer that is told while the upload comes.
fn told(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[tokio::test]
async fn bad_lines_in_the_middle_are_named_and_the_others_taken() {
    let world = World::start(|settings| settings.max_record_bytes = 1_000).await;
    let long = format!("\"{}\"", "x".repeat(1_000));
    let upload = format!("{{\"n\":0}}\n\n{{\"n\":\n\"one\"\r\n{long}\n \n[2]\n\"x\" 3\n4");
    let headers = [NDJSON, "Idempotency-Key: up", "Transfer-Encoding: identity"];
    let answer = exchange(&world, "POST /api/datasync?key=k", &headers[..2], upload).await;
    assert_eq!(answer.status, 207, "{}", answer.body);
    let report = answer.json();
    assert_eq!(
        (&report["accepted"], &report["refused"]),
        (&json!(4), &json!(3))
    );
    let refused: Vec<_> = report["records"].as_array().unwrap().iter().collect();
    let expected = [
        (
            1,
            3,
            "INVALID_JSON",
            "line 3 is not JSON: EOF while parsing a value at column 5",
        ),
        (
            3,
            5,
            "RECORD_TOO_LARGE",
            "line 5: the record has 1002 bytes, the limit",
        ),
        (
            5,
            8,
            "INVALID_JSON",
            "line 8 is not JSON: trailing characters at column 5",
        ),
    ];
    assert_eq!(refused.len(), expected.len());
    for (told, (index, line, reason, detail)) in refused.into_iter().zip(expected) {
        assert_eq!(
            (&told["index"], &told["line"]),
            (&json!(index), &json!(line))
        );
        assert_eq!(told["problem"]["reason"], reason);
        let said = told["problem"]["detail"].as_str().unwrap();
        assert!(said.starts_with(detail), "{said}");
    }
    let log = world.log().await;
    let stored: Vec<_> = log
        .iter()
        .map(|stored| {
            (
                stored.record.request_id.as_str(),
                &stored.record.payload[..],
            )
        })
        .collect();
    let expected: [(&str, &[u8]); 4] = [
        ("up/0", b"{\"n\":0}"),
        ("up/2", b"\"one\""),
        ("up/4", b"[2]"),
        ("up/6", b"4"),
    ];
    assert_eq!(stored, expected);
}

#[tokio::test]
async fn an_upload_may_be_long_and_packed() {
    let world = World::start(|settings| {
        settings.max_in_flight_records = 1_000;
        // Each upload is written.
        settings.recent_ids = 0;
    })
    .await;
    let upload: String = (0..20_000)
        .map(|n| format!("{{\"id\":\"{n:05}\",\"k\":{}}}\n", n % 7))
        .collect();
    let request = "POST /api/datasync?id-pointer=/id&key-pointer=/k";
    let gzip = gzip(upload.as_bytes());
    let zstd = zstd::encode_all(upload.as_bytes(), 3).unwrap();
    let packings = [
        ("Content-Encoding: identity", upload.as_bytes()),
        ("Content-Encoding: gzip", &gzip),
        ("Content-Encoding: zstd", &zstd),
    ];
    for (encoding, body) in packings {
        let answer = exchange(
            &world,
            request,
            &["Content-Type: application/jsonl", encoding],
            body,
        )
        .await;
        assert_eq!(answer.status, 202, "{encoding}: {}", answer.body);
        let report = answer.json();
        assert_eq!(
            (&report["accepted"], &report["records"]),
            (&json!(20_000), &json!([]))
        );
    }
    let log = world.log().await;
    assert_eq!(log.len(), 60_000);
    for key in 0..7 {
        let of_key = log.iter().filter(|stored| stored.key == key.to_string());
        let ids: Vec<_> = of_key.map(|stored| &stored.record.request_id).collect();
        let per_upload = ids.len() / 3;
        for upload in ids.chunks(per_upload) {
            assert!(
                upload.is_sorted(),
                "two records of one key in the wrong order"
            );
        }
    }
}

#[tokio::test]
async fn a_line_without_end_takes_no_memory() {
    let world = World::start(|_| {}).await;
    let bomb = {
        use std::io::{Read, Write};
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.write_all(b"1\n\"").unwrap();
        std::io::copy(&mut std::io::repeat(b'0').take(1 << 30), &mut encoder).unwrap();
        encoder.write_all(b"\"\n3\n").unwrap();
        encoder.finish().unwrap()
    };
    let headers = [NDJSON, "Content-Encoding: zstd", "Idempotency-Key: b"];
    let answer = post(&world, &headers, bomb).await;
    assert_eq!(answer.status, 207, "{}", answer.body);
    let report = answer.json();
    assert_eq!(
        (&report["accepted"], &report["refused"]),
        (&json!(2), &json!(1))
    );
    let detail = report["records"][0]["problem"]["detail"].as_str().unwrap();
    assert!(
        detail.contains("line 2: the record has 1073741826 bytes"),
        "{detail}"
    );
}

#[tokio::test]
async fn verdicts_are_told_while_the_upload_comes() {
    let world = World::start(|_| {}).await;
    let mut sending = Sending::post(&world, &[NDJSON, TELL, "Idempotency-Key: t"]).await;
    sending.send("{\"n\":1}\n\"half").await;
    let first = sending.read_until("\"offset\"").await;
    assert!(first.starts_with("HTTP/1.1 202"), "{first}");
    assert!(
        first.contains("content-type: application/x-ndjson"),
        "{first}"
    );
    // It was told before the rest was sent.
    sending.send(" line\"\nno JSON\n").await;
    let second = sending.read_until("\"line\":3").await;
    sending.end().await;
    let rest = sending.rest().await;
    let text = format!("{first}{second}{rest}");
    let answer = crate::wire::Answer::of(&text);
    let lines = told(&answer.body);
    assert_eq!(lines.len(), 4, "{}", answer.body);
    assert_eq!(
        (&lines[0]["index"], &lines[0]["request_id"]),
        (&json!(0), &json!("t/0"))
    );
    assert_eq!(
        (&lines[1]["line"], &lines[1]["request_id"]),
        (&json!(2), &json!("t/1"))
    );
    assert_eq!(lines[2]["problem"]["reason"], "INVALID_JSON");
    assert_eq!(
        (&lines[3]["accepted"], &lines[3]["refused"]),
        (&json!(2), &json!(1))
    );
    assert_eq!(lines[3]["problem"], Value::Null);
}

/// As `curl -H 'Expect: 100-continue'` does: it sends the body when it is asked for it, and reads an
/// answer that begins before as one that does not want it.
#[tokio::test]
async fn a_client_that_waits_to_be_asked_is_asked_before_verdicts_are_told() {
    let world = World::start(|_| {}).await;
    let headers = [NDJSON, TELL, "Expect: 100-continue"];
    let mut sending = Sending::post(&world, &headers).await;
    let first = sending.read_until("\r\n\r\n").await;
    assert_eq!(first, "HTTP/1.1 100 Continue\r\n\r\n");
    sending.send("1\n2\n").await;
    sending.end().await;
    let answer = sending.answer().await;
    assert_eq!(answer.status, 202);
    assert_eq!(told(&answer.body).last().unwrap()["accepted"], 2);

    // One that never sends is told so.
    let timeout = Duration::from_millis(200);
    let world = World::start(|settings| settings.body_timeout = timeout).await;
    let mut sending = Sending::post(&world, &headers).await;
    sending.read_until("100 Continue\r\n\r\n").await;
    sending.answer().await.problem(408, "BODY_TIMEOUT");
}

#[tokio::test]
async fn an_upload_that_stalls_is_given_up_and_what_came_is_told() {
    let timeout = Duration::from_millis(300);
    let world = World::start(|settings| settings.body_timeout = timeout).await;
    let mut sending = Sending::post(&world, &[NDJSON, "Idempotency-Key: s"]).await;
    sending.send("1\n2\n\"thr").await;
    let problem = sending.answer().await.problem(408, "BODY_TIMEOUT");
    assert_eq!(
        (&problem["accepted"], &problem["refused"]),
        (&json!(2), &json!(0))
    );
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .starts_with("line 3 did not come"),
        "{problem}"
    );

    let mut telling = Sending::post(&world, &[NDJSON, TELL]).await;
    telling.send("4\n").await;
    let lines = told(&telling.answer().await.body);
    assert_eq!(lines.len(), 2);
    assert_eq!(
        (&lines[1]["accepted"], &lines[1]["problem"]["status"]),
        (&json!(1), &json!(408))
    );
    assert_eq!(world.log().await.len(), 3);
}

#[tokio::test]
async fn an_upload_ends_when_the_gateway_drains() {
    let mut world = World::start(|_| {}).await;
    let mut sending = Sending::post(&world, &[NDJSON, "Idempotency-Key: d"]).await;
    let mut telling = Sending::post(&world, &[NDJSON, TELL]).await;
    for n in 0..50 {
        sending.send(format!("{n}\n")).await;
        telling.send(format!("{n}\n")).await;
    }
    until(async || world.counters.acked() == 100).await;
    world.shutdown.drain();
    let answer = sending.answer().await;
    let problem = answer.problem(503, "DRAINING");
    assert_eq!(
        (&problem["accepted"], &problem["refused"]),
        (&json!(50), &json!(0))
    );
    assert_eq!(answer.headers["retry-after"], "1");
    let lines = told(&telling.answer().await.body);
    assert_eq!(lines.len(), 51);
    let problem = &lines[50]["problem"];
    assert_eq!(
        (&lines[50]["accepted"], &problem["reason"]),
        (&json!(50), &json!("DRAINING"))
    );
    assert_eq!(problem["retry_after"], 1);
    world.ended().await;
    assert_eq!(world.log().await.len(), 100);
}

/// A client that looks at no answer before it has sent everything still gets to read it.
#[tokio::test]
async fn who_is_still_sending_when_the_gateway_drains_is_told() {
    let world = World::start(|_| {}).await;
    let mut sending = Sending::post(&world, &[NDJSON, "Idempotency-Key: s"]).await;
    sending.send("1\n").await;
    until(async || world.counters.acked() == 1).await;
    world.shutdown.drain();
    for _ in 0..100 {
        sending.send("2\n".repeat(500)).await;
    }
    sending.end().await;
    let problem = sending.answer().await.problem(503, "DRAINING");
    let log = world.log().await.len();
    assert_eq!(problem["accepted"], json!(log), "{problem}");
}

#[tokio::test]
async fn what_would_change_with_its_place_is_refused_before_the_first_record() {
    let world = World::start(|_| {}).await;
    let long = format!("Idempotency-Key: {}", "k".repeat(120));
    for (kind, body) in [
        (NDJSON, "1\n2\n"),
        ("Content-Type: application/json", "[1,2]"),
    ] {
        let answer = post(&world, &[kind, long.as_str()], body).await;
        let problem = answer.problem(400, "FIELD_TOO_LONG");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("120 bytes, the limit is 107"), "{detail}");
    }
    let pointer = "POST /api/datasync?id-pointer=/id";
    let body = "{\"id\":\"a\"}\n{\"id\":\"\"}\n";
    let answer = exchange(&world, pointer, &[NDJSON], body).await;
    assert_eq!(answer.status, 207, "{}", answer.body);
    let refused = &answer.json()["records"][0];
    assert_eq!(
        (&refused["line"], &refused["problem"]["reason"]),
        (&json!(2), &json!("REQUEST_ID_MISSING"))
    );
    assert_eq!(world.log().await.len(), 1);
}

#[tokio::test]
async fn an_upload_that_breaks_off_says_how_far_it_came() {
    let world = World::start(|_| {}).await;
    let packed = gzip("{\"n\":1}\n".repeat(5_000).as_bytes());
    let cut = &packed[..packed.len() - 6];
    let headers = [NDJSON, "Content-Encoding: gzip", "Idempotency-Key: c"];
    let answer = post(&world, &headers, cut).await;
    let problem = answer.problem(400, "INVALID_JSON");
    assert_eq!(problem["field"], "Content-Encoding");
    assert_eq!(problem["accepted"], world.log().await.len());
    assert!(problem["accepted"].as_u64().unwrap() > 4_000, "{problem}");

    for empty in ["", "\n \r\n"] {
        let problem = post(&world, &[NDJSON], empty)
            .await
            .problem(400, "BATCH_SIZE");
        assert_eq!(problem["accepted"], 0);
    }
    let none = post(&world, &[NDJSON], "a\nb\n")
        .await
        .problem(400, "INVALID_JSON");
    assert_eq!(
        (&none["refused"], &none["records"][1]["line"]),
        (&json!(2), &json!(2))
    );
}

#[tokio::test]
async fn only_the_first_hundred_refused_lines_are_named() {
    let world = World::start(|_| {}).await;
    let answer = post(&world, &[NDJSON], format!("1\n{}", "bad\n".repeat(1_000))).await;
    assert_eq!(answer.status, 207);
    let report = answer.json();
    assert_eq!(report["refused"], 1_000);
    let records = report["records"].as_array().unwrap();
    assert_eq!((records.len(), &records[99]["line"]), (100, &json!(101)));
}

/// A client that goes away in the middle leaves nothing behind.
#[tokio::test]
async fn an_upload_gives_back_its_share() {
    let world = World::start(|settings| settings.max_streams = 1).await;
    let mut sending = Sending::post(&world, &[NDJSON]).await;
    sending.send("1\n").await;
    until(async || world.counters.acked() == 1).await;
    let refused = post(&world, &[NDJSON], "2\n").await;
    let problem = refused.problem(429, "OVERLOADED");
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("gateway.max_streams = 1")
    );
    post(&world, &[], "[2]").await.problem(429, "OVERLOADED");
    // A single record is no stream.
    assert_eq!(post(&world, &[], "2").await.status, 202);
    drop(sending);
    until(async || post(&world, &[NDJSON], "3\n").await.status == 202).await;
}
