//! Opening a partition after any end of the last run.
//!
//! In: a folder, and how the last run ended. Out: a log that holds a valid prefix of what was
//! written and goes on at an offset that was never given; the offsets between are an empty batch,
//! so that readers come over them. What is cut off is said in a warning and, unless it can only be
//! a write that nobody was told of, kept beside the log in files that end in `.cut`. Killed at any
//! step of this, the next opening comes to the same.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::batch::{self, BatchHeader, Placed};
use super::blocks::Blocks;
use super::index::{self, IndexFile, Known};
use super::producer_state::ProducerStates;
use super::reservation::Reservation;
use super::segment::{self, Segment};
use super::{Disk, LogOptions, PartitionLog, start};
use crate::error::BrokerError;
use crate::files;

/// How the last run left this partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LastRun {
    /// Synced and ended at this offset.
    Clean { end: i64 },
    /// Killed; the page cache survived, so each whole write is there.
    SameBoot,
    /// Any unsynced byte may be gone.
    OtherBoot,
}

/// What reading one segment came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tail {
    Whole,
    /// The file ends inside a batch: a write that never came to its end.
    Torn,
    /// What is there is not what was written; how that shows.
    Damaged(&'static str),
}

// === impl Tail ===

impl Tail {
    fn as_str(self) -> &'static str {
        match self {
            Self::Whole => "none",
            Self::Torn => "the file ends inside a batch",
            Self::Damaged(what) => what,
        }
    }
}

pub(super) fn open(
    dir: &Path,
    options: LogOptions,
    last_run: LastRun,
) -> Result<PartitionLog, BrokerError> {
    let reservation = Reservation::open(dir, options.reservation_step)?;
    let known_start = known_start(dir)?;
    let start = known_start.unwrap_or(0);
    let mut found = Found::read(dir, known_start, last_run)?;
    let go_on_at = found.go_on_at(last_run, &reservation).max(start);
    let mut log = PartitionLog {
        options,
        disk: Some(Disk::new(dir, reservation)),
        segments: VecDeque::new(),
        start,
        end: found.end,
        synced: found.end,
        producers: std::mem::take(&mut found.producers),
        broken: false,
        deleted: false,
    };
    let failed = |error| BrokerError::file("recover the log in", dir)(error);
    log.segments = found.settle(dir, last_run, go_on_at).map_err(failed)?;
    log.end = go_on_at;
    log.synced = go_on_at;
    // From here on the file speaks of this run.
    let disk = log.disk.as_mut();
    disk.map_or(Ok(()), |disk| disk.reservation.ended_at(go_on_at))
        .map_err(failed)?;
    Ok(log)
}

/// Where the log begins, if that is known. Too low an offset shows deleted records again; it loses
/// none.
fn known_start(dir: &Path) -> Result<Option<i64>, BrokerError> {
    match start::read(dir) {
        Err(BrokerError::Damaged { path, detail }) => {
            let file = path.display();
            tracing::warn!(%file, %detail, "where the log begins is not known: it begins with its first segment, and deleted records may be read again");
            Ok(None)
        }
        read => read.map(Some),
    }
}

/// What lies in a partition's folder; nothing is changed yet but that a deletion is ended, and what
/// is whole has its index.
#[derive(Default)]
struct Found {
    /// Sound up to their `size`; all but the last one are whole and closed.
    segments: VecDeque<Segment>,
    /// What came behind the last sound batch of the last of them.
    tail: Option<(Tail, u64)>,
    /// Segments behind that: what they hold has no valid place any more. And empty ones.
    behind: Vec<i64>,
    producers: ProducerStates,
    /// Behind the last sound batch.
    end: i64,
}

// === impl Found ===

