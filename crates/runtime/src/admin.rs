//! The admin endpoint: whether this process lives, whether it is ready, and what it has done.
//!
//! In: HTTP on `admin.listen`. Out: `/livez` answers 200 as long as the process answers;
//! `/readyz` answers 200 when nothing is waited for, else 503 with a JSON object that names
//! everything that is waited for, or says that the process is draining; `/metrics` answers with
//! the text format of Prometheus.
//! Promises: at most [`MAX_CONNECTIONS`] at a time; a connection that does not send its request
//! within [`HEADER_TIMEOUT`], or takes nothing of its answer ([`Guarded`]), is closed.

use crate::metrics::TEXT_FORMAT;
use crate::{Guarded, Metrics, Readiness, Shutdown, Tasks};
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Most connections at a time; further ones wait in the system's queue.
pub const MAX_CONNECTIONS: usize = 64;
/// How long a client may take to send the head of a request.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the endpoint waits after the system refused to hand over a connection.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// A bound endpoint that does not answer yet.
#[derive(Debug)]
pub struct AdminServer {
    listener: TcpListener,
    address: SocketAddr,
    readiness: Readiness,
    metrics: Metrics,
}

impl AdminServer {
    /// Binds `listen`; port 0 takes any free one.
    ///
    /// # Errors
    /// The system's, when the address cannot be bound.
    pub async fn bind(
        listen: SocketAddr,
        readiness: Readiness,
        metrics: Metrics,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        Ok(Self {
            listener,
            address,
            readiness,
            metrics,
        })
    }

    /// The address that is bound.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `ended`; while `shutdown` drains, `/readyz` says so. Requests that are being
    /// answered are finished.
    pub async fn serve(self, shutdown: Shutdown, ended: impl Future<Output = ()> + Send) {
        let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let tasks = Tasks::new();
        let end = Shutdown::new();
        let state = State {
            readiness: self.readiness,
            metrics: self.metrics,
            shutdown,
            end: end.clone(),
        };
        tokio::pin!(ended);
        loop {
            let accepted = tokio::select! {
                accepted = accept(&self.listener, &connections) => accepted,
                () = &mut ended => break,
            };
            if let Some((stream, permit)) = accepted {
                tasks.spawn(
                    "admin connection",
                    serve_connection(stream, permit, state.clone()),
                );
            }
        }
        end.drain();
        // An answer is a few bytes: a client that does not take them loses the connection.
        let _left = tasks.finish(Duration::from_secs(1)).await;
    }
}

#[derive(Clone, Debug)]
struct State {
    readiness: Readiness,
    metrics: Metrics,
    shutdown: Shutdown,
    end: Shutdown,
}

async fn accept(
    listener: &TcpListener,
    connections: &Arc<Semaphore>,
) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    // The semaphore is never closed, so this fails never.
    let permit = Arc::clone(connections).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, permit)),
        Err(error) => {
            tracing::warn!(%error, "the admin endpoint could not take a connection");
            tokio::time::sleep(ACCEPT_RETRY).await;
            None
        }
    }
}

async fn serve_connection(stream: TcpStream, permit: OwnedSemaphorePermit, state: State) {
    let service = service_fn(|request: Request<Incoming>| {
        let answer = answer(request.method(), request.uri().path(), &state);
        async move { Ok::<_, Infallible>(answer) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(Guarded::new(stream)), service);
    tokio::pin!(connection);
    let mut ending = false;
    loop {
        tokio::select! {
            result = &mut connection => {
                if let Err(error) = result {
                    tracing::debug!(%error, "admin connection");
                }
                break;
            }
            () = state.end.draining(), if !ending => {
                ending = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
    drop(permit);
}

fn answer(method: &Method, path: &str, state: &State) -> Response<Full<Bytes>> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
    }
    match path {
        "/livez" => text(StatusCode::OK, "ok\n"),
        "/readyz" => ready(&state.readiness, state.shutdown.is_draining()),
        "/metrics" => respond(StatusCode::OK, TEXT_FORMAT, state.metrics.text()),
        _ => text(
            StatusCode::NOT_FOUND,
            "there are /livez, /readyz and /metrics\n",
        ),
    }
}

fn ready(readiness: &Readiness, draining: bool) -> Response<Full<Bytes>> {
    let waiting = readiness.waiting();
    let ready = waiting.is_empty() && !draining;
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let entry =
        |(name, what): &(String, String)| serde_json::json!({ "name": name, "waiting_for": what });
    let body = serde_json::json!({
        "ready": ready,
        "draining": draining,
        "waiting": waiting.iter().map(entry).collect::<Vec<_>>(),
    });
    respond(status, "application/json", format!("{body}\n"))
}

fn text(status: StatusCode, body: &'static str) -> Response<Full<Bytes>> {
    respond(status, "text/plain; charset=utf-8", body.to_owned())
}

fn respond(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let content_type = header::HeaderValue::from_static(content_type);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, content_type);
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn get(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn readiness_is_told_with_what_is_waited_for() {
        let readiness = Readiness::new();
        let log = readiness.condition("log", "Kafka at \"b:9092\"");
        let (listen, metrics) = ("127.0.0.1:0".parse().unwrap(), Metrics::new().unwrap());
        let server = AdminServer::bind(listen, readiness, metrics).await.unwrap();
        let address = server.address();
        let (shutdown, end, tasks) = (Shutdown::new(), Shutdown::new(), Tasks::new());
        let ended = end.clone();
        tasks.spawn(
            "admin",
            server.serve(shutdown.clone(), async move { ended.draining().await }),
        );

        assert!(get(address, "/livez").await.starts_with("HTTP/1.1 200"));
        let waiting = get(address, "/readyz").await;
        assert!(waiting.starts_with("HTTP/1.1 503"), "{waiting}");
        assert!(waiting.contains(r#"{"name":"log","waiting_for":"Kafka at \"b:9092\""}"#));
        log.ready();
        assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 200"));
        shutdown.drain();
        let draining = get(address, "/readyz").await;
        assert!(draining.starts_with("HTTP/1.1 503") && draining.contains("\"draining\":true"));
        assert!(get(address, "/livez").await.starts_with("HTTP/1.1 200"));
        let metrics = get(address, "/metrics").await;
        assert!(metrics.contains("\ncloudsync_build_info{"), "{metrics}");
        assert!(
            metrics.contains("content-type: text/plain; version=0.0.4"),
            "{metrics}"
        );
        assert!(get(address, "/else").await.starts_with("HTTP/1.1 404"));

        // An idle connection does not hold the end up.
        let _idle = TcpStream::connect(address).await.unwrap();
        end.drain();
        assert_eq!(tasks.finish(Duration::from_secs(5)).await, 0);
    }
}
