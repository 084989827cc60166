//! Step 6 of the walk, over HTTP: what the client is told of many records.
//!
//! In: a [`Report`], and why the request ended too early, if it did. Out: one JSON answer, or lines
//! that are told while the upload comes. Promises: 202 only where every record is durable (of
//! lines, the last one says so), 207 where some are, and a problem where none is or the request
//! broke off, with the count of those that are durable.

use super::{Place, answer, is_false, json, place, problem_with, seconds};
use crate::http::media::{JSON, NDJSON};
use crate::http::session::{Report, Told};
use axum::body::Body;
use axum::http::StatusCode;
use axum::response::Response;
use bytes::Bytes;
use cloudsync::ErrorReason;
use cloudsync::reason::Refusal;
use futures::{Stream, StreamExt};
use serde::Serialize;
use std::convert::Infallible;

const QUEUED: &str = "Data messages queued for synchronization.";
const QUEUED_SOME: &str =
    "Some data messages were refused; the others are queued for synchronization.";

/// What became of many records.
#[derive(Serialize)]
pub(super) struct Many<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
    accepted: u64,
    refused: u64,
    duplicates: u64,
    records: Vec<One<'a>>,
}

/// What became of one of many records.
#[derive(Serialize)]
struct One<'a> {
    index: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u64>,
    #[serde(skip_serializing_if = "str::is_empty")]
    request_id: &'a str,
    #[serde(skip_serializing_if = "is_false")]
    duplicate: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<Place<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<Why<'a>>,
}

#[derive(Serialize)]
struct Why<'a> {
    status: u16,
    reason: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
    detail: &'a str,
    /// Seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<u64>,
}

/// The last line of an answer that is told while the upload comes.
#[derive(Serialize)]
struct LastLine<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
    accepted: u64,
    refused: u64,
    duplicates: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<Why<'a>>,
}

/// What became of the records of a request; `cut`: why it ended too early.
pub(in crate::http) fn summary(report: &Report, cut: Option<Refusal>) -> Response {
    let (status, message) = match report {
        Report { refused: 0, .. } => (StatusCode::ACCEPTED, QUEUED),
        _ => (StatusCode::MULTI_STATUS, QUEUED_SOME),
    };
    match end(report, cut.as_ref()) {
        Some(refusal) => problem_with(&refusal, Some(Many::of(report, None))),
        None => json(status, JSON, &Many::of(report, Some(message))),
    }
}

/// Why the answer is a problem, if it is one.
fn end(report: &Report, cut: Option<&Refusal>) -> Option<Refusal> {
    match (cut, report.accepted) {
        (Some(cut), _) => Some(cut.clone()),
        (None, 0) => Some(report.gravest.clone().unwrap_or_else(no_record)),
        (None, _) => None,
    }
}

fn no_record() -> Refusal {
    Refusal::permanent(
        ErrorReason::BatchSize,
        "the upload holds no line; send at least one JSON value",
    )
}

impl<'a> Many<'a> {
    fn of(report: &'a Report, message: Option<&'a str>) -> Self {
        Self {
            message,
            accepted: report.accepted,
            refused: report.refused,
            duplicates: report.duplicates,
            records: report.told.iter().map(One::of).collect(),
        }
    }
}

impl<'a> One<'a> {
    fn of(told: &'a Told) -> Self {
        let (request_id, position, problem) = match &told.verdict {
            Ok(stored) => (&stored.request_id, place(stored), None),
            Err(refused) => (&refused.request_id, None, Some(Why::of(&refused.refusal))),
        };
        Self {
            index: told.index,
            line: told.line,
            request_id,
            duplicate: told.verdict.as_ref().is_ok_and(|stored| stored.duplicate),
            position,
            problem,
        }
    }
}

impl<'a> Why<'a> {
    fn of(refusal: &'a Refusal) -> Self {
        Self {
            status: refusal.reason.http_status(),
            reason: refusal.reason.name(),
            field: refusal.field,
            detail: &refusal.message,
            retry_after: refusal.retry_delay.map(seconds),
        }
    }
}

/// 202, and the lines as they come.
pub(in crate::http) fn telling(lines: impl Stream<Item = Bytes> + Send + 'static) -> Response {
    let [kind, _] = NDJSON;
    let body = Body::from_stream(lines.map(Ok::<_, Infallible>));
    answer(StatusCode::ACCEPTED, kind, body)
}

/// A line for each verdict.
pub(in crate::http) fn lines(told: &[Told]) -> Bytes {
    let mut text = Vec::with_capacity(told.len() * 128);
    for told in told {
        line(&mut text, &One::of(told));
    }
    text.into()
}

/// The line that says that there are no more.
pub(in crate::http) fn last_line(report: &Report, cut: Option<&Refusal>) -> Bytes {
    let refusal = end(report, cut);
    let message = match report.refused {
        0 => QUEUED,
        _ => QUEUED_SOME,
    };
    let mut text = Vec::new();
    let last = LastLine {
        message: refusal.is_none().then_some(message),
        accepted: report.accepted,
        refused: report.refused,
        duplicates: report.duplicates,
        problem: refusal.as_ref().map(Why::of),
    };
    line(&mut text, &last);
    text.into()
}

fn line(text: &mut Vec<u8>, value: &impl Serialize) {
    // Texts and numbers always have a JSON form, and memory takes them.
    if serde_json::to_writer(&mut *text, value).is_ok() {
        text.push(b'\n');
    }
}
