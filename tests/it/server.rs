//! A server of the contract that follows a script. It remembers every record that it took, the way
//! a log would: also those whose acknowledgement never arrived.

use cloudsync::client::{self, Summary};
use cloudsync::v1::data_sync_service_server::{DataSyncService, DataSyncServiceServer};
use cloudsync::v1::{
    GetReceiptRequest, GetReceiptResponse, Rejection, SyncDataRequest, SyncDataResponse,
    SyncDataStreamRequest, SyncDataStreamResponse, SyncRecordRequest, SyncRecordResponse,
    WatchReceiptsRequest, WatchReceiptsResponse,
};
use cloudsync::wire::RecordView;
use cloudsync::{Client, ClientError, ClientSettings, ErrorReason, SyncRecord};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::metadata::MetadataMap;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

/// Longer than anything takes here, on a busy machine.
pub(crate) const LONG: Duration = Duration::from_secs(60);
const CREDIT: u64 = 10_000;

/// What the server does with one stream; the next stream gets the next one of the script, and those
/// behind its end are [`Act::Serve`].
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// Answers every batch.
    Serve,
    /// Grants so many records and no more, and answers only when it has them all.
    Credit(u64),
    /// Takes a batch and cuts the stream off instead of answering.
    LoseAck,
    /// Says that it drains when it answers a batch, answers what comes all the same, and ends the
    /// stream when it is told to.
    Drain(Status, Arc<Notify>),
    /// Answers a batch, is silent for so long, and ends the stream.
    EndIdle(Duration),
    /// Ends the stream with this at once.
    End(Status),
    /// Takes nothing and says nothing.
    Silence,
}

