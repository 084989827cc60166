//! Step 1 of the walk: accept HTTP requests.
//!
//! In: `POST /api/datasync` with one JSON value; `GET /livez`, `GET /readyz`. Out: the answer,
//! or a problem (RFC 9457). Promises: the payload is the body's bytes as they came, without the
//! white space around them; 202 means what an acknowledgement means everywhere: the log has the
//! record.

use crate::pipeline::{Accepted, Pipeline};
use answer::{accepted, problem, unknown};
use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, FromRequest, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use axum::routing::{get, post};
use bytes::Bytes;
use cloudsync::reason::Refusal;
use cloudsync::{ErrorReason, SyncRecord};
use cloudsync_runtime::Readiness;
use parameters::Parameters;
use prost::Message;
use std::sync::Arc;
use std::time::Duration;

mod answer;
mod json;
mod parameters;

/// The longest that a client may take to send the body.
const BODY_DEADLINE: Duration = Duration::from_secs(30);
/// Bytes of a body beyond the largest record: the white space around the value.
const BODY_SLACK: usize = 4 * 1024;

/// What the handlers share.
#[derive(Clone)]
struct Context {
    pipeline: Arc<Pipeline>,
    readiness: Readiness,
    max_record_bytes: usize,
}

/// Every route that is not gRPC.
pub(crate) fn routes(
    pipeline: Arc<Pipeline>,
    readiness: Readiness,
    max_record_bytes: usize,
) -> Router {
    let context = Context {
        pipeline,
        readiness,
        max_record_bytes,
    };
    Router::new()
        .route("/api/datasync", post(datasync))
        .layer(DefaultBodyLimit::max(max_record_bytes + BODY_SLACK))
        .route("/livez", get(async || "ok"))
        .route("/readyz", get(readyz))
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(not_found)
        .with_state(context)
}

// === POST /api/datasync ===

async fn datasync(State(context): State<Context>, request: Request) -> Response {
    let _call = context.pipeline.calls.token();
    let headers = request.headers().clone();
    match take(&context, request).await {
        Ok((payload, stored)) => accepted(&headers, json::is_string(&payload), stored),
        Err(refusal) => problem(&refusal),
    }
}

async fn take(context: &Context, request: Request) -> Result<(Bytes, Accepted), Refusal> {
    check_content_type(request.headers())?;
    let parameters = Parameters::of(request.uri().query(), request.headers())?;
    let body = read_body(request, context.max_record_bytes).await?;
    let payload = json::one_value(&body)?;
    let record = SyncRecord {
        request_id: parameters.request_id.of(&payload)?,
        key: parameters.key.of(&payload)?,
        payload: payload.clone(),
        content_type: "application/json".into(),
        ..SyncRecord::default()
    };
    let stored = context
        .pipeline
        .submit_one(record.encode_to_vec().into())
        .await?;
    Ok((payload, stored))
}

/// JSON, or what clients say when nobody told them what they send (`curl -d` says that it is a
/// form).
fn check_content_type(headers: &HeaderMap) -> Result<(), Refusal> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return Ok(());
    };
    let text = value.to_str().unwrap_or_default();
    let kind = text
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    match kind.as_str() {
        "application/json" | "application/x-www-form-urlencoded" | "text/plain" => Ok(()),
        _ => Err(Refusal::permanent(
            ErrorReason::UnsupportedMediaType,
            format!("content type {kind:?} is not JSON; send application/json"),
        )),
    }
}

async fn read_body(request: Request, max_record_bytes: usize) -> Result<Bytes, Refusal> {
    let reading = Bytes::from_request(request, &());
    let rejection = match tokio::time::timeout(BODY_DEADLINE, reading).await {
        Ok(Ok(body)) => return Ok(body),
        Ok(Err(rejection)) => rejection,
        Err(_) => {
            let limit = BODY_DEADLINE.as_secs();
            return Err(Refusal::permanent(
                ErrorReason::InvalidJson,
                format!("the body did not arrive within {limit} s; send it faster"),
            ));
        }
    };
    if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
        return Err(Refusal::permanent(
            ErrorReason::RecordTooLarge,
            format!(
                "the body has more than {max_record_bytes} bytes, the limit \
                 (gateway.max_record_bytes) of a record; split it, or send a reference"
            ),
        ));
    }
    let text = format!("the body could not be read: {rejection}");
    Err(Refusal::permanent(ErrorReason::InvalidJson, text))
}

// === GET /readyz ===

async fn readyz(State(context): State<Context>) -> Response {
    let mut waiting = context.readiness.waiting();
    if context.pipeline.shutdown.is_draining() {
        waiting.push(("gateway".into(), "its end: it drains".into()));
    }
    answer::readiness(&waiting)
}

// === what is not there ===

async fn not_found(request: Request) -> Response {
    // A gRPC client with a service that does not exist here expects a gRPC status.
    let content_type = request.headers().get(header::CONTENT_TYPE);
    if content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc")) {
        let text = format!("there is no {}", request.uri().path());
        return tonic::Status::unimplemented(text).into_http::<Body>();
    }
    let text = format!(
        "there is no {}; records go to POST /api/datasync",
        request.uri().path()
    );
    unknown(StatusCode::NOT_FOUND, &text)
}

async fn method_not_allowed(request: Request) -> Response {
    let text = format!(
        "{} is not a method of {}",
        request.method(),
        request.uri().path()
    );
    unknown(StatusCode::METHOD_NOT_ALLOWED, &text)
}
