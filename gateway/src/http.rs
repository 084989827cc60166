//! Step 1 of the walk: accept HTTP requests.
//!
//! In: `POST /api/datasync` with one JSON value, a list of them, or a value a line (NDJSON),
//! packed with gzip or zstd or as it is; `GET` of a receipt, and of what the gateway says about
//! itself. Out: the answer, or a problem (RFC 9457). Promises: a payload is the bytes of its
//! value as they came; 202 means what an acknowledgement means everywhere: the log has it; memory
//! stays bounded whatever comes, and an upload of lines may have any length.
//!
//! A request's way: `media` what it holds → `parameters` with `pointer` ids and keys → `body`
//! with `decode` its bytes → `json` one value or a list, `lines` a value a line → one value: the
//! pipeline; many: `feed` in submissions → `session` through the pipeline → `answer`.

mod media;
mod parameters;
mod pointer;

mod decode;

mod body;

mod json;
mod lines;

mod feed;

mod session;

mod answer;
mod openapi;
mod receipts;

pub use receipts::ReceiptJson;

use crate::admit::{BodyShare, draining};
use crate::pipeline::Pipeline;
use crate::settings::GatewaySettings;
use answer::many;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use axum::routing::{MethodRouter, get, post};
use body::{Limits, Upload};
use cloudsync::reason::Refusal;
use cloudsync_runtime::metrics::TEXT_FORMAT;
use cloudsync_runtime::{Metrics, Readiness};
use feed::Feed;
use json::Document;
use media::{Kind, NDJSON};
use parameters::Parameters;
use session::Report;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_stream::wrappers::ReceiverStream;

/// Submissions whose verdicts wait for the client.
const UNREAD: usize = 4;

/// What the handlers share.
#[derive(Clone)]
struct Context {
    pipeline: Arc<Pipeline>,
    readiness: Readiness,
    metrics: Metrics,
    limits: Limits,
}

/// Every route that is not gRPC.
pub(crate) fn routes(
    pipeline: Arc<Pipeline>,
    readiness: Readiness,
    metrics: Metrics,
    settings: &GatewaySettings,
) -> Router {
    let context = Context {
        pipeline,
        readiness,
        metrics,
        limits: Limits {
            record: settings.max_record_bytes,
            list: settings.max_body_bytes,
            time: settings.body_timeout,
        },
    };
    let router = Router::new();
    let router = handlers()
        .into_iter()
        .fold(router, |router, (path, handler)| {
            router.route(path, handler)
        });
    router
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(not_found)
        .with_state(context)
}

