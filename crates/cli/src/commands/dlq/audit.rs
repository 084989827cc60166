//! A line for each change: on stderr, and as JSON at the end of a file.

use super::row::{Names, shown};
use crate::commands::Common;
use crate::failure::Failure;
use anyhow::Context;
use cloudsync_kafka::{DeadLetterEntry, Settled};
use jiff::Timestamp;
use serde_json::json;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Where changes are written down.
#[derive(Debug)]
pub(super) struct Audit<'a> {
    common: &'a Common,
    file: Option<(PathBuf, File)>,
    by: Option<String>,
}

// === impl Audit ===

impl<'a> Audit<'a> {
    /// Opens `file`, if there is one, to write behind what it has.
    pub(super) fn open(file: Option<&Path>, common: &'a Common) -> Result<Self, Failure> {
        let open = |path: &Path| {
            let opened = OpenOptions::new().append(true).create(true).open(path);
            opened
                .map(|opened| (path.to_owned(), opened))
                .with_context(|| format!("cannot write to --audit {}", path.display()))
        };
        let file = file.map(open).transpose().map_err(Failure::Usage)?;
        let by = ["USER", "LOGNAME"]
            .iter()
            .find_map(|name| std::env::var(name).ok());
        Ok(Self { common, file, by })
    }

    /// `entry` was settled by `how`, and lies at `to` of the data topic again.
    pub(super) fn changed(
        &mut self,
        entry: &DeadLetterEntry,
        how: Settled,
        to: Option<(i32, Option<i64>)>,
    ) -> Result<(), Failure> {
        let (names, headers) = (Names::of(entry), &entry.headers);
        let origin = &headers.origin;
        let place = |(partition, offset): (i32, Option<i64>)| match offset {
            Some(offset) => format!(" to {partition}/{offset}"),
            None => format!(" to partition {partition}"),
        };
        self.common.note(format_args!(
            "{} {} for {} from {}/{}{}: {}",
            how.as_str(),
            entry.id,
            shown(&headers.destination),
            origin.partition,
            origin.offset,
            to.map_or_else(String::new, place),
            shown(&names.id),
        ));
        let Some((path, file)) = &mut self.file else {
            return Ok(());
        };
        let line = json!({
            "time": Timestamp::now().to_string(),
            "change": how.as_str(),
            "by": self.by,
            "entry": entry.id.to_string(),
            "destination": headers.destination,
            "origin": { "topic": &*origin.topic, "partition": origin.partition, "offset": origin.offset },
            "id": names.id,
            "key": names.key,
            "reason": headers.reason,
            "code": headers.code,
            "redrives": entry.redrives + u32::from(how == Settled::Redriven),
            "to": to.map(|(partition, offset)| json!({ "partition": partition, "offset": offset })),
        });
        let written = file.write_all(format!("{line}\n").as_bytes());
        let written = written.with_context(|| format!("cannot write to {}", path.display()));
        written.map_err(Failure::Failed)
    }
}
