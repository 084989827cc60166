//! Creating and deleting topics, one change at a time.
//!
//! In: a name and settings. Out: the list of topics replaced on disk, then shown. Blocks for the
//! disk, but looks at other topics go on meanwhile.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::sync::Arc;

use kafka_protocol::ResponseError;
use tokio::sync::OwnedMutexGuard;
use uuid::Uuid;

use super::{
    ByName, DELETED, MAX_PARTITIONS, StoredTopic, Topic, TopicError, TopicSettings, Topics, folder,
};
use crate::error::BrokerError;
use crate::files;
use crate::log::{Partition, PartitionLog};
use crate::store;
use crate::topic_names;

/// The turn to change topics, until it is dropped.
#[derive(Debug)]
pub(crate) struct ChangeTurn {
    _held: OwnedMutexGuard<()>,
}

/// Topics, to be changed.
#[derive(Debug)]
pub(crate) struct Change<'a> {
    topics: &'a Topics,
    _turn: &'a ChangeTurn,
}

impl Topics {
    /// Waits for the turn to change topics.
    pub(crate) async fn turn(&self) -> ChangeTurn {
        ChangeTurn {
            _held: Arc::clone(&self.change_turn).lock_owned().await,
        }
    }

    /// With the `turn`, topics may be changed.
    pub(crate) fn change<'a>(&'a self, turn: &'a ChangeTurn) -> Change<'a> {
        Change {
            topics: self,
            _turn: turn,
        }
    }

    /// The turn, which nobody else has.
    #[cfg(test)]
    pub(crate) fn only_turn(&self) -> ChangeTurn {
        ChangeTurn {
            _held: Arc::clone(&self.change_turn).try_lock_owned().unwrap(),
        }
    }
}

// === impl Change ===

