//! The topics that a directory holds: read, mended, or only looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use parking_lot::Mutex;
use uuid::Uuid;

use super::{DELETED, MAX_PARTITIONS, StoredTopic, Topic, Topics, folder};
use crate::error::{BrokerError, Damage};
use crate::files;
use crate::log::{LastRun, LogOptions, Partition, PartitionLog, holds_records};
use crate::store::{self, Directory, LastEnd};

/// Threads that open logs.
const OPENERS: usize = 2;

/// Logs that were opened, by folder.
type Logs = Mutex<BTreeMap<String, Result<PartitionLog, BrokerError>>>;

impl LastEnd {
    /// How the last run left the partition in this folder.
    fn of(&self, folder: &str) -> LastRun {
        match self {
            Self::Clean(ends) => ends
                .get(folder)
                .map_or(LastRun::OtherBoot, |end| LastRun::Clean { end: *end }),
            Self::SameBoot => LastRun::SameBoot,
            Self::OtherBoot => LastRun::OtherBoot,
        }
    }
}

impl Topics {
    /// Opens every topic of the directory and removes what deleted ones left behind.
    pub(crate) fn open(
        directory: &Directory,
        options: LogOptions,
        last_end: &LastEnd,
    ) -> Result<Self, BrokerError> {
        let topics = Self {
            dir: Some(directory.path().to_owned()),
            ..Self::in_memory(options)
        };
        let root = directory.path().join("partitions");
        let stored = match read_stored(directory.path())? {
            Some(stored) => stored,
            None => none_stored(directory.path(), &root, last_end)?,
        };
        fs::create_dir_all(&root).map_err(BrokerError::file("create directory", root.as_path()))?;
        Self::settle_deletions(&root, &stored)?;
        let logs = topics.open_logs(&root, &stored, last_end);
        for (name, stored) in stored {
            let topic = open_topic(directory.path(), &name, &stored, last_end, |folder, _| {
                let missing = || BrokerError::damaged(root.join(folder), "it was not opened");
                let log = logs.lock().remove(folder);
                log.unwrap_or_else(|| Err(missing()))
            })?;
            topics.by_name.write().insert(name, Arc::new(topic));
        }
        Ok(topics)
    }

    /// Opens the logs of all partitions, some at a time: reading them is what a start takes long for.
    fn open_logs(
        &self,
        root: &Path,
        stored: &BTreeMap<String, StoredTopic>,
        last_end: &LastEnd,
    ) -> Logs {
        let mut jobs = Vec::new();
        for (name, topic) in stored {
            for index in 0..topic.partitions.clamp(0, MAX_PARTITIONS) {
                jobs.push((folder(name, index), &topic.settings));
            }
        }
        let (jobs, logs) = (Mutex::new(jobs.into_iter()), Logs::default());
        let work = || {
            loop {
                let job = jobs.lock().next();
                let Some((folder, settings)) = job else {
                    return;
                };
                let last_run = last_end.of(&folder);
                let log =
                    PartitionLog::open(&root.join(&folder), self.options_for(settings), last_run);
                logs.lock().insert(folder, log);
            }
        };
        thread::scope(|scope| {
            for _ in 1..OPENERS {
                scope.spawn(work);
            }
            work();
        });
        logs
    }

    /// Opens every topic below `path` as it lies there. They take no records, and what is made or
    /// deleted beside them is so in memory only.
    pub(crate) fn open_read_only(
        path: &Path,
        options: LogOptions,
        last_end: &LastEnd,
        damage: &mut Vec<Damage>,
    ) -> Result<Self, BrokerError> {
        let missing = || BrokerError::damaged(path.join("topics.json"), "it is missing");
        let stored = read_stored(path)?.ok_or_else(missing)?;
        let topics = Self::in_memory(options);
        for (name, stored) in stored {
            let topic = open_topic(path, &name, &stored, last_end, |folder, last_run| {
                let dir = path.join("partitions").join(folder);
                PartitionLog::open_read_only(&dir, topics.options.clone(), last_run, damage)
            })?;
            topics.by_name.write().insert(name, Arc::new(topic));
        }
        Ok(topics)
    }

    /// Ends the deletions that were decided, and takes back the one that was not.
    fn settle_deletions(
        root: &Path,
        stored: &BTreeMap<String, StoredTopic>,
    ) -> Result<(), BrokerError> {
        let known: BTreeSet<String> = stored
            .iter()
            .flat_map(|(name, topic)| (0..topic.partitions).map(move |index| folder(name, index)))
            .collect();
        let list = || fs::read_dir(root).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        for entry in list().map_err(BrokerError::file("list", root))? {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            match name.strip_suffix(DELETED) {
                // Killed before the topic was taken off the list: it was never deleted.
                Some(folder) if known.contains(folder) && !root.join(folder).exists() => {
                    let back = root.join(folder);
                    fs::rename(&path, back).map_err(BrokerError::file("rename", path))?;
                }
                Some(_) => {
                    tracing::info!(folder = %path.display(), "folder of a deleted topic removed");
                    fs::remove_dir_all(&path).map_err(BrokerError::file("delete", path))?;
                }
                None if known.contains(&name) => {}
                None => {
                    tracing::warn!(folder = %path.display(), "of no topic that is listed; left alone");
                }
            }
        }
        files::sync_dir(root).map_err(BrokerError::file("sync", root))
    }
}

fn read_stored(dir: &Path) -> Result<Option<BTreeMap<String, StoredTopic>>, BrokerError> {
    let path = dir.join("topics.json");
    files::read_state(&path)?
        .map(|bytes| store::from_json(&path, &bytes))
        .transpose()
}

/// The topics of a directory without a list of them: none. Where there were some, believing that
/// would forget their records and all that was committed of them, so the start is refused.
fn none_stored(
    dir: &Path,
    root: &Path,
    last_end: &LastEnd,
) -> Result<BTreeMap<String, StoredTopic>, BrokerError> {
    let had_topics = matches!(last_end, LastEnd::Clean(ends) if !ends.is_empty());
    if had_topics || any_records(root).map_err(BrokerError::file("list", root))? {
        return Err(BrokerError::damaged(
            dir.join("topics.json"),
            "it is missing, and the directory has held topics: bring it back from a copy, or move \
             the directory away to begin anew",
        ));
    }
    Ok(BTreeMap::new())
}

fn any_records(root: &Path) -> io::Result<bool> {
    let entries = match fs::read_dir(root) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() && holds_records(&entry.path())? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The topic that `dir` has stored, with every partition as `open` has it.
fn open_topic(
    dir: &Path,
    name: &str,
    stored: &StoredTopic,
    last_end: &LastEnd,
    mut open: impl FnMut(&str, LastRun) -> Result<PartitionLog, BrokerError>,
) -> Result<Topic, BrokerError> {
    let damaged = |what: String| {
        BrokerError::damaged(dir.join("topics.json"), format!("topic {name}: {what}"))
    };
    let id = Uuid::parse_str(&stored.id).map_err(|error| damaged(format!("id: {error}")))?;
    if !(1..=MAX_PARTITIONS).contains(&stored.partitions) {
        return Err(damaged(format!("{} partitions", stored.partitions)));
    }
    let mut partitions = Vec::new();
    for index in 0..stored.partitions {
        let folder = folder(name, index);
        let log = open(&folder, last_end.of(&folder))?;
        partitions.push(Arc::new(Partition::new(log)));
    }
    Ok(Topic {
        name: name.to_owned(),
        id,
        settings: stored.settings.clone(),
        partitions,
    })
}
