//! One open call, and how it was lost.
//!
//! In: a lane of the pool. Out: batches on the wire, answers, and at last a [`Loss`] or a proper
//! end.

use super::TraceContext;
use super::calls::request;
use super::error::{Again, describe};
use super::pool::{Lane, Pool};
use crate::v1::SyncDataStreamResponse;
use crate::v1::data_sync_service_client::DataSyncServiceClient;
use crate::wire::SyncDataStreamRequest;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

/// Batches handed to the connection and not yet on the wire.
const BATCHES_AHEAD: usize = 4;
/// How long a gateway that drains may take to answer what it has read.
pub(super) const DRAIN: Duration = Duration::from_secs(10);
/// How long the gateway may take to end a stream that has nothing more to say.
const FAREWELL: Duration = Duration::from_secs(1);

/// One open call.
pub(super) struct Connection {
    pub(super) batches: mpsc::Sender<SyncDataStreamRequest>,
    pub(super) answers: Streaming<SyncDataStreamResponse>,
    /// The gateway is about to stop: nothing more is sent here, and it has until then to end it.
    pub(super) draining_until: Option<Instant>,
    _lane: Lane,
}

/// A connection that is over before its time.
pub(super) enum Loss {
    /// The gateway ended it, or never began it.
    Status(Status),
    /// What was seen on this side.
    Seen(String),
}

// === impl Connection ===

impl Connection {
    pub(super) async fn open(
        pool: &Pool,
        trace: Option<&TraceContext>,
        deadline: Instant,
    ) -> Result<Self, Loss> {
        let lane = pool.lane();
        let (batches, outgoing) = mpsc::channel(BATCHES_AHEAD);
        let mut client = DataSyncServiceClient::new(lane.channel());
        let call = client.sync_data_stream(request(trace, ReceiverStream::new(outgoing)));
        match timeout_at(deadline, call).await {
            Ok(Ok(answer)) => Ok(Self {
                batches,
                answers: answer.into_inner(),
                draining_until: None,
                _lane: lane,
            }),
            Ok(Err(status)) => Err(Loss::Status(status)),
            Err(_) => Err(Loss::Seen(
                "the gateway does not open the stream".to_owned(),
            )),
        }
    }

    /// Tells the gateway that nothing more comes, and waits a little for it to end the call, so
    /// that it sees a stream that was closed and not one that was cut off.
    pub(super) async fn end(self) {
        let Self {
            batches,
            mut answers,
            ..
        } = self;
        drop(batches);
        let until = Instant::now() + FAREWELL;
        while let Ok(Ok(Some(_))) = timeout_at(until, answers.message()).await {}
    }
}

// === impl Loss ===

impl Loss {
    pub(super) fn seen(reason: &str) -> Self {
        Self::Seen(reason.to_owned())
    }

    /// The status with which the gateway refuses the stream for good.
    pub(super) fn refusal(&self) -> Option<&Status> {
        match self {
            Self::Status(status) if Again::of(status) == Again::Never => Some(status),
            _ => None,
        }
    }

    /// How long the gateway asks to stay away.
    pub(super) fn pushback(&self) -> Duration {
        match self {
            Self::Status(status) => match Again::of(status) {
                Again::After(wait) => wait,
                Again::Never => Duration::ZERO,
            },
            Self::Seen(_) => Duration::ZERO,
        }
    }

    pub(super) fn describe(&self) -> String {
        match self {
            Self::Status(status) => describe(status),
            Self::Seen(reason) => reason.clone(),
        }
    }
}
