//! What an endpoint answered → what it means for the record.
//!
//! In: a response. Out: written, a conflict, or a failure with its class. Promises: of a body so
//! much is read as a message needs, and no longer than is allowed; nothing of it breaks a line or
//! shows what signed the request in.
//!
//! | status | means |
//! |---|---|
//! | 2xx | written |
//! | 409 | the same key is being worked on there: again later |
//! | 422 | `keyed`: the key was used with another payload, a conflict; `plain`: rejected |
//! | 429, 503 with `Retry-After` | throttled for that long |
//! | 429 without | throttled for a second |
//! | 401, 403, 407 | denied: credentials |
//! | 3xx, 404, 405, 410 | denied: the URL, which is the same for every record |
//! | 408, 425, 5xx | transient |
//! | other 4xx | rejected |

use crate::sink::{ErrorClass, Idempotence, retry_after};
use cloudsync_runtime::redact::HIDDEN;
use http::{HeaderMap, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use std::time::{Duration, SystemTime};
use tokio::time::{Instant, timeout_at};

/// So much of a body is kept, in bytes: a secret is hidden whole, before a message is cut.
const KEPT: usize = 4 * 1024;
/// So much of it stands in a message, in characters.
const SHOWN: usize = 200;
/// So much of it is read, so that its connection can be used again.
const READ: usize = 64 * 1024;
/// Wait after a 429 that does not say how long.
const A_MOMENT: Duration = Duration::from_secs(1);

/// What an endpoint said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Said {
    status: StatusCode,
    retry_after: Option<Duration>,
    location: Option<String>,
    /// The beginning of the body.
    body: Vec<u8>,
}

/// What it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The endpoint has the record.
    Written,
    /// The id was used with another payload.
    Conflict,
    /// It has not, and what is to be done about it.
    Failed(ErrorClass),
}

/// What `said` means, coming from an endpoint that is `idempotence`.
pub(super) fn meaning(said: &Said, idempotence: Idempotence) -> Meaning {
    Meaning::Failed(match (said.status.as_u16(), said.retry_after) {
        (200..=299, _) => return Meaning::Written,
        (422, _) if idempotence == Idempotence::Keyed => return Meaning::Conflict,
        (429 | 503, Some(after)) => ErrorClass::Throttled(after),
        (429, None) => ErrorClass::Throttled(A_MOMENT),
        (408 | 409 | 425, _) => ErrorClass::Transient,
        // What is never about one record: bills, credentials, the URL, the protocol.
        (100..=399 | 401..=405 | 407 | 410 | 421 | 426, _) => ErrorClass::Denied,
        (400..=499, _) => ErrorClass::Rejected,
        _ => ErrorClass::Transient,
    })
}

// === impl Said ===

impl Said {
    /// Reads `response`, its body for at most `body_time`.
    pub(super) async fn read(
        response: Response<Incoming>,
        now: SystemTime,
        body_time: Duration,
    ) -> Self {
        let until = Instant::now() + body_time;
        let (head, mut body) = response.into_parts();
        let mut said = Self::of(head.status, &head.headers, now);
        let mut read = 0;
        // What ends it early changes nothing: the status has said what there is to say.
        while read < READ
            && let Ok(Some(Ok(frame))) = timeout_at(until, body.frame()).await
        {
            let Ok(data) = frame.into_data() else {
                continue;
            };
            read += data.len();
            let room = KEPT.saturating_sub(said.body.len()).min(data.len());
            said.body.extend_from_slice(&data[..room]);
        }
        said
    }

    fn of(status: StatusCode, headers: &HeaderMap, now: SystemTime) -> Self {
        let after = headers.get(header::RETRY_AFTER);
        let to = headers.get(header::LOCATION);
        Self {
            status,
            retry_after: after.and_then(|value| retry_after(value, now)),
            location: to.and_then(|value| value.to_str().ok()).map(str::to_owned),
            body: Vec::new(),
        }
    }

    /// The status, in digits.
    pub(super) fn code(&self) -> &str {
        self.status.as_str()
    }

    /// It in words, without any of `secrets`.
    pub(super) fn text(&self, secrets: &[String]) -> String {
        let mut text = format!("it answered {}", self.status);
        if self.status.is_redirection() {
            let to = self.location.as_deref().map(super::endpoint::shown);
            let to = to.map_or_else(String::new, |to| {
                format!(" to {}", beginning(to.as_bytes(), secrets))
            });
            text.push_str(&format!(
                ", a redirect{to}; none is followed: set the URL to the place that is meant"
            ));
        }
        if matches!(self.status.as_u16(), 404 | 405 | 410) {
            text.push_str(
                ", which is about the URL and so about every record: is it the right one?",
            );
        }
        let body = beginning(&self.body, secrets);
        if !body.is_empty() {
            text.push_str(&format!(": {body}"));
        }
        text
    }
}

