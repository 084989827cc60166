//! The topics: their names, settings and partitions.
//!
//! In: requests to create, find and delete. Out: shared [`Topic`]s. `topics.json` is the truth:
//! it is replaced before a new topic is shown and before the files of a deleted one go, and a folder
//! goes only under a name that says so.

mod open;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use kafka_protocol::ResponseError;
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::BrokerError;
use crate::files;
use crate::log::{LogOptions, Partition, PartitionLog};
use crate::store;
use crate::topic_names;
pub(crate) use crate::topic_settings::{TopicError, TopicSettings};

/// Partitions of one topic.
pub(crate) const MAX_PARTITIONS: i32 = 1_000;
/// Ends the name of a folder whose topic is being deleted; no topic's name can hold it.
const DELETED: &str = "~deleted";

/// A topic and its partitions.
#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) name: String,
    /// Another one for a topic made anew under the same name.
    pub(crate) id: Uuid,
    pub(crate) settings: TopicSettings,
    pub(crate) partitions: Vec<Arc<Partition>>,
}

/// All topics.
#[derive(Debug)]
pub(crate) struct Topics {
    /// `None` in memory.
    dir: Option<PathBuf>,
    options: LogOptions,
    /// Partitions of all topics together.
    max_partitions: usize,
    by_name: RwLock<BTreeMap<String, Arc<Topic>>>,
}

#[derive(Serialize, Deserialize)]
struct StoredTopic {
    id: String,
    partitions: i32,
    settings: TopicSettings,
}

// === impl Topics ===

impl Topics {
    /// No topics, all to live in memory.
    pub(crate) fn in_memory(options: LogOptions) -> Self {
        Self {
            dir: None,
            options,
            max_partitions: usize::MAX,
            by_name: RwLock::default(),
        }
    }

    /// Refuses topics that would bring all partitions together beyond `partitions`.
    pub(crate) fn limit_to(&mut self, partitions: usize) {
        self.max_partitions = partitions;
    }

    /// The highest producer id that is known to any partition; -1 for none.
    pub(crate) fn highest_producer_id(&self) -> i64 {
        let all = self.partitions();
        let ids = all
            .iter()
            .map(|partition| partition.log().highest_producer_id());
        ids.max().unwrap_or(-1)
    }

    fn partition_dir(&self, folder: &str) -> Option<PathBuf> {
        self.dir
            .as_ref()
            .map(|dir| dir.join("partitions").join(folder))
    }

    pub(crate) fn get(&self, name: &str) -> Option<Arc<Topic>> {
        self.by_name.read().get(name).cloned()
    }

    /// The topics among all that have one of these ids, in one pass.
    pub(crate) fn by_ids(&self, ids: impl Iterator<Item = Uuid>) -> HashMap<Uuid, Arc<Topic>> {
        let ids: BTreeSet<Uuid> = ids.filter(|id| !id.is_nil()).collect();
        if ids.is_empty() {
            return HashMap::new();
        }
        let all = self.all().into_iter().map(|topic| (topic.id, topic));
        all.filter(|(id, _)| ids.contains(id)).collect()
    }

    pub(crate) fn partition(&self, topic: &str, index: i32) -> Option<Arc<Partition>> {
        let index = usize::try_from(index).ok()?;
        self.by_name
            .read()
            .get(topic)?
            .partitions
            .get(index)
            .cloned()
    }

    /// Every topic, by name.
    pub(crate) fn all(&self) -> Vec<Arc<Topic>> {
        self.by_name.read().values().cloned().collect()
    }

    /// Every partition of every topic.
    pub(crate) fn partitions(&self) -> Vec<Arc<Partition>> {
        self.by_name
            .read()
            .values()
            .flat_map(|topic| topic.partitions.clone())
            .collect()
    }

    /// The end offset of each partition folder.
    pub(crate) fn ends(&self) -> BTreeMap<String, i64> {
        let mut ends = BTreeMap::new();
        for topic in self.all() {
            for (index, partition) in (0..).zip(&topic.partitions) {
                ends.insert(folder(&topic.name, index), partition.log().end());
            }
        }
        ends
    }

    fn options_for(&self, settings: &TopicSettings) -> LogOptions {
        let (segment_bytes, segment_ms) = settings.segment_limits(self.options.segment_bytes);
        LogOptions {
            segment_bytes,
            segment_ms,
            ..self.options.clone()
        }
    }

