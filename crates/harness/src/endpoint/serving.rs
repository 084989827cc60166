//! The endpoint's door: connections, and what is answered to a post.

use super::{Book, Done, Fault, Post};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{HeaderName, RETRY_AFTER};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// How late a late answer is.
const LATE: Duration = Duration::from_millis(40);

type Answer = Response<Full<Bytes>>;

/// Takes connections.
pub(super) struct Door {
    address: SocketAddr,
    book: Arc<Book>,
    here: watch::Receiver<bool>,
    listening: watch::Sender<bool>,
}

/// The connection ends without an answer.
#[derive(Debug)]
struct Ended;

// === impl Door ===

impl Door {
    pub(super) fn new(
        address: SocketAddr,
        book: Arc<Book>,
        here: watch::Receiver<bool>,
        listening: watch::Sender<bool>,
    ) -> Self {
        Self {
            address,
            book,
            here,
            listening,
        }
    }

    /// Serves until the endpoint is dropped, and while it shall be here.
    pub(super) async fn serve(mut self, first: TcpListener) {
        let mut listener = Some(first);
        loop {
            if let Some(listener) = listener.take() {
                self.listening.send_replace(true);
                self.take(listener).await;
                self.listening.send_replace(false);
            }
            if self.here.wait_for(|here| *here).await.is_err() {
                return;
            }
            listener = TcpListener::bind(self.address).await.ok();
            if listener.is_none() {
                return;
            }
        }
    }

    /// Takes connections until it shall be away; then all of them end.
    async fn take(&mut self, listener: TcpListener) {
        let mut connections = JoinSet::new();
        let mut number = 0;
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    let Ok((stream, _)) = accepted else { continue };
                    number += 1;
                    if self.book.chooser.refuses(number) {
                        self.book.fault(Fault::Refuse);
                        drop(stream);
                    } else {
                        connections.spawn(connection(stream, Arc::clone(&self.book)));
                    }
                }
                Some(_) = connections.join_next() => {}
                () = away(&mut self.here) => {
                    connections.shutdown().await;
                    return;
                }
            }
        }
    }
}

/// Waits until it shall be away, or is dropped.
async fn away(here: &mut watch::Receiver<bool>) {
    let _dropped = here.wait_for(|here| !here).await.is_err();
}

async fn connection(stream: TcpStream, book: Arc<Book>) {
    let service = service_fn(|request| answer(request, Arc::clone(&book)));
    let served = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // However it ends: the book has what was done.
    drop(served.await);
}

async fn answer(request: Request<Incoming>, book: Arc<Book>) -> Result<Answer, Ended> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Ended)?.to_bytes();
    let post = Post::new(&head.headers, &body);
    let retry_after = |text: &str| [(RETRY_AFTER, text.to_owned())];
    let (status, headers) = match book.posted(&post) {
        _ if book.is_poison(&post) => (StatusCode::BAD_REQUEST, None),
        None => return Ok(take(&book, &post)),
        Some(Fault::Slow) => {
            sleep(LATE).await;
            return Ok(take(&book, &post));
        }
        Some(Fault::Broken) => (StatusCode::INTERNAL_SERVER_ERROR, None),
        Some(Fault::Throttle) => (StatusCode::TOO_MANY_REQUESTS, Some(retry_after("0"))),
        Some(Fault::ThrottleByDate) => {
            let soon = SystemTime::now() + Duration::from_millis(100);
            let date = httpdate::fmt_http_date(soon);
            (StatusCode::SERVICE_UNAVAILABLE, Some(retry_after(&date)))
        }
        Some(Fault::InProgress) => (StatusCode::CONFLICT, None),
        Some(Fault::Unprocessable) => {
            book.refuse(&post);
            (StatusCode::UNPROCESSABLE_ENTITY, None)
        }
        Some(Fault::Hang) => return std::future::pending().await,
        Some(Fault::HangDone) => {
            book.apply(&post, false);
            return std::future::pending().await;
        }
        Some(Fault::Drop | Fault::Refuse) => return Err(Ended),
        Some(Fault::DropDone) => {
            book.apply(&post, false);
            return Err(Ended);
        }
    };
    Ok(say(status, headers.into_iter().flatten()))
}

fn take(book: &Book, post: &Post) -> Answer {
    let status = match book.apply(post, true) {
        Done::Effect => StatusCode::CREATED,
        Done::Replayed => StatusCode::OK,
        Done::Conflict => StatusCode::UNPROCESSABLE_ENTITY,
    };
    say(status, [])
}

fn say(status: StatusCode, headers: impl IntoIterator<Item = (HeaderName, String)>) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(format!("{status}\n"))));
    *answer.status_mut() = status;
    for (name, value) in headers {
        if let Ok(value) = value.parse() {
            answer.headers_mut().insert(name, value);
        }
    }
    answer
}

// === impl Ended ===

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the connection ends here")
    }
}

impl std::error::Error for Ended {}
