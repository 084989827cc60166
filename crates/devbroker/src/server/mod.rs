//! The listener and the tasks beside it: connections, the groups' clock, the syncs.
//!
//! In: a bound listener. Out: nothing, until it is told to stop; then everything is synced and
//! closed. All of it runs on one thread of its own, so that file work stalls no one else.

mod connection;
mod incoming;

mod dispatch;
mod layout;
mod shape;
mod versions;

use std::net::TcpListener as StdListener;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::connection::Connection;
use crate::config::{BrokerConfig, Fsync};
use crate::descriptors::Caps;
use crate::error::BrokerError;
use crate::node::Node;
use crate::retention;

/// Pause after a failed accept: out of file descriptors, mostly.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What clients may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    frame_bytes: usize,
    connections: usize,
    /// Time between background syncs.
    sync_interval: Duration,
    /// Time between looks for what is not to be kept.
    retention_check: Duration,
}

impl Limits {
    pub(crate) fn of(config: &BrokerConfig, caps: Caps) -> Self {
        Self {
            frame_bytes: config.max_frame_bytes,
            connections: caps.connections,
            sync_interval: match config.fsync {
                // What needs no acknowledgement (deleted offsets) still gets to the disk.
                Fsync::Always => Duration::from_secs(1),
                Fsync::Every(interval) => interval,
            },
            retention_check: config.retention_check,
        }
    }
}

/// Serves until `stop`, then closes the node.
pub(crate) async fn run(
    node: Arc<Node>,
    listener: StdListener,
    limits: Limits,
    stop: CancellationToken,
) -> Result<(), BrokerError> {
    let address = node.address;
    let listener = TcpListener::from_std(listener)
        .map_err(|source| BrokerError::Listen { address, source })?;
    let connections = TaskTracker::new();
    tokio::select! {
        () = stop.cancelled() => {}
        () = accept(&node, &listener, limits, &stop, &connections) => {}
        () = node.groups.run_clock() => {}
        () = sync_at_times(&node, limits.sync_interval) => {}
        () = retention::run(&node, limits.retention_check) => {}
    }
    stop.cancel();
    drop(listener);
    connections.close();
    connections.wait().await;
    node.close().await
}

async fn accept(
    node: &Arc<Node>,
    listener: &TcpListener,
    limits: Limits,
    stop: &CancellationToken,
    connections: &TaskTracker,
) {
    loop {
        let (socket, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "connection not accepted");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if connections.len() >= limits.connections {
            tracing::debug!(%peer, limit = limits.connections, "connection closed, too many");
            continue;
        }
        let connection = Connection::new(Arc::clone(node), peer, limits);
        let stop = stop.clone();
        connections.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = connection.serve(socket) => {}
            }
        });
    }
}

async fn sync_at_times(node: &Node, interval: Duration) {
    loop {
        sleep(interval).await;
        if let Err(error) = node.sync().await {
            tracing::error!(%error, "log could not be synced");
        }
    }
}
