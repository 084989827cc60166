//! A connection that cannot be held for nothing.
//!
//! In: what a listener accepted. Out: the same bytes. Promises: a client that does not begin a
//! request within [`BEGIN`], or takes nothing of what is written to it for [`STALLED`], loses the
//! connection. Between requests a server's own limits hold.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// How long a client may take to send the first [`BEGINNING`] bytes.
pub const BEGIN: Duration = Duration::from_secs(10);
/// By so many bytes a server knows whether it reads HTTP/1 or HTTP/2; while it waits for them, no
/// other limit holds.
pub const BEGINNING: usize = 24;
/// How long a client may leave its side of the connection full.
pub const STALLED: Duration = Duration::from_secs(30);

/// A connection with its limits.
#[derive(Debug)]
pub struct Guarded<S> {
    stream: S,
    /// Bytes that came, up to [`BEGINNING`].
    heard: usize,
    begin: Pin<Box<Sleep>>,
    /// Since the client takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
}

// === impl Guarded ===

impl<S> Guarded<S> {
    /// `stream`, which has just been accepted. Needs a tokio runtime with time.
    pub fn new(stream: S) -> Self {
        Self {
            stream,
            heard: 0,
            begin: Box::pin(sleep(BEGIN)),
            stalled: None,
        }
    }

    /// What a write came to; without progress, whether it is time to give up.
    fn written<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(STALLED)));
        ready!(stalled.as_mut().poll(cx));
        let text = format!("the client took nothing for {STALLED:?}");
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, text)))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let came = buffer.filled().len() - before;
        self.heard = self.heard.saturating_add(came);
        if read.is_ready() || self.heard >= BEGINNING {
            return read;
        }
        ready!(self.begin.as_mut().poll(cx));
        let text = format!("the client began no request within {BEGIN:?}");
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, text)))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.written(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.written(cx, written)
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

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::time::Instant;

    #[tokio::test(start_paused = true)]
    async fn one_who_begins_nothing_is_let_go() {
        for sent in ["", "P", "PRI * HTTP/2.0\r\n\r\nSM\r\n"] {
            let (mut client, server) = duplex(64);
            let mut server = Guarded::new(server);
            client.write_all(sent.as_bytes()).await.unwrap();
            let began = Instant::now();
            let mut read = Vec::new();
            let error = server.read_to_end(&mut read).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{sent}");
            assert_eq!((read.as_slice(), began.elapsed()), (sent.as_bytes(), BEGIN));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_who_has_begun_may_be_silent() {
        let (mut client, server) = duplex(64);
        let mut server = Guarded::new(server);
        let beginning = [b'x'; BEGINNING];
        client.write_all(&beginning).await.unwrap();
        let mut read = [0; BEGINNING];
        server.read_exact(&mut read).await.unwrap();
        let more = tokio::time::timeout(BEGIN * 100, server.read_u8()).await;
        assert!(more.is_err(), "{more:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn one_who_reads_nothing_is_let_go_and_one_who_reads_slowly_is_not() {
        let (client, server) = duplex(64);
        let mut server = Guarded::new(server);
        let began = Instant::now();
        let error = server.write_all(&[7; 65]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed(), STALLED);
        drop(client);

        let (mut client, server) = duplex(64);
        let mut server = Guarded::new(server);
        let reading = async {
            for _ in 0..100 {
                sleep(STALLED - Duration::from_secs(1)).await;
                client.read_u8().await.unwrap();
            }
        };
        let (written, ()) = tokio::join!(server.write_all(&[7; 164]), reading);
        written.unwrap();
    }
}