impl Found {
    fn read(dir: &Path, start: Option<i64>, last_run: LastRun) -> Result<Self, BrokerError> {
        let mut bases = segment::list(dir).map_err(BrokerError::file("list", dir))?;
        let deleted = bases
            .iter()
            .skip(1)
            .take_while(|next| start.is_some_and(|start| **next <= start));
        for base in bases.drain(..deleted.count()) {
            let path = segment::path(dir, base);
            std::fs::remove_file(&path).map_err(BrokerError::file("delete", path))?;
            index::remove(dir, base).map_err(BrokerError::file("delete the index of", dir))?;
        }
        let mut found = Self::default();
        let next_bases = bases.iter().skip(1).copied().map(Some).chain([None]);
        for (base, next) in bases.iter().copied().zip(next_bases) {
            if base < found.end && is_empty(dir, base)? {
                // It was made, but its folder not synced: the log went on in the one before it.
                found.behind.push(base);
                continue;
            }
            // Behind a damaged place, or beginning inside what is known, nothing can be trusted.
            if found.tail.is_some() || base < found.end {
                let cut_bytes = found.tail.map_or(0, |(_, cut_bytes)| cut_bytes);
                found.tail = Some((Tail::Damaged("segments follow it"), cut_bytes));
                found.behind.push(base);
                continue;
            }
            let failed = |error| BrokerError::file("read", segment::path(dir, base))(error);
            found.close_last(last_run).map_err(failed)?;
            found.say_gap(dir, start, base);
            if let Some(next) = next
                && let LastRun::Clean { .. } = last_run
                && let Some(known) = by_index(dir, base, next).map_err(failed)?
            {
                found.believe(dir, known).map_err(failed)?;
                continue;
            }
            // It is made anew, or no longer true once the segment is written to.
            index::remove(dir, base).map_err(failed)?;
            let (mut segment, file) = Segment::open(dir, base).map_err(failed)?;
            found.tail = found.scan(&mut segment, &file).map_err(failed)?;
            found.segments.push_back(segment);
        }
        Ok(found)
    }

    /// Closes the segment that was read last, as another one follows: however many there are, a
    /// start holds one of their files.
    fn close_last(&mut self, last_run: LastRun) -> io::Result<()> {
        let Some(last) = self.segments.back_mut() else {
            return Ok(());
        };
        // One that was not read has its index.
        let Some(file) = last.seal() else {
            return Ok(());
        };
        if !matches!(last_run, LastRun::Clean { .. }) {
            file.sync_all()?;
        }
        if let Some(index) = IndexFile::of(last, self.end, &self.producers) {
            index.write();
        }
        Ok(())
    }

    /// Says that what was before the segment at `base` is not there.
    fn say_gap(&self, dir: &Path, start: Option<i64>, base: i64) {
        let end = if self.segments.is_empty() {
            start
        } else {
            Some(self.end)
        };
        if let Some(end) = end.filter(|end| base > *end) {
            let file = segment::path(dir, base);
            tracing::warn!(file = %file.display(), from = end, to = base, "records are missing: no segment holds these offsets; readers step over them");
        }
    }

    /// Takes over what an index says of a closed segment.
    fn believe(&mut self, dir: &Path, mut known: Box<Known>) -> io::Result<()> {
        let segment = Segment::known(dir, &mut known)?;
        self.end = known.end;
        self.producers = known.producers;
        self.segments.push_back(segment);
        Ok(())
    }

    /// Takes note of the batches of a segment. Out: what is there behind the last sound one.
    fn scan(&mut self, segment: &mut Segment, file: &File) -> io::Result<Option<(Tail, u64)>> {
        let length = file.metadata()?.len();
        self.end = segment.base;
        let mut blocks = Blocks::of(file, length);
        loop {
            match blocks.next_batch(segment.size, self.end)? {
                Ok(header) => {
                    segment.note(&header);
                    self.producers.record(&header);
                    self.end = header.next_offset();
                }
                Err(Tail::Whole) => return Ok(None),
                Err(tail) => return Ok(Some((tail, length - segment.size))),
            }
        }
    }

    /// The next offset to give: the end of what is there, if that is all that ever was.
    fn go_on_at(&self, last_run: LastRun, reservation: &Reservation) -> i64 {
        let torn_at_most = matches!(self.tail, None | Some((Tail::Torn, _)));
        // Whoever was told of an offset was told after `end` had been written.
        let all_there = reservation.end().is_some_and(|end| end <= self.end);
        match last_run {
            LastRun::Clean { end } => self.end.max(end),
            LastRun::SameBoot if torn_at_most && all_there => self.end,
            LastRun::SameBoot | LastRun::OtherBoot => self.end.max(reservation.bound()),
        }
    }

