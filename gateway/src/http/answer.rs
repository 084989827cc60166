//! Step 6 of the walk, over HTTP: what the client is told.
//!
//! In: a record that is durable, or a refusal (`many`: a report on many records). Out: the
//! sentence, its JSON form, or a problem (RFC 9457). Promises: 202 only for a durable record; a
//! problem carries the contract's reason, and `Retry-After` where the same may be taken later.

pub(super) mod many;

use self::many::Many;
use super::media::{self, JSON};
use super::receipts::ReceiptJson;
use crate::ack::Accepted;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use cloudsync::reason::Refusal;
use serde::Serialize;
use std::time::Duration;

/// What a client reads when its record is durable.
const QUEUED: &str = "Data message queued for synchronization.";
const TEXT: &str = "text/plain; charset=utf-8";
const PROBLEM: &str = "application/problem+json";

#[derive(Serialize)]
struct Queued<'a> {
    message: &'a str,
    request_id: &'a str,
    #[serde(skip_serializing_if = "is_false")]
    duplicate: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<Place<'a>>,
}

#[derive(Serialize)]
struct Place<'a> {
    topic: &'a str,
    partition: i32,
    offset: i64,
}

/// RFC 9457, the reason of the contract where there is one, and what became of records that came
/// with the request.
#[derive(Serialize)]
struct Problem<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    title: &'a str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
    #[serde(flatten)]
    many: Option<Many<'a>>,
}

#[derive(Serialize)]
struct Ready<'a> {
    ready: bool,
    waiting: Vec<Waiting<'a>>,
}

#[derive(Serialize)]
struct Waiting<'a> {
    condition: &'a str,
    #[serde(rename = "for")]
    what: &'a str,
}

// === one record ===

/// 202: the bare sentence to one who sent a bare string and did not ask for JSON, else JSON. What
/// was acknowledged before says so in a header, since the sentence cannot.
pub(super) fn accepted(asked: &HeaderMap, bare_string: bool, stored: &Accepted) -> Response {
    let id = HeaderValue::from_bytes(stored.request_id.as_bytes()).ok();
    let mut response = if bare_string && !media::asks_for(asked, &[JSON]) {
        answer(StatusCode::ACCEPTED, TEXT, QUEUED.into())
    } else {
        let queued = Queued {
            message: QUEUED,
            request_id: &stored.request_id,
            duplicate: stored.duplicate,
            position: place(stored),
        };
        json(StatusCode::ACCEPTED, JSON, &queued)
    };
    // An id that no header can carry stands in the JSON only.
    if let Some(id) = id {
        response.headers_mut().insert("x-request-id", id);
    }
    if stored.duplicate {
        let known = HeaderValue::from_static("true");
        response.headers_mut().insert("idempotent-replayed", known);
    }
    response
}

/// As serde asks for it.
fn is_false(value: &bool) -> bool {
    !value
}

fn place(stored: &Accepted) -> Option<Place<'_>> {
    let position = stored.position.as_ref()?;
    Some(Place {
        topic: &position.topic,
        partition: position.partition,
        offset: position.offset,
    })
}

// === problems ===

/// What a refusal looks like over HTTP.
pub(super) fn problem(refusal: &Refusal) -> Response {
    problem_with(refusal, None)
}

fn problem_with(refusal: &Refusal, many: Option<Many<'_>>) -> Response {
    let reason = refusal.reason.name();
    let status = StatusCode::from_u16(refusal.reason.http_status())
        .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let kind = format!(
        "urn:cloudsync:error:{}",
        reason.to_ascii_lowercase().replace('_', "-")
    );
    let words = reason.to_ascii_lowercase().replace('_', " ");
    let body = Problem {
        kind: &kind,
        title: &words,
        status: status.as_u16(),
        detail: &refusal.message,
        reason: Some(reason),
        field: refusal.field,
        many,
    };
    let mut response = json(status, PROBLEM, &body);
    let headers = response.headers_mut();
    if let Some(delay) = refusal.retry_delay {
        headers.insert(header::RETRY_AFTER, seconds(delay).into());
    }
    if status == StatusCode::UNSUPPORTED_MEDIA_TYPE {
        let encodings = HeaderValue::from_static(media::ENCODINGS);
        headers.insert(header::ACCEPT_ENCODING, encodings);
    }
    response
}

/// In whole seconds, and never "at once".
fn seconds(delay: Duration) -> u64 {
    let seconds = delay.as_secs() + u64::from(delay.subsec_nanos() > 0);
    seconds.max(1)
}

/// A problem that is not about a record.
pub(super) fn unknown(status: StatusCode, detail: &str) -> Response {
    let title = status.canonical_reason().unwrap_or_default();
    let body = Problem {
        kind: "about:blank",
        title,
        status: status.as_u16(),
        detail,
        reason: None,
        field: None,
        many: None,
    };
    json(status, PROBLEM, &body)
}

// === everything else ===

/// 200 with a receipt.
pub(super) fn receipt(receipt: &ReceiptJson<'_>) -> Response {
    json(StatusCode::OK, JSON, receipt)
}

/// 200, or 503 with what is waited for.
pub(super) fn readiness(waiting: &[(String, String)]) -> Response {
    let ready = waiting.is_empty();
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let waiting = waiting
        .iter()
        .map(|(condition, what)| Waiting { condition, what })
        .collect();
    json(status, JSON, &Ready { ready, waiting })
}

/// 200 with a text of the media type `kind`.
pub(super) fn text(kind: &'static str, text: impl Into<Body>) -> Response {
    answer(StatusCode::OK, kind, text.into())
}

fn json(status: StatusCode, kind: &'static str, body: &impl Serialize) -> Response {
    match serde_json::to_vec(body) {
        Ok(bytes) => answer(status, kind, bytes.into()),
        // Texts and numbers always have a JSON form.
        Err(_) => answer(StatusCode::INTERNAL_SERVER_ERROR, TEXT, Body::empty()),
    }
}

fn answer(status: StatusCode, kind: &'static str, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_place_that_the_log_has_not_said_is_left_out() {
        let stored = Accepted {
            request_id: "7f".into(),
            position: None,
            duplicate: false,
        };
        let response = accepted(&HeaderMap::new(), false, &stored);
        assert_eq!(response.status(), StatusCode::ACCEPTED);
        let body = axum::body::to_bytes(response.into_body(), 1_000).await;
        let text = r#"{"message":"Data message queued for synchronization.","request_id":"7f"}"#;
        assert_eq!(body.unwrap(), text);
    }
}
