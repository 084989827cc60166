//! Step 1 of the walk: who gets a connection.
//!
//! In: what the port accepts. Out: at most `gateway.max_connections` connections that cannot be
//! held for nothing ([`Guarded`]). Promises: one too many is told so, over HTTP/1 by 503 and over
//! HTTP/2 by an end that says that nothing was taken, and is closed; when the system hands out no
//! connections, the port waits and does not spin.

use cloudsync_runtime::{Guarded, Tasks};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tonic::transport::server::Connected;

/// Connections that are being told that there are too many; those beyond are just closed.
const TELLING: usize = 64;
/// How long that may take.
const TELL: Duration = Duration::from_secs(1);
/// How long the port waits after the system refused to hand over a connection.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// How every HTTP/2 connection begins.
const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Empty SETTINGS, then GOAWAY: of no stream anything was taken (`REFUSED_STREAM`).
const GO_AWAY: &[u8] = b"\0\0\0\x04\0\0\0\0\0\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\x07";

/// Lets connections in.
#[derive(Clone, Debug)]
pub(super) struct Door {
    most: usize,
    free: Arc<Semaphore>,
    telling: Arc<Semaphore>,
    tasks: Tasks,
}

/// A connection that was let in.
#[derive(Debug)]
pub(super) struct Admitted {
    stream: Guarded<TcpStream>,
    _place: OwnedSemaphorePermit,
}

// === impl Door ===

impl Door {
    /// For `most` connections at a time; `tasks` tell those that are too many.
    pub(super) fn new(most: usize, tasks: Tasks) -> Self {
        Self {
            most,
            free: Arc::new(Semaphore::new(most)),
            telling: Arc::new(Semaphore::new(TELLING)),
            tasks,
        }
    }

    /// What becomes of a connection; `None`: it was not let in.
    pub(super) async fn admit(
        self,
        accepted: io::Result<TcpStream>,
    ) -> Option<io::Result<Admitted>> {
        let stream = match accepted {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(%error, "the gateway could not take a connection");
                sleep(ACCEPT_RETRY).await;
                return None;
            }
        };
        if let Ok(place) = Arc::clone(&self.free).try_acquire_owned() {
            return Some(Ok(Admitted {
                stream: Guarded::new(stream),
                _place: place,
            }));
        }
        if let Ok(telling) = Arc::clone(&self.telling).try_acquire_owned() {
            tracing::debug!(most = self.most, "one connection too many");
            let text = self.too_many();
            self.tasks.spawn("gateway-door", async move {
                let told = timeout(TELL, tell(stream, &text)).await;
                drop((told.is_ok(), telling));
            });
        }
        None
    }

    /// The answer over HTTP/1.
    fn too_many(&self) -> String {
        let most = self.most;
        let body = format!(
            "{{\"type\":\"urn:cloudsync:error:overloaded\",\"title\":\"overloaded\",\"status\":503,\
             \"detail\":\"the gateway has gateway.max_connections = {most} connections; try again a \
             little later, or use one connection for more\",\"reason\":\"OVERLOADED\"}}"
        );
        let length = body.len();
        format!(
            "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\n\
             retry-after: 1\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        )
    }
}

/// Says it in the client's language, and waits for its end: what it has sent and nobody has read
/// would take the answer away from it.
async fn tell(mut stream: TcpStream, http1: &str) -> io::Result<()> {
    let mut first = [0; HTTP2.len()];
    let mut read = 0;
    while read < first.len() && HTTP2.starts_with(first.get(..read).unwrap_or_default()) {
        let room = first.get_mut(read..).unwrap_or_default();
        match stream.read(room).await? {
            0 => return Ok(()),
            count => read += count,
        }
    }
    let answer = if first == HTTP2 {
        GO_AWAY
    } else {
        http1.as_bytes()
    };
    stream.write_all(answer).await?;
    stream.shutdown().await?;
    let mut rest = [0; 4_096];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}

// === impl Admitted ===

impl Connected for Admitted {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Admitted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Admitted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
