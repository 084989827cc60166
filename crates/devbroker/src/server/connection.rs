//! One connection: frames in, answers out, one request at a time and in order, as Kafka does it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::Limits;
use super::dispatch::{self, RequestError};
use crate::node::Node;

/// A connection that asks for nothing this long is closed (Kafka's `connections.max.idle.ms`).
const IDLE: Duration = Duration::from_secs(600);
/// A frame begun must be there whole within this time, an answer must be taken within it.
const TRANSFER: Duration = Duration::from_secs(60);
/// Bytes a buffer permit stands for.
const PERMIT_BYTES: usize = 1 << 10;
/// Frames up to this size are not counted against the shared buffer: a client that stalls in a
/// large frame must not keep others from their small ones.
const SMALL_FRAME: usize = 64 << 10;
/// Steps in which a large frame takes its part of the shared buffer, as its bytes come.
const STEP: usize = 1 << 20;

/// One client's connection.
pub(super) struct Connection {
    node: Arc<Node>,
    peer: SocketAddr,
    /// Rings when there may be something to fetch.
    bell: Arc<Notify>,
    buffers: Arc<Semaphore>,
    limits: Limits,
}

/// Why a connection ends before the client closes it.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("frame of {size} bytes")]
    FrameSize { size: i32 },
    #[error("request refused")]
    Request(#[from] RequestError),
    #[error("transfer timed out")]
    TimedOut,
    #[error("connection broke")]
    Io(#[from] io::Error),
}

/// Permits for this many bytes.
pub(super) fn permits(bytes: usize) -> usize {
    (bytes / PERMIT_BYTES + 1).min(Semaphore::MAX_PERMITS)
}

impl Connection {
    pub(super) fn new(
        node: Arc<Node>,
        peer: SocketAddr,
        buffers: Arc<Semaphore>,
        limits: Limits,
    ) -> Self {
        Self {
            node,
            peer,
            bell: Arc::new(Notify::new()),
            buffers,
            limits,
        }
    }

    /// Answers requests until the client goes or misbehaves.
    pub(super) async fn serve(self, socket: TcpStream) {
        if let Err(ended) = self.answer_all(socket).await {
            let error: &dyn std::error::Error = &ended;
            tracing::debug!(peer = %self.peer, error, "connection closed");
        }
    }

    async fn answer_all(&self, socket: TcpStream) -> Result<(), Ended> {
        socket.set_nodelay(true)?;
        let mut socket = BufReader::with_capacity(16 << 10, socket);
        while let Ok(size) = timeout(IDLE, read_size(&mut socket)).await {
            let Some(size) = size? else {
                return Ok(());
            };
            let length = usize::try_from(size)
                .ok()
                .filter(|length| *length <= self.limits.frame_bytes)
                .ok_or(Ended::FrameSize { size })?;
            let (frame, permit) = timeout(TRANSFER, self.read_frame(&mut socket, length))
                .await
                .map_err(|_| Ended::TimedOut)??;
            let answer = dispatch::answer(&self.node, &self.bell, self.peer, frame).await?;
            drop(permit);
            if let Some(answer) = answer {
                timeout(TRANSFER, socket.write_all(&answer))
                    .await
                    .map_err(|_| Ended::TimedOut)??;
            }
        }
        Ok(())
    }

    /// Reads a frame's bytes; room for them is taken as they come.
    async fn read_frame(
        &self,
        socket: &mut BufReader<TcpStream>,
        length: usize,
    ) -> Result<(Bytes, Option<SemaphorePermit<'_>>), Ended> {
        let mut permit: Option<SemaphorePermit<'_>> = None;
        let mut frame = BytesMut::with_capacity(length.min(SMALL_FRAME));
        let mut socket = socket.take(length as u64);
        while frame.len() < length {
            if frame.len() == frame.capacity() {
                let step = STEP.min(length - frame.len());
                let more = u32::try_from(permits(step)).unwrap_or(u32::MAX);
                let more = self
                    .buffers
                    .acquire_many(more)
                    .await
                    .map_err(io::Error::other)?;
                match &mut permit {
                    Some(permit) => permit.merge(more),
                    None => permit = Some(more),
                }
                frame.reserve(step);
            }
            if socket.read_buf(&mut frame).await? == 0 {
                return Err(Ended::Io(io::ErrorKind::UnexpectedEof.into()));
            }
        }
        Ok((frame.freeze(), permit))
    }
}

/// The size of the next frame; `None` when the client has closed.
async fn read_size(socket: &mut BufReader<TcpStream>) -> io::Result<Option<i32>> {
    match socket.read_i32().await {
        Ok(size) => Ok(Some(size)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}
