//! Everything a request may need: the one node's state, shared by all connections.

use std::fs::File;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use uuid::Uuid;

use crate::budget::Budget;
use crate::config::{BrokerConfig, Fsync, Storage};
use crate::error::{BrokerError, Damage};
use crate::groups::Coordinator;
use crate::hands::Hands;
use crate::log::LogOptions;
use crate::offsets::Offsets;
use crate::producer_ids::ProducerIds;
use crate::retention::Retaining;
use crate::store::{self, Directory};
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
    /// Memory for requests and answers.
    pub(crate) budget: Budget,
    /// What tests bring upon requests.
    pub(crate) hands: Hands,
    pub(crate) topics: Topics,
    pub(crate) offsets: Offsets,
    pub(crate) groups: Coordinator,
    pub(crate) producer_ids: ProducerIds,
    pub(crate) retaining: Retaining,
    /// What of a directory that is only read could not be.
    pub(crate) damage: Vec<Damage>,
    /// The last field, so that its lock is released last.
    place: Place,
}

/// What keeps the storage ours.
#[derive(Debug)]
enum Place {
    Memory,
    Directory(Directory),
    /// Held for its lock; `None` where nobody ever made one.
    ReadOnly {
        _lock: Option<File>,
    },
}

/// Storage that was opened.
struct Opened {
    log_id: Uuid,
    topics: Topics,
    offsets: Offsets,
    producer_ids: ProducerIds,
    damage: Vec<Damage>,
    place: Place,
}

impl Node {
    /// Opens the storage and recovers what the last run left. Blocks.
    pub(crate) fn open(config: &BrokerConfig, address: SocketAddr) -> Result<Self, BrokerError> {
        let options = LogOptions {
            segment_bytes: config.segment_bytes,
            segment_ms: i64::MAX,
            reservation_step: config.reservation_step,
            sync_always: config.fsync == Fsync::Always && matches!(config.storage, Storage::Dir(_)),
            memory_left: Arc::new(AtomicU64::new(config.memory_limit)),
        };
        let sync_always = options.sync_always;
        let opened = match &config.storage {
            Storage::Memory => Opened::in_memory(options),
            Storage::Dir(path) => Opened::directory(path, config, options)?,
            Storage::ReadOnly(path) => Opened::read_only(path, config, options)?,
        };
        Ok(Self {
            address,
            log_id: opened.log_id,
            max_message_bytes: config.max_message_bytes,
            sync_always,
            budget: Budget::new(config),
            hands: Hands::default(),
            topics: opened.topics,
            offsets: opened.offsets,
            groups: Coordinator::new(config.first_join_delay),
            producer_ids: opened.producer_ids,
            retaining: Retaining::new(config),
            damage: opened.damage,
            place: opened.place,
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
        let Place::Directory(directory) = &self.place else {
            return Ok(());
        };
        self.sync()
            .await
            .map_err(BrokerError::file("sync", directory.path()))?;
        directory.mark_clean(self.topics.ends())
    }
}

impl Opened {
    fn in_memory(options: LogOptions) -> Self {
        Self {
            log_id: Uuid::now_v7(),
            topics: Topics::in_memory(options),
            offsets: Offsets::in_memory(),
            producer_ids: ProducerIds::in_memory(),
            damage: Vec::new(),
            place: Place::Memory,
        }
    }

    fn directory(
        path: &Path,
        config: &BrokerConfig,
        options: LogOptions,
    ) -> Result<Self, BrokerError> {
        let (directory, last_end) = Directory::open(path, &config.boot_id_file)?;
        let topics = Topics::open(&directory, options, &last_end)?;
        let offsets = Offsets::open(path, |topic| topics.get(topic).is_some())?;
        let producer_ids = ProducerIds::open(path, topics.highest_producer_id())?;
        directory.mark_running()?;
        Ok(Self {
            log_id: directory.log_id(),
            topics,
            offsets,
            producer_ids,
            damage: Vec::new(),
            place: Place::Directory(directory),
        })
    }

    fn read_only(
        path: &Path,
        config: &BrokerConfig,
        options: LogOptions,
    ) -> Result<Self, BrokerError> {
        let found = store::look_at(path, &config.boot_id_file)?;
        let mut damage = found.damage;
        let topics = Topics::open_read_only(path, options, &found.last_end, &mut damage)?;
        let offsets = Offsets::look_at(path, |topic| topics.get(topic).is_some())?;
        Ok(Self {
            log_id: found.log_id,
            topics,
            offsets,
            producer_ids: ProducerIds::in_memory(),
            damage,
            place: Place::ReadOnly { _lock: found.lock },
        })
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::log::batch::{self, tests::batch};
    use crate::topics::TopicSettings;

    /// A log of `bytes` in twelve partitions, closed, and how long opening it again takes.
    fn reopen(bytes: usize, batch_bytes: usize) -> std::time::Duration {
        let dir = tempfile::tempdir().unwrap();
        let config = BrokerConfig {
            storage: Storage::Dir(dir.path().to_owned()),
            ..BrokerConfig::default()
        };
        let node = Node::open(&config, config.listen).unwrap();
        let settings = TopicSettings::default();
        node.topics
            .change(&node.topics.only_turn())
            .create("t", 12, settings, false)
            .unwrap();
        let bytes_of_one = batch((-1, -1, -1), 1, 0, &vec![7; batch_bytes - 61]);
        let header = batch::validate(&bytes_of_one, 1 << 20).unwrap();
        let partitions = node.topics.partitions();
        for number in 0..bytes / bytes_of_one.len() {
            let mut log = partitions[number % 12].log();
            log.append(&header, &bytes_of_one).unwrap();
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.unwrap().block_on(node.close()).unwrap();
        drop((partitions, node));
        let began = Instant::now();
        let node = Node::open(&config, config.listen).unwrap();
        let took = began.elapsed();
        let ends = node.topics.ends();
        let records: i64 = ends.values().sum();
        assert_eq!(records as usize, bytes / bytes_of_one.len());
        took
    }

    #[test]
    #[ignore = "a measurement, of a release build"]
    fn reopening_a_gibibyte() {
        for batch_bytes in [261, 16 << 10, 1_000_000] {
            let took = reopen(1 << 30, batch_bytes);
            println!("1 GiB in batches of {batch_bytes} B: {took:?}");
        }
    }
}
