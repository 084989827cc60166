//! Committed offsets of all groups, in an append-only file.
//!
//! In: commits. Out: the last one of each group and partition, also after a reopen. Each line of
//! the file carries its checksum, and one that fails it takes no other with it; the file is
//! rewritten without what is superseded at open and when it has grown far beyond what it says.

mod expiry;
mod file;
mod line;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex as TurnMutex;

use self::expiry::Members;
use self::file::{Disk, keep_damaged, sync_now};
use self::line::Line;
use crate::error::BrokerError;
use crate::files;

const FILE: &str = "offsets.log";
/// All commits together, as kept in memory.
const MAX_BYTES: usize = 64 << 20;
/// About what a commit takes beside its strings.
const COMMIT_BYTES: usize = 192;

/// What a group committed for one partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Committed {
    pub(crate) offset: i64,
    pub(crate) leader_epoch: i32,
    pub(crate) metadata: String,
}

/// A commit, and when it was made (ms).
#[derive(Debug)]
struct Kept {
    committed: Committed,
    at: i64,
}

/// Topic and partition.
pub(crate) type Place = (String, i32);

/// The committed offsets of every group.
#[derive(Debug)]
pub(crate) struct Offsets {
    inner: Arc<Mutex<Inner>>,
    sync_turn: TurnMutex<()>,
}

#[derive(Debug, Default)]
struct Inner {
    groups: HashMap<String, BTreeMap<Place, Kept>>,
    /// Of the groups that have committed something, those that ever had members.
    members: HashMap<String, Members>,
    /// About what they take of memory.
    bytes: usize,
    disk: Option<Disk>,
}

impl Offsets {
    pub(crate) fn in_memory() -> Self {
        Self {
            inner: Arc::default(),
            sync_turn: TurnMutex::default(),
        }
    }

    /// Reads the file, passes over what is damaged or torn in it, and rewrites it without the
    /// topics that are not there any more: one that is made anew begins at 0, and a commit of
    /// before would pass its records by.
    pub(crate) fn open(dir: &Path, is_there: impl Fn(&str) -> bool) -> Result<Self, BrokerError> {
        let path = dir.join(FILE);
        let bytes = read_file(&path)?;
        let mut inner = Inner::default();
        if let Some(position) = inner.replay(&bytes) {
            keep_damaged(&path, position, &bytes)
                .map_err(BrokerError::file("keep a copy of", path.as_path()))?;
        }
        inner.keep_only(is_there);
        inner
            .rewrite(&path)
            .map_err(BrokerError::file("write", path))?;
        Ok(Self {
            inner: Arc::new(Mutex::new(inner)),
            sync_turn: TurnMutex::default(),
        })
    }

    /// As [`Self::open`], for a log that is only read: the file stays as it is, and what is damaged
    /// in it is passed over, so that a commit may be told too low, but never too high.
    pub(crate) fn look_at(
        dir: &Path,
        is_there: impl Fn(&str) -> bool,
    ) -> Result<Self, BrokerError> {
        let mut inner = Inner::default();
        let unsound = inner.replay(&read_file(&dir.join(FILE))?);
        if let Some(position) = unsound {
            tracing::warn!(dir = %dir.display(), position, "committed offsets are damaged there");
        }
        inner.keep_only(is_there);
        Ok(Self {
            inner: Arc::new(Mutex::new(inner)),
            sync_turn: TurnMutex::default(),
        })
    }

    /// Stores a commit of one group; all of it or, after an error, none.
    pub(crate) fn commit(&self, group: &str, commits: Vec<(Place, Committed)>) -> io::Result<()> {
        let mut inner = self.inner.lock();
        let more: usize = commits.iter().map(|it| inner.growth(group, it)).sum();
        if more > 0 && inner.bytes + more > MAX_BYTES {
            let full = "committed offsets take all the memory they may";
            return Err(io::Error::new(io::ErrorKind::StorageFull, full));
        }
        let lines = commits
            .into_iter()
            .map(|(place, committed)| (place, Some(committed)));
        inner.apply(group, lines.collect())
    }

    /// What the group committed for a partition.
    pub(crate) fn get(&self, group: &str, place: &Place) -> Option<Committed> {
        let inner = self.inner.lock();
        let kept = inner.groups.get(group)?.get(place)?;
        Some(kept.committed.clone())
    }

    /// The partitions the group has committed for.
    pub(crate) fn places(&self, group: &str) -> Vec<Place> {
        let inner = self.inner.lock();
        inner
            .groups
            .get(group)
            .map(|of| of.keys().cloned().collect())
            .unwrap_or_default()
    }

    /// What each of `groups` committed; nothing for one that has not.
    pub(crate) fn of_groups(&self, groups: &[String]) -> BTreeMap<String, BTreeMap<Place, i64>> {
        let inner = self.inner.lock();
        let of = |group: &String| {
            let commits = inner.groups.get(group).into_iter().flatten();
            let offsets = commits.map(|(place, kept)| (place.clone(), kept.committed.offset));
            (group.clone(), offsets.collect())
        };
        groups.iter().map(of).collect()
    }

    /// Groups that have committed anything.
    pub(crate) fn groups(&self) -> Vec<String> {
        self.inner.lock().groups.keys().cloned().collect()
    }

    pub(crate) fn group_count(&self) -> usize {
        self.inner.lock().groups.len()
    }

