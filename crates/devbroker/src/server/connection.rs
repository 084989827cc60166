//! One connection: frames in, answers out, one request at a time and in order, as Kafka does it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::Limits;
use super::dispatch::{self, RequestError};
use super::incoming::Incoming;
use crate::budget::{Room, SMALL};
use crate::node::Node;

/// A connection that asks for nothing this long is closed (Kafka's `connections.max.idle.ms`).
const IDLE: Duration = Duration::from_secs(600);
/// Of a frame or answer with room of its own, so much must come or go for the client to count as
/// live.
const STEP: usize = 256 << 10;
/// The same for one that is alone with its size, while others wait for their turn.
const LARGE_STEP: usize = 1 << 20;

/// One client's connection.
pub(super) struct Connection {
    node: Arc<Node>,
    peer: SocketAddr,
    /// Rings when there may be something to fetch.
    bell: Arc<Notify>,
    limits: Limits,
}

/// Why a connection ends before the client closes it.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("frame of {size} bytes")]
    FrameSize { size: i32 },
    #[error("frame of {length} bytes is no produce request")]
    LargeFrame { length: usize },
    #[error("request refused")]
    Request(#[from] RequestError),
    #[error("transfer timed out")]
    TimedOut,
    #[error("connection broke")]
    Io(#[from] io::Error),
}

impl Connection {
    pub(super) fn new(node: Arc<Node>, peer: SocketAddr, limits: Limits) -> Self {
        Self {
            node,
            peer,
            bell: Arc::new(Notify::new()),
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
        let mut incoming = Incoming::new(socket)?;
        while let Ok(size) = timeout(IDLE, incoming.size()).await {
            let Some(size) = size? else {
                return Ok(());
            };
            let length = usize::try_from(size)
                .ok()
                .filter(|length| *length <= self.limits.frame_bytes)
                .ok_or(Ended::FrameSize { size })?;
            let (frame, room) = self.read_frame(&mut incoming, length).await?;
            let waits = dispatch::waits(&frame);
            let answer = dispatch::answer(&self.node, &self.bell, self.peer, frame, room);
            let answer = tokio::select! {
                biased;
                answer = answer => answer?,
                // Nobody is there to hear the answer. What has an effect is never cut short.
                () = incoming.closed(), if waits => None,
            };
            if let Some((answer, room)) = answer {
                // Not a few bytes now and then: a reader that is too slow is cut as well.
                for part in answer.chunks(self.step_bytes(answer.len())) {
                    step(&room, incoming.write(part)).await?;
                }
            }
        }
        Ok(())
    }

    /// What must come or go in one step of a frame or answer of `length` bytes.
    fn step_bytes(&self, length: usize) -> usize {
        if length > self.node.budget.ordinary() {
            LARGE_STEP
        } else {
            STEP
        }
    }

    /// Reads a frame's bytes; a large one has to get room first, and begins before that.
    async fn read_frame(
        &self,
        incoming: &mut Incoming,
        length: usize,
    ) -> Result<(Bytes, Room), Ended> {
        let first = length.min(SMALL);
        let mut frame = BytesMut::with_capacity(first);
        let small = self.node.budget.small();
        step(&small, incoming.fill(&mut frame, first)).await?;
        if frame.len() == length {
            return Ok((frame.freeze(), small));
        }
        let budget = &self.node.budget;
        let is_large = length > budget.ordinary();
        // All others answer about less than that, or wait long; neither may take the turn.
        if is_large && !dispatch::is_produce(&frame) {
            return Err(Ended::LargeFrame { length });
        }
        let room = budget.for_request(length).await;
        frame.reserve(length - first);
        let step_bytes = self.step_bytes(length);
        while frame.len() < length {
            let next = length.min(frame.len() + step_bytes);
            step(&room, incoming.fill(&mut frame, next)).await?;
        }
        Ok((frame.freeze(), room))
    }
}

/// One step of a transfer, for as long as `room` has patience with it.
async fn step<T>(room: &Room, step: impl Future<Output = io::Result<T>>) -> Result<T, Ended> {
    tokio::select! {
        biased;
        done = step => Ok(done?),
        () = room.patience() => Err(Ended::TimedOut),
    }
}
