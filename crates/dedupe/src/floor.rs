//! The least that the same work costs: what `cloudsync bench dedupe` holds the stores against.
//!
//! In: the settings of a store, and batches of subjects. Out: the work made ready, then done bare:
//! for a Redis the store's own commands, made beforehand, as pipelines of the client library; for
//! the store on disk its bytes, appended and synced; for the one in memory there is nothing less.
//! Promises: as many calls under way at a time as the store has; none of a store's own promises.
//! [`Nothing`] is what a whole pipeline is held against.

use crate::claim::{Subject, Token};
use crate::redis::Pipelines;
use crate::settings::{DedupeSettings, is_shared};
use crate::store::StoreError;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::task::spawn_blocking;

mod nothing;

pub use crate::redis::RawRedis;
pub use nothing::Nothing;

/// Bytes of a call on the disk of the embedded store, and of each mark.
const CALL_BYTES: usize = 32;
const MARK_BYTES: usize = 37;

/// What is done with each id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// Claimed, then marked: mode `record`.
    ClaimComplete,
    /// Looked up, then marked: mode `batch`.
    LookupComplete,
}

/// What one store is held against.
#[derive(Clone, Debug)]
pub enum Floor {
    /// Its commands, sent bare.
    Redis(Arc<RawRedis>),
    /// Its bytes, appended to this file.
    File(PathBuf),
}

/// Work that only has to be done.
#[derive(Debug)]
pub struct Prepared(Made);

enum Made {
    Redis(Arc<RawRedis>, Pipelines),
    /// Where to, and bytes of each write.
    File(PathBuf, Arc<[usize]>),
}

// === impl Floor, Prepared ===

impl Floor {
    /// Of the store that `settings` name, for `destination`: letters, digits and dashes. `None`
    /// for `memory:`. A Redis is connected to and laid out as the store does it; see
    /// [`RawRedis::wipe`].
    ///
    /// # Errors
    /// [`StoreError`], also for a Cluster: what one server costs is measured on one.
    pub async fn open(
        settings: &DedupeSettings,
        destination: &str,
    ) -> Result<Option<Self>, StoreError> {
        if is_shared(&settings.url) {
            let redis = RawRedis::open(settings, destination).await?;
            return Ok(Some(Self::Redis(Arc::new(redis))));
        }
        let directory = settings.url.strip_prefix("file://");
        Ok(directory.map(|it| Self::File(Path::new(it).join("floor"))))
    }

    /// The server, where there is one.
    #[must_use]
    pub fn redis(&self) -> Option<&RawRedis> {
        match self {
            Self::Redis(redis) => Some(redis),
            Self::File(_) => None,
        }
    }

    /// Makes ready what `work` needs for `batches`, of which so many are under way at a time.
    #[must_use]
    pub fn prepare(&self, work: Work, batches: &[Vec<Subject>], tasks: usize) -> Prepared {
        Prepared(match self {
            Self::Redis(redis) => {
                let token = match work {
                    Work::ClaimComplete => Some(Token::random()),
                    Work::LookupComplete => None,
                };
                Made::Redis(Arc::clone(redis), redis.pipelines(token, batches))
            }
            Self::File(path) => {
                // What is marked at the same time shares a sync, as in the store.
                let bytes = |batch: &Vec<Subject>| CALL_BYTES + MARK_BYTES * batch.len();
                let together = batches.chunks(tasks.max(1));
                let writes = together.map(|it| it.iter().map(bytes).sum());
                Made::File(path.clone(), writes.collect())
            }
        })
    }
}

impl Prepared {
    /// Does it, with so many calls under way at a time.
    ///
    /// # Errors
    /// [`StoreError`], also for an error among the answers of a server.
    pub async fn run(&self, tasks: usize) -> Result<(), StoreError> {
        match &self.0 {
            Made::Redis(redis, pipelines) => redis.run(pipelines, tasks.max(1)).await,
            Made::File(path, writes) => {
                let (path, writes) = (path.clone(), Arc::clone(writes));
                let done = spawn_blocking(move || append(&path, &writes)).await;
                let done = done.map_err(io::Error::other).and_then(|done| done);
                done.map_err(|error| StoreError::Unavailable {
                    store: "the floor of file:".to_owned(),
                    reason: error.to_string(),
                })
            }
        }
    }
}

fn append(path: &Path, writes: &[usize]) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let mut file = File::options().create(true).append(true).open(path)?;
    let bytes = vec![7; writes.iter().copied().max().unwrap_or(0)];
    for len in writes {
        file.write_all(bytes.get(..*len).unwrap_or(&bytes))?;
        file.sync_data()?;
    }
    Ok(())
}

impl std::fmt::Debug for Made {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Redis(_, pipelines) => write!(f, "{} pipelines", 2 * pipelines.len()),
            Self::File(_, writes) => write!(f, "{} writes", writes.len()),
        }
    }
}
