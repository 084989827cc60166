//! What gRPC and HTTP cost by themselves: a server that takes a record and answers at once.
//!
//! In: `SyncRecord` calls and `POST /api/datasync`. Out: answers of the size that the gateway's
//! have. It checks nothing and keeps nothing; or, told to produce, it gives each line of a body
//! as it is to the producer and answers when the log has all of them. It is there for `cloudsync
//! bench`, to be held against. The transport is set up as the gateway's is.

use crate::listen::{BindError, ServeError, listen, server};
use crate::settings::GatewaySettings;
use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::routing::post;
use bytes::Bytes;
use cloudsync::v1::data_sync_service_server::{DataSyncService, DataSyncServiceServer};
use cloudsync::v1::{
    GetReceiptRequest, GetReceiptResponse, Position, SyncDataRequest, SyncDataResponse,
    SyncDataStreamRequest, SyncDataStreamResponse, SyncRecordRequest, SyncRecordResponse,
    WatchReceiptsRequest, WatchReceiptsResponse,
};
use cloudsync_kafka::{ProduceRecord, Producer};
use futures::stream::BoxStream;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use tonic::service::Routes;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};

const QUEUED: &str = "Data message queued for synchronization.";
/// As long as a request id that the gateway would answer with.
const REQUEST_ID: &str = "01951f5c-7d1e-7c3a-9b1e-000000000000";

/// The server, bound.
#[derive(Debug)]
pub struct FloorServer {
    listener: TcpListener,
    address: SocketAddr,
    log: Option<Log>,
}

#[derive(Clone, Copy)]
struct Service;

/// Where lines go.
#[derive(Clone, Debug)]
struct Log {
    producer: Producer,
    topic: Arc<str>,
    partitions: u32,
    /// Bodies that came; each goes to one partition, as the producer likes it best.
    bodies: Arc<AtomicU32>,
}

// === impl FloorServer ===

impl FloorServer {
    /// Binds `address`; port 0 takes a free one.
    ///
    /// # Errors
    /// [`BindError::Taken`], [`BindError::Listen`].
    pub fn bind(address: SocketAddr) -> Result<Self, BindError> {
        let (listener, address) = listen(address)?;
        Ok(Self {
            listener,
            address,
            log: None,
        })
    }

    /// The same, but lines of HTTP bodies go by `producer` into `topic`, which has `partitions`.
    #[must_use]
    pub fn producing(self, producer: Producer, topic: &str, partitions: u32) -> Self {
        let log = Log {
            producer,
            topic: topic.into(),
            partitions: partitions.max(1),
            bodies: Arc::default(),
        };
        let log = Some(log);
        Self { log, ..self }
    }

    /// The address that is bound, with the port that it got.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until it is dropped.
    ///
    /// # Errors
    /// [`ServeError`], when it ends before.
    pub async fn serve(self) -> Result<(), ServeError> {
        let address = self.address;
        let incoming = tokio::net::TcpListener::from_std(self.listener)
            .map(TcpIncoming::from)
            .map_err(|source| ServeError::Listener { address, source })?
            .with_nodelay(Some(true));
        let grpc = Routes::new(DataSyncServiceServer::new(Service))
            .prepare()
            .into_axum_router()
            .reset_fallback();
        let handler = match self.log {
            None => post(datasync),
            Some(log) => post(lines).with_state(log),
        };
        let http = Router::new()
            .route("/api/datasync", handler)
            .layer(DefaultBodyLimit::disable());
        server(GatewaySettings::default().max_streams_per_connection)
            .add_routes(Routes::from(http.merge(grpc)))
            .serve_with_incoming(incoming)
            .await
            .map_err(ServeError::Server)
    }
}

async fn datasync(_body: Bytes) -> (StatusCode, &'static str) {
    (StatusCode::ACCEPTED, QUEUED)
}

async fn lines(State(log): State<Log>, body: Bytes) -> (StatusCode, &'static str) {
    let place = log.bodies.fetch_add(1, Ordering::Relaxed) % log.partitions;
    let partition = i32::try_from(place).unwrap_or_default();
    let lines = body.split(|byte| *byte == b'\n');
    let records = lines
        .filter(|line| !line.is_empty())
        .map(|line| ProduceRecord {
            partition,
            key: Bytes::new(),
            value: body.slice_ref(line),
        });
    let produced = log
        .producer
        .produce(&log.topic, records.collect::<Vec<_>>())
        .await;
    if produced.iter().all(Result::is_ok) {
        (StatusCode::ACCEPTED, QUEUED)
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "the log has not taken all of it",
        )
    }
}

#[tonic::async_trait]
impl DataSyncService for Service {
    type SyncDataStreamStream = BoxStream<'static, Result<SyncDataStreamResponse, Status>>;
    type WatchReceiptsStream = BoxStream<'static, Result<WatchReceiptsResponse, Status>>;

    async fn sync_data(
        &self,
        _request: Request<Streaming<SyncDataRequest>>,
    ) -> Result<Response<SyncDataResponse>, Status> {
        Err(no_streams())
    }

    async fn sync_data_stream(
        &self,
        _request: Request<Streaming<SyncDataStreamRequest>>,
    ) -> Result<Response<Self::SyncDataStreamStream>, Status> {
        Err(no_streams())
    }

    async fn sync_record(
        &self,
        request: Request<SyncRecordRequest>,
    ) -> Result<Response<SyncRecordResponse>, Status> {
        drop(request.into_inner());
        Ok(Response::new(SyncRecordResponse {
            request_id: REQUEST_ID.to_owned(),
            duplicate: false,
            position: Some(Position {
                topic: "data-topic".to_owned(),
                partition: 7,
                offset: 1 << 20,
            }),
        }))
    }

    async fn get_receipt(
        &self,
        _request: Request<GetReceiptRequest>,
    ) -> Result<Response<GetReceiptResponse>, Status> {
        Err(no_streams())
    }

    async fn watch_receipts(
        &self,
        _request: Request<WatchReceiptsRequest>,
    ) -> Result<Response<Self::WatchReceiptsStream>, Status> {
        Err(no_streams())
    }
}

fn no_streams() -> Status {
    Status::unimplemented("the floor takes single records only")
}
