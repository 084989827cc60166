//! A client's socket, with the few bytes that were read ahead.
//!
//! It promises: a client that has closed is noticed also while one of its requests runs, and what
//! it sent before is not lost by looking.

use std::io;
use std::time::Duration;

use bytes::{Buf, BufMut, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::TcpStream;
use tokio::time::sleep;

/// Bytes that are read before they are asked for.
const AHEAD: usize = 8 << 10;
/// How often the end is looked for behind more bytes than are read ahead.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The socket of one connection.
pub(super) struct Incoming {
    socket: TcpStream,
    ahead: BytesMut,
}

// === impl Incoming ===

impl Incoming {
    pub(super) fn new(socket: TcpStream) -> io::Result<Self> {
        socket.set_nodelay(true)?;
        Ok(Self {
            socket,
            ahead: BytesMut::new(),
        })
    }

    /// The size of the next frame; `None` when the client has closed.
    pub(super) async fn size(&mut self) -> io::Result<Option<i32>> {
        while self.ahead.len() < size_of::<i32>() {
            if self.read_ahead().await? == 0 {
                return Ok(None);
            }
        }
        Ok(Some(self.ahead.get_i32()))
    }

    async fn read_ahead(&mut self) -> io::Result<usize> {
        self.ahead.reserve(AHEAD - self.ahead.len());
        let mut limited = (&mut self.ahead).limit(AHEAD);
        self.socket.read_buf(&mut limited).await
    }

    /// Appends bytes to `frame` until it has `length`.
    pub(super) async fn fill(&mut self, frame: &mut BytesMut, length: usize) -> io::Result<()> {
        let missing = length.saturating_sub(frame.len());
        frame.put(self.ahead.split_to(missing.min(self.ahead.len())));
        let missing = length.saturating_sub(frame.len());
        let mut socket = (&mut self.socket).take(missing as u64);
        while frame.len() < length {
            if socket.read_buf(frame).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }

    /// Writes all of `bytes`.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.write_all(bytes).await
    }

    /// Returns when the client has closed, or its connection broke.
    pub(super) async fn closed(&mut self) {
        while self.ahead.len() < AHEAD {
            match self.read_ahead().await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
        while let Ok(ready) = self.socket.ready(Interest::READABLE).await {
            if ready.is_read_closed() {
                return;
            }
            sleep(LOOK_AGAIN).await;
        }
    }
}
