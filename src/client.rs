//! Sending records without losing any.
//!
//! In: records. Out: one verdict for each: durable in the log, or refused for good. A stream
//! keeps what has no verdict yet and sends it again, under the same request ids, over the next
//! connection; so the ids are made before the first attempt.
//!
//! | to send | call |
//! |---|---|
//! | an iterator or a stream, to its end | [`Client::send_all`] |
//! | records as they come | [`Client::stream`], then [`RecordStream::send`], [`RecordStream::close`] |
//! | the same, and to see every verdict | [`RecordStream::split`] |
//! | one record | [`Client::send_one`] |
//! | the bare `SyncData` call | [`Client::sync_data`] |
//!
//! Where a record is after that, [`Client::receipt`] and [`Client::watch_receipts`] tell.
//!
//! ```no_run
//! use cloudsync::{Client, ClientSettings, SyncRecord};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::new(ClientSettings::to("http://127.0.0.1:50051"))?;
//! let mut stream = client.stream();
//! for n in 0..1_000 {
//!     let record = SyncRecord {
//!         payload: format!("reading {n}").into(),
//!         ..SyncRecord::default()
//!     };
//!     stream.send(record).await?;
//! }
//! let summary = stream.close().await?;
//! assert_eq!(summary.acked + summary.rejected, 1_000);
//! # Ok(())
//! # }
//! ```

// what a user gives
mod hooks;
mod settings;

// what a user holds
mod error;
mod stream;
mod summary;

// what happens behind it
mod backoff;
mod calls;
mod connection;
mod driver;
mod outbox;
mod pool;
mod receipts;
mod unacked;

pub use error::ClientError;
pub use hooks::{ClientMetrics, TraceContext, TraceSource};
pub use receipts::ReceiptWatch;
pub use settings::ClientSettings;
pub use stream::{RecordSender, RecordStream, StreamStats, Verdicts};
pub use summary::{MAX_NAMED_REJECTIONS, Summary};
pub use tokio_stream::iter;
pub use unacked::Verdict;

use crate::v1::{GetReceiptRequest, Receipt, SyncDataResponse, SyncRecord, SyncRecordResponse};
use pool::Pool;
use std::pin::pin;
use std::sync::Arc;
use tokio_stream::{Stream, StreamExt};
use uuid::Uuid;

/// A request id of its own kind: a UUIDv7. Whoever wants to send a record again after an error
/// needs its id, and so makes it before the first attempt.
#[must_use]
pub fn new_request_id() -> String {
    Uuid::now_v7().to_string()
}

/// A client of one gateway. Cheap to clone, and clones share their connections; connects when
/// first used, and again when needed. It is made and used inside a tokio runtime.
#[derive(Clone, Debug)]
pub struct Client {
    settings: Arc<ClientSettings>,
    pool: Arc<Pool>,
}

// === impl Client ===

impl Client {
    /// A client of `settings.endpoint`. Connects with the first call.
    ///
    /// # Errors
    /// [`ClientError::Endpoint`] when that is no address of a gateway, [`ClientError::Setting`]
    /// when a number is out of its range.
    pub fn new(settings: ClientSettings) -> Result<Self, ClientError> {
        settings.validate()?;
        let settings = settings.bounded();
        let pool = Arc::new(Pool::new(&settings)?);
        Ok(Self {
            settings: Arc::new(settings),
            pool,
        })
    }

    /// Opens a stream, of which nothing is seen on the wire before its first record.
    #[must_use]
    pub fn stream(&self) -> RecordStream {
        stream::open(Arc::clone(&self.settings), Arc::clone(&self.pool))
    }

