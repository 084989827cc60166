//! The two calls that are no stream of ours: a single record, and `SyncData` itself.
//!
//! In: records. Out: the gateway's answer. Promises: [`send_one`] repeats only what the gateway
//! says is worth it, under the same id, and ends by its deadline.

use super::backoff::Backoff;
use super::error::{Again, describe, reason};
use super::pool::Lane;
use super::{ClientError, ClientSettings, TraceContext, new_request_id};
use crate::limits::MAX_RECORD_BYTES;
use crate::v1::data_sync_service_client::DataSyncServiceClient;
use crate::v1::{SyncDataResponse, SyncRecord, SyncRecordResponse};
use crate::wire::{SyncDataRequest, SyncRecordRequest};
use bytes::Bytes;
use prost::Message;
use std::time::SystemTime;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_stream::{Stream, StreamExt};
use tonic::transport::Channel;
use tonic::{Request, Response};

pub(super) async fn send_one(
    settings: &ClientSettings,
    channel: Channel,
    mut record: SyncRecord,
) -> Result<SyncRecordResponse, ClientError> {
    let deadline = Instant::now() + settings.deadline;
    complete(&mut record);
    let request_id = record.request_id.clone();
    let too_late = |last| ClientError::DeadlineExceeded {
        endpoint: settings.endpoint.clone(),
        request_id: request_id.clone(),
        after: settings.deadline,
        last,
    };
    let message = SyncRecordRequest {
        record: vec![checked(record.encode_to_vec().into())?],
    };
    let trace = settings.trace_context();
    let mut backoff = Backoff::new(settings.backoff_start, settings.backoff_limit);
    let mut client = DataSyncServiceClient::new(channel);
    let mut last = "no attempt has ended".to_owned();
    loop {
        let mut call = request(trace.as_ref(), message.clone());
        // The gateway need not go on with what nobody waits for.
        call.set_timeout(deadline.saturating_duration_since(Instant::now()));
        let status = match timeout_at(deadline, client.sync_record(call)).await {
            Ok(Ok(answer)) => return Ok(answer.into_inner()),
            Ok(Err(status)) => status,
            Err(_) => return Err(too_late(last)),
        };
        let Again::After(asked) = Again::of(&status) else {
            return Err(ClientError::Refused(Box::new(status)));
        };
        let wait = backoff.next_after(asked, rand::random());
        if Instant::now() + wait >= deadline {
            // What it said last is known; unless it is only that time was up.
            return Err(match reason(&status) {
                Some(_) => ClientError::Refused(Box::new(status)),
                None => too_late(describe(&status)),
            });
        }
        last = describe(&status);
        sleep(wait).await;
    }
}

pub(super) async fn sync_data(
    settings: &ClientSettings,
    lane: Lane,
    records: impl Stream<Item = SyncRecord> + Send + 'static,
) -> Result<SyncDataResponse, ClientError> {
    let messages = records.map(|record| SyncDataRequest {
        record: vec![record.encode_to_vec().into()],
    });
    let trace = settings.trace_context();
    let mut client = DataSyncServiceClient::new(lane.channel());
    let answer = client.sync_data(request(trace.as_ref(), messages)).await;
    answer
        .map(Response::into_inner)
        .map_err(|status| ClientError::Refused(Box::new(status)))
}

/// A call with a trace in its headers.
pub(super) fn request<T>(trace: Option<&TraceContext>, message: T) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(context) = trace {
        context.inject(request.metadata_mut());
    }
    request
}

/// Gives `record` what it lacks, before its first attempt: an id, and when it was made.
pub(super) fn complete(record: &mut SyncRecord) {
    if record.request_id.is_empty() {
        record.request_id = new_request_id();
    }
    if record.create_time.is_none() {
        record.create_time = Some(SystemTime::now().into());
    }
}

/// `encoded`, unless it is larger than a record may be.
pub(super) fn checked(encoded: Bytes) -> Result<Bytes, ClientError> {
    let bytes = encoded.len();
    if bytes > MAX_RECORD_BYTES {
        let limit = MAX_RECORD_BYTES;
        return Err(ClientError::RecordTooLarge { bytes, limit });
    }
    Ok(encoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_record_lacks_it_gets_and_what_it_has_it_keeps() {
        let mut bare = SyncRecord::default();
        let before = SystemTime::now();
        complete(&mut bare);
        let made = bare.create_time.map(SystemTime::try_from).unwrap().unwrap();
        assert!(made >= before && made <= SystemTime::now());
        assert_eq!(bare.request_id.len(), 36);
        let mut given = SyncRecord {
            request_id: "7f".into(),
            create_time: Some(SystemTime::UNIX_EPOCH.into()),
            ..SyncRecord::default()
        };
        let kept = given.clone();
        complete(&mut given);
        assert_eq!(given, kept);
    }
}
