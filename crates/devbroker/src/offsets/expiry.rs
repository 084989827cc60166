//! Forgetting commits that nobody uses any more.
//!
//! In: the time, and which groups have members. Out: what is forgotten, on disk as well. As Kafka
//! does (KIP-211, <https://cwiki.apache.org/confluence/display/KAFKA/KIP-211>): the commits of a
//! group that had members go some days after the last one left, those of a group that never had
//! any, each that long after it was made.

use std::collections::HashMap;
use std::io;

use serde::{Deserialize, Serialize};

use super::{Line, Offsets};

/// Whether a group has members.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Members {
    Present,
    /// The last one was gone at this time (ms).
    Gone(i64),
}

impl Offsets {
    /// Takes note that a group has members; of use once it has committed something.
    pub(crate) fn note_members(&self, group: &str) -> io::Result<()> {
        let mut inner = self.inner.lock();
        if inner.members.get(group) == Some(&Members::Present) || !inner.groups.contains_key(group)
        {
            return Ok(());
        }
        inner.write(vec![Line::members(group, Members::Present)])
    }

    /// Forgets what is older than `kept_ms` at the time `now` (ms), but nothing of the groups in
    /// `always`. Out: how many commits of which groups went.
    pub(crate) fn expire(
        &self,
        now: i64,
        kept_ms: i64,
        always: &[String],
        has_members: impl Fn(&str) -> bool,
    ) -> io::Result<HashMap<String, usize>> {
        let mut gone = HashMap::new();
        for group in self.groups() {
            if always.contains(&group) {
                continue;
            }
            let count = self.expire_group(&group, now, kept_ms, has_members(&group))?;
            if count > 0 {
                gone.insert(group, count);
            }
        }
        Ok(gone)
    }

    fn expire_group(
        &self,
        group: &str,
        now: i64,
        kept_ms: i64,
        has_members: bool,
    ) -> io::Result<usize> {
        if has_members {
            return self.note_members(group).map(|()| 0);
        }
        let mut inner = self.inner.lock();
        let gone_since = match inner.members.get(group) {
            Some(Members::Present) => {
                inner.write(vec![Line::members(group, Members::Gone(now))])?;
                Some(now)
            }
            Some(Members::Gone(since)) => Some(*since),
            None => None,
        };
        let Some(commits) = inner.groups.get(group) else {
            return Ok(0);
        };
        // A commit made by hand for a group without members has its own time as well.
        let since = |at: i64| gone_since.map_or(at, |since| since.max(at));
        let old: Vec<_> = commits
            .iter()
            .filter(|(_, kept)| now.saturating_sub(since(kept.at)) >= kept_ms)
            .map(|(place, _)| (place.clone(), None))
            .collect();
        let count = old.len();
        if count > 0 {
            inner.apply(group, old)?;
        }
        Ok(count)
    }
}
