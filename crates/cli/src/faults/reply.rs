//! What is answered: what the server behind says, or one of the ways in which that goes wrong.
//!
//! Words are put so that a client of S3 and one of Azure Blob find what they look for.

use futures::{StreamExt, stream};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderValue, RETRY_AFTER};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::sleep;

/// From the half of a reply to the end of its connection.
const A_MOMENT: Duration = Duration::from_millis(20);
/// Longest body, in bytes, in either direction.
const MOST: usize = 256 << 20;

pub(super) type Reply = Response<BoxBody<Bytes, Ended>>;

/// The connection ends here.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the connection ends here")]
pub(super) struct Ended;

/// A request whose body is read.
pub(super) type Whole = Request<Full<Bytes>>;

/// Reads all of `request`.
pub(super) async fn whole(request: Request<Incoming>) -> Result<Whole, Ended> {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, MOST)
        .collect()
        .await
        .map_err(|_| Ended)?;
    Ok(Request::from_parts(head, Full::new(body.to_bytes())))
}

/// What the server at `upstream` says to `request`, which goes there as it is.
pub(super) async fn forward(
    upstream: SocketAddr,
    request: Whole,
) -> Result<Response<Bytes>, Ended> {
    let stream = TcpStream::connect(upstream).await.map_err(|_| Ended)?;
    let connection = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = connection.map_err(|_| Ended)?;
    let exchange = async {
        let reply = sender.send_request(request).await.map_err(|_| Ended)?;
        let (head, body) = reply.into_parts();
        let body = Limited::new(body, MOST)
            .collect()
            .await
            .map_err(|_| Ended)?;
        Ok(Response::from_parts(head, body.to_bytes()))
    };
    let mut exchange = std::pin::pin!(exchange);
    // The connection has to be driven until the exchange is over, and no longer.
    tokio::select! {
        reply = &mut exchange => reply,
        _ = connection => exchange.await,
    }
}

/// `reply`, as it is.
pub(super) fn passed(reply: Response<Bytes>) -> Reply {
    reply.map(|body| {
        Full::new(body)
            .map_err(|never: Infallible| match never {})
            .boxed()
    })
}

/// Half of `reply`, and the connection ends. Of an empty one nothing is left.
pub(super) fn cut(reply: Response<Bytes>) -> Result<Reply, Ended> {
    let (mut head, body) = reply.into_parts();
    if body.is_empty() {
        return Err(Ended);
    }
    head.headers
        .insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    let half = body.slice(..body.len() / 2);
    let end = async {
        // What was sent before is to get there before the connection ends.
        sleep(A_MOMENT).await;
        Err(Ended)
    };
    let frames = stream::iter([Ok(Frame::data(half))]).chain(stream::once(end));
    Ok(Response::from_parts(
        head,
        BodyExt::boxed(StreamBody::new(frames)),
    ))
}

/// As if an object that was there had been written over.
pub(super) fn overwritten() -> Reply {
    let mut reply = passed(Response::new(Bytes::new()));
    *reply.status_mut() = StatusCode::CREATED;
    let tag = HeaderValue::from_static("\"0x0\"");
    reply.headers_mut().insert(ETAG, tag);
    reply
}

/// An error of the server's own.
pub(super) fn broken(unavailable: bool) -> Reply {
    if unavailable {
        say(
            StatusCode::SERVICE_UNAVAILABLE,
            "ServiceUnavailable",
            "ServerBusy",
        )
    } else {
        say(
            StatusCode::INTERNAL_SERVER_ERROR,
            "InternalError",
            "InternalError",
        )
    }
}

/// Too much is asked of it; again in `seconds`.
pub(super) fn throttled(seconds: u64) -> Reply {
    let mut reply = say(StatusCode::TOO_MANY_REQUESTS, "SlowDown", "ServerBusy");
    reply
        .headers_mut()
        .insert(RETRY_AFTER, HeaderValue::from(seconds));
    reply
}

/// It lets nobody in.
pub(super) fn denied() -> Reply {
    say(
        StatusCode::FORBIDDEN,
        "AccessDenied",
        "AuthenticationFailed",
    )
}

fn say(status: StatusCode, s3: &str, azure: &'static str) -> Reply {
    let body = format!("<?xml version=\"1.0\"?><Error><Code>{s3}</Code></Error>");
    let mut reply = passed(Response::new(Bytes::from(body)));
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    headers.insert("x-ms-error-code", HeaderValue::from_static(azure));
    reply
}
