//! What the headers of a dead letter say.
//!
//! In: the headers of a record of the dead-letter topic. Out: [`DeadLetterHeaders`]. Promises: what
//! an earlier version wrote, which knew fewer of them, is read; headers that the record brought
//! along, also such as are called like ours, are never taken for ours.

use crate::position::Position;
use crate::record::RecordHeaders;
use bytes::Bytes;
use std::sync::Arc;

/// What the headers of a dead letter say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetterHeaders {
    /// Where the record was read.
    pub origin: Position,
    /// The group that set it aside.
    pub group: String,
    /// The destination that did not get it.
    pub destination: String,
    /// Why, as [`Reason::as_str`](crate::Reason::as_str) has it.
    pub reason: String,
    /// The same in a sentence.
    pub message: String,
    /// When, as RFC 3339 has it.
    pub failed_at: String,
    /// How the last attempt was classed, if there was one.
    pub class: Option<String>,
    /// The destination's own word for it, if it had one.
    pub code: Option<String>,
    /// Attempts; `None` where nobody wrote them down.
    pub attempts: Option<u32>,
    /// When the first attempt failed, likewise RFC 3339.
    pub first_at: Option<String>,
    /// The trace that the record belongs to, 32 hex digits.
    pub trace_id: Option<String>,
    /// The fingerprint of the record's content, 16 hex digits.
    pub fingerprint: Option<String>,
}

pub(super) const TOPIC: &str = "cloudsync.dlq.topic";
pub(super) const PARTITION: &str = "cloudsync.dlq.partition";
pub(super) const OFFSET: &str = "cloudsync.dlq.offset";
pub(super) const GROUP: &str = "cloudsync.dlq.group";
pub(super) const DESTINATION: &str = "cloudsync.dlq.destination";
pub(super) const REASON: &str = "cloudsync.dlq.reason";
pub(super) const MESSAGE: &str = "cloudsync.dlq.message";
pub(super) const FAILED_AT: &str = "cloudsync.dlq.failed_at";
pub(super) const ATTEMPTS: &str = "cloudsync.dlq.attempts";
pub(super) const CLASS: &str = "cloudsync.dlq.class";
pub(super) const CODE: &str = "cloudsync.dlq.code";
pub(super) const FIRST_AT: &str = "cloudsync.dlq.first_at";
pub(super) const TRACE_ID: &str = "cloudsync.dlq.trace_id";
pub(super) const FINGERPRINT: &str = "cloudsync.dlq.fingerprint";

// === impl DeadLetterHeaders ===

impl DeadLetterHeaders {
    /// Reads the headers of a record of the dead-letter topic; `None` when one is missing that
    /// every version wrote, or is no such thing.
    #[must_use]
    pub fn parse(headers: &[(String, Bytes)]) -> Option<Self> {
        let mut all = RecordHeaders::default();
        for (name, value) in headers {
            all.push(name, Some(value));
        }
        Self::of(&all).map(|(headers, _)| headers)
    }

    /// The same, with how many headers stand before the first of ours: the record's own.
    #[must_use]
    pub fn of(headers: &RecordHeaders) -> Option<(Self, usize)> {
        // Ours stand behind those that the record brought along, however these are called.
        let own = headers.iter().rposition(|(name, _)| name == TOPIC)?;
        let text = |name: &str| {
            let mut ours = headers.iter().skip(own);
            let (_, value) = ours.find(|(found, _)| *found == name)?;
            std::str::from_utf8(value?).ok().map(str::to_owned)
        };
        let found = Self {
            origin: Position {
                topic: Arc::from(text(TOPIC)?),
                partition: text(PARTITION)?.parse().ok()?,
                offset: text(OFFSET)?.parse().ok()?,
            },
            group: text(GROUP)?,
            destination: text(DESTINATION)?,
            reason: text(REASON)?,
            message: text(MESSAGE)?,
            failed_at: text(FAILED_AT)?,
            class: text(CLASS),
            code: text(CODE),
            attempts: text(ATTEMPTS).and_then(|text| text.parse().ok()),
            first_at: text(FIRST_AT),
            trace_id: text(TRACE_ID),
            fingerprint: text(FINGERPRINT),
        };
        Some((found, own))
    }
}

/// The trace that a record with these `headers` belongs to: W3C's `traceparent`.
pub(super) fn trace_id(headers: &RecordHeaders) -> Option<String> {
    let parent = std::str::from_utf8(headers.last("traceparent")?).ok()?;
    let id = parent.split('-').nth(1)?;
    let is_one = id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_one.then(|| id.to_owned())
}

/// `text`, at most `limit` bytes of it.
pub(super) fn cut(mut text: String, limit: usize) -> String {
    let end = (0..=limit.min(text.len()))
        .rev()
        .find(|at| text.is_char_boundary(*at));
    text.truncate(end.unwrap_or(0));
    text
}
