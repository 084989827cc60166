//! Step 1 of the walk: accept `SyncData`.
//!
//! In: a stream with one record a message. Out: one summary: how many are durable, how many are
//! refused, and which. Promises: records are handed to the log in the order of the stream, those
//! that are ready together as one submission; the summary comes when every record has its verdict;
//! a stream that breaks gets no summary.

use super::{not_one_record, refusal_of_tonics};
use crate::ack::StreamAcks;
use crate::admit::{Admission, Submission, draining};
use crate::pipeline::Pipeline;
use bytes::Bytes;
use cloudsync::ErrorReason;
use cloudsync::reason::Refusal;
use cloudsync::v1::{SyncDataRequest, SyncDataResponse};
use futures::stream::{FuturesUnordered, Stream, unfold};
use futures::{FutureExt, StreamExt};
use std::sync::Arc;
use tonic::{Status, Streaming};

/// Most records that are joined to one submission, and the bytes at which it is closed.
const CHUNK_RECORDS: usize = 256;
const CHUNK_BYTES: usize = 1 << 20;
/// How many rejections and made-up ids a summary names.
const NAMED_REJECTIONS: usize = 100;
const NAMED_IDS: usize = 1_000;

/// Takes the stream to its end and sums it up.
pub(super) async fn run(
    pipeline: &Arc<Pipeline>,
    requests: Streaming<SyncDataRequest>,
) -> Result<SyncDataResponse, Status> {
    let mut submissions = std::pin::pin!(submissions(requests, &pipeline.admission));
    let mut in_flight = FuturesUnordered::new();
    let mut acks = StreamAcks::new();
    let mut summary = SyncDataResponse::default();
    let mut ended = None;
    while ended.is_none() || !in_flight.is_empty() {
        tokio::select! {
            biased;
            Some((slot, ack)) = in_flight.next() => {
                acks.close(slot, ack);
                while let Some(answer) = acks.next_answer() {
                    summary.rejected_count += answer.rejections.len() as u64;
                    keep_first(&mut summary.rejections, answer.rejections, NAMED_REJECTIONS);
                    let ids = answer.assigned_request_ids;
                    keep_first(&mut summary.assigned_request_ids, ids, NAMED_IDS);
                    summary.accepted_count = answer.acked_count - summary.rejected_count;
                    summary.duplicate_count = answer.duplicate_count;
                }
            }
            read = submissions.next(), if ended.is_none() && acks.has_room() => match read {
                None => ended = Some(Ok(())),
                Some(Err(status)) => ended = Some(Err(status)),
                Some(Ok(submission)) => {
                    let slot = acks.open(submission.records.len() as u64);
                    let ack = pipeline.submit(submission);
                    in_flight.push(async move { (slot, ack.await) });
                }
            },
            () = pipeline.shutdown.draining(), if ended.is_none() => {
                ended = Some(Err(draining().to_status()));
            }
        }
    }
    ended.unwrap_or(Ok(())).map(|()| summary)
}

fn keep_first<T>(kept: &mut Vec<T>, more: Vec<T>, limit: usize) {
    let room = limit.saturating_sub(kept.len());
    kept.extend(more.into_iter().take(room));
}

/// The stream as admitted submissions of what was ready together.
fn submissions(
    requests: Streaming<SyncDataRequest>,
    admission: &Admission,
) -> impl Stream<Item = Result<Submission, Status>> {
    unfold(
        Incoming {
            requests,
            end: None,
        },
        move |mut incoming| async move {
            let chunk = incoming.next_chunk().await;
            if chunk.records.is_empty() {
                // The end, after everything before it.
                let status = incoming.end.as_mut()?.take()?;
                return Some((Err(status), incoming));
            }
            let admitted = admission
                .records_in_turn(chunk.records, chunk.malformed)
                .await;
            Some((admitted.map_err(|refusal| refusal.to_status()), incoming))
        },
    )
}

struct Incoming {
    requests: Streaming<SyncDataRequest>,
    /// Set when the stream has ended; `Some(Some(_))`: with this status.
    end: Option<Option<Status>>,
}

#[derive(Default)]
struct Chunk {
    records: Vec<Bytes>,
    malformed: Vec<(u32, Refusal)>,
    bytes: usize,
}

impl Incoming {
    /// Waits for a record and takes what is ready behind it. Without records: the stream has
    /// ended.
    async fn next_chunk(&mut self) -> Chunk {
        let mut chunk = Chunk::default();
        while self.end.is_none() && !chunk.is_full() {
            let next = if chunk.records.is_empty() {
                self.requests.next().await
            } else if let Some(next) = self.requests.next().now_or_never() {
                next
            } else {
                break;
            };
            match next {
                Some(Ok(request)) => chunk.add(request),
                Some(Err(status)) => self.end = Some(Some(in_our_words(status))),
                None => self.end = Some(None),
            }
        }
        chunk
    }
}

impl Chunk {
    fn is_full(&self) -> bool {
        self.records.len() >= CHUNK_RECORDS || self.bytes >= CHUNK_BYTES
    }

    fn add(&mut self, request: SyncDataRequest) {
        let mut records = request.record.into_iter();
        let (record, others) = (records.next(), records.len());
        if record.is_none() || others > 0 {
            // At most `CHUNK_RECORDS` places.
            let place = u32::try_from(self.records.len()).unwrap_or(u32::MAX);
            self.malformed.push((place, not_one_record(others)));
        }
        let record = record.unwrap_or_default();
        self.bytes += record.len();
        self.records.push(record);
    }
}

fn in_our_words(status: Status) -> Status {
    let refusal = refusal_of_tonics(&status, ErrorReason::RecordTooLarge);
    refusal.map_or(status, |refusal| refusal.to_status())
}