/// What is served, as `openapi.json` says it too.
fn handlers() -> [(&'static str, MethodRouter<Context>); 6] {
    [
        ("/api/datasync", post(datasync)),
        ("/api/receipts/{id}", get(receipts::receipt)),
        ("/livez", get(async || "ok")),
        ("/readyz", get(readyz)),
        ("/metrics", get(metrics)),
        ("/openapi.json", get(openapi)),
    ]
}

// === POST /api/datasync ===

async fn datasync(State(context): State<Context>, request: Request) -> Response {
    let _call = context.pipeline.calls.token();
    let (head, body) = request.into_parts();
    let mut upload = Upload::of(body, &head.headers, context.limits);
    let taken = match prepare(&head, &mut upload) {
        Ok((Kind::Document, parameters)) => {
            document(&context, &head.headers, parameters, &mut upload).await
        }
        Ok((Kind::Lines, parameters)) => match share_of_lines(&context, &parameters, &upload) {
            Ok(share) => return lines(&context, &head.headers, parameters, upload, share).await,
            Err(refusal) => Err(refusal),
        },
        Err(refusal) => Err(refusal),
    };
    match taken {
        Ok(response) => response,
        Err(refusal) => {
            upload.discard(&refusal).await;
            answer::problem(&refusal)
        }
    }
}

/// What can be said before the body is read.
fn prepare(head: &Parts, upload: &mut Upload) -> Result<(Kind, Parameters), Refusal> {
    let kind = media::kind(&head.headers)?;
    upload.unpack(media::encoding(&head.headers)?)?;
    let parameters = Parameters::of(head.uri.query(), &head.headers)?;
    Ok((kind, parameters))
}

/// What an upload of lines holds while it is open.
fn share_of_lines(
    context: &Context,
    parameters: &Parameters,
    upload: &Upload,
) -> Result<(OwnedSemaphorePermit, BodyShare), Refusal> {
    parameters.are_for_many()?;
    let admission = &context.pipeline.admission;
    let bytes = Feed::line_bytes(context.limits.record) + upload.decoder_bytes();
    Ok((admission.stream_now()?, admission.upload_now(bytes)?))
}

async fn document(
    context: &Context,
    headers: &HeaderMap,
    parameters: Parameters,
    upload: &mut Upload,
) -> Result<Response, Refusal> {
    let pipeline = &context.pipeline;
    let mut memory = pipeline.admission.body();
    let body = tokio::select! {
        body = upload.whole(&mut memory) => body?,
        () = pipeline.shutdown.draining() => return Err(draining()),
    };
    match json::document(&body)? {
        Document::Value(value) => {
            let is_string = json::is_string(&value);
            // A value that makes no record is one that was refused, as a line or an element is.
            let record = parameters.record(value, None).inspect_err(|_| {
                pipeline.counters.add_received(1);
                pipeline.counters.add_refused(1);
            })?;
            let stored = pipeline.submit_one(record).await?;
            Ok(answer::accepted(headers, is_string, &stored))
        }
        Document::List(elements) => {
            parameters.are_for_many()?;
            let _share = pipeline.admission.stream_now()?;
            let mut report = Report::of_all();
            let feed = Feed::list(parameters, elements);
            let cut = session::run(pipeline, feed, &mut report).await;
            Ok(many::summary(&report, cut))
        }
    }
}

/// The verdicts as lines while the upload comes, to one who asks for them; else a summary.
async fn lines(
    context: &Context,
    headers: &HeaderMap,
    parameters: Parameters,
    mut upload: Upload,
    share: (OwnedSemaphorePermit, BodyShare),
) -> Response {
    let pipeline = Arc::clone(&context.pipeline);
    let tells = media::asks_for(headers, &NDJSON);
    if tells {
        let begun = tokio::select! {
            begun = upload.begin() => begun,
            () = pipeline.shutdown.draining() => Err(draining()),
        };
        if let Err(refusal) = begun {
            return answer::problem(&refusal);
        }
    }
    let feed = Feed::lines(parameters, upload, context.limits.record);
    if !tells {
        let mut report = Report::of_refused();
        let cut = session::run(&pipeline, feed, &mut report).await;
        return many::summary(&report, cut);
    }
    let (sender, verdicts) = mpsc::channel(UNREAD);
    let call = pipeline.calls.token();
    let tasks = pipeline.tasks.clone();
    tasks.spawn("gateway-upload", async move {
        let mut report = Report::telling(sender);
        let cut = session::run(&pipeline, feed, &mut report).await;
        report.tell_end(cut.as_ref()).await;
        drop((call, share));
    });
    many::telling(ReceiverStream::new(verdicts))
}

// === what the gateway says about itself ===

async fn readyz(State(context): State<Context>) -> Response {
    let mut waiting = context.readiness.waiting();
    if context.pipeline.shutdown.is_draining() {
        waiting.push(("gateway".into(), "its end: it drains".into()));
    }
    answer::readiness(&waiting)
}

async fn metrics(State(context): State<Context>) -> Response {
    answer::text(TEXT_FORMAT, context.metrics.text())
}

async fn openapi() -> Response {
    answer::text(media::JSON, openapi::DOCUMENT)
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
        "there is no {}; records go to POST /api/datasync, GET /openapi.json says what there is",
        request.uri().path()
    );
    answer::unknown(StatusCode::NOT_FOUND, &text)
}

async fn method_not_allowed(request: Request) -> Response {
    let text = format!(
        "{} is not a method of {}; the header Allow says which are",
        request.method(),
        request.uri().path()
    );
    answer::unknown(StatusCode::METHOD_NOT_ALLOWED, &text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_document_names_every_route_and_no_other() {
        let document: serde_json::Value = serde_json::from_str(openapi::DOCUMENT).unwrap();
        let paths = document["paths"].as_object().unwrap();
        let described: BTreeSet<_> = paths.keys().map(String::as_str).collect();
        let served: BTreeSet<_> = handlers().into_iter().map(|(path, _)| path).collect();
        assert_eq!(described, served);
    }
}
