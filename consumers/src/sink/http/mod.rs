//! `http(s)://…`: each record is one POST.
//!
//! In: a record. Out: what the endpoint made of it. In the order of a call: [`endpoint`] reads the
//! URL → [`dial`] finds the address, checks it ([`address`]) and connects to just that →
//! [`headers`] says what the record is → the request → [`answer`] says what the endpoint said.
//!
//! Promises: it connects to no address that was not checked, follows no redirect, asks no proxy,
//! and ends in time; nothing it says shows the user, the password or the values of the query. A
//! plain endpoint never tells that something was there; a keyed one does not either, but has one
//! effect for a key.

mod address;
mod answer;
mod dial;
mod endpoint;
mod headers;

use super::{
    Applied, ErrorClass, Idempotence, OpenError, Outgoing, RecordSink, SegmentSink, SinkError,
};
use crate::settings::{DestinationSettings, IdempotencyKey, Repeats};
use answer::{Meaning, Said};
use async_trait::async_trait;
use bytes::Bytes;
use cloudsync_kafka::Receipt;
use dial::Dialer;
use endpoint::Endpoint;
use http::{Method, Request};
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use std::time::{Duration, SystemTime};
use tokio::time::timeout;

pub(super) use endpoint::{is_http, without_user};

/// A connection that nobody has used for so long is not used again: servers close theirs after
/// 5 s and more, and a request that meets such an end may have had its effect or not.
const IDLE: Duration = Duration::from_secs(3);
/// This part of an attempt's time is kept for the body of the answer.
const FOR_THE_BODY: u32 = 16;
/// Longest wait for the body of an answer, which changes nothing any more.
const BODY: Duration = Duration::from_millis(250);

/// An endpoint that takes records.
#[derive(Debug)]
pub(super) struct HttpSink {
    endpoint: Endpoint,
    idempotence: Idempotence,
    key: IdempotencyKey,
    dialer: Dialer,
    client: Client<Dialer, Full<Bytes>>,
}

/// Whether `settings` name an endpoint that may be spoken to. Nothing is asked.
///
/// # Errors
/// [`OpenError::Refused`].
pub(super) fn check(settings: &DestinationSettings) -> Result<(), OpenError> {
    Endpoint::parse(&settings.url, settings.allow_private)
        .map(drop)
        .map_err(OpenError::Refused)
}

// === impl HttpSink ===

impl HttpSink {
    /// The endpoint of `settings`. Nothing is asked.
    ///
    /// # Errors
    /// [`OpenError::Refused`].
    pub(super) fn new(settings: &DestinationSettings) -> Result<Self, OpenError> {
        let endpoint =
            Endpoint::parse(&settings.url, settings.allow_private).map_err(OpenError::Refused)?;
        let dialer = Dialer::new(&endpoint, settings.allow_private).map_err(OpenError::Refused)?;
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(settings.concurrency)
            .build(dialer.clone());
        Ok(Self {
            idempotence: match settings.idempotence {
                Repeats::Plain => Idempotence::Plain,
                Repeats::Keyed => Idempotence::Keyed,
            },
            key: settings.idempotency_key,
            endpoint,
            dialer,
            client,
        })
    }

    /// Connects, and with `https` shakes hands; sends nothing.
    ///
    /// # Errors
    /// [`SinkError`]: what an attempt would say now.
    pub(super) async fn reach(&self) -> Result<(), SinkError> {
        let action = format!("connect to {}", self.endpoint.shown);
        let reached = self.dialer.dial().await;
        reached
            .map(drop)
            .map_err(|error| SinkError::new(error.class(), action, error))
    }

    fn request(&self, record: &Outgoing<'_>) -> Request<Full<Bytes>> {
        let value = record.polled.record.value.as_ref();
        // The payload lies within the record; it is handed on, not copied.
        let body = value.map_or_else(Bytes::new, |value| value.slice_ref(record.view.payload));
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.endpoint.uri.clone();
        let of_record = headers::of(record, self.key);
        let sign_in = self.endpoint.authorization.clone();
        let sign_in = sign_in.map(|value| (http::header::AUTHORIZATION, value));
        request.headers_mut().extend(of_record.chain(sign_in));
        request
    }

    /// A request without an answer. Before it was sent, the endpoint is away; after that, only this
    /// request is known to have failed.
    fn unanswered(&self, action: String, error: hyper_util::client::legacy::Error) -> SinkError {
        let class = match dial::error_below(&error) {
            Some(error) => error.class(),
            None if error.is_connect() => ErrorClass::Outage,
            None => ErrorClass::Transient,
        };
        SinkError::new(class, action, error)
    }

    fn applied(&self, action: String, said: &Said) -> Result<Applied, SinkError> {
        let text = said.text(self.endpoint.secrets());
        match answer::meaning(said, self.idempotence) {
            Meaning::Written => Ok(Applied::Created(Receipt::new(text))),
            Meaning::Conflict => Ok(Applied::Conflict(format!(
                "{} says that the id was used with another payload: {text}",
                self.endpoint.shown
            ))),
            Meaning::Failed(class) => {
                Err(SinkError::new(class, action, text).with_code(said.code()))
            }
        }
    }
}

#[async_trait]
impl RecordSink for HttpSink {
    fn idempotence(&self) -> Idempotence {
        self.idempotence
    }

    async fn apply(&self, record: &Outgoing<'_>, limit: Duration) -> Result<Applied, SinkError> {
        let action = format!("post {} to {}", record.named.id, self.endpoint.shown);
        let body_time = (limit / FOR_THE_BODY).min(BODY);
        // Once the endpoint has answered, no time-out may make a failure of it.
        let answered = timeout(
            limit.saturating_sub(limit / FOR_THE_BODY),
            self.client.request(self.request(record)),
        );
        let response = match answered.await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(self.unanswered(action, error)),
            Err(_) => {
                let source = format!("no answer within {limit:?}");
                return Err(SinkError::new(ErrorClass::Outage, action, source));
            }
        };
        let said = Said::read(response, SystemTime::now(), body_time).await;
        self.applied(action, &said)
    }
}

/// Objects do not lie at an endpoint.
pub(super) fn no_objects(url: &str) -> Result<std::sync::Arc<dyn SegmentSink>, OpenError> {
    Err(OpenError::Refused(format!(
        "{} takes records and shows none again",
        endpoint::shown(url)
    )))
}

#[cfg(test)]
mod tests;
