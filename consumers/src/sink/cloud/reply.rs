//! What a service answered, kept whole on its way through `object_store`.
//!
//! In: the HTTP answer. Out: the same, where `object_store` reads it right; else a [`Reply`] with
//! status, word and `Retry-After` as the cause of its error. Without it 429, 500 and 503 would come
//! out alike, and every 409 as "exists": also S3's `ConditionalRequestConflict`, which means "again".

use async_trait::async_trait;
use cloudsync_runtime::redact;
use http::StatusCode;
use http::header::{LOCATION, RETRY_AFTER};
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
};
use object_store::{ClientConfigKey, ClientOptions};
use std::fmt;
use std::time::{Duration, SystemTime};

/// Longest body of an error that is looked at, in bytes.
const LOOKED_AT: usize = 64 * 1024;
/// Longest message that is kept of it, in characters.
const SHOWN: usize = 200;

/// Who we say we are.
const AGENT: &str = concat!("cloudsync/", env!("CARGO_PKG_VERSION"));

/// An answer that is no success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) status: u16,
    /// The service's word for it: `SlowDown`, `ContainerNotFound`.
    pub(super) code: Option<String>,
    pub(super) retry_after: Option<Duration>,
    /// What it says to people.
    message: String,
}

/// Connects for `object_store`, and keeps what is answered. Follows no redirect: a POST of keys or a
/// GET would end somewhere else, and a PUT as a GET that looks like success.
#[derive(Clone, Copy, Debug)]
pub(super) struct Connector {
    /// Longest time for a connection, TLS included.
    pub(super) connect: Duration,
    /// Longest time for an answer.
    pub(super) answer: Duration,
    /// A connection that nobody uses is closed after so long.
    pub(super) idle: Duration,
}

#[derive(Debug)]
struct Kept(HttpClient);

// === impl Connector ===

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let plain = options.get_config_value(&ClientConfigKey::AllowHttp);
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .https_only(plain.as_deref() != Some("true"))
            .connect_timeout(self.connect)
            .timeout(self.answer)
            .pool_idle_timeout(self.idle)
            .user_agent(AGENT)
            .build()
            .map_err(|error| object_store::Error::Generic {
                store: "HTTP",
                source: Box::new(error),
            })?;
        Ok(HttpClient::new(Kept(HttpClient::new(client))))
    }
}

#[async_trait]
impl HttpService for Kept {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let response = self.0.execute(request).await?;
        let status = response.status();
        // 412 is the answer to a condition, 304 one to a question; both are read right.
        let read_right = status.is_success()
            || matches!(
                status,
                StatusCode::NOT_MODIFIED | StatusCode::PRECONDITION_FAILED
            );
        if read_right {
            return Ok(response);
        }
        let (head, body) = response.into_parts();
        let body = body.bytes().await?;
        let reply = Reply::of(head.status, &head.headers, &body, SystemTime::now());
        if reply.is_of_the_object() {
            return Ok(HttpResponse::from_parts(head, body.into()));
        }
        // Of an unknown kind, it is not retried below us.
        Err(HttpError::new(HttpErrorKind::Unknown, reply))
    }
}

// === impl Reply ===

impl Reply {
    fn of(status: StatusCode, headers: &http::HeaderMap, body: &[u8], now: SystemTime) -> Self {
        let text = String::from_utf8_lossy(&body[..body.len().min(LOOKED_AT)]);
        let header = |name| {
            headers
                .get(name)
                .and_then(|it: &http::HeaderValue| it.to_str().ok())
        };
        let code = header("x-ms-error-code").map(str::to_owned);
        let message = element(&text, "Message").unwrap_or_default();
        let mut message: String = message
            .chars()
            .take(SHOWN)
            .filter(|it| !it.is_control())
            .collect();
        if let Some(to) = header(LOCATION.as_str()) {
            // What stands behind a question mark may be a signature.
            let to = to.split(['?', '#']).next().unwrap_or_default();
            let to: String = to
                .chars()
                .take(SHOWN)
                .filter(|it| !it.is_control())
                .collect();
            let to = redact::url(&to);
            message.push_str(&format!(" (a redirect to {to}, which is not followed)"));
        }
        Self {
            status: status.as_u16(),
            code: code
                .or_else(|| element(&text, "Code").map(str::to_owned))
                .filter(|code| is_word(code)),
            retry_after: headers
                .get(RETRY_AFTER)
                .and_then(|value| crate::sink::retry_after(value, now)),
            message,
        }
    }

