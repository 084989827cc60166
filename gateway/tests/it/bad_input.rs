//! Bad input, one case a row: each is refused with its status, its reason and the field at fault,
//! in a sentence that says where and what to do; none of them ends anything, and the next good
//! record is taken.

use crate::wire::{NDJSON, exchange};
use crate::world::{World, assert_refused, encoded, record};
use bytes::Bytes;
use cloudsync::v1::{ErrorReason, SyncDataRequest, SyncRecord, SyncRecordRequest};
use cloudsync_gateway::MissingId;
use futures::stream;
use prost::Message;
use prost_types::Timestamp;
use tonic::Code;
use tonic_types::StatusExt;

/// What is sent over HTTP, and what the answer must say.
struct Http {
    query: &'static str,
    headers: &'static [&'static str],
    body: Vec<u8>,
    status: u16,
    reason: &'static str,
    field: Option<&'static str>,
    says: &'static [&'static str],
}

fn http(body: impl Into<Vec<u8>>, status: u16, reason: &'static str) -> Http {
    Http {
        query: "",
        headers: &[],
        body: body.into(),
        status,
        reason,
        field: None,
        says: &[],
    }
}

impl Http {
    fn query(self, query: &'static str) -> Self {
        Self { query, ..self }
    }

    fn headers(self, headers: &'static [&'static str]) -> Self {
        Self { headers, ..self }
    }

    fn field(self, field: &'static str) -> Self {
        Self {
            field: Some(field),
            ..self
        }
    }

    fn says(self, says: &'static [&'static str]) -> Self {
        Self { says, ..self }
    }
}

/// Documents and lines that are none.
fn unreadable() -> Vec<Http> {
    let invalid = |body: &[u8]| http(body, 400, "INVALID_JSON");
    let place = |body: &[u8], says| invalid(body).says(says);
    let deep = |open: &str| open.repeat(90_000 / open.len()).into_bytes();
    vec![
        place(b"", &["the body is empty", "send a JSON value"]),
        place(b" \r\n\t", &["the body is empty"]),
        place(b"hello", &["not JSON", "line 1 column 1"]),
        place(b"{\"a\":1,\n \"b\":}", &["line 2 column 6"]),
        place(
            b"{\"a\":1}\n{\"a\":2}",
            &["line 2 column 1", "application/x-ndjson"],
        ),
        place(b"[1,\n2,\n]", &["line 3 column 1"]),
        place(b"\"no end", &["line 1 column 7"]),
        place(b"\"\xff\xfe\"", &["not JSON", "line 1 column"]),
        place(b"\xef\xbb\xbf{}", &["line 1 column 1"]),
        place(b"NaN", &["line 1 column 1"]),
        place(b"{'a':1}", &["line 1 column 2"]),
        invalid(&deep("[")),
        invalid(&deep("{\"a\":")),
        invalid(b"{\"a\":")
            .headers(&[NDJSON])
            .says(&["line 1 is not JSON", "column 5"]),
        invalid(b"\n\n\"\xff\"\n")
            .headers(&[NDJSON])
            .says(&["line 3 is not JSON"]),
        http("[]", 400, "BATCH_SIZE").says(&["0 elements", "1 to 10000"]),
        http("\n \n", 400, "BATCH_SIZE")
            .headers(&[NDJSON])
            .says(&["no line", "send at least"]),
        invalid(b"{}")
            .headers(&["Content-Encoding: gzip"])
            .field("Content-Encoding")
            .says(&["not whole gzip", "pack it again"]),
        invalid(b"{}")
            .headers(&["Content-Encoding: zstd", NDJSON])
            .field("Content-Encoding")
            .says(&["not whole zstd"]),
    ]
}

/// Parameters, headers and types that are not taken.
fn beside_the_body() -> Vec<Http> {
    let malformed = |query| http("{\"id\":1}", 400, "MALFORMED_RECORD").query(query);
    let media = |headers| http("1", 415, "UNSUPPORTED_MEDIA_TYPE").headers(headers);
    vec![
        malformed("?kee=a").says(&["\"kee\" does not exist", "there are: key"]),
        malformed("?key=%zz").says(&["percent-encoded", "write %XX"]),
        malformed("?key=%ff").says(&["not UTF-8"]),
        malformed("?id-pointer=id")
            .field("id-pointer")
            .says(&["begin it with /"]),
        malformed("?key=a&key-pointer=/id")
            .field("key-pointer")
            .says(&["said twice"]),
        malformed("?id-pointer=/id")
            .headers(&["Idempotency-Key: a"])
            .field("id-pointer"),
        malformed("")
            .headers(&["Idempotency-Key: \"\""])
            .field("idempotency-key"),
        malformed("")
            .headers(&["Idempotency-Key: a", "Idempotency-Key: b"])
            .field("idempotency-key"),
        media(&["Content-Type: application/xml"])
            .field("Content-Type")
            .says(&["application/x-ndjson"]),
        media(&["Content-Type: application/grpc-web"]).field("Content-Type"),
        media(&["Content-Type: multipart/form-data; boundary=x"]).field("Content-Type"),
        media(&["Content-Encoding: br"])
            .field("Content-Encoding")
            .says(&["gzip, zstd"]),
    ]
}

