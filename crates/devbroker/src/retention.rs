//! Looking, from time to time, for records that are not to be kept.
//!
//! In: each topic's limits, and what the groups that records are kept for have committed. Out: logs
//! that begin later. It promises: nothing that such a group has not committed goes, and a commit is
//! on the disk before a record goes on its word. What is held back is said once, and counted.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::time::sleep;

use crate::config::BrokerConfig;
use crate::files;
use crate::log::{Partition, Span, expired};
use crate::node::Node;
use crate::offsets::{Offsets, Place};
use crate::stats::HeldBack;

/// The groups that records are kept for, and what they hold back.
#[derive(Debug, Default)]
pub(crate) struct Retaining {
    groups: Vec<String>,
    /// How long commits of other groups are kept.
    offsets_ms: i64,
    held: Mutex<Vec<HeldBack>>,
}

/// What each of the groups had committed before the last sync.
#[derive(Debug)]
pub(crate) struct Commits(BTreeMap<String, BTreeMap<Place, i64>>);

// === impl Commits ===

impl Commits {
    /// What each group has committed of a partition, then and still; 0, which holds everything,
    /// where it has not: it may have gone back, or the topic may have been made anew.
    fn at(&self, place: &Place, now: &Offsets) -> impl Iterator<Item = (&str, i64)> {
        self.0.iter().map(move |(group, offsets)| {
            let then = offsets.get(place).copied().unwrap_or(0);
            let still = now.get(group, place).map_or(0, |it| it.offset);
            (group.as_str(), then.min(still))
        })
    }

    /// A group that has not committed everything before `offset`, and what it has.
    pub(crate) fn first_below(
        &self,
        place: &Place,
        now: &Offsets,
        offset: i64,
    ) -> Option<(&str, i64)> {
        self.at(place, now)
            .find(|(_, committed)| *committed < offset)
    }
}

// === impl Retaining ===

impl Retaining {
    pub(crate) fn new(config: &BrokerConfig) -> Self {
        let offsets_ms = config.offsets_retention.as_millis();
        Self {
            groups: config.retain_for.clone(),
            offsets_ms: i64::try_from(offsets_ms).unwrap_or(i64::MAX),
            held: Mutex::default(),
        }
    }

    /// What the groups have committed, and what of it no power cut takes back.
    pub(crate) async fn commits(&self, offsets: &Offsets) -> io::Result<Commits> {
        let commits = Commits(offsets.of_groups(&self.groups));
        if !self.groups.is_empty() {
            offsets.sync().await?;
        }
        Ok(commits)
    }

    /// What the last look could not drop.
    pub(crate) fn held_back(&self) -> Vec<HeldBack> {
        self.held.lock().clone()
    }

    /// Takes note of a look, and says what is new in it.
    fn note(&self, held: Vec<HeldBack>) {
        let groups = |held: &[HeldBack]| -> BTreeSet<String> {
            held.iter().map(|held| held.group.clone()).collect()
        };
        let before = std::mem::replace(&mut *self.held.lock(), held.clone());
        let (old, new) = (groups(&before), groups(&held));
        for group in new.difference(&old) {
            let of_group = held.iter().filter(|held| held.group == *group);
            let bytes: u64 = of_group.clone().map(|held| held.bytes).sum();
            let age = of_group.map(|held| held.age).max().unwrap_or_default();
            let age_s = age.as_secs();
            tracing::warn!(%group, bytes, age_s, "retention is held back: records are older, or more, than their topic keeps, but this group has not committed them");
        }
        for group in old.difference(&new) {
            tracing::info!(%group, "retention is not held back by this group any more");
        }
    }
}

/// Looks at times, for ever.
pub(crate) async fn run(node: &Arc<Node>, interval: Duration) {
    loop {
        sleep(interval).await;
        look(node, SystemTime::now()).await;
    }
}

/// Drops what is not to be kept at the time `now`.
pub(crate) async fn look(node: &Arc<Node>, now: SystemTime) {
    let commits = match node.retaining.commits(&node.offsets).await {
        Ok(commits) => commits,
        Err(error) => {
            tracing::warn!(%error, "no record is dropped: committed offsets could not be synced");
            return;
        }
    };
    let shared = Arc::clone(node);
    let looked = tokio::task::spawn_blocking(move || {
        let held = drop_expired(&shared, &commits, files::millis(now));
        shared.retaining.note(held);
        expire_commits(&shared, files::millis(now));
    });
    if let Err(error) = looked.await {
        tracing::error!(%error, "the look for records to drop ended early");
    }
}

/// Forgets what groups committed that are gone for long.
fn expire_commits(node: &Node, now: i64) {
    let Retaining {
        groups, offsets_ms, ..
    } = &node.retaining;
    let has_members = |group: &str| node.groups.is_busy(group);
    match node.offsets.expire(now, *offsets_ms, groups, has_members) {
        Ok(gone) => {
            for (group, commits) in gone {
                tracing::info!(%group, commits, "committed offsets of a group without members expired");
            }
        }
        Err(error) => tracing::warn!(%error, "expired commits stay"),
    }
}

fn drop_expired(node: &Node, commits: &Commits, now: i64) -> Vec<HeldBack> {
    let mut held = Vec::new();
    for topic in node.topics.all() {
        let retention = topic.settings.retention();
        for (index, partition) in (0..).zip(&topic.partitions) {
            let spans = partition.log().spans();
            let Some(unwanted) = spans.get(..expired(&spans, retention, now)) else {
                continue;
            };
            let place = (topic.name.clone(), index);
            let mut free = unwanted.last().map_or(0, |span| span.end);
            for (group, committed) in commits.at(&place, &node.offsets) {
                free = free.min(committed);
                held.extend(held_by(group, &place, committed, unwanted, now));
            }
            drop_up_to(partition, &place, unwanted, free);
        }
    }
    held
}

fn held_by(
    group: &str,
    (topic, partition): &Place,
    committed: i64,
    unwanted: &[Span],
    now: i64,
) -> Option<HeldBack> {
    let kept = unwanted.iter().filter(|span| span.end > committed);
    let newest = kept.clone().map(|span| span.newest).min()?;
    let age = u64::try_from(now.saturating_sub(newest)).unwrap_or(0);
    Some(HeldBack {
        group: group.to_owned(),
        topic: topic.clone(),
        partition: *partition,
        bytes: kept.map(|span| span.bytes).sum(),
        age: Duration::from_millis(age),
    })
}

/// Drops those of the `unwanted` segments that lie below `free` as a whole.
fn drop_up_to(partition: &Partition, place: &Place, unwanted: &[Span], free: i64) {
    let gone = unwanted.iter().take_while(|span| span.end <= free);
    let bytes: u64 = gone.clone().map(|span| span.bytes).sum();
    let (Some(first), Some(last)) = (gone.clone().next(), gone.last()) else {
        return;
    };
    let (topic, index) = place;
    let (from, to) = (first.base, last.end);
    match partition.raise_start(to) {
        Ok(false) => {}
        Ok(true) => {
            tracing::info!(%topic, partition = index, from, to, bytes, "records are not kept any longer");
        }
        Err(error) => {
            tracing::warn!(%topic, partition = index, from, to, %error, "records that are not to be kept stay");
        }
    }
}

#[cfg(test)]
mod tests;
