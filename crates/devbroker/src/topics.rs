//! The topics: their names, settings and partitions.
//!
//! In: requests to find, and through [`Change`] to create and delete. Out: shared [`Topic`]s.
//! `topics.json` is the truth: it is replaced before a new topic is shown and before the files of a
//! deleted one go, and a folder goes only under a name that says so.

mod change;
mod open;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use uuid::Uuid;

pub(crate) use self::change::Change;
use crate::log::{LogOptions, Partition};
pub(crate) use crate::topic_settings::{TopicError, TopicSettings};

/// Partitions of one topic.
pub(crate) const MAX_PARTITIONS: i32 = 1_000;
/// Ends the name of a folder whose topic is being deleted; no topic's name can hold it. Short, as
/// names of topics may be nearly as long as those of folders.
const DELETED: &str = "~";

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
    /// Locked for looks only: who changes a topic waits for the disk outside.
    by_name: RwLock<ByName>,
    /// One change of the topics at a time. Waited for without a thread: a change blocks one.
    change_turn: Arc<Mutex<()>>,
}

type ByName = BTreeMap<String, Arc<Topic>>;

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
            change_turn: Arc::default(),
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
}

fn folder(topic: &str, index: i32) -> String {
    format!("{topic}-{index}")
}