    /// Whether it speaks of the object alone, and so is what `object_store` takes it for.
    fn is_of_the_object(&self) -> bool {
        match (self.status, self.code.as_deref()) {
            // Both services say which; whoever stands before them does not.
            (404, code) => matches!(code, Some("NoSuchKey" | "BlobNotFound")),
            (409, code) => matches!(code, Some("BlobAlreadyExists")),
            _ => false,
        }
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the service answered {}", self.status)?;
        if let Some(code) = &self.code {
            write!(f, " {code}")?;
        }
        if !self.message.is_empty() {
            write!(f, ": {}", self.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for Reply {}

/// Whether `code` is a word, and no page of somebody else's.
fn is_word(code: &str) -> bool {
    let plain = |it: char| it.is_ascii_alphanumeric() || matches!(it, '.' | '_' | '-');
    !code.is_empty() && code.len() <= 64 && code.chars().all(plain)
}

/// The text of the first element `name` of an error's XML. No more is needed of it, and a parser
/// would say of half a body only that it is none.
fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>")).map(|(text, _)| text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(status: u16, headers: &[(&'static str, &str)], body: &str) -> Reply {
        let headers = headers.iter().map(|(name, value)| {
            (
                http::HeaderName::from_static(name),
                http::HeaderValue::from_str(value).unwrap(),
            )
        });
        let status = StatusCode::from_u16(status).unwrap();
        Reply::of(
            status,
            &headers.collect(),
            body.as_bytes(),
            SystemTime::UNIX_EPOCH,
        )
    }

    #[test]
    fn status_word_and_time_are_kept() {
        let s3 = "<?xml version=\"1.0\"?><Error><Code>SlowDown</Code><Message>Reduce your\n rate\
                  </Message></Error>";
        let kept = reply(503, &[("retry-after", "7")], s3);
        assert_eq!(kept.code.as_deref(), Some("SlowDown"));
        assert_eq!(kept.retry_after, Some(Duration::from_secs(7)));
        assert_eq!(
            kept.to_string(),
            "the service answered 503 SlowDown: Reduce your rate"
        );
        let azure = reply(409, &[("x-ms-error-code", "ContainerBeingDeleted")], "");
        assert_eq!(
            azure.to_string(),
            "the service answered 409 ContainerBeingDeleted"
        );
        let cut = reply(500, &[], "<Error><Code>Intern");
        assert_eq!((cut.code, cut.retry_after), (None, None));
        let to = [("location", "https://me:hush@elsewhere/x?sig=hush")];
        let moved = reply(301, &to, "<Code>two words, hush</Code>").to_string();
        assert!(
            moved.contains("@elsewhere/x,") && !moved.contains("hush"),
            "{moved}"
        );
    }

    #[test]
    fn only_what_is_said_of_the_object_itself_goes_on_as_it_is() {
        let of = |status, code: &str| {
            let body = format!("<Error><Code>{code}</Code></Error>");
            reply(status, &[], &body).is_of_the_object()
        };
        assert!(!reply(404, &[], "").is_of_the_object());
        assert!(of(404, "NoSuchKey") && of(404, "BlobNotFound") && of(409, "BlobAlreadyExists"));
        assert!(!of(404, "NoSuchBucket") && !of(404, "ContainerNotFound"));
        assert!(!of(409, "ConditionalRequestConflict") && !reply(409, &[], "").is_of_the_object());
        assert!(!of(403, "AccessDenied") && !of(429, "TooManyRequests"));
    }
}
