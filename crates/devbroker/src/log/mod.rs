//! One partition's log: append, read, sync.
//!
//! In: validated batches. Out: their offsets, and whole batches to readers up to the high
//! watermark. It promises: offsets rise and are never given twice (`reservation`), a repeated batch
//! of an idempotent producer is answered with its first offset (`producer_state`), and opening
//! after any crash yields a valid prefix (`recovery`).

pub(crate) mod batch;
mod blocks;
mod index;
mod look;
mod partition;
mod producer_state;
mod read;
mod records;
mod recovery;
mod reservation;
mod retention;
mod segment;
mod start;
mod times;

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use self::batch::{BatchHeader, Placed};
use self::index::IndexFile;
use self::producer_state::{ProducerStates, Verdict};
use self::reservation::Reservation;
use self::segment::Segment;
use crate::error::{BrokerError, Damage};

pub(crate) use self::partition::Partition;
pub(crate) use self::read::ReadError;
pub(crate) use self::recovery::LastRun;
pub(crate) use self::retention::{Retention, Span, expired};
pub(crate) use self::segment::holds_records;

/// What all partitions of a broker share.
#[derive(Debug, Clone)]
pub(crate) struct LogOptions {
    pub(crate) segment_bytes: u64,
    /// Milliseconds between a segment's first record and the one that begins the next.
    pub(crate) segment_ms: i64,
    pub(crate) reservation_step: i64,
    /// Whether readers and producers wait for the disk.
    pub(crate) sync_always: bool,
    /// Bytes that may still be stored in memory.
    pub(crate) memory_left: Arc<AtomicU64>,
}

/// The log of one partition.
#[derive(Debug)]
pub(crate) struct PartitionLog {
    options: LogOptions,
    /// `None` in memory.
    disk: Option<Disk>,
    /// Never empty; the last one takes appends.
    segments: VecDeque<Segment>,
    /// Records below are not shown any more, wherever the first segment begins.
    start: i64,
    /// The next offset to give.
    end: i64,
    /// Offsets below are on disk.
    synced: i64,
    producers: ProducerStates,
    /// Takes no more appends. A sync failed: what the page cache holds is no longer known to reach
    /// the disk; or the log is only read.
    broken: bool,
    /// Its topic is: the files under its names may be another's.
    deleted: bool,
}

#[derive(Debug)]
struct Disk {
    dir: PathBuf,
    reservation: Reservation,
    /// Closed segments not synced yet.
    sealed: Vec<(Arc<File>, IndexFile)>,
}

/// Where a produced batch stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Appended {
    pub(crate) base_offset: i64,
    /// To be acknowledged only when the log is synced up to here (`sync_always`).
    pub(crate) sync_to: i64,
}

/// Why a batch was not appended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AppendError {
    #[error("producer epoch is older than the last one seen")]
    OldEpoch,
    #[error("producer sequence is out of order")]
    OutOfOrder,
    #[error("the log in memory is full")]
    MemoryFull,
    #[error("an earlier sync failed, the topic is deleted, or the log is only read")]
    Broken,
    #[error("write failed")]
    Io(#[from] io::Error),
}

/// Files to sync, and the offset that is safe afterwards.
#[derive(Debug)]
pub(crate) struct SyncJob {
    sealed: Vec<(Arc<File>, IndexFile)>,
    active: Option<Arc<File>>,
    end: i64,
}

impl SyncJob {
    /// Blocks until the disk has everything.
    pub(crate) fn run(&self) -> io::Result<()> {
        let sealed = self.sealed.iter().map(|(file, _)| file);
        sealed
            .chain(&self.active)
            .try_for_each(|file| file.sync_data())
    }

    /// Writes the indexes of what is on the disk: an index is believed.
    fn write_indexes(&self) {
        self.sealed.iter().for_each(|(_, index)| index.write());
    }
}

// === impl PartitionLog ===

