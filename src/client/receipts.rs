//! Asking where records are.
//!
//! In: request ids, each with the key that its record was sent with. Out: receipts. One attempt:
//! whoever asks may ask again.

use super::calls::request;
use super::pool::Lane;
use super::{ClientError, ClientSettings};
use crate::v1::data_sync_service_client::DataSyncServiceClient;
use crate::v1::{GetReceiptRequest, Receipt, WatchReceiptsRequest, WatchReceiptsResponse};
use std::collections::VecDeque;
use std::fmt;
use tokio::time::timeout;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

/// Receipts as they change, until all are final.
pub struct ReceiptWatch {
    answers: Streaming<WatchReceiptsResponse>,
    news: VecDeque<Receipt>,
    _lane: Lane,
}

// === impl ReceiptWatch ===

impl ReceiptWatch {
    /// The next receipt that is new or has changed; `None` when all are final.
    ///
    /// # Errors
    /// [`ClientError::Refused`]; then nothing more comes, and the same may be watched anew.
    pub async fn next(&mut self) -> Result<Option<Receipt>, ClientError> {
        loop {
            if let Some(receipt) = self.news.pop_front() {
                return Ok(Some(receipt));
            }
            match self.answers.message().await.map_err(refused)? {
                Some(answer) => self.news.extend(answer.receipts),
                None => return Ok(None),
            }
        }
    }
}

impl fmt::Debug for ReceiptWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReceiptWatch")
            .field("news", &self.news.len())
            .finish_non_exhaustive()
    }
}

pub(super) async fn get(
    settings: &ClientSettings,
    channel: Channel,
    name: GetReceiptRequest,
) -> Result<Receipt, ClientError> {
    let request_id = name.request_id.clone();
    let trace = settings.trace_context();
    let mut client = DataSyncServiceClient::new(channel);
    let call = client.get_receipt(request(trace.as_ref(), name));
    let answer = match timeout(settings.deadline, call).await {
        Ok(answer) => answer.map_err(refused)?.into_inner(),
        Err(_) => {
            return Err(ClientError::DeadlineExceeded {
                endpoint: settings.endpoint.clone(),
                request_id,
                after: settings.deadline,
                last: "its receipt was asked for".to_owned(),
            });
        }
    };
    let none = || refused(Status::internal("the answer holds no receipt"));
    answer.receipt.ok_or_else(none)
}

pub(super) async fn watch(
    settings: &ClientSettings,
    lane: Lane,
    records: Vec<GetReceiptRequest>,
) -> Result<ReceiptWatch, ClientError> {
    let trace = settings.trace_context();
    let mut client = DataSyncServiceClient::new(lane.channel());
    let asked = request(trace.as_ref(), WatchReceiptsRequest { records });
    let answers = client.watch_receipts(asked).await.map_err(refused)?;
    Ok(ReceiptWatch {
        answers: answers.into_inner(),
        news: VecDeque::new(),
        _lane: lane,
    })
}

fn refused(status: Status) -> ClientError {
    ClientError::Refused(Box::new(status))
}
