//! Step 1 of the walk: accept `SyncDataStream`.
//!
//! In: a stream of batches. Out: a stream of answers: cumulative acks, rejections and credits.
//! Promises: batches are handed to the log in the order of the stream; one task a stream, which
//! never holds more unanswered records than the stream's window, and reads no further while its
//! client does not read answers; when the gateway drains, the client is told, what was read is
//! answered, and the stream ends with `DRAINING`.

use super::refusal_of_tonics;
use crate::ack::{Ack, StreamAcks};
use crate::admit::{Admission, Submission, draining};
use crate::pipeline::Pipeline;
use cloudsync::ErrorReason;
use cloudsync::limits::MAX_BATCH_RECORDS;
use cloudsync::reason::Refusal;
use cloudsync::v1::{SyncDataStreamRequest, SyncDataStreamResponse};
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::{BoxStream, FuturesUnordered, unfold};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::{self, OwnedPermit, Sender};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

/// Answers that wait for the client, apart from the last one.
const ANSWERS: usize = 4;
/// How long a client may leave an answer unread before the stream ends.
const UNREAD_LIMIT: Duration = Duration::from_secs(60);

type Answer = Result<SyncDataStreamResponse, Status>;

/// What came in: a batch of a size that is taken, or the number of records of one that is not.
enum Read {
    Admitted(Submission),
    WrongSize(u64),
}

/// One open stream.
struct Session {
    pipeline: Arc<Pipeline>,
    acks: StreamAcks,
    in_flight: FuturesUnordered<BoxFuture<'static, (u64, Ack)>>,
    /// Set when nothing more is read: the status with which the stream ends, if not OK.
    end: Option<Option<Status>>,
}

/// Starts the task of a stream, which holds `share` while it runs, and returns its answers.
pub(super) fn start(
    pipeline: &Arc<Pipeline>,
    requests: Streaming<SyncDataStreamRequest>,
    share: OwnedSemaphorePermit,
) -> BoxStream<'static, Answer> {
    let (sender, answers) = mpsc::channel(ANSWERS + 1);
    let session = Session {
        pipeline: Arc::clone(pipeline),
        acks: StreamAcks::new(),
        in_flight: FuturesUnordered::new(),
        end: None,
    };
    let call = pipeline.calls.token();
    pipeline.tasks.spawn("gateway-stream", async move {
        session.run(requests, sender).await;
        drop((call, share));
    });
    ReceiverStream::new(answers).boxed()
}

// === impl Session ===

impl Session {
    async fn run(mut self, requests: Streaming<SyncDataStreamRequest>, sender: Sender<Answer>) {
        // Kept for the last word, so that a client that does not read still gets it.
        let Ok(last) = sender.clone().reserve_owned().await else {
            return;
        };
        let admission = self.pipeline.admission.clone();
        let mut batches = std::pin::pin!(batches(requests, &admission));
        let mut unread_since = Instant::now();
        while self.end.is_none() || !self.in_flight.is_empty() || self.acks.has_answer() {
            let reading = self.end.is_none();
            if !self.acks.has_answer() {
                unread_since = Instant::now();
            }
            tokio::select! {
                biased;
                Some((slot, ack)) = self.in_flight.next() => self.acks.close(slot, ack),
                room = sender.reserve(), if self.acks.has_answer() => {
                    let Ok(room) = room else { return };
                    if let Some(answer) = self.acks.next_answer() {
                        room.send(Ok(answer));
                    }
                    unread_since = Instant::now();
                }
                read = batches.next(), if reading && self.acks.has_room() => self.take(read),
                () = self.pipeline.shutdown.draining(), if reading => {
                    self.acks.drain();
                    self.end = Some(Some(draining().to_status()));
                }
                () = tokio::time::sleep_until(unread_since + UNREAD_LIMIT),
                    if self.acks.has_answer() => return end_unread(last),
                () = sender.closed() => return,
            }
        }
        if let Some(Some(status)) = self.end {
            last.send(Err(status));
        }
    }

    fn take(&mut self, read: Option<Result<Read, Status>>) {
        match read {
            None => self.end = Some(None),
            Some(Err(status)) => self.end = Some(Some(status)),
            Some(Ok(Read::Admitted(submission))) => {
                let slot = self.acks.open(submission.records.len() as u64);
                let ack = self.pipeline.submit(submission);
                self.in_flight
                    .push(Box::pin(async move { (slot, ack.await) }));
            }
            Some(Ok(Read::WrongSize(count))) => {
                self.pipeline.counters.add_received(count);
                self.pipeline.counters.add_refused(count);
                self.acks.refuse_all(count, wrong_size(count));
            }
        }
    }
}

fn end_unread(last: OwnedPermit<Answer>) {
    let limit = UNREAD_LIMIT.as_secs();
    let text = format!("answers of this stream were not read for {limit} s; read them");
    last.send(Err(
        Refusal::permanent(ErrorReason::Overloaded, text).to_status()
    ));
}

fn wrong_size(count: u64) -> Refusal {
    Refusal::of_field(
        ErrorReason::BatchSize,
        "records",
        format!("the batch has {count} records, it must have 1 to {MAX_BATCH_RECORDS}"),
    )
}

/// The stream as admitted batches.
fn batches(
    requests: Streaming<SyncDataStreamRequest>,
    admission: &Admission,
) -> impl futures::Stream<Item = Result<Read, Status>> {
    unfold(requests, move |mut requests| async move {
        let read = match requests.message().await {
            Ok(None) => return None,
            Err(status) => Err(in_our_words(status)),
            Ok(Some(batch)) => {
                let count = batch.records.len();
                if (1..=MAX_BATCH_RECORDS).contains(&count) {
                    let admitted = admission.records_in_turn(batch.records, Vec::new()).await;
                    admitted
                        .map(Read::Admitted)
                        .map_err(|refusal| refusal.to_status())
                } else {
                    Ok(Read::WrongSize(count as u64))
                }
            }
        };
        Some((read, requests))
    })
}

fn in_our_words(status: Status) -> Status {
    let refusal = refusal_of_tonics(&status, ErrorReason::BatchSize);
    refusal.map_or(status, |refusal| refusal.to_status())
}
