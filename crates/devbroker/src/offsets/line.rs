//! One line of the file of committed offsets: what it says, behind its checksum.

use std::io;

use serde::{Deserialize, Serialize};

use super::expiry::Members;
use super::{Committed, Place};

/// One line: a commit, or the end of one; or, of no topic, whether the group has members.
#[derive(Serialize, Deserialize)]
pub(super) struct Line {
    pub(super) group: String,
    pub(super) topic: String,
    pub(super) partition: i32,
    pub(super) committed: Option<Committed>,
    /// When it was made; absent before commits expired, which counts as now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) at: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) members: Option<Members>,
}

// === impl Line ===

impl Line {
    pub(super) fn commit(
        group: &str,
        (topic, partition): Place,
        committed: Option<Committed>,
        at: i64,
    ) -> Self {
        Self {
            group: group.to_owned(),
            topic,
            partition,
            at: committed.is_some().then_some(at),
            committed,
            members: None,
        }
    }

    pub(super) fn members(group: &str, members: Members) -> Self {
        Self {
            group: group.to_owned(),
            topic: String::new(),
            partition: -1,
            committed: None,
            at: None,
            members: Some(members),
        }
    }

    /// Appends the line, behind its checksum.
    pub(super) fn print(&self, out: &mut Vec<u8>) -> io::Result<()> {
        let json = serde_json::to_string(self).map_err(io::Error::other)?;
        let checksum = crc32c::crc32c(json.as_bytes());
        out.extend_from_slice(format!("{checksum:08x} {json}\n").as_bytes());
        Ok(())
    }

    /// The line that `bytes` are; `None`, where they are not what was printed.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let (checksum, json) = std::str::from_utf8(bytes)
            .ok()?
            .strip_suffix('\n')?
            .split_once(' ')?;
        // What `print` writes, and nothing that only means the same.
        if checksum != format!("{:08x}", crc32c::crc32c(json.as_bytes())) {
            return None;
        }
        serde_json::from_str(json).ok()
    }
}
