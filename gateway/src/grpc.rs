//! Step 1 of the walk: accept gRPC calls.
//!
//! In: the calls of `DataSyncService`, records still encoded. Out: their answers.
//! Promises: a refused unary call is a status other than OK; one bad record never closes a
//! stream; a call that is taken is answered, also while the gateway drains.

use crate::pipeline::Pipeline;
use crate::receipts::watch;
use axum::response::Response;
use cloudsync::ErrorReason;
use cloudsync::limits::MAX_MESSAGE_BYTES;
use cloudsync::reason::Refusal;
use cloudsync::v1::data_sync_service_server::DataSyncService;
use cloudsync::v1::{
    GetReceiptRequest, GetReceiptResponse, Position, SyncDataRequest, SyncDataResponse,
    SyncDataStreamRequest, SyncDataStreamResponse, SyncRecordRequest, SyncRecordResponse,
    WatchReceiptsRequest, WatchReceiptsResponse,
};
use futures::StreamExt;
use futures::stream::BoxStream;
use std::sync::Arc;
use tonic::{Code, Request, Status, Streaming};

mod batches;
mod singles;

/// The service.
#[derive(Clone)]
pub(crate) struct Service {
    pipeline: Arc<Pipeline>,
}

impl Service {
    pub(crate) fn new(pipeline: Arc<Pipeline>) -> Self {
        Self { pipeline }
    }
}

#[tonic::async_trait]
impl DataSyncService for Service {
    type WatchReceiptsStream = BoxStream<'static, Result<WatchReceiptsResponse, Status>>;

    async fn get_receipt(
        &self,
        request: Request<GetReceiptRequest>,
    ) -> Result<tonic::Response<GetReceiptResponse>, Status> {
        let _call = self.pipeline.calls.token();
        let receipt = self.pipeline.receipts.get(request.into_inner()).await;
        let receipt = receipt.map_err(|refusal| refusal.to_status())?;
        Ok(tonic::Response::new(GetReceiptResponse {
            receipt: Some(receipt),
        }))
    }

    async fn watch_receipts(
        &self,
        request: Request<WatchReceiptsRequest>,
    ) -> Result<tonic::Response<Self::WatchReceiptsStream>, Status> {
        let WatchReceiptsRequest { records } = request.into_inner();
        let (receipts, shutdown) = (&self.pipeline.receipts, &self.pipeline.shutdown);
        // Not among the calls that a drain waits for: it ends by itself then, if its client reads.
        let watching = watch(Arc::clone(receipts), shutdown.clone(), records).await;
        let answers = watching.map_err(|refusal| refusal.to_status())?;
        Ok(tonic::Response::new(answers.boxed()))
    }

    type SyncDataStreamStream = BoxStream<'static, Result<SyncDataStreamResponse, Status>>;

    async fn sync_data(
        &self,
        request: Request<Streaming<SyncDataRequest>>,
    ) -> Result<tonic::Response<SyncDataResponse>, Status> {
        let _call = self.pipeline.calls.token();
        let _share = self
            .pipeline
            .admission
            .stream_now()
            .map_err(|refusal| refusal.to_status())?;
        singles::run(&self.pipeline, request.into_inner())
            .await
            .map(tonic::Response::new)
    }

    async fn sync_data_stream(
        &self,
        request: Request<Streaming<SyncDataStreamRequest>>,
    ) -> Result<tonic::Response<Self::SyncDataStreamStream>, Status> {
        let share = self
            .pipeline
            .admission
            .stream_now()
            .map_err(|refusal| refusal.to_status())?;
        let answers = batches::start(&self.pipeline, request.into_inner(), share);
        Ok(tonic::Response::new(answers))
    }

    async fn sync_record(
        &self,
        request: Request<SyncRecordRequest>,
    ) -> Result<tonic::Response<SyncRecordResponse>, Status> {
        let _call = self.pipeline.calls.token();
        let mut records = request.into_inner().record;
        let record = match (records.pop(), records.is_empty()) {
            (Some(record), true) => record,
            _ => return Err(not_one_record(records.len()).to_status()),
        };
        let accepted = self
            .pipeline
            .submit_one(record)
            .await
            .map_err(|no| no.to_status())?;
        let position = accepted.position.map(|position| Position {
            topic: position.topic.to_string(),
            partition: position.partition,
            offset: position.offset,
        });
        Ok(tonic::Response::new(SyncRecordResponse {
            request_id: accepted.request_id,
            duplicate: accepted.duplicate,
            position,
        }))
    }
}

/// A message that holds no record, or more than one.
fn not_one_record(count_or_more: usize) -> Refusal {
    let text = if count_or_more == 0 {
        "the message holds no record; send exactly one as its field record"
    } else {
        "the message holds more than one record; send exactly one as its field record"
    };
    Refusal::of_field(ErrorReason::MalformedRecord, "record", text)
}

/// Says in the contract's words what tonic refuses before the service sees it: a message that is
/// too large or is none. `None`: the client went away, or the connection did.
fn refusal_of_tonics(status: &Status, too_large: ErrorReason) -> Option<Refusal> {
    let message = status.message();
    match status.code() {
        Code::OutOfRange => Some(Refusal::permanent(
            too_large,
            format!("the message is larger than {MAX_MESSAGE_BYTES} bytes; send less at once"),
        )),
        Code::Internal if message.contains("decode Protobuf") => Some(Refusal::permanent(
            ErrorReason::MalformedRecord,
            format!("the message does not fit the contract: {message}"),
        )),
        _ => None,
    }
}

/// Replaces the status of a call that tonic refused on its own; every other answer passes.
pub(crate) async fn in_our_words(response: Response) -> Response {
    let Some(status) = Status::from_header_map(response.headers()) else {
        return response;
    };
    if !status.details().is_empty() {
        return response;
    }
    match refusal_of_tonics(&status, ErrorReason::RecordTooLarge) {
        Some(refusal) => refusal.to_status().into_http(),
        None => response,
    }
}