    /// Creates a topic, or with `only_check` says whether it could be.
    pub(crate) fn create(
        &self,
        name: &str,
        partitions: i32,
        settings: TopicSettings,
        only_check: bool,
    ) -> Result<(), TopicError> {
        let mut by_name = self.by_name.write();
        let existing: usize = by_name.values().map(|topic| topic.partitions.len()).sum();
        topic_names::check(name)?;
        if by_name.contains_key(name) {
            return Err(error(
                ResponseError::TopicAlreadyExists,
                format!("topic '{name}' already exists"),
            ));
        }
        topic_names::check_collision(name, by_name.keys())?;
        if !(1..=MAX_PARTITIONS).contains(&partitions)
            || existing + partitions.unsigned_abs() as usize > self.max_partitions
        {
            let message = format!(
                "{partitions} partitions: at least 1, at most {MAX_PARTITIONS} a topic and {} in all",
                self.max_partitions
            );
            return Err(error(ResponseError::InvalidPartitions, message));
        }
        if only_check {
            return Ok(());
        }
        let mut logs = Vec::new();
        for index in 0..partitions {
            let options = self.options_for(&settings);
            let log = match self.partition_dir(&folder(name, index)) {
                None => PartitionLog::in_memory(options),
                Some(dir) => PartitionLog::create(&dir, options).map_err(storage_error)?,
            };
            logs.push(Arc::new(Partition::new(log)));
        }
        let id = Uuid::now_v7();
        let topic = Topic {
            name: name.to_owned(),
            id,
            settings,
            partitions: logs,
        };
        by_name.insert(name.to_owned(), Arc::new(topic));
        self.store(&by_name).inspect_err(|_| {
            by_name.remove(name);
        })
    }

    /// Deletes a topic and its records.
    pub(crate) fn delete(&self, name: &str) -> Result<(), TopicError> {
        let mut by_name = self.by_name.write();
        let Some(topic) = by_name.get(name).cloned() else {
            let message = format!("topic '{name}' does not exist");
            return Err(error(ResponseError::UnknownTopicOrPartition, message));
        };
        let set_deleted = |deleted| {
            let partitions = topic.partitions.iter();
            partitions.for_each(|partition| partition.set_deleted(deleted));
        };
        set_deleted(true);
        // First a name that says what is meant: a folder that is merely unknown is never removed.
        let renamed = self.rename_folders(&topic, "", DELETED);
        by_name.remove(name);
        if let Err(failed) = renamed
            .map_err(storage_error)
            .and_then(|()| self.store(&by_name))
        {
            if let Err(error) = self.rename_folders(&topic, DELETED, "") {
                tracing::error!(topic = name, %error, "a topic that was not deleted can be read again after a restart");
            }
            set_deleted(false);
            by_name.insert(name.to_owned(), topic);
            return Err(failed);
        }
        for (index, partition) in (0..).zip(&topic.partitions) {
            partition.wake_readers();
            if let Some(dir) = self.partition_dir(&format!("{}{DELETED}", folder(name, index)))
                && let Err(error) = fs::remove_dir_all(&dir)
            {
                // The next open removes it.
                tracing::warn!(folder = %dir.display(), %error, "folder of a deleted topic stays");
            }
        }
        Ok(())
    }

    /// Gives the folders of a topic another suffix. What is open stays open.
    fn rename_folders(&self, topic: &Topic, from: &str, to: &str) -> Result<(), BrokerError> {
        let Some(root) = self.dir.as_ref().map(|dir| dir.join("partitions")) else {
            return Ok(());
        };
        for index in (0..).take(topic.partitions.len()) {
            let folder = folder(&topic.name, index);
            let (old, new) = (format!("{folder}{from}"), format!("{folder}{to}"));
            match fs::rename(root.join(&old), root.join(new)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(BrokerError::file("rename", root.join(old))(error));
                }
                Ok(()) | Err(_) => {}
            }
        }
        files::sync_dir(&root).map_err(BrokerError::file("sync", root))
    }

    fn store(&self, by_name: &BTreeMap<String, Arc<Topic>>) -> Result<(), TopicError> {
        let Some(path) = self.dir.as_ref().map(|dir| dir.join("topics.json")) else {
            return Ok(());
        };
        let mut stored = BTreeMap::new();
        for (name, topic) in by_name {
            let id = topic.id.to_string();
            let partitions = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
            let settings = topic.settings.clone();
            stored.insert(
                name,
                StoredTopic {
                    id,
                    partitions,
                    settings,
                },
            );
        }
        let bytes = store::to_json(&path, &stored).map_err(storage_error)?;
        files::replace_state(&path, &bytes)
            .map_err(BrokerError::file("write", path))
            .map_err(storage_error)
    }
}

fn error(code: ResponseError, message: String) -> TopicError {
    TopicError { code, message }
}

fn storage_error(source: BrokerError) -> TopicError {
    tracing::error!(
        error = &source as &dyn std::error::Error,
        "topic could not be stored"
    );
    error(ResponseError::KafkaStorageError, source.to_string())
}

fn folder(topic: &str, index: i32) -> String {
    format!("{topic}-{index}")
}
