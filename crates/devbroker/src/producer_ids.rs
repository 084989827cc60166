//! Producer ids, each given once in the life of a log.
//!
//! A synced file says below which bound ids may have been given; a start begins at the bound.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

use crate::error::BrokerError;
use crate::files;

const FILE: &str = "producer-ids";
/// Ids reserved at a time.
const BLOCK: i64 = 1_000;

/// The source of producer ids.
#[derive(Debug)]
pub(crate) struct ProducerIds {
    path: Option<PathBuf>,
    range: Mutex<Range>,
}

#[derive(Debug)]
struct Range {
    next: i64,
    bound: i64,
}

impl ProducerIds {
    /// Ids that begin at the time of day, so that they differ from those of an earlier broker.
    pub(crate) fn in_memory() -> Self {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let next = i64::try_from(now.as_millis() << 16).unwrap_or(0);
        Self {
            path: None,
            range: Mutex::new(Range {
                next,
                bound: i64::MAX,
            }),
        }
    }

    /// Ids behind all those given before from this directory, and behind the highest one that
    /// stands in its log. An id given twice would have a new batch taken for a repeated one.
    pub(crate) fn open(dir: &Path, in_the_log: i64) -> Result<Self, BrokerError> {
        let path = dir.join(FILE);
        let kept = match files::read_state(&path)? {
            None => 1,
            Some(bytes) => std::str::from_utf8(&bytes)
                .ok()
                .and_then(|text| text.trim_end().parse().ok())
                .ok_or_else(|| BrokerError::damaged(&path, "not a number"))?,
        };
        let next = kept.max(in_the_log.saturating_add(1));
        let range = Mutex::new(Range { next, bound: next });
        Ok(Self {
            path: Some(path),
            range,
        })
    }

    /// The next id.
    pub(crate) fn next(&self) -> io::Result<i64> {
        let mut range = self.range.lock();
        if range.next >= range.bound {
            let bound = range.next.saturating_add(BLOCK);
            if let Some(path) = &self.path {
                files::replace_state(path, format!("{bound}\n").as_bytes())?;
            }
            range.bound = bound;
        }
        let id = range.next;
        range.next += 1;
        Ok(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_id_is_given_again_after_a_reopen() {
        let dir = tempfile::tempdir().unwrap();
        let mut given = Vec::new();
        for _ in 0..3 {
            let ids = ProducerIds::open(dir.path(), -1).unwrap();
            given.extend((0..BLOCK + 2).map(|_| ids.next().unwrap()));
        }
        assert!(given.is_sorted_by(|a, b| a < b));
        // Where the file is lost, the log knows.
        std::fs::remove_file(dir.path().join(FILE)).unwrap();
        let ids = ProducerIds::open(dir.path(), 70_000).unwrap();
        assert_eq!(ids.next().unwrap(), 70_001);
    }
}
