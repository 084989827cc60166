//! What gRPC and HTTP cost by themselves: a server that takes a record and answers at once.
//!
//! In: `SyncRecord` calls and `POST /api/datasync`. Out: answers of the size that the gateway's
//! have. It checks nothing and keeps nothing: it is there for `cloudsync bench`, to be held
//! against. The transport is set up as the gateway's is.

use crate::listen::{BindError, ServeError, listen, server};
use crate::settings::GatewaySettings;
use axum::Router;
use axum::http::StatusCode;
use axum::routing::post;
use bytes::Bytes;
use cloudsync::v1::data_sync_service_server::{DataSyncService, DataSyncServiceServer};
use cloudsync::v1::{
    Position, SyncDataRequest, SyncDataResponse, SyncDataStreamRequest, SyncDataStreamResponse,
    SyncRecordRequest, SyncRecordResponse,
};
use futures::stream::BoxStream;
use std::net::{SocketAddr, TcpListener};
use tonic::service::Routes;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};

/// As long as a request id that the gateway would answer with.
const REQUEST_ID: &str = "01951f5c-7d1e-7c3a-9b1e-000000000000";

/// The server, bound.
#[derive(Debug)]
pub struct FloorServer {
    listener: TcpListener,
    address: SocketAddr,
}

#[derive(Clone, Copy)]
struct Service;

// === impl FloorServer ===

impl FloorServer {
    /// Binds `address`; port 0 takes a free one.
    ///
    /// # Errors
    /// [`BindError::Taken`], [`BindError::Listen`].
    pub fn bind(address: SocketAddr) -> Result<Self, BindError> {
        let (listener, address) = listen(address)?;
        Ok(Self { listener, address })
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
        let http = Router::new().route("/api/datasync", post(datasync));
        server(GatewaySettings::default().max_streams_per_connection)
            .add_routes(Routes::from(http.merge(grpc)))
            .serve_with_incoming(incoming)
            .await
            .map_err(ServeError::Server)
    }
}

async fn datasync(_body: Bytes) -> (StatusCode, &'static str) {
    (
        StatusCode::ACCEPTED,
        "Data message queued for synchronization.",
    )
}

#[tonic::async_trait]
impl DataSyncService for Service {
    type SyncDataStreamStream = BoxStream<'static, Result<SyncDataStreamResponse, Status>>;

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
}

fn no_streams() -> Status {
    Status::unimplemented("the floor takes single records only")
}
