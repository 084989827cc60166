//! The broker as others hold it: started, addressed, stopped.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::config::{BrokerConfig, Fsync, Storage};
use crate::descriptors::Caps;
use crate::error::{BrokerError, Damage};
use crate::hands::Hands;
use crate::node::Node;
use crate::server::{self, Limits};
use crate::stats::BrokerStats;

/// A running broker on a thread of its own. Dropping it stops it, as well as that goes.
#[derive(Debug)]
pub struct Broker {
    address: SocketAddr,
    log_id: Uuid,
    damage: Vec<Damage>,
    /// Gone when it has ended: its directory is another's then.
    node: Weak<Node>,
    hands: Hands,
    stop: CancellationToken,
    thread: Mutex<Option<JoinHandle<Result<(), BrokerError>>>>,
}

impl Broker {
    /// Opens the storage, recovers it, and serves. Blocks until clients can connect; recovery
    /// reads the whole log. The process may have as many open files from then on as its hard limit
    /// allows.
    ///
    /// # Errors
    /// A setting is out of range, the address is taken or not loopback, or the directory is
    /// locked, damaged or of another format.
    pub fn start(config: BrokerConfig) -> Result<Self, BrokerError> {
        check(&config)?;
        let listener = listen(config.listen, config.max_connections)?;
        let address = listener
            .local_addr()
            .map_err(|source| BrokerError::Listen {
                address: config.listen,
                source,
            })?;
        let caps = Caps::of(&config);
        let mut node = Node::open(&config, address)?;
        node.topics.limit_to(caps.partitions);
        let damage = std::mem::take(&mut node.damage);
        let log_id = node.log_id;
        let hands = node.hands.clone();
        let node = Arc::new(node);
        let shown = Arc::downgrade(&node);
        let stop = CancellationToken::new();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(4)
            .thread_name("cloudsync-log-disk")
            .build()
            .map_err(|source| BrokerError::Thread { source })?;
        let stopped = stop.clone();
        let limits = Limits::of(&config, caps);
        let serve = move || runtime.block_on(server::run(node, listener, limits, stopped));
        let thread = thread::Builder::new()
            .name("cloudsync-log".to_owned())
            .spawn(serve)
            .map_err(|source| BrokerError::Thread { source })?;
        let place = match &config.storage {
            Storage::Memory => "memory".to_owned(),
            Storage::Dir(path) | Storage::ReadOnly(path) => path.display().to_string(),
        };
        tracing::info!(%address, %log_id, storage = %place, "embedded log listening");
        Ok(Self {
            address,
            log_id,
            damage,
            node: shown,
            hands,
            stop,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Where it listens, with the port it was given.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Identity of this log, kept with its directory; also Kafka's cluster id.
    #[must_use]
    pub fn log_id(&self) -> Uuid {
        self.log_id
    }

    /// What of [`Storage::ReadOnly`] could not be read; always empty for the others, which mend
    /// what they open.
    #[must_use]
    pub fn damage(&self) -> &[Damage] {
        &self.damage
    }

    /// What it stores now, and what its last look for records to drop held back. Empty once it
    /// has ended.
    #[must_use]
    pub fn stats(&self) -> BrokerStats {
        let node = self.node.upgrade();
        node.map(|node| BrokerStats::of(&node)).unwrap_or_default()
    }

    /// Faults on request, for tests of clients.
    #[must_use]
    pub fn hands(&self) -> &Hands {
        &self.hands
    }

    /// Whether it still serves: false after [`Broker::shutdown`], and when its thread ended.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.thread
            .lock()
            .as_ref()
            .is_some_and(|thread| !thread.is_finished())
    }

    /// Cuts all connections, syncs everything and marks the directory as cleanly closed. Blocks
    /// for the time that takes. A second call does nothing.
    ///
    /// # Errors
    /// Something could not be synced; the next start then recovers as after a crash.
    pub fn shutdown(&self) -> Result<(), BrokerError> {
        self.stop.cancel();
        let Some(thread) = self.thread.lock().take() else {
            return Ok(());
        };
        thread.join().unwrap_or(Err(BrokerError::Ended))
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Err(error) = self.shutdown() {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "embedded log not closed cleanly"
            );
        }
    }
}

fn listen(address: SocketAddr, connections: usize) -> Result<TcpListener, BrokerError> {
    if !address.ip().is_loopback() {
        return Err(BrokerError::NotLoopback { address });
    }
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::AddrInUse => BrokerError::AddressInUse { address, source },
        _ => BrokerError::Listen { address, source },
    };
    let listener = TcpListener::bind(address).map_err(failed)?;
    // The library lets 128 wait. One more than the system lets wait is left hanging: it counts
    // itself as connected, and nobody ever hears of it.
    let waiting = i32::try_from(connections).unwrap_or(i32::MAX);
    rustix::net::listen(&listener, waiting).map_err(|errno| failed(errno.into()))?;
    listener.set_nonblocking(true).map_err(failed)?;
    Ok(listener)
}

fn check(config: &BrokerConfig) -> Result<(), BrokerError> {
    let out_of_range =
        |name: &'static str, value: String| Err(BrokerError::Setting { name, value });
    // One batch may still go beyond; positions stay far from any limit.
    if !(1..=1 << 40).contains(&config.segment_bytes) {
        return out_of_range("segment_bytes", config.segment_bytes.to_string());
    }
    if !(1..=1 << 40).contains(&config.reservation_step) {
        return out_of_range("reservation_step", config.reservation_step.to_string());
    }
    if !(1_024..=1 << 30).contains(&config.max_frame_bytes) {
        return out_of_range("max_frame_bytes", config.max_frame_bytes.to_string());
    }
    if config.max_connections == 0 {
        return out_of_range("max_connections", config.max_connections.to_string());
    }
    if config.stall_timeout.is_zero() {
        return out_of_range("stall_timeout", format!("{:?}", config.stall_timeout));
    }
    if config.retention_check.is_zero() {
        return out_of_range("retention_check", "0".to_owned());
    }
    if let Fsync::Every(interval) = config.fsync
        && interval.is_zero()
    {
        return out_of_range("fsync", format!("{interval:?}"));
    }
    Ok(())
}