#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// How often each record was taken, by its id.
    pub(crate) taken: BTreeMap<String, u32>,
    /// The same in the order in which they came.
    pub(crate) order: Vec<String>,
    /// Most records that were on a stream beyond what had been granted there.
    pub(crate) beyond_credit: u64,
    pub(crate) streams: u32,
    /// Headers of each call.
    pub(crate) headers: Vec<MetadataMap>,
    pub(crate) singles: u32,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Script {
    pub(crate) acts: Arc<Mutex<VecDeque<Act>>>,
    /// Records with such an id are refused: for good, or for now as often as told.
    pub(crate) refusals: Arc<Mutex<BTreeMap<String, Refuse>>>,
    /// Answers to single calls; behind its end they are taken.
    pub(crate) singles: Arc<Mutex<VecDeque<Status>>>,
    pub(crate) seen: Arc<Mutex<Seen>>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Refuse {
    ForGood,
    ForNow(u32),
}

/// A running server; it ends when dropped.
#[derive(Debug)]
pub(crate) struct Scripted {
    pub(crate) address: SocketAddr,
    pub(crate) script: Script,
    task: JoinHandle<()>,
}

// === impl Scripted ===

impl Scripted {
    pub(crate) async fn start(acts: impl IntoIterator<Item = Act>) -> Self {
        let script = Script::default();
        script.acts.lock().unwrap().extend(acts);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = DataSyncServiceServer::new(script.clone());
        let task = tokio::spawn(async move {
            let incoming = TcpListenerStream::new(listener);
            let server = Server::builder().add_service(service);
            server.serve_with_incoming(incoming).await.unwrap();
        });
        Self {
            address,
            script,
            task,
        }
    }

    /// Settings of a client that is quick to come back.
    pub(crate) fn settings(&self) -> ClientSettings {
        settings(self.address)
    }

    /// Each of the first so many records was taken, and no other.
    pub(crate) fn assert_taken(&self, records: usize) {
        let expected: Vec<_> = (0..records).map(|n| record(n).request_id).collect();
        self.seen(|seen| {
            let taken: Vec<_> = seen.taken.keys().cloned().collect();
            assert_eq!(taken, expected);
        });
    }

    pub(crate) fn seen<T>(&self, look: impl FnOnce(&Seen) -> T) -> T {
        look(&self.script.seen.lock().unwrap())
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) fn settings(address: SocketAddr) -> ClientSettings {
    ClientSettings {
        backoff_start: Duration::from_micros(100),
        backoff_limit: Duration::from_millis(5),
        give_up_after: LONG,
        batch_records: 4,
        ..ClientSettings::to(format!("http://{address}"))
    }
}

pub(crate) fn record(n: usize) -> SyncRecord {
    SyncRecord {
        request_id: format!("id-{n:05}"),
        payload: format!("payload {n}").into(),
        ..SyncRecord::default()
    }
}

/// Sends the first so many records.
pub(crate) async fn send_all(
    settings: ClientSettings,
    records: usize,
) -> Result<Summary, ClientError> {
    let client = Client::new(settings).unwrap();
    let records = client::iter((0..records).map(record));
    timeout(LONG, client.send_all(records)).await.unwrap()
}

// === impl Script ===

impl Script {
    pub(crate) fn refuse(&self, n: usize, how: Refuse) {
        let id = record(n).request_id;
        self.refusals.lock().unwrap().insert(id, how);
    }

    /// The verdict on record `index` of a stream; what is not refused is taken.
    fn judge(&self, index: u64, encoded: &[u8]) -> Option<Rejection> {
        let id = RecordView::parse(encoded).unwrap().request_id.to_owned();
        let mut refusals = self.refusals.lock().unwrap();
        let retry_delay = match refusals.get_mut(&id) {
            None | Some(Refuse::ForNow(0)) => {
                drop(refusals);
                self.take(id);
                return None;
            }
            Some(Refuse::ForGood) => None,
            Some(Refuse::ForNow(times)) => {
                *times -= 1;
                Some(Duration::from_millis(100).try_into().unwrap())
            }
        };
        Some(Rejection {
            index,
            request_id: id,
            reason: ErrorReason::FieldTooLong.into(),
            message: "refused by the script".into(),
            retry_delay,
        })
    }

    fn take(&self, id: String) {
        let mut seen = self.seen.lock().unwrap();
        seen.order.push(id.clone());
        *seen.taken.entry(id).or_default() += 1;
    }

    async fn follow(self, act: Act, mut batches: Streaming<SyncDataStreamRequest>, to: Answers) {
        let mut stream = OnStream::default();
        let granted = if let Act::Credit(granted) = act {
            granted
        } else {
            CREDIT
        };
        stream.credit = granted;
        match act {
            Act::End(status) => return to.send(Err(status)).await.unwrap_or_default(),
            Act::Silence => return std::future::pending().await,
            _ => {}
        }
        if to.send(Ok(stream.answer())).await.is_err() {
            return;
        }
        while let Some(batch) = next(&mut batches, &act).await {
            self.take_batch(&mut stream, &batch);
            match &act {
                Act::LoseAck => return,
                Act::Credit(_) if stream.acked < stream.credit => continue,
                Act::Credit(_) => stream.credit += granted,
                Act::EndIdle(silence) => {
                    let answer = stream.answer();
                    to.send(Ok(answer)).await.unwrap_or_default();
                    return tokio::time::sleep(*silence).await;
                }
                Act::Drain(..) => stream.draining = true,
                _ => stream.credit = stream.acked + CREDIT,
            }
            let answer = stream.answer();
            if to.send(Ok(answer)).await.is_err() {
                return;
            }
        }
        if let Act::Drain(status, _) = act {
            return to.send(Err(status)).await.unwrap_or_default();
        }
        // The client has closed its half: what a withheld credit kept back is answered.
        let answer = stream.answer();
        to.send(Ok(answer)).await.unwrap_or_default();
    }

    fn take_batch(&self, stream: &mut OnStream, batch: &SyncDataStreamRequest) {
        for encoded in &batch.records {
            let rejection = self.judge(stream.acked, encoded);
            stream.rejections.extend(rejection);
            stream.acked += 1;
        }
        let beyond = stream.acked.saturating_sub(stream.credit);
        let mut seen = self.seen.lock().unwrap();
        seen.beyond_credit = seen.beyond_credit.max(beyond);
    }
}

/// The next batch of a stream that goes on.
async fn next(
    batches: &mut Streaming<SyncDataStreamRequest>,
    act: &Act,
) -> Option<SyncDataStreamRequest> {
    let ended = async {
        match act {
            Act::Drain(_, end) => end.notified().await,
            _ => std::future::pending().await,
        }
    };
    tokio::select! {
        batch = batches.next() => batch?.ok(),
        () = ended => None,
    }
}

type Answers = mpsc::Sender<Result<SyncDataStreamResponse, Status>>;

#[derive(Debug, Default)]
struct OnStream {
    acked: u64,
    credit: u64,
    draining: bool,
    rejections: Vec<Rejection>,
}

impl OnStream {
    fn answer(&mut self) -> SyncDataStreamResponse {
        SyncDataStreamResponse {
            acked_count: self.acked,
            credit_count: self.credit,
            rejections: std::mem::take(&mut self.rejections),
            draining: self.draining,
            ..SyncDataStreamResponse::default()
        }
    }
}

#[tonic::async_trait]
impl DataSyncService for Script {
    type SyncDataStreamStream = ReceiverStream<Result<SyncDataStreamResponse, Status>>;
    type WatchReceiptsStream = ReceiverStream<Result<WatchReceiptsResponse, Status>>;

    async fn sync_data(
        &self,
        request: Request<Streaming<SyncDataRequest>>,
    ) -> Result<Response<SyncDataResponse>, Status> {
        let (headers, _, mut messages) = request.into_parts();
        self.seen.lock().unwrap().headers.push(headers);
        let mut summary = SyncDataResponse::default();
        while let Some(message) = messages.next().await {
            let index = summary.accepted_count + summary.rejected_count;
            match self.judge(index, &message?.record[0]) {
                None => summary.accepted_count += 1,
                Some(rejection) => {
                    summary.rejected_count += 1;
                    summary.rejections.push(rejection);
                }
            }
        }
        Ok(Response::new(summary))
    }

    async fn sync_data_stream(
        &self,
        request: Request<Streaming<SyncDataStreamRequest>>,
    ) -> Result<Response<Self::SyncDataStreamStream>, Status> {
        let (headers, _, batches) = request.into_parts();
        {
            let mut seen = self.seen.lock().unwrap();
            seen.headers.push(headers);
            seen.streams += 1;
        }
        let act = self.acts.lock().unwrap().pop_front();
        let (to, answers) = mpsc::channel(4);
        tokio::spawn(self.clone().follow(act.unwrap_or(Act::Serve), batches, to));
        Ok(Response::new(ReceiverStream::new(answers)))
    }

    async fn sync_record(
        &self,
        request: Request<SyncRecordRequest>,
    ) -> Result<Response<SyncRecordResponse>, Status> {
        let (headers, _, message) = request.into_parts();
        {
            let mut seen = self.seen.lock().unwrap();
            seen.headers.push(headers);
            seen.singles += 1;
        }
        let answer = self.singles.lock().unwrap().pop_front();
        let encoded = &message.record[0];
        let view = RecordView::parse(encoded).unwrap();
        // Also a record whose answer is lost is there.
        self.take(view.request_id.to_owned());
        match answer {
            Some(status) => Err(status),
            None => Ok(Response::new(SyncRecordResponse {
                request_id: view.request_id.to_owned(),
                ..SyncRecordResponse::default()
            })),
        }
    }

    async fn get_receipt(
        &self,
        _request: Request<GetReceiptRequest>,
    ) -> Result<Response<GetReceiptResponse>, Status> {
        Err(Status::unimplemented("the script has no receipts"))
    }

    async fn watch_receipts(
        &self,
        _request: Request<WatchReceiptsRequest>,
    ) -> Result<Response<Self::WatchReceiptsStream>, Status> {
        Err(Status::unimplemented("the script has no receipts"))
    }
}
