//! A partition as the server shares it: its log, its waiting readers, its turn at the disk.

use std::io;
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Mutex as TurnMutex, Notify};

use super::{PartitionLog, SyncJob};

/// Waiting readers at which those that went away are looked for.
const SWEEP_AT: usize = 32;

/// One partition, shared by all connections.
#[derive(Debug)]
pub(crate) struct Partition {
    log: Mutex<PartitionLog>,
    readers: Mutex<Vec<Weak<Notify>>>,
    /// One sync at a time; those who wait here mostly find it done for them.
    sync_turn: TurnMutex<()>,
    /// One change of the files at a time that goes by their names.
    pub(super) start_turn: Mutex<()>,
}

impl Partition {
    pub(crate) fn new(log: PartitionLog) -> Self {
        Self {
            log: Mutex::new(log),
            readers: Mutex::default(),
            sync_turn: TurnMutex::default(),
            start_turn: Mutex::default(),
        }
    }

    /// The log; held for short work only, never across an await.
    pub(crate) fn log(&self) -> MutexGuard<'_, PartitionLog> {
        self.log.lock()
    }

    /// Has `reader` woken at the next [`Partition::wake_readers`].
    pub(crate) fn register(&self, reader: &Arc<Notify>) {
        let mut readers = self.readers.lock();
        let known = readers
            .iter()
            .any(|known| known.as_ptr() == Arc::as_ptr(reader));
        if known {
            return;
        }
        if readers.len() >= SWEEP_AT {
            readers.retain(|known| known.strong_count() > 0);
        }
        readers.push(Arc::downgrade(reader));
    }

    /// Wakes every registered reader, once.
    pub(crate) fn wake_readers(&self) {
        let readers = std::mem::take(&mut *self.readers.lock());
        for reader in readers.iter().filter_map(Weak::upgrade) {
            reader.notify_one();
        }
    }

    /// Returns once offsets below `offset` are on disk.
    pub(crate) async fn sync_to(self: &Arc<Self>, offset: i64) -> io::Result<()> {
        let _turn = self.sync_turn.lock().await;
        let job = {
            let log = self.log();
            if log.synced >= offset || log.disk.is_none() {
                return Ok(());
            }
            if log.broken {
                return Err(io::Error::other("an earlier sync failed"));
            }
            log.begin_sync()
        };
        match job {
            Some(job) => self.run(job).await,
            None => Ok(()),
        }
    }

    /// Syncs what was written since the last time.
    pub(crate) async fn sync(self: &Arc<Self>) -> io::Result<()> {
        let end = self.log().end();
        self.sync_to(end).await
    }

    /// The outcome is noted by the task that syncs: a caller may go away, and a sync that failed
    /// says so only once.
    async fn run(self: &Arc<Self>, job: SyncJob) -> io::Result<()> {
        let partition = Arc::clone(self);
        let sync = move || {
            let result = job.run();
            if result.is_ok() && !job.sealed.is_empty() {
                let _turn = partition.start_turn.lock();
                let deleted = partition.log().deleted;
                if !deleted {
                    job.write_indexes();
                }
            }
            partition.log().end_sync(&job, &result);
            partition.wake_readers();
            result
        };
        tokio::task::spawn_blocking(sync)
            .await
            .map_err(io::Error::other)?
    }
}
