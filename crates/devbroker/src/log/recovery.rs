//! Opening a partition after any end of the last run.
//!
//! In: a folder, and how the last run ended. Out: a log that holds a valid prefix of what was
//! written and goes on at an offset that was never given. What is cut off is said in a warning.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use super::batch::{BatchHeader, HEADER_BYTES};
use super::producer_state::ProducerStates;
use super::reservation::Reservation;
use super::segment::{self, Segment};
use super::{Disk, LogOptions, PartitionLog};
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

pub(super) fn open(
    dir: &Path,
    options: LogOptions,
    last_run: LastRun,
) -> Result<PartitionLog, BrokerError> {
    let reservation = Reservation::open(dir, options.reservation_step)?;
    let bases = segment::list(dir).map_err(BrokerError::file("list", dir))?;
    let mut recovered = Recovered {
        segments: VecDeque::new(),
        producers: ProducerStates::default(),
        end: 0,
    };
    let mut tail = Tail::Whole;
    for base in bases {
        let (mut segment, file) =
            Segment::open(dir, base).map_err(BrokerError::file("open segment in", dir))?;
        // Behind a cut, or beginning inside what is known already, nothing can be trusted.
        if tail != Tail::Whole || base < recovered.end {
            tracing::warn!(folder = %dir.display(), base, "segment behind a damaged one deleted");
            segment
                .delete()
                .map_err(BrokerError::file("delete segment in", dir))?;
            tail = Tail::Damaged("it lies behind a damaged one");
            continue;
        }
        tail = recovered
            .scan(dir, &mut segment, &file)
            .map_err(BrokerError::file("recover segment in", dir))?;
        if let Some(before) = recovered.segments.back_mut() {
            before.seal();
        }
        if !matches!(last_run, LastRun::Clean { .. }) {
            file.sync_all()
                .map_err(BrokerError::file("sync segment in", dir))?;
        }
        recovered.segments.push_back(segment);
    }
    let go_on_at = match (last_run, tail) {
        (LastRun::Clean { end }, _) => end,
        (LastRun::SameBoot, Tail::Whole | Tail::Torn) => recovered.end,
        (LastRun::SameBoot, Tail::Damaged(_)) | (LastRun::OtherBoot, _) => reservation.bound(),
    };
    recovered
        .go_on(dir, go_on_at)
        .map_err(BrokerError::file("write segment in", dir))?;
    files::sync_dir(dir).map_err(BrokerError::file("sync", dir))?;
    Ok(PartitionLog {
        options,
        disk: Some(Disk::new(dir, reservation)),
        segments: recovered.segments,
        end: recovered.end,
        synced: recovered.end,
        producers: recovered.producers,
        broken: false,
    })
}

struct Recovered {
    segments: VecDeque<Segment>,
    producers: ProducerStates,
    end: i64,
}

impl Recovered {
    /// Reads a segment's batches and cuts the file behind the last sound one.
    fn scan(&mut self, dir: &Path, segment: &mut Segment, file: &Arc<File>) -> io::Result<Tail> {
        let length = file.metadata()?.len();
        self.end = segment.base;
        let mut buffer = Vec::new();
        let tail = loop {
            match next_batch(file, segment.size, length, self.end, &mut buffer)? {
                Ok(header) => {
                    segment.note(&header);
                    self.producers.record(&header);
                    self.end = header.next_offset();
                }
                Err(tail) => break tail,
            }
        };
        if tail != Tail::Whole {
            let cut_bytes = length - segment.size;
            let (folder, base) = (dir.display(), segment.base);
            tracing::warn!(%folder, base, position = segment.size, cut_bytes, damage = ?tail, "log cut at its last sound batch");
            file.set_len(segment.size)?;
            file.sync_all()?;
        }
        Ok(tail)
    }

    /// Makes `offset` the next to be given, if it lies ahead. The file name of a new segment keeps it.
    fn go_on(&mut self, dir: &Path, offset: i64) -> io::Result<()> {
        let jump = offset > self.end;
        if jump {
            tracing::warn!(folder = %dir.display(), end = self.end, offset, "offsets continue behind the reserved ones");
            self.end = offset;
        }
        if jump || self.segments.is_empty() {
            if let Some(before) = self.segments.back_mut() {
                before.seal();
            }
            self.segments.push_back(Segment::create(dir, self.end)?);
        }
        Ok(())
    }
}

/// The batch at `position`, whose first offset must be `expected`.
pub(super) fn next_batch(
    file: &File,
    position: u64,
    length: u64,
    expected: i64,
    buffer: &mut Vec<u8>,
) -> io::Result<Result<BatchHeader, Tail>> {
    let left = length - position;
    if left == 0 {
        return Ok(Err(Tail::Whole));
    }
    if left < HEADER_BYTES as u64 {
        return Ok(Err(Tail::Torn));
    }
    let mut head = [0; HEADER_BYTES];
    file.read_exact_at(&mut head, position)?;
    let Some(header) = BatchHeader::parse(&head) else {
        return Ok(Err(Tail::Damaged("no batch begins there")));
    };
    let placed_here = header.base_offset == expected && header.leader_epoch == 0;
    if !placed_here || header.last_offset_delta < 0 {
        return Ok(Err(Tail::Damaged("the batch there has another offset")));
    }
    if header.size as u64 > left {
        return Ok(Err(Tail::Torn));
    }
    buffer.resize(header.size, 0);
    file.read_exact_at(buffer, position)?;
    Ok(if header.checksum_holds(buffer) {
        Ok(header)
    } else {
        Err(Tail::Damaged("the batch there fails its checksum"))
    })
}
