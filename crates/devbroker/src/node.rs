//! Everything a request may need: the one node's state, shared by all connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use uuid::Uuid;

use crate::config::{BrokerConfig, Fsync, Storage};
use crate::error::BrokerError;
use crate::groups::Coordinator;
use crate::log::LogOptions;
use crate::offsets::Offsets;
use crate::producer_ids::ProducerIds;
use crate::store::Directory;
use crate::topics::Topics;

/// The state of a running broker.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) address: SocketAddr,
    /// Served as Kafka's cluster id.
    pub(crate) log_id: Uuid,
    /// For topics without a limit of their own.
    pub(crate) max_message_bytes: usize,
    /// Whether an acknowledgement waits for the disk.
    pub(crate) sync_always: bool,
    pub(crate) topics: Topics,
    pub(crate) offsets: Offsets,
    pub(crate) groups: Coordinator,
    pub(crate) producer_ids: ProducerIds,
    /// `None` in memory; the last field, so that its lock is released last.
    directory: Option<Directory>,
}

impl Node {
    /// Opens the storage and recovers what the last run left. Blocks.
    pub(crate) fn open(config: &BrokerConfig, address: SocketAddr) -> Result<Self, BrokerError> {
        let options = LogOptions {
            segment_bytes: config.segment_bytes,
            reservation_step: config.reservation_step,
            sync_always: config.fsync == Fsync::Always && config.storage != Storage::Memory,
            memory_left: Arc::new(AtomicU64::new(config.memory_limit)),
        };
        let sync_always = options.sync_always;
        let (log_id, topics, offsets, producer_ids, directory) = match &config.storage {
            Storage::Memory => (
                Uuid::now_v7(),
                Topics::in_memory(options),
                Offsets::in_memory(),
                ProducerIds::in_memory(),
                None,
            ),
            Storage::Dir(path) => {
                let (directory, last_end) = Directory::open(path, &config.boot_id_file)?;
                let topics = Topics::open(&directory, options, &last_end)?;
                let offsets = Offsets::open(path)?;
                let producer_ids = ProducerIds::open(path)?;
                directory.mark_running()?;
                (
                    directory.log_id(),
                    topics,
                    offsets,
                    producer_ids,
                    Some(directory),
                )
            }
        };
        Ok(Self {
            address,
            log_id,
            max_message_bytes: config.max_message_bytes,
            sync_always,
            topics,
            offsets,
            groups: Coordinator::new(config.first_join_delay),
            producer_ids,
            directory,
        })
    }

    /// Syncs what was written since the last time.
    pub(crate) async fn sync(&self) -> std::io::Result<()> {
        let mut result = Ok(());
        for partition in self.topics.partitions() {
            result = result.and(partition.sync().await);
        }
        result.and(self.offsets.sync().await)
    }

    /// Syncs everything and marks the directory as cleanly closed. To be called when no more
    /// requests are served.
    pub(crate) async fn close(&self) -> Result<(), BrokerError> {
        let Some(directory) = &self.directory else {
            return Ok(());
        };
        self.sync()
            .await
            .map_err(BrokerError::file("sync", directory.path()))?;
        directory.mark_clean(self.topics.ends())
    }
}
