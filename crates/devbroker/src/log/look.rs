//! Reading a partition as it lies there, without mending it.
//!
//! In: a folder, and how the last run ended. Out: a log of every segment's sound batches, which
//! takes no appends, and what is damaged. Nothing in the folder is changed. What stands behind a
//! damaged place of a segment is not read; the next segment is.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::blocks::Blocks;
use super::producer_state::ProducerStates;
use super::recovery::{LastRun, Tail};
use super::segment::{self, Segment};
use super::{LogOptions, PartitionLog, start};
use crate::error::{BrokerError, Damage};

pub(super) fn open(
    dir: &Path,
    options: LogOptions,
    last_run: LastRun,
    damage: &mut Vec<Damage>,
) -> Result<PartitionLog, BrokerError> {
    let mut look = Look::default();
    let start = match start::read(dir) {
        Err(BrokerError::Damaged { path, detail }) => {
            look.damaged(path, detail);
            0
        }
        read => {
            let start = read?;
            look.whole_to = Some(start);
            start
        }
    };
    match segment::list(dir) {
        Ok(bases) => look.segments(dir, &bases, last_run)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            look.damaged(dir.to_owned(), "the folder is missing".to_owned());
        }
        Err(error) => return Err(BrokerError::file("list", dir)(error)),
    }
    if let LastRun::Clean { end } = last_run
        && look.damage.is_empty()
        && look.reached < end
    {
        let what = format!(
            "it ends at offset {}, but was closed at offset {end}",
            look.reached
        );
        look.damaged(dir.to_owned(), what);
    }
    damage.append(&mut look.damage);
    if look.found.is_empty() {
        look.found.push_back(Segment::in_memory(look.end));
    }
    Ok(PartitionLog {
        options,
        disk: None,
        segments: look.found,
        start,
        end: look.end,
        synced: look.end,
        producers: ProducerStates::default(),
        broken: true,
        deleted: false,
    })
}

#[derive(Default)]
struct Look {
    found: VecDeque<Segment>,
    /// Behind the last batch that was read: a reader that comes here has everything.
    end: i64,
    /// The same, or the offset that a later, empty segment was to begin at.
    reached: i64,
    /// Where the next segment begins at the latest; `None` where what is before it is damaged.
    whole_to: Option<i64>,
    damage: Vec<Damage>,
}

// === impl Look ===

impl Look {
    fn damaged(&mut self, path: PathBuf, detail: String) {
        self.damage.push(Damage { path, detail });
    }

    fn segments(
        &mut self,
        dir: &Path,
        bases: &[i64],
        last_run: LastRun,
    ) -> Result<(), BrokerError> {
        for (index, base) in bases.iter().enumerate() {
            let path = segment::path(dir, *base);
            let failed = |error| BrokerError::file("read", path.as_path())(error);
            let (mut segment, file) = Segment::open_read_only(dir, *base).map_err(failed)?;
            let length = file.metadata().map_err(failed)?.len();
            if *base < self.end {
                // An empty one was made, and the log went on in the one before it.
                if length == 0 {
                    continue;
                }
                let what = format!("the segment before it goes on to offset {}", self.end);
                self.damaged(path, what);
                continue;
            }
            if let Some(end) = self.whole_to.filter(|end| base > end) {
                let what = format!(
                    "no segment before it holds the offsets {end} to {}",
                    base - 1
                );
                self.damaged(path.clone(), what);
            }
            let tail = self.scan(&mut segment, &file, length).map_err(failed)?;
            let is_last = index + 1 == bases.len();
            let unread = format!(
                "at byte {} of {length}, offset {}",
                segment.size, self.reached
            );
            self.whole_to = (tail == Tail::Whole).then_some(self.reached);
            match tail {
                Tail::Whole => {}
                // As a killed process leaves it: a write that nobody was told of.
                Tail::Torn if is_last && !matches!(last_run, LastRun::Clean { .. }) => {
                    tracing::warn!(file = %path.display(), %unread, "the last write is cut off");
                }
                Tail::Torn => self.damaged(path, format!("{unread}, it ends inside a batch")),
                Tail::Damaged(what) => self.damaged(path, format!("{unread}, {what}")),
            }
            if segment.size > 0 {
                self.found.push_back(segment);
            }
        }
        Ok(())
    }

    /// Takes note of a segment's batches, up to the first that is not sound.
    fn scan(&mut self, segment: &mut Segment, file: &File, length: u64) -> io::Result<Tail> {
        self.reached = segment.base;
        let mut blocks = Blocks::of(file, length);
        loop {
            match blocks.next_batch(segment.size, self.reached)? {
                Ok(header) => {
                    segment.note(&header);
                    self.reached = header.next_offset();
                    self.end = self.reached;
                }
                Err(tail) => return Ok(tail),
            }
        }
    }
}