/// What of `bytes` can stand in a line, without any of `secrets`.
fn beginning(bytes: &[u8], secrets: &[String]) -> String {
    let mut text = String::from_utf8_lossy(bytes).into_owned();
    for secret in secrets {
        text = text.replace(secret.as_str(), HIDDEN);
    }
    let plain = text
        .chars()
        .map(|it| if it.is_control() { ' ' } else { it });
    plain.take(SHOWN).collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn said(status: u16, headers: &[(header::HeaderName, &str)], body: &[u8]) -> Said {
        let headers = headers.iter().map(|(name, value)| {
            let value = HeaderValue::from_str(value).unwrap();
            (name.clone(), value)
        });
        let status = StatusCode::from_u16(status).unwrap();
        let mut said = Said::of(status, &headers.collect(), SystemTime::UNIX_EPOCH);
        said.body = body.to_vec();
        said
    }

    #[test]
    fn every_status_has_its_meaning() {
        use ErrorClass::{Denied, Rejected, Throttled, Transient};
        let failed = Meaning::Failed;
        let rows = [
            (&[200, 201, 202, 204, 299][..], Meaning::Written),
            (&[301, 302, 303, 304, 307, 308], failed(Denied)),
            (
                &[401, 402, 403, 404, 405, 407, 410, 421, 426],
                failed(Denied),
            ),
            (
                &[400, 406, 411, 412, 413, 414, 415, 418, 431, 451],
                failed(Rejected),
            ),
            (
                &[408, 409, 425, 500, 501, 502, 503, 504, 599, 600, 999],
                failed(Transient),
            ),
            (&[429], failed(Throttled(A_MOMENT))),
        ];
        for (statuses, expected) in rows {
            for status in statuses {
                for idempotence in [Idempotence::Plain, Idempotence::Keyed] {
                    let found = meaning(&said(*status, &[], b""), idempotence);
                    assert_eq!(found, expected, "{status} {idempotence:?}");
                }
            }
        }
        let used = said(422, &[], b"");
        assert_eq!(meaning(&used, Idempotence::Keyed), Meaning::Conflict);
        assert_eq!(meaning(&used, Idempotence::Plain), failed(Rejected));
        for status in [429, 503] {
            let wait = said(status, &[(header::RETRY_AFTER, "7")], b"");
            let expected = failed(Throttled(Duration::from_secs(7)));
            assert_eq!(meaning(&wait, Idempotence::Plain), expected);
        }
        let unsaid = said(503, &[(header::RETRY_AFTER, "soon")], b"");
        assert_eq!(meaning(&unsaid, Idempotence::Plain), failed(Transient));
        let in_progress = said(409, &[(header::RETRY_AFTER, "7")], b"");
        assert_eq!(meaning(&in_progress, Idempotence::Keyed), failed(Transient));
    }

    #[test]
    fn an_answer_is_one_line_without_secrets() {
        let body = b"no such\r\naccount hush\0".repeat(40);
        let text = said(400, &[], &body[..]).text(&["hush".to_owned()]);
        assert!(
            text.starts_with("it answered 400 Bad Request: no such  account ***"),
            "{text}"
        );
        assert!(!text.contains('\n') && !text.contains("hush"), "{text}");
        assert!(text.len() < 300, "{text}");
        // One that begins where a message ends is hidden all the same.
        let body = format!("{}0123456789", "x".repeat(SHOWN - 4));
        let text = said(400, &[], body.as_bytes()).text(&["0123456789".to_owned()]);
        assert!(!text.contains("0123"), "{text}");
        let to = [(header::LOCATION, "https://u:hush@h/y?token=hush")];
        let text = said(308, &to, b"").text(&[]);
        assert!(
            text.contains("none is followed") && !text.contains("hush"),
            "{text}"
        );
        let to = [(header::LOCATION, "/in/?token=hush")];
        let text = said(308, &to, b"").text(&[]);
        assert!(text.contains("/in/") && !text.contains("hush"), "{text}");
        assert!(said(404, &[], b"").text(&[]).contains("right one?"));
    }
}