impl Change<'_> {
    /// Creates a topic, or with `only_check` says whether it could be.
    pub(crate) fn create(
        &self,
        name: &str,
        partitions: i32,
        settings: TopicSettings,
        only_check: bool,
    ) -> Result<(), TopicError> {
        self.check(name, partitions)?;
        if only_check {
            return Ok(());
        }
        let logs = self.create_logs(name, partitions, &settings);
        let topic = Topic {
            name: name.to_owned(),
            id: Uuid::now_v7(),
            settings,
            partitions: logs.map_err(storage_error)?,
        };
        let mut listed = self.topics.by_name.read().clone();
        listed.insert(name.to_owned(), Arc::new(topic));
        self.store(&listed)?;
        *self.topics.by_name.write() = listed;
        Ok(())
    }

    fn check(&self, name: &str, partitions: i32) -> Result<(), TopicError> {
        let by_name = self.topics.by_name.read();
        let existing: usize = by_name.values().map(|topic| topic.partitions.len()).sum();
        topic_names::check(name)?;
        if by_name.contains_key(name) {
            return Err(error(
                ResponseError::TopicAlreadyExists,
                format!("topic '{name}' already exists"),
            ));
        }
        topic_names::check_collision(name, by_name.keys())?;
        let most = self.topics.max_partitions;
        if !(1..=MAX_PARTITIONS).contains(&partitions)
            || existing + partitions.unsigned_abs() as usize > most
        {
            let message = format!(
                "{partitions} partitions: at least 1, at most {MAX_PARTITIONS} a topic and {most} in all"
            );
            return Err(error(ResponseError::InvalidPartitions, message));
        }
        Ok(())
    }

    fn create_logs(
        &self,
        name: &str,
        partitions: i32,
        settings: &TopicSettings,
    ) -> Result<Vec<Arc<Partition>>, BrokerError> {
        let mut logs = Vec::new();
        for index in 0..partitions {
            let options = self.topics.options_for(settings);
            let log = match self.topics.partition_dir(&folder(name, index)) {
                None => PartitionLog::in_memory(options),
                Some(dir) => PartitionLog::create(&dir, options)?,
            };
            logs.push(Arc::new(Partition::new(log)));
        }
        if let Some(root) = self.topics.dir.as_ref().map(|dir| dir.join("partitions")) {
            // One for all of them, before the topic is listed.
            files::sync_dir(&root).map_err(BrokerError::file("sync", root))?;
        }
        Ok(logs)
    }

    /// Deletes a topic and its records.
    pub(crate) fn delete(&self, name: &str) -> Result<(), TopicError> {
        let before = self.topics.by_name.read().clone();
        let mut listed = before.clone();
        let Some(topic) = listed.remove(name) else {
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
        if let Err(failed) = renamed
            .map_err(storage_error)
            .and_then(|()| self.store(&listed))
        {
            if let Err(error) = self.rename_folders(&topic, DELETED, "") {
                tracing::error!(topic = name, %error, "a topic that was not deleted can be read again after a restart");
            }
            // The list may have been replaced before its failure.
            if let Err(error) = self.store(&before) {
                tracing::error!(topic = name, error = %error.message, "a topic that was not deleted may be gone after a restart");
            }
            set_deleted(false);
            return Err(failed);
        }
        *self.topics.by_name.write() = listed;
        for (index, partition) in (0..).zip(&topic.partitions) {
            partition.wake_readers();
            let folder = format!("{}{DELETED}", folder(name, index));
            if let Some(dir) = self.topics.partition_dir(&folder)
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
        let Some(root) = self.topics.dir.as_ref().map(|dir| dir.join("partitions")) else {
            return Ok(());
        };
        for index in (0..).take(topic.partitions.len()) {
            let folder = folder(&topic.name, index);
            let (old, new) = (format!("{folder}{from}"), format!("{folder}{to}"));
            if to == DELETED && root.join(&new).exists() {
                // Of an earlier topic of this name.
                let left = root.join(&new);
                fs::remove_dir_all(&left).map_err(BrokerError::file("delete", left))?;
            }
            match fs::rename(root.join(&old), root.join(new)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(BrokerError::file("rename", root.join(old))(error));
                }
                Ok(()) | Err(_) => {}
            }
        }
        files::sync_dir(&root).map_err(BrokerError::file("sync", root))
    }

    fn store(&self, listed: &ByName) -> Result<(), TopicError> {
        let Some(path) = self.topics.dir.as_ref().map(|dir| dir.join("topics.json")) else {
            return Ok(());
        };
        let stored = |(name, topic): (&String, &Arc<Topic>)| {
            let stored = StoredTopic {
                id: topic.id.to_string(),
                partitions: i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX),
                settings: topic.settings.clone(),
            };
            (name.clone(), stored)
        };
        let stored: BTreeMap<String, StoredTopic> = listed.iter().map(stored).collect();
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::node::Node;
    use crate::{BrokerConfig, Storage};

    fn node(dir: &Path) -> Node {
        let config = BrokerConfig {
            storage: Storage::Dir(dir.to_owned()),
            ..BrokerConfig::default()
        };
        Node::open(&config, config.listen).unwrap()
    }

    fn create(node: &Node, name: &str) -> Result<(), TopicError> {
        let turn = node.topics.only_turn();
        let settings = TopicSettings::default();
        node.topics.change(&turn).create(name, 2, settings, false)
    }

    fn delete(node: &Node, name: &str) -> Result<(), TopicError> {
        node.topics.change(&node.topics.only_turn()).delete(name)
    }

    #[test]
    fn the_longest_name_can_be_made_and_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let node = node(dir.path());
        let name = "n".repeat(249);
        create(&node, &name).unwrap();
        delete(&node, &name).unwrap();
        let left = fs::read_dir(dir.path().join("partitions")).unwrap();
        assert_eq!(left.count(), 0);
    }

    #[test]
    fn what_an_earlier_deletion_left_is_in_no_ones_way() {
        let dir = tempfile::tempdir().unwrap();
        let node = node(dir.path());
        create(&node, "t").unwrap();
        fs::create_dir(dir.path().join("partitions/t-1~")).unwrap();
        fs::write(dir.path().join("partitions/t-1~/left"), "x").unwrap();
        delete(&node, "t").unwrap();
        create(&node, "t").unwrap();
    }

    #[test]
    fn a_topic_whose_deletion_fails_stays_also_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let first = node(dir.path());
        create(&first, "t").unwrap();
        let id = first.topics.get("t").unwrap().id;
        // Where the list is written before it takes its name.
        let in_the_way = dir.path().join("topics.json.new");
        fs::create_dir(&in_the_way).unwrap();
        assert!(delete(&first, "t").is_err());
        assert!(create(&first, "other").is_err());
        assert_eq!(first.topics.get("t").unwrap().id, id);
        assert!(first.topics.get("other").is_none());
        fs::remove_dir(in_the_way).unwrap();
        drop(first);
        let second = node(dir.path());
        assert_eq!(second.topics.get("t").unwrap().id, id);
        create(&second, "other").unwrap();
    }
}