    /// Sends all `records` over a stream of its own and waits for every verdict. While the window
    /// is full none is taken from `records`; one that is too large is not sent, and named among the
    /// rejections. An iterator becomes a stream by [`iter`].
    ///
    /// Not cancel-safe: what was sent when the future is dropped may or may not be durable.
    ///
    /// ```no_run
    /// # async fn example(client: cloudsync::Client) -> Result<(), cloudsync::ClientError> {
    /// use cloudsync::{SyncRecord, client};
    ///
    /// let records = ["a", "b"].map(|text| SyncRecord {
    ///     payload: text.into(),
    ///     ..SyncRecord::default()
    /// });
    /// let summary = client.send_all(client::iter(records)).await?;
    /// assert_eq!(summary.rejected, 0, "{:?}", summary.rejections);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ClientError::GaveUp`]; [`ClientError::Refused`] when the gateway takes no stream at all.
    /// Records without a verdict may or may not be durable then.
    pub async fn send_all(
        &self,
        records: impl Stream<Item = SyncRecord> + Send,
    ) -> Result<Summary, ClientError> {
        let mut records = pin!(records);
        let mut stream = self.stream();
        loop {
            let record = tokio::select! {
                record = records.next() => record,
                error = stream.last_word() => return Err(error),
            };
            let Some(record) = record else {
                return stream.close().await;
            };
            match stream.send(record).await {
                Err(error @ ClientError::RecordTooLarge { .. }) => stream.refuse(&error),
                given => drop(given?),
            }
        }
    }

    /// Sends one record alone and waits until it is durable. A record without a request id gets a
    /// UUIDv7, which the answer names; what is worth another attempt gets one, under the same id,
    /// until [`ClientSettings::deadline`].
    ///
    /// Not cancel-safe: a record whose `send_one` was dropped may or may not be durable.
    ///
    /// # Errors
    /// [`ClientError::RecordTooLarge`]; [`ClientError::Refused`] with the gateway's status, also
    /// when it asks for a longer wait than there is time; [`ClientError::DeadlineExceeded`] when
    /// the record may or may not be durable: send it again under the id that it names.
    pub async fn send_one(&self, record: SyncRecord) -> Result<SyncRecordResponse, ClientError> {
        calls::send_one(&self.settings, self.pool.channel(), record).await
    }

    /// The call `SyncData` itself: sends `records` as they are and returns the gateway's summary
    /// when all of them are durable or refused. One attempt, as long as it takes.
    ///
    /// After an error nothing is known of any record; the call may be repeated safely if every
    /// record carries the same request id again. Records without one get theirs from the gateway,
    /// which names the first 1,000 in its summary; these become new records when repeated.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with the gateway's status.
    pub async fn sync_data(
        &self,
        records: impl Stream<Item = SyncRecord> + Send + 'static,
    ) -> Result<SyncDataResponse, ClientError> {
        calls::sync_data(&self.settings, self.pool.lane(), records).await
    }

    /// Asks where the record is that was sent as `request_id` with `key` (empty: without one): its
    /// place in the log, and what became of it at each destination. One attempt, at most as long as
    /// [`ClientSettings::deadline`].
    ///
    /// # Errors
    /// [`ClientError::Refused`], with [`ErrorReason::ReceiptUnknown`](crate::ErrorReason) when the
    /// gateway knows of no such record; [`ClientError::DeadlineExceeded`].
    pub async fn receipt(&self, request_id: &str, key: &str) -> Result<Receipt, ClientError> {
        let (request_id, key) = (request_id.to_owned(), key.to_owned());
        let name = GetReceiptRequest { request_id, key };
        receipts::get(&self.settings, self.pool.channel(), name).await
    }

    /// Watches records, at most 1,000, each named by its request id and its key, until every
    /// destination is done with each of them.
    ///
    /// # Errors
    /// [`ClientError::Refused`], as for [`Self::receipt`]; when one of them is not known, too.
    pub async fn watch_receipts(
        &self,
        records: impl IntoIterator<Item = (String, String)> + Send,
    ) -> Result<ReceiptWatch, ClientError> {
        let name = |(request_id, key)| GetReceiptRequest { request_id, key };
        let records = records.into_iter().map(name).collect();
        receipts::watch(&self.settings, self.pool.lane(), records).await
    }
}
