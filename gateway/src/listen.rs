//! Step 1 of the walk: one port for gRPC and HTTP.
//!
//! In: settings, and what the gateway works with. Out: a bound [`Gateway`], which serves until it
//! is told to drain. Promises: an address that others can reach is not bound without TLS unless
//! told to; a gateway that drains takes nothing new, finishes what it has taken, and then
//! returns; one request, however long it is held, leaves room for the others of its connection.

mod door;

use crate::admit::Admission;
use crate::counters::Counters;
use crate::grpc::{Service, in_our_words};
use crate::health::{self, LogHealth};
use crate::instruments;
use crate::pipeline::Pipeline;
use crate::produce::{Log, PRODUCE_DEADLINE, within_the_queue};
use crate::receipts::{Destination, Receipts};
use crate::recent::RecentIds;
use crate::settings::{GatewaySettings, SettingsError};
use crate::validate::Validator;
use axum::Router;
use cloudsync::limits::MAX_MESSAGE_BYTES;
use cloudsync::v1::data_sync_service_server::DataSyncServiceServer;
use cloudsync_kafka::{KafkaSettings, Producer};
use cloudsync_runtime::{Metrics, Readiness, Shutdown, Tasks};
use door::Door;
use futures::StreamExt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::task::TaskTracker;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

/// How long connections that only watch (health, reflection) are left open after the last call.
const LINGER: Duration = Duration::from_secs(1);
/// Most bytes of the headers of one request.
const MAX_HEADER_BYTES: u32 = 16 * 1024;
/// What a client may send on one HTTP/2 connection before it is read.
const CONNECTION_WINDOW: u32 = 16 << 20;
/// The least and the most that each call has of it.
const LEAST_STREAM_WINDOW: u32 = 16 << 10;
const MOST_STREAM_WINDOW: u32 = 1 << 20;

/// What a gateway works with.
#[derive(Clone)]
pub struct GatewayDeps {
    /// The log's address, topic and number of partitions.
    pub kafka: KafkaSettings,
    /// Writes the log.
    pub producer: Producer,
    /// The destinations that records may name.
    pub destinations: Vec<Destination>,
    /// What is remembered of accepted records.
    pub receipts: Arc<cloudsync_dedupe::Receipts>,
    /// Parts that the destinations' dedupe stores are cut into (`dedupe.shards`).
    pub shards: u32,
    /// Where the gateway's tasks run.
    pub tasks: Tasks,
    /// Says when to drain.
    pub shutdown: Shutdown,
    /// What `/readyz` tells; gets the condition `log`.
    pub readiness: Readiness,
    /// What `/metrics` tells; gets the gateway's instruments.
    pub metrics: Metrics,
}

/// The port of a gateway that is yet to be made, bound. Clients that connect wait.
#[derive(Debug)]
pub struct GatewayPort {
    settings: GatewaySettings,
    listener: TcpListener,
    address: SocketAddr,
}

/// A gateway whose port is bound. Clients that connect wait until it serves.
pub struct Gateway {
    settings: GatewaySettings,
    listener: TcpListener,
    address: SocketAddr,
    pipeline: Arc<Pipeline>,
    readiness: Readiness,
    metrics: Metrics,
    log_health: LogHealth,
    producer: Producer,
}

/// Why a gateway cannot be bound.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// A setting is out of range.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// Others could reach the address, and there is no TLS.
    #[error(
        "gateway.listen = {address} can be reached from other machines, and without TLS anyone \
         there could read and send records: listen on 127.0.0.1, or allow it with --insecure \
         (gateway.insecure = true)"
    )]
    NotLoopback {
        /// The address.
        address: SocketAddr,
    },
    /// Another program has the port.
    #[error("the port of gateway.listen = {address} is taken: end its owner or set another port")]
    Taken {
        /// The address.
        address: SocketAddr,
    },
    /// The system refuses the address.
    #[error("cannot listen on gateway.listen = {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

