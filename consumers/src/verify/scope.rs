//! What is compared: between which destinations, below which offsets, in which times.
//!
//! In: what the groups have committed, and what was asked for. Out: the flags of an entry.
//! Promises: a place that the scope does not know is compared whole; the commits are those of one
//! moment before anything was read, so what lies below them had been settled at both.

use super::entry::{ABOVE, ALTERED, IN_LOG_RANGE, OUTSIDE, Place, TO_BOTH, addressed};
use crate::chain::line::Line;
use cloudsync::identity::Fingerprint;
use cloudsync::partition::partition_of;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What is compared.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Scope {
    /// The names of the two destinations, as records name them.
    pub names: [String; 2],
    /// The log, unless everything is compared without asking it.
    pub log: Option<LogScope>,
    /// First time that is compared, in ms since 1970.
    pub since: Option<i64>,
    /// First time behind those, in ms since 1970.
    pub until: Option<i64>,
}

/// What the log says.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct LogScope {
    /// Its id.
    pub id: String,
    /// The data topic.
    pub topic: String,
    /// To so many partitions keys go.
    pub partitions: u32,
    /// What the group of each destination had committed, by partition; nothing before its first
    /// commit there.
    pub committed: [BTreeMap<i32, i64>; 2],
    /// Where each partition begins, if its records are compared as well.
    pub starts: Option<BTreeMap<i32, i64>>,
}

// === impl LogScope ===

impl LogScope {
    /// Below this offset of `partition` both groups have settled everything.
    #[must_use]
    pub fn bound(&self, partition: i32) -> i64 {
        let of = |side: usize| self.committed[side].get(&partition).copied().unwrap_or(0);
        of(0).min(of(1))
    }

    /// Whether `place` belongs to this log.
    #[must_use]
    pub fn has(&self, place: &Place) -> bool {
        match place {
            Place::Chain(topic, log, _) => *topic == self.topic && *log == self.id,
            // Such an object does not say; it is taken for one of this log.
            Place::Tenant(_) | Place::Log(_) => true,
        }
    }
}

// === impl Scope ===

impl Scope {
    /// The flags of a record at `offset` of `partition`, accepted at `time` (ms since 1970), at
    /// `place`.
    #[must_use]
    pub fn flags(&self, place: &Place, partition: i32, offset: i64, time: Option<i64>) -> u32 {
        let mut flags = 0;
        if let Some(log) = self.log.as_ref().filter(|log| log.has(place)) {
            if offset >= log.bound(partition) {
                flags |= ABOVE;
            }
            let starts = log.starts.as_ref();
            let start = starts.and_then(|starts| starts.get(&partition));
            if start.is_some_and(|start| offset >= *start) {
                flags |= IN_LOG_RANGE;
            }
        }
        let early = |since: i64| time.is_some_and(|time| time < since);
        let late = |until: i64| time.is_some_and(|time| time >= until);
        if self.since.is_some_and(early) || self.until.is_some_and(late) {
            flags |= OUTSIDE;
        }
        flags
    }

    /// The flags of `line`, whose content has the fingerprint `computed`, and its partition where
    /// its place does not say it.
    #[must_use]
    pub fn of_line(&self, place: &Place, line: &Line<'_>, computed: Fingerprint) -> (u32, i32) {
        let partition = match place {
            Place::Chain(_, _, partition) | Place::Log(partition) => *partition,
            Place::Tenant(_) => self.partition_of(line),
        };
        let timed = self.since.is_some() || self.until.is_some();
        let time = timed.then(|| line.time.parse::<Timestamp>().ok()).flatten();
        let time = time.map(Timestamp::as_millisecond);
        let mut flags = self.flags(place, partition, line.offset, time);
        if line.fingerprint() != Some(computed) {
            flags |= ALTERED;
        }
        let named = line.destinations.map(|raw| raw.get());
        let named = named.and_then(|raw| serde_json::from_str::<Vec<String>>(raw).ok());
        let named = named.unwrap_or_default();
        (
            flags | self.addressed(named.iter().map(String::as_str)),
            partition,
        )
    }

    /// The flags of a record that names these destinations; none are all.
    #[must_use]
    pub fn addressed<'a>(&self, named: impl Iterator<Item = &'a str>) -> u32 {
        let mut named = named.peekable();
        if named.peek().is_none() {
            return TO_BOTH;
        }
        named.fold(0, |flags, name| flags | self.flag_of(name))
    }

    /// The flag of the destination `name`; none if it is neither of the two.
    #[must_use]
    pub fn flag_of(&self, name: &str) -> u32 {
        let side = (0..2u8).find(|side| self.names[usize::from(*side)] == name);
        side.map_or(0, addressed)
    }

    fn partition_of(&self, line: &Line<'_>) -> i32 {
        let key = match line.key.is_empty() {
            true => &line.id,
            false => &line.key,
        };
        match &self.log {
            Some(log) => partition_of(key.as_bytes(), log.partitions),
            None => -1,
        }
    }
}