/// Ids, keys and sizes.
fn limits() -> Vec<Http> {
    let id = "record.request_id";
    let long = format!("{{\"id\":\"{}\"}}", "x".repeat(129));
    vec![
        http("{\"id\":{}}", 400, "INVALID_JSON")
            .query("?id-pointer=/id")
            .field(id),
        http(long, 400, "FIELD_TOO_LONG")
            .query("?id-pointer=/id")
            .field(id)
            .says(&["129 bytes, the limit is 128"]),
        http("1", 400, "REQUEST_ID_MISSING")
            .field(id)
            .says(&["missing_id"]),
        http("1", 400, "FIELD_TOO_LONG")
            .query(concat!(
                "?key=0123456789012345678901234567890123456789012345678901234567890123456789",
                "0123456789012345678901234567890123456789012345678901234567890123456789",
                "0123456789012345678901234567890123456789012345678901234567890123456789",
                "01234567890123456789012345678901234567890123456789"
            ))
            .headers(&["Idempotency-Key: a"])
            .field("record.key")
            .says(&["the limit is 256"]),
        http(vec![b' '; 110_000], 413, "RECORD_TOO_LARGE")
            .field("record")
            .says(&["100000 bytes"]),
        http(
            format!("\"{}\"", "x".repeat(100_000)),
            413,
            "RECORD_TOO_LARGE",
        )
        .headers(&["Idempotency-Key: a"])
        .field("record")
        .says(&["max_record_bytes", "split it"]),
        http(
            format!("[\"{}\"]", "x".repeat(200_000)),
            413,
            "BODY_TOO_LARGE",
        )
        .says(&["gateway.max_body_bytes", "application/x-ndjson"]),
    ]
}

#[tokio::test]
async fn over_http_each_is_refused_with_its_reason() {
    let world = World::start(|settings| {
        settings.missing_id = MissingId::Reject;
        settings.max_record_bytes = 100_000;
        settings.max_body_bytes = 200_000;
    })
    .await;
    let cases: Vec<_> = [unreadable(), beside_the_body(), limits()]
        .into_iter()
        .flatten()
        .collect();
    for (number, case) in cases.iter().enumerate() {
        let request = format!("POST /api/datasync{}", case.query);
        let answer = exchange(&world, &request, case.headers, &case.body).await;
        let shown = String::from_utf8_lossy(&case.body[..case.body.len().min(40)]).into_owned();
        assert_eq!(
            answer.status, case.status,
            "{request} {shown}: {}",
            answer.body
        );
        let problem = answer.problem(case.status, case.reason);
        assert_eq!(
            problem["field"].as_str(),
            case.field,
            "{request} {shown}: {problem}"
        );
        let detail = problem["detail"].as_str().unwrap();
        for says in case.says {
            assert!(detail.contains(*says), "{request} {shown}: {detail}");
        }
        let good = [format!("Idempotency-Key: good-{number}")];
        let good = exchange(&world, "POST /api/datasync", &[&good[0]], "1").await;
        assert_eq!(good.status, 202, "after {request} {shown}: {}", good.body);
    }
    assert_eq!(world.log().await.len(), cases.len());
}

// === gRPC ===

/// Not valid, with the reason and the field at fault.
type Grpc = (&'static str, Vec<Bytes>, ErrorReason, Option<&'static str>);

fn with(change: impl FnOnce(&mut SyncRecord)) -> Vec<Bytes> {
    let mut record = record("id", "k");
    change(&mut record);
    vec![encoded(&record)]
}

/// A valid record with more bytes behind it.
fn and(more: &[u8]) -> Vec<Bytes> {
    let mut bytes = record("id", "k").encode_to_vec();
    bytes.extend_from_slice(more);
    vec![bytes.into()]
}