impl PartitionLog {
    /// An empty log in memory.
    pub(crate) fn in_memory(options: LogOptions) -> Self {
        Self {
            options,
            disk: None,
            segments: VecDeque::from([Segment::in_memory(0)]),
            start: 0,
            end: 0,
            synced: 0,
            producers: ProducerStates::default(),
            broken: false,
            deleted: false,
        }
    }

    /// Creates the folder, whose own entry the caller syncs, and an empty log in it. What a creation
    /// left there that never came to its end is replaced; a folder with records is refused.
    pub(crate) fn create(dir: &Path, options: LogOptions) -> Result<Self, BrokerError> {
        if dir.exists() {
            if holds_records(dir).map_err(BrokerError::file("list", dir))? {
                let what = "it holds records of a topic that is not listed; move it away";
                return Err(BrokerError::damaged(dir, what));
            }
            fs::remove_dir_all(dir).map_err(BrokerError::file("delete", dir))?;
        }
        fs::create_dir_all(dir).map_err(BrokerError::file("create directory", dir))?;
        let first = Segment::create(dir, 0).map_err(BrokerError::file("create segment in", dir))?;
        // Syncs the folder, too.
        let reservation = Reservation::create(dir, options.reservation_step)
            .map_err(BrokerError::file("reserve offsets in", dir))?;
        Ok(Self {
            options,
            disk: Some(Disk::new(dir, reservation)),
            segments: VecDeque::from([first]),
            start: 0,
            end: 0,
            synced: 0,
            producers: ProducerStates::default(),
            broken: false,
            deleted: false,
        })
    }

    /// Opens a folder, cutting off what the last run left unfinished.
    pub(crate) fn open(
        dir: &Path,
        options: LogOptions,
        last_run: LastRun,
    ) -> Result<Self, BrokerError> {
        recovery::open(dir, options, last_run)
    }

    /// Opens a folder as it lies there: nothing is changed, appends are refused, and what cannot
    /// be read goes to `damage`.
    pub(crate) fn open_read_only(
        dir: &Path,
        options: LogOptions,
        last_run: LastRun,
        damage: &mut Vec<Damage>,
    ) -> Result<Self, BrokerError> {
        look::open(dir, options, last_run, damage)
    }

    /// Offset of the first record kept.
    pub(crate) fn start(&self) -> i64 {
        let first = self.segments.front();
        first.map_or(self.end, |segment| segment.base.max(self.start))
    }

    /// The next offset to be given.
    pub(crate) fn end(&self) -> i64 {
        self.end
    }

    /// The highest producer id that is remembered; -1 for none.
    pub(crate) fn highest_producer_id(&self) -> i64 {
        self.producers.highest_id()
    }

    /// Readers see offsets below.
    pub(crate) fn high_watermark(&self) -> i64 {
        if self.options.sync_always {
            self.synced
        } else {
            self.end
        }
    }

    /// Appends a validated batch, or finds it in the log already.
    pub(crate) fn append(
        &mut self,
        header: &BatchHeader,
        batch: &[u8],
    ) -> Result<Appended, AppendError> {
        if self.is_closed() {
            return Err(AppendError::Broken);
        }
        match self.producers.judge(header) {
            Verdict::New => {}
            Verdict::Repeat { base_offset } => {
                self.note_end()?;
                return Ok(Appended {
                    base_offset,
                    sync_to: self.end,
                });
            }
            Verdict::OldEpoch => return Err(AppendError::OldEpoch),
            Verdict::OutOfOrder => return Err(AppendError::OutOfOrder),
        }
        let placed = BatchHeader {
            base_offset: self.end,
            leader_epoch: 0,
            ..*header
        };
        self.make_room(&placed)?;
        self.write(&placed, batch)?;
        self.producers.record(&placed);
        self.end = placed.next_offset();
        self.note_end()?;
        Ok(Appended {
            base_offset: placed.base_offset,
            sync_to: self.end,
        })
    }

    /// Whoever hears of an offset hears of it after this. Where it fails the batch stands in the
    /// log unanswered; its producer sends it again, and is answered once this succeeds.
    fn note_end(&mut self) -> io::Result<()> {
        let end = self.end;
        self.disk
            .as_mut()
            .map_or(Ok(()), |disk| disk.reservation.ended_at(end))
    }