    pub(crate) fn has_group(&self, group: &str) -> bool {
        self.inner.lock().groups.contains_key(group)
    }

    /// Forgets all of a group.
    pub(crate) fn delete_group(&self, group: &str) -> io::Result<()> {
        let gone = self
            .places(group)
            .into_iter()
            .map(|place| (place, None))
            .collect();
        self.inner.lock().apply(group, gone)
    }

    /// Forgets a deleted topic, in all groups.
    pub(crate) fn delete_topic(&self, topic: &str) -> io::Result<()> {
        let mut inner = self.inner.lock();
        let names: Vec<String> = inner.groups.keys().cloned().collect();
        for name in names {
            let of_group = inner.groups.get(&name).into_iter().flat_map(BTreeMap::keys);
            let gone: Vec<(Place, Option<Committed>)> = of_group
                .filter(|place| place.0 == topic)
                .map(|place| (place.clone(), None))
                .collect();
            inner.apply(&name, gone)?;
        }
        Ok(())
    }

    /// Returns once everything committed before the call is on disk.
    pub(crate) async fn sync(&self) -> io::Result<()> {
        let _turn = self.sync_turn.lock().await;
        let is_due = |disk: &Disk| disk.doubtful || disk.synced < disk.size;
        if !self.inner.lock().disk.as_ref().is_some_and(is_due) {
            return Ok(());
        }
        let inner = Arc::clone(&self.inner);
        tokio::task::spawn_blocking(move || sync_now(&inner))
            .await
            .map_err(io::Error::other)?
    }
}

fn read_file(path: &Path) -> Result<Vec<u8>, BrokerError> {
    let bytes = files::read_if_there(path).map_err(BrokerError::file("read", path))?;
    Ok(bytes.unwrap_or_default())
}

impl Inner {
    /// Forgets the topics that are not there.
    fn keep_only(&mut self, is_there: impl Fn(&str) -> bool) {
        self.groups.retain(|_, commits| {
            commits.retain(|(topic, _), _| is_there(topic));
            !commits.is_empty()
        });
        let groups = &self.groups;
        self.members.retain(|group, _| groups.contains_key(group));
        self.bytes = self.weigh();
    }

    /// Takes over the sound lines, and returns where the first stands that is not. Of each place
    /// the last one counts, so that one which is passed over gives way to those behind it.
    fn replay(&mut self, bytes: &[u8]) -> Option<usize> {
        let (mut position, mut unsound) = (0, None);
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            match Line::parse(line) {
                Some(read) => self.take(read),
                None => unsound = unsound.or(Some(position)),
            }
            position += line.len();
        }
        unsound
    }

    /// Bytes of memory that a commit takes more than the one before it.
    fn growth(&self, group: &str, (place, committed): &(Place, Committed)) -> usize {
        match self.groups.get(group).and_then(|of| of.get(place)) {
            Some(before) => committed
                .metadata
                .len()
                .saturating_sub(before.committed.metadata.len()),
            None => weight(group, place, committed),
        }
    }

    fn take(&mut self, line: Line) {
        if let Some(members) = line.members {
            if self.groups.contains_key(&line.group) {
                self.members.insert(line.group, members);
            }
            return;
        }
        let place = (line.topic, line.partition);
        match line.committed {
            Some(committed) => {
                let at = line.at.unwrap_or_else(now);
                self.bytes += weight(&line.group, &place, &committed);
                let group = self.groups.entry(line.group.clone()).or_default();
                if let Some(before) = group.insert(place.clone(), Kept { committed, at }) {
                    self.bytes -= weight(&line.group, &place, &before.committed);
                }
            }
            None => {
                if let Some(group) = self.groups.get_mut(&line.group) {
                    if let Some(before) = group.remove(&place) {
                        self.bytes -= weight(&line.group, &place, &before.committed);
                    }
                    if group.is_empty() {
                        self.groups.remove(&line.group);
                        self.members.remove(&line.group);
                    }
                }
            }
        }
    }

    fn weigh(&self) -> usize {
        let groups = self.groups.iter();
        let commits = groups.flat_map(|(group, of)| of.iter().map(move |it| (group, it)));
        commits
            .map(|(group, (place, kept))| weight(group, place, &kept.committed))
            .sum()
    }

    fn apply(&mut self, group: &str, changes: Vec<(Place, Option<Committed>)>) -> io::Result<()> {
        let at = now();
        let line = |(place, committed)| Line::commit(group, place, committed, at);
        self.write(changes.into_iter().map(line).collect())
    }

    fn write(&mut self, lines: Vec<Line>) -> io::Result<()> {
        if let Some(disk) = &mut self.disk {
            let mut bytes = Vec::new();
            for line in &lines {
                line.print(&mut bytes)?;
            }
            if let Err(error) = disk.file.write_all_at(&bytes, disk.size) {
                disk.file.set_len(disk.size)?;
                return Err(error);
            }
            disk.size += bytes.len() as u64;
        }
        for line in lines {
            self.take(line);
        }
        self.compact_if_due();
        Ok(())
    }
}

fn now() -> i64 {
    files::millis(SystemTime::now())
}

fn weight(group: &str, place: &Place, committed: &Committed) -> usize {
    COMMIT_BYTES + group.len() + place.0.len() + committed.metadata.len()
}

#[cfg(test)]
mod tests;