fn broken() -> Vec<Grpc> {
    let malformed = ErrorReason::MalformedRecord;
    let row = |what, record| (what, record, malformed, None);
    let long = [0x1a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
    let no_text = vec![Bytes::from_static(&[0x0a, 0x01, 0xff])];
    vec![
        ("no record", vec![], malformed, Some("record")),
        (
            "two records",
            [and(&[]), and(&[])].concat(),
            malformed,
            Some("record"),
        ),
        row("a tag without a value", and(&[0x0a])),
        row("a length beyond the end", and(&[0x1a, 0x7f, 0x00])),
        row("a length that overflows", and(&long)),
        row("a number for the payload", and(&[0x18, 0x01])),
        row("a destination that is not UTF-8", and(&[0x3a, 0x01, 0xff])),
        row("an id that is not UTF-8", no_text),
        row("a field with the number 0", and(&[0x02, 0x00])),
        row("a group that has no end", and(&[0xfb, 0x01])),
        row("noise", vec![Bytes::from_static(&[0xff; 64])]),
        row("the id twice", and(&[0x0a, 0x01, b'x'])),
        row("the key twice", and(&[0x12, 0x01, b'x'])),
        row("the payload twice", and(&[0x1a, 0x01, b'x'])),
        row("the content type twice", and(&[0x22, 0x01, b'x'])),
    ]
}

/// What is longer than its limit.
fn too_long() -> Vec<Grpc> {
    let text = |bytes: usize| "x".repeat(bytes);
    let attribute = |name: String, value: String| with(|it| it.attributes = [(name, value)].into());
    let row = |what, record, field| (what, record, ErrorReason::FieldTooLong, Some(field));
    let (id, key) = (
        with(|it| it.request_id = text(129)),
        with(|it| it.key = text(257)),
    );
    let kind = with(|it| it.content_type = text(129));
    let (name, value) = (
        attribute(text(65), text(1)),
        attribute(text(1), text(1_025)),
    );
    vec![
        row("a long id", id, "record.request_id"),
        row("a long key", key, "record.key"),
        row("a long content type", kind, "record.content_type"),
        row("a long attribute name", name, "record.attributes.key"),
        row("a long attribute", value, "record.attributes.value"),
    ]
}

fn refused() -> Vec<Grpc> {
    let row = |what, change: fn(&mut SyncRecord), reason, field| {
        (what, with(change), reason, Some(field))
    };
    let (many, unknown) = (ErrorReason::TooManyItems, ErrorReason::UnknownDestination);
    let owned = ErrorReason::GatewayOwnedField;
    let (id, attributes, to) = (
        "record.request_id",
        "record.attributes",
        "record.destinations",
    );
    let missing = ErrorReason::RequestIdMissing;
    let time = |it: &mut SyncRecord| {
        it.accept_time = Some(Timestamp {
            seconds: 1,
            nanos: 0,
        });
    };
    let attribute = |n: u32| (n.to_string(), String::new());
    let mut crowded = record("id", "k");
    crowded.attributes = (0..33).map(attribute).collect();
    vec![
        row("no id", |it| it.request_id.clear(), missing, id),
        (
            "33 attributes",
            vec![encoded(&crowded)],
            many,
            Some(attributes),
        ),
        row(
            "17 names",
            |it| it.destinations = vec!["aws".into(); 17],
            many,
            to,
        ),
        row(
            "unknown",
            |it| it.destinations = vec!["gcp".into()],
            unknown,
            to,
        ),
        row(
            "no name",
            |it| it.destinations = vec![String::new()],
            unknown,
            to,
        ),
        row(
            "a tenant",
            |it| it.tenant = "default".into(),
            owned,
            "record.tenant",
        ),
        row("a time of acceptance", time, owned, "record.tenant"),
        row(
            "too many bytes",
            |it| it.payload = vec![0; 1_000_000].into(),
            ErrorReason::RecordTooLarge,
            "record",
        ),
    ]
}

#[tokio::test]
async fn over_grpc_each_is_refused_with_its_reason() {
    let world = World::start(|settings| {
        settings.missing_id = MissingId::Reject;
        // The good record is the same each time, and written each time.
        settings.recent_ids = 0;
    })
    .await;
    let mut client = world.client().await;
    let cases: Vec<_> = [broken(), too_long(), refused()]
        .into_iter()
        .flatten()
        .collect();
    let mut in_a_stream = Vec::new();
    for (what, records, reason, field) in &cases {
        let request = SyncRecordRequest {
            record: records.clone(),
        };
        let status = client.sync_record(request).await;
        let status = status.err().unwrap_or_else(|| panic!("{what} was taken"));
        let code = match reason {
            ErrorReason::RecordTooLarge => Code::ResourceExhausted,
            _ => Code::InvalidArgument,
        };
        assert_refused(&status, code, *reason);
        let details = status.get_error_details();
        let found = details
            .bad_request()
            .map(|bad| bad.field_violations[0].field.as_str());
        assert_eq!(found, *field, "{what}: {status:?}");
        assert!(!status.message().is_empty());
        let good = SyncRecordRequest {
            record: with(|_| {}),
        };
        client
            .sync_record(good)
            .await
            .unwrap_or_else(|status| panic!("after {what}: {status}"));
        in_a_stream.push(SyncDataRequest {
            record: records.clone(),
        });
    }
    // In a stream each is one refused record, and the stream goes on.
    in_a_stream.push(SyncDataRequest {
        record: with(|_| {}),
    });
    let summary = client
        .sync_data(stream::iter(in_a_stream))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(summary.accepted_count, 1);
    let told: Vec<_> = summary.rejections.iter().map(|it| it.reason()).collect();
    let expected: Vec<_> = cases.iter().map(|(_, _, reason, _)| *reason).collect();
    assert_eq!(told, expected);
    assert!(summary.rejections.iter().all(|it| !it.message.is_empty()));
    // A stream without a record is no fault.
    let none = client
        .sync_data(stream::empty())
        .await
        .unwrap()
        .into_inner();
    assert_eq!((none.accepted_count, none.rejected_count), (0, 0));
    assert_eq!(world.log().await.len(), cases.len() + 1);
}
