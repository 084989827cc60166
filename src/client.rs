//! Sending records without losing any.
//!
//! In: records. Out: one verdict for each: durable in the log, or refused for good. A stream
//! keeps what has no verdict yet and sends it again, under the same request ids, over the next
//! connection; so the ids are made before the first attempt.
//!
//! ```no_run
//! use cloudsync::{Client, ClientSettings, SyncRecord};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::new(ClientSettings::to("http://127.0.0.1:50051"))?;
//! let (mut records, mut verdicts) = client.stream();
//! records.send(SyncRecord { payload: "hello".into(), ..SyncRecord::default() }).await?;
//! records.finish();
//! while let Some(verdict) = verdicts.next().await {
//!     println!("{:?}", verdict?);
//! }
//! # Ok(())
//! # }
//! ```

mod backoff;
mod connection;
mod stream;
mod unacked;

pub use stream::{RecordSender, StreamStats, Verdicts};
pub use unacked::Verdict;

use crate::v1::data_sync_service_client::DataSyncServiceClient;
use crate::v1::{SyncRecord, SyncRecordResponse};
use crate::wire::SyncRecordRequest;
use prost::Message;
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};

/// How a client sends. [`ClientSettings::to`] has the defaults.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    /// Where the gateway listens, for example `http://127.0.0.1:50051`.
    pub endpoint: String,
    /// Most records without a verdict; beyond them [`RecordSender::send`] waits. Default 10,000.
    pub window_records: usize,
    /// Most bytes without a verdict, likewise. Default 32 MiB.
    pub window_bytes: usize,
    /// Most records of one batch. Default 256.
    pub batch_records: usize,
    /// Longest wait to fill a batch. Default 1 ms.
    pub linger: Duration,
    /// Longest time to open a connection. Default 5 s.
    pub connect_timeout: Duration,
    /// First wait before connecting again; it doubles, with full jitter. Default 50 ms.
    pub backoff_start: Duration,
    /// Longest wait before connecting again. Default 5 s.
    pub backoff_limit: Duration,
    /// Ends the stream with [`ClientError::GaveUp`] when nothing got a verdict for so long. Default 5 min.
    pub give_up_after: Duration,
}

/// A client of one gateway. Cheap to clone; connects when first used, and again when needed.
#[derive(Clone, Debug)]
pub struct Client {
    settings: ClientSettings,
    endpoint: Endpoint,
    channel: Channel,
}

/// Why sending failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The settings name no endpoint that can be used.
    #[error("{endpoint} is not an endpoint such as http://127.0.0.1:50051")]
    Endpoint {
        /// What was given.
        endpoint: String,
        /// Why it is none.
        #[source]
        source: tonic::transport::Error,
    },
    /// Nothing got a verdict for the time that the settings allow.
    #[error("no verdict from {endpoint} for {after:?}: {last}")]
    GaveUp {
        /// The gateway's address.
        endpoint: String,
        /// How long nothing came.
        after: Duration,
        /// The last failure.
        last: String,
        /// Records without a verdict; they may or may not be durable.
        unacknowledged: usize,
    },
    /// The record alone is larger than one message may be.
    #[error("the record has {bytes} bytes, more than the {limit} that a message takes")]
    RecordTooLarge {
        /// Its encoded size.
        bytes: usize,
        /// The limit, [`crate::limits::MAX_RECORD_BYTES`].
        limit: usize,
    },
    /// The stream has ended; [`Verdicts::next`] has told why.
    #[error("the stream has ended")]
    Ended,
    /// The gateway refused the call.
    #[error("the gateway refused the call: {}", .0.message())]
    Refused(#[source] Box<tonic::Status>),
}

// === impl ClientSettings ===

impl ClientSettings {
    /// The defaults, sending to `endpoint`.
    #[must_use]
    pub fn to(endpoint: impl Into<String>) -> Self {
        Self {
            endpoint: endpoint.into(),
            window_records: 10_000,
            window_bytes: 32 * 1024 * 1024,
            batch_records: 256,
            linger: Duration::from_millis(1),
            connect_timeout: Duration::from_secs(5),
            backoff_start: Duration::from_millis(50),
            backoff_limit: Duration::from_secs(5),
            give_up_after: Duration::from_secs(300),
        }
    }
}

// === impl Client ===

impl Client {
    /// A client of `settings.endpoint`. Connects with the first call.
    ///
    /// # Errors
    /// [`ClientError::Endpoint`] when that is no address of a gateway.
    pub fn new(settings: ClientSettings) -> Result<Self, ClientError> {
        let endpoint = Endpoint::from_shared(settings.endpoint.clone())
            .map_err(|source| ClientError::Endpoint {
                endpoint: settings.endpoint.clone(),
                source,
            })?
            .connect_timeout(settings.connect_timeout)
            .tcp_nodelay(true)
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(4 << 20)
            .http2_keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(20));
        let channel = endpoint.connect_lazy();
        Ok(Self {
            settings,
            endpoint,
            channel,
        })
    }

    /// Opens a stream: records go in through the sender, verdicts come out of the other half and
    /// must be read, or the sender waits. Needs a tokio runtime.
    #[must_use]
    pub fn stream(&self) -> (RecordSender, Verdicts) {
        stream::open(self.settings.clone(), self.endpoint.clone())
    }

    /// Sends one record alone and waits until it is durable. One attempt: on an error the record
    /// may or may not be durable; send it again under the same request id.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with the gateway's status.
    pub async fn send_one(&self, record: &SyncRecord) -> Result<SyncRecordResponse, ClientError> {
        let request = SyncRecordRequest {
            record: vec![record.encode_to_vec().into()],
        };
        let mut client = DataSyncServiceClient::new(self.channel.clone());
        let answer = client.sync_record(request).await;
        answer
            .map(tonic::Response::into_inner)
            .map_err(|s| ClientError::Refused(Box::new(s)))
    }
}