    /// Brings the folder into the state that was found, to go on at an offset. The damaged place
    /// goes after what is behind it: until then the next opening finds it, and comes to the same.
    fn settle(
        mut self,
        dir: &Path,
        last_run: LastRun,
        go_on_at: i64,
    ) -> io::Result<VecDeque<Segment>> {
        for base in self.behind.iter().rev() {
            set_aside(dir, *base)?;
        }
        files::sync_dir(dir)?;
        let is_clean = matches!(last_run, LastRun::Clean { .. });
        let Some(segment) = self.segments.back_mut() else {
            let first = Segment::create(dir, go_on_at)?;
            files::sync_dir(dir)?;
            return Ok(VecDeque::from([first]));
        };
        let file = segment.file();
        if let Some((tail, cut_bytes)) = self.tail.filter(|(_, bytes)| *bytes > 0)
            && let Some(file) = &file
        {
            // A length that was changed looks like a write that never came to its end. Kept is all
            // but what nobody was told of: what is there is all that ever was.
            let keep = is_clean || go_on_at > self.end || matches!(tail, Tail::Damaged(_));
            cut(dir, segment, file, tail, cut_bytes, keep)?;
        }
        if go_on_at > self.end {
            let (folder, end) = (dir.display(), self.end);
            tracing::warn!(%folder, end, offset = go_on_at, "offsets continue behind the reserved ones");
            fill(segment, self.end, go_on_at)?;
        }
        if !is_clean || go_on_at > self.end {
            file.map_or(Ok(()), |file| file.sync_all())?;
        }
        Ok(self.segments)
    }
}

/// Whether the segment at `base` has no byte in it.
fn is_empty(dir: &Path, base: i64) -> Result<bool, BrokerError> {
    let path = segment::path(dir, base);
    let length = std::fs::metadata(&path).map(|it| it.len());
    Ok(length.map_err(BrokerError::file("read", path))? == 0)
}

/// What the index of a closed segment says, if it is sound and of this very file.
fn by_index(dir: &Path, base: i64, next: i64) -> io::Result<Option<Box<Known>>> {
    let path = segment::path(dir, base);
    let file = path.display();
    match index::read(dir, base)? {
        index::Found::Sound(known) => {
            let length = std::fs::metadata(&path)?.len();
            if known.size == length && known.end <= next {
                return Ok(Some(known));
            }
            tracing::warn!(%file, "the segment is not the one that its index is of; it is read, and the index made anew");
        }
        index::Found::Missing => {
            tracing::info!(%file, "the segment has no index; it is read, and the index made");
        }
        index::Found::Damaged => {
            tracing::warn!(%file, "the index of the segment is damaged; it is read, and the index made anew");
        }
    }
    Ok(None)
}

/// Puts empty batches over the offsets from `start` to below `end`.
fn fill(segment: &mut Segment, mut start: i64, end: i64) -> io::Result<()> {
    while start < end {
        let bytes = batch::empty(start, end);
        let header = BatchHeader::parse(&bytes).ok_or_else(segment::changed)?;
        segment.append(&header, &Placed::new(&bytes, start))?;
        start = header.next_offset();
    }
    Ok(())
}

/// Cuts `file` behind its last sound batch.
fn cut(
    dir: &Path,
    segment: &Segment,
    file: &File,
    tail: Tail,
    cut_bytes: u64,
    keep: bool,
) -> io::Result<()> {
    let path = segment::path(dir, segment.base);
    let position = segment.size;
    let (name, damage) = (path.display(), tail.as_str());
    tracing::warn!(file = %name, position, cut_bytes, damage, "the log is cut behind its last sound batch");
    if keep {
        let mut rest = vec![0; usize::try_from(cut_bytes).map_err(io::Error::other)?];
        file.read_exact_at(&mut rest, position)?;
        files::keep_cut(&path, position, &rest)?;
    }
    file.set_len(position)?;
    file.sync_all()
}

/// Gives a segment that has no valid place a name that nobody reads; an empty one goes.
fn set_aside(dir: &Path, base: i64) -> io::Result<()> {
    let path = segment::path(dir, base);
    index::remove(dir, base)?;
    if std::fs::metadata(&path)?.len() == 0 {
        return std::fs::remove_file(path);
    }
    tracing::warn!(file = %path.display(), "a segment behind a damaged place is set aside");
    let mut aside = path.as_os_str().to_owned();
    aside.push(".cut");
    std::fs::rename(path, aside)
}

#[cfg(test)]
mod tests;