/// Why a gateway ended that was not told to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The bound port cannot be used.
    #[error("cannot serve on {address}")]
    Listener {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// gRPC reflection cannot be set up.
    #[error("cannot set up gRPC reflection")]
    Reflection(#[source] tonic_reflection::server::Error),
    /// The server failed.
    #[error("the gateway's server failed")]
    Server(#[source] tonic::transport::Error),
}

// === impl GatewayPort ===

impl GatewayPort {
    /// Checks the settings, also against what the log's client may hold, and binds the port.
    ///
    /// # Errors
    /// [`BindError`], as one sentence that names the setting.
    pub fn bind(settings: GatewaySettings, kafka: &KafkaSettings) -> Result<Self, BindError> {
        settings.validate()?;
        within_the_queue(&settings, kafka)?;
        if !settings.is_loopback() && !settings.insecure {
            return Err(BindError::NotLoopback {
                address: settings.listen,
            });
        }
        let (listener, address) = listen(settings.listen)?;
        Ok(Self {
            settings,
            listener,
            address,
        })
    }
}

// === impl Gateway ===

impl Gateway {
    /// Checks the settings and binds the port.
    ///
    /// # Errors
    /// [`BindError`], as one sentence that names the setting.
    pub fn bind(settings: GatewaySettings, deps: GatewayDeps) -> Result<Self, BindError> {
        Ok(Self::on(GatewayPort::bind(settings, &deps.kafka)?, deps))
    }

    /// The gateway on a port that was bound before there was a log to write to.
    #[must_use]
    pub fn on(port: GatewayPort, deps: GatewayDeps) -> Self {
        let GatewayPort {
            settings,
            listener,
            address,
        } = port;
        let GatewayDeps {
            kafka,
            producer,
            destinations,
            receipts,
            shards,
            tasks,
            shutdown,
            readiness,
            metrics,
        } = deps;
        let names = destinations.iter().map(|it| it.name.clone()).collect();
        let log_health = LogHealth::new(&readiness, &kafka.brokers);
        let pipeline = Pipeline {
            admission: Admission::new(&settings, shutdown.clone()),
            validator: Validator::new(&settings, names, kafka.partitions),
            recent: Arc::new(RecentIds::new(settings.recent_ids, settings.missing_id)),
            receipts: Arc::new(Receipts::new(receipts, destinations, &kafka, shards)),
            log: Log::new(producer.clone(), &kafka.topic, log_health.clone()),
            counters: Arc::new(Counters::default()),
            shutdown,
            tasks,
            calls: TaskTracker::new(),
        };
        instruments::register(&metrics, &pipeline, &producer);
        let pipeline = Arc::new(pipeline);
        Self {
            settings,
            listener,
            address,
            pipeline,
            readiness,
            metrics,
            log_health,
            producer,
        }
    }

    /// The address that is bound, with the port that it got.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What the gateway has done so far; stays valid after its end.
    #[must_use]
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.pipeline.counters)
    }

    /// Serves until the shutdown signal drains, then finishes what was taken: at most as long as
    /// the log may take to answer (35 s), or until the signal says stop.
    ///
    /// # Errors
    /// [`ServeError`], when it ends without having been told to.
    pub async fn serve(self) -> Result<(), ServeError> {
        let address = self.address;
        let incoming = tokio::net::TcpListener::from_std(self.listener)
            .map(TcpIncoming::from)
            .map_err(|source| ServeError::Listener { address, source })?
            .with_nodelay(Some(true))
            .with_keepalive(Some(Duration::from_secs(60)));
        let pipeline = self.pipeline;
        let (tasks, shutdown) = (pipeline.tasks.clone(), pipeline.shutdown.clone());
        let door = Door::new(self.settings.max_connections, tasks.clone());
        let incoming = incoming.filter_map(move |accepted| door.clone().admit(accepted));

        tasks.spawn(
            "gateway-log",
            self.log_health.watch(self.producer, shutdown.clone()),
        );
        tasks.spawn("gateway-receipts", write_receipts(&pipeline));
        let (reporter, health) = tonic_health::server::health_reporter();
        let report = health::report(reporter, self.readiness.clone(), shutdown.clone());
        tasks.spawn("gateway-health", report);

        let service = DataSyncServiceServer::new(Service::new(Arc::clone(&pipeline)))
            .max_decoding_message_size(MAX_MESSAGE_BYTES);
        let ours = Routes::new(service)
            .prepare()
            .into_axum_router()
            .reset_fallback();
        let mut grpc = Routes::new(health);
        if self.settings.reflects() {
            grpc = with_reflection(grpc).map_err(ServeError::Reflection)?;
        }
        let router = Router::new()
            .merge(ours.layer(axum::middleware::map_response(in_our_words)))
            .merge(grpc.prepare().into_axum_router().reset_fallback())
            .merge(crate::http::routes(
                Arc::clone(&pipeline),
                self.readiness,
                self.metrics,
                &self.settings,
            ));

        let drain = {
            let shutdown = shutdown.clone();
            async move { shutdown.draining().await }
        };
        let server = server(self.settings.max_streams_per_connection)
            .add_routes(Routes::from(router))
            .serve_with_incoming_shutdown(incoming, drain);
        tokio::select! {
            ended = server => ended.map_err(ServeError::Server),
            () = drained(&pipeline) => Ok(()),
            () = shutdown.stopping() => Ok(()),
        }
    }
}

