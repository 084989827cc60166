//! Step 1 of the walk, over HTTP: the body as it comes.
//!
//! In: the body of a request. Out: its bytes, unpacked: piece by piece, or all of them. Promises: a
//! body that is read whole has its limits, its deadline and its share of the memory for bodies;
//! what is too large is refused before it is held; a client whose body is refused gets to read
//! why.

use super::decode::{Decoder, ZSTD_BYTES};
use super::json;
use super::media::{Encoding, NDJSON};
use crate::admit::BodyShare;
use axum::body::{Body, BodyDataStream};
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use cloudsync::ErrorReason;
use cloudsync::reason::Refusal;
use futures::StreamExt;
use std::time::Duration;
use tokio::time::timeout;

/// Bytes of a single value's body beyond the largest record: the white space around it.
const SLACK: usize = 4 * 1024;
/// How much of a refused body is read and dropped, and how long that may take: many clients look
/// for an answer only when they have sent everything, and lose it if the connection closes before.
const DISCARD_BYTES: usize = 16 << 20;
const DISCARD_TIME: Duration = Duration::from_secs(1);

/// How large and how slow a body may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// `gateway.max_record_bytes`.
    pub(super) record: usize,
    /// `gateway.max_body_bytes`.
    pub(super) list: usize,
    /// `gateway.body_timeout`.
    pub(super) time: Duration,
}

/// A body that is being read.
pub(super) struct Upload {
    incoming: BodyDataStream,
    decoder: Decoder,
    /// What came and is not unpacked yet.
    packed: Bytes,
    /// The client waits to be asked for the body.
    unasked: bool,
    /// Nothing more comes.
    ended: bool,
    /// Nor is anything left to unpack.
    finished: bool,
    limits: Limits,
}

// === impl Upload ===

impl Upload {
    pub(super) fn of(body: Body, headers: &HeaderMap, limits: Limits) -> Self {
        Self {
            incoming: body.into_data_stream(),
            decoder: Decoder::Plain,
            packed: Bytes::new(),
            unasked: headers.contains_key(header::EXPECT),
            ended: false,
            finished: false,
            limits,
        }
    }

    /// How the body is packed; to be said before it is read.
    pub(super) fn unpack(&mut self, encoding: Encoding) -> Result<(), Refusal> {
        self.decoder = Decoder::of(encoding)?;
        Ok(())
    }

    /// What its decoder may hold.
    pub(super) fn decoder_bytes(&self) -> usize {
        match self.decoder {
            Decoder::Zstd(_) => ZSTD_BYTES,
            _ => 0,
        }
    }

    /// The longest that the next line may take.
    pub(super) fn time(&self) -> Duration {
        self.limits.time
    }

    /// The next bytes, unpacked; `None`: the body has ended. Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Refusal> {
        loop {
            // A packed body can give a gigabyte without ever waiting.
            tokio::task::consume_budget().await;
            let piece = self.decoder.step(&mut self.packed)?;
            if piece.is_some() || self.finished {
                return Ok(piece);
            }
            if !self.ended {
                self.receive().await?;
            }
            if self.ended {
                self.finished = true;
                return self.decoder.finish();
            }
        }
    }

    /// Asks a client that waits to be asked, and waits for its first bytes: to such a client an
    /// answer that begins before says that the body is not wanted.
    pub(super) async fn begin(&mut self) -> Result<(), Refusal> {
        if !self.unasked {
            return Ok(());
        }
        let Limits { time, .. } = self.limits;
        let received = timeout(time, self.receive()).await;
        received.unwrap_or_else(|_| Err(too_slow("the body", time)))
    }

    /// Takes what comes next as `packed`, which is empty, or that nothing more does. Cancel-safe.
    async fn receive(&mut self) -> Result<(), Refusal> {
        self.unasked = false;
        match self.incoming.next().await {
            Some(Ok(packed)) => self.packed = packed,
            Some(Err(error)) => {
                let text = format!("the body broke off: {error}; send it again");
                return Err(Refusal::permanent(ErrorReason::InvalidJson, text));
            }
            None => self.ended = true,
        }
        Ok(())
    }

    /// The whole body, which counts against `share` while it is held.
    pub(super) async fn whole(&mut self, share: &mut BodyShare) -> Result<Bytes, Refusal> {
        let Limits { time, .. } = self.limits;
        let reading = async {
            let (mut body, mut is_list) = (BytesMut::new(), None);
            while let Some(piece) = self.next().await? {
                is_list = is_list.or_else(|| json::begins_list(&piece));
                self.limits.check(is_list, body.len() + piece.len())?;
                share.grow(piece.len())?;
                body.extend_from_slice(&piece);
            }
            Ok(body.freeze())
        };
        let read = timeout(time, reading).await;
        read.unwrap_or_else(|_| Err(too_slow("the body", time)))
    }

    /// Drops the rest of a body that is refused for `refusal`.
    pub(super) async fn discard(&mut self, refusal: &Refusal) {
        if self.unasked || self.ended || refusal.reason == ErrorReason::BodyTimeout {
            return;
        }
        let reading = async {
            let mut left = DISCARD_BYTES;
            while let Some(Ok(piece)) = self.incoming.next().await {
                left = left.saturating_sub(piece.len());
                if left == 0 {
                    return;
                }
            }
        };
        if timeout(DISCARD_TIME, reading).await.is_err() {
            tracing::debug!("a refused body did not end");
        }
    }
}

// === impl Limits ===

impl Limits {
    /// Whether a body may have `bytes` bytes, as far as it is known what it is.
    fn check(self, is_list: Option<bool>, bytes: usize) -> Result<(), Refusal> {
        match is_list {
            Some(true) if bytes > self.list => Err(list_too_large(self.list)),
            Some(true) => Ok(()),
            _ if bytes > self.record + SLACK => Err(value_too_large(self.record)),
            _ => Ok(()),
        }
    }
}

fn value_too_large(limit: usize) -> Refusal {
    let text = format!(
        "the body has more than {limit} bytes, the limit (gateway.max_record_bytes) of a record; \
         split it, or send a reference"
    );
    Refusal::of_field(ErrorReason::RecordTooLarge, "record", text)
}

fn list_too_large(limit: usize) -> Refusal {
    let lines = NDJSON[0];
    let text = format!(
        "the list has more than {limit} bytes, the limit (gateway.max_body_bytes); send fewer \
         elements at once, or a value a line as {lines}, which may be of any length"
    );
    Refusal::permanent(ErrorReason::BodyTooLarge, text)
}

/// What one is told whose `what` did not come within `limit`.
pub(super) fn too_slow(what: &str, limit: Duration) -> Refusal {
    let text = format!(
        "{what} did not come within {limit:?} (gateway.body_timeout); send it faster, or less \
         at once"
    );
    Refusal::permanent(ErrorReason::BodyTimeout, text)
}