    fn make_room(&mut self, placed: &BatchHeader) -> Result<(), AppendError> {
        let size = placed.size as u64;
        if self.disk.is_none() {
            let taken = self.options.memory_left.fetch_update(
                Ordering::Relaxed,
                Ordering::Relaxed,
                |left| left.checked_sub(size),
            );
            taken.map_err(|_| AppendError::MemoryFull)?;
        }
        let done = self.segments.back().is_some_and(|segment| {
            let full = segment.size + size > self.options.segment_bytes;
            let old = segment.spans_until(placed.max_timestamp) > self.options.segment_ms;
            segment.size > 0 && (full || old)
        });
        if done {
            self.roll()?;
        }
        if let Some(disk) = &mut self.disk {
            disk.reservation.cover(placed.next_offset())?;
        }
        Ok(())
    }

    /// Begins a new segment at the end of the log.
    fn roll(&mut self) -> io::Result<()> {
        let next = match &self.disk {
            None => Segment::in_memory(self.end),
            Some(disk) => disk.begin_segment(self.end)?,
        };
        if let (Some(disk), Some(last)) = (&mut self.disk, self.segments.back_mut()) {
            let index = IndexFile::of(last, self.end, &self.producers);
            disk.sealed.extend(last.seal().zip(index));
        }
        self.segments.push_back(next);
        Ok(())
    }

    fn write(&mut self, placed: &BatchHeader, batch: &[u8]) -> io::Result<()> {
        let active = self.segments.back_mut().ok_or_else(segment::changed)?;
        active.append(placed, &Placed::new(batch, placed.base_offset))
    }

    /// What is to be synced, if anything.
    pub(crate) fn begin_sync(&self) -> Option<SyncJob> {
        let disk = self.disk.as_ref()?;
        if self.synced == self.end || self.broken {
            return None;
        }
        Some(SyncJob {
            sealed: disk.sealed.clone(),
            active: self.segments.back().and_then(Segment::file),
            end: self.end,
        })
    }

    /// Takes note of how a sync went. A failed one ends all writing: the system may have dropped
    /// the unwritten pages, and a second sync would not say so.
    pub(crate) fn end_sync(&mut self, job: &SyncJob, result: &io::Result<()>) {
        if result.is_err() {
            self.broken = true;
            return;
        }
        self.synced = self.synced.max(job.end);
        if let Some(disk) = &mut self.disk {
            let is_synced =
                |file: &Arc<File>| job.sealed.iter().any(|(it, _)| Arc::ptr_eq(file, it));
            disk.sealed.retain(|(file, _)| !is_synced(file));
        }
    }
}

impl Disk {
    fn new(dir: &Path, reservation: Reservation) -> Self {
        Self {
            dir: dir.to_owned(),
            reservation,
            sealed: Vec::new(),
        }
    }

    /// A new segment's file, or after an error none: the log may go on in the segment before.
    fn begin_segment(&self, base: i64) -> io::Result<Segment> {
        // Opened first: behind the creation nothing is left to fail but the disk.
        let dir = File::open(&self.dir)?;
        let segment = Segment::create(&self.dir, base)?;
        if let Err(error) = dir.sync_all() {
            let path = segment::path(&self.dir, base);
            if let Err(error) = fs::remove_file(&path) {
                // The next start removes it.
                tracing::warn!(file = %path.display(), %error, "an empty segment stays");
            }
            return Err(error);
        }
        Ok(segment)
    }
}

impl PartitionLog {
    fn give_back(&self, bytes: u64) {
        self.options.memory_left.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Drop for PartitionLog {
    /// A deleted topic in memory gives its room back.
    fn drop(&mut self) {
        if self.disk.is_none() {
            self.give_back(self.segments.iter().map(|segment| segment.size).sum());
        }
    }
}

#[cfg(test)]
mod tests;