/// Writes behind the acknowledgements where the records lie, until all that was taken is answered.
fn write_receipts(pipeline: &Pipeline) -> impl Future<Output = ()> + Send + use<> {
    let (kept, calls) = (Arc::clone(pipeline.receipts.kept()), pipeline.calls.clone());
    let shutdown = pipeline.shutdown.clone();
    async move {
        let ended = async move {
            tokio::select! {
                // Closed when it drains, and empty when all is answered.
                () = calls.wait() => {}
                () = shutdown.stopping() => {}
            }
        };
        kept.write_behind(ended).await;
    }
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for GatewayDeps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { destinations, .. } = self;
        f.debug_struct("GatewayDeps")
            .field("destinations", destinations)
            .finish_non_exhaustive()
    }
}

pub(crate) fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), BindError> {
    let bound = TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    });
    bound.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => BindError::Taken { address },
        _ => BindError::Listen { address, source },
    })
}

/// The server's own limits. Calls that are held, because the gateway has enough or the log is away,
/// fill their windows; so the windows of all calls together fit into the connection's, and a further
/// one still gets through.
pub(crate) fn server(max_streams_per_connection: u32) -> Server {
    let stream = CONNECTION_WINDOW / max_streams_per_connection.max(1);
    let stream = stream.clamp(LEAST_STREAM_WINDOW, MOST_STREAM_WINDOW);
    let connection = stream.saturating_mul(max_streams_per_connection);
    Server::builder()
        .accept_http1(true)
        .initial_stream_window_size(stream)
        .initial_connection_window_size(connection.max(4 * MOST_STREAM_WINDOW))
        .max_concurrent_streams(max_streams_per_connection)
        .http2_keepalive_interval(Some(Duration::from_secs(30)))
        .http2_keepalive_timeout(Some(Duration::from_secs(20)))
        .http2_max_header_list_size(MAX_HEADER_BYTES)
}

fn with_reflection(routes: Routes) -> Result<Routes, tonic_reflection::server::Error> {
    let builder = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(cloudsync::v1::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
    };
    Ok(routes
        .add_service(builder().build_v1()?)
        .add_service(builder().build_v1alpha()?))
}

/// Resolves when the gateway drains, all calls are answered, and connections had time to close.
async fn drained(pipeline: &Pipeline) {
    pipeline.shutdown.draining().await;
    pipeline.calls.close();
    if tokio::time::timeout(PRODUCE_DEADLINE, pipeline.calls.wait())
        .await
        .is_err()
    {
        tracing::warn!(
            calls = pipeline.calls.len(),
            "calls were not answered when draining ended"
        );
    }
    tokio::time::sleep(LINGER).await;
}
