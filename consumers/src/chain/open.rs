//! Step 3 of the walk: records in order of offset, each with its look-up's answer → segments.
//!
//! The chain of one partition, without any waiting: it judges, fills the open segment, says when
//! that closes, and keeps what the one before still needs. Promises: segments follow each other
//! without gap or overlap; an id is written once while this chain knows it: it counts as seen in
//! the open segment, in the one being uploaded, and after that until [`Chain::forget`] is told
//! that its mark holds.
//!
//! Whoever drives a chain judges an answer before anything else happens to the chain. So no
//! look-up is under way when a mark's acknowledgement is taken in, and an id leaves the seen ones
//! only when every look-up sent before has been judged.

use super::adopt::Found;
use super::closed::{ClosedSegment, Entry, Fault, Verdict, What};
use super::line::{self, Stamp, TimeText};
use super::lines::Lines;
use super::name::ChainName;
use crate::id_hash::IdHash;
use crate::parse::{Content, Named, Polled};
use cloudsync::identity::{Fingerprint, Id16};
use cloudsync_dedupe::{Lookup, Subject};
use cloudsync_kafka::{Cause, Reason};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use std::{io, mem};
use tokio::time::Instant;

/// When a segment closes: at whichever comes first.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of the records covered, uncompressed.
    pub bytes: u64,
    /// Offsets covered.
    pub offsets: i64,
    /// Time since its first record.
    pub interval: Duration,
}

/// The chain of one partition.
#[derive(Debug)]
pub struct Chain {
    name: ChainName,
    limits: Limits,
    open: Open,
    in_flight: Option<Arc<ClosedSegment>>,
    seen: HashMap<Id16, Fingerprint, IdHash>,
    /// Starts of segments that were listed ahead of the open one, in order.
    ahead: VecDeque<i64>,
    /// The segment being uploaded was cut at the first of those.
    cut_in_flight: bool,
    /// Whether lines are made.
    writes: bool,
    times: TimeText,
}

#[derive(Debug)]
struct Open {
    start: i64,
    end: i64,
    entries: Vec<Entry>,
    faults: Vec<Fault>,
    lines: Lines,
    bytes: u64,
    since: Option<Instant>,
    /// It ends where the next listed segment starts.
    cut: bool,
}

// === impl Chain ===

impl Chain {
    /// The chain `name`, going on at offset `start`, with segments lying at `ahead`.
    #[must_use]
    pub fn new(name: ChainName, limits: Limits, start: i64, ahead: Vec<i64>) -> Self {
        let mut chain = Self {
            name,
            limits,
            open: Open::at(start),
            in_flight: None,
            seen: HashMap::default(),
            ahead: ahead.into(),
            cut_in_flight: false,
            writes: true,
            times: TimeText::default(),
        };
        chain.pass_ahead();
        chain
    }

    /// The same for a destination that keeps nothing: it makes no lines.
    #[must_use]
    pub fn without_lines(mut self) -> Self {
        self.writes = false;
        self
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &ChainName {
        &self.name
    }

    /// The offset behind everything taken; records below it have been met before.
    #[must_use]
    pub fn position(&self) -> i64 {
        self.open.end
    }

    /// How many of the records that come next (offset and bytes of each) the open segment takes.
    /// One that must wait for the next segment is to be looked up again then.
    pub fn fits(&mut self, next: impl Iterator<Item = (i64, u64)>) -> usize {
        let (mut count, mut bytes) = (0, self.open.bytes);
        let mut end = self.open.end;
        for (offset, size) in next {
            if let Some(bound) = self.ahead.front().copied().filter(|bound| offset >= *bound) {
                if count == 0 {
                    self.open.cut_at(bound);
                }
                break;
            }
            if self.is_filled(bytes, end) {
                break;
            }
            count += 1;
            bytes += size;
            end = offset + 1;
        }
        count
    }

    /// Takes the next record, given what the dedupe store says of its id (`None`: it was not
    /// asked, or could not be).
    pub fn take(&mut self, polled: &Polled, answer: Option<Lookup>, now: Instant) -> Verdict {
        let (what, verdict, detail) = match &polled.content {
            Content::Undecodable {
                hash,
                addressed: false,
                ..
            } => (
                What::Undecodable(*hash),
                Verdict::NotAddressed,
                String::new(),
            ),
            Content::Undecodable { hash, why, .. } => {
                let verdict = Verdict::DeadLetter(Reason::Undecodable);
                (What::Undecodable(*hash), verdict, why.clone())
            }
            Content::Record {
                named,
                addressed: false,
            } => (What::Named(*named), Verdict::NotAddressed, String::new()),
            Content::Record {
                named,
                addressed: true,
            } => {
                let (verdict, detail) = self.judge(*named, polled, answer);
                (What::Named(*named), verdict, detail)
            }
        };
        let line = match (verdict, what) {
            (Verdict::Written, What::Named(named)) => {
                self.seen.insert(named.id, named.fingerprint);
                self.write(polled, named.fingerprint)
            }
            _ => 0,
        };
        if let Verdict::DeadLetter(reason) = verdict {
            self.open.faults.push(Fault {
                record: polled.record.clone(),
                reason,
                detail,
                cause: Cause::default(),
            });
        }
        self.open.push(Entry {
            offset: polled.offset(),
            what,
            verdict,
            bytes: u32::try_from(polled.bytes()).unwrap_or(u32::MAX),
            line: u32::try_from(line).unwrap_or(u32::MAX),
        });
        self.open.since.get_or_insert(now);
        verdict
    }

    /// The record's line; out: its length.
    fn write(&mut self, polled: &Polled, fingerprint: Fingerprint) -> usize {
        let Some(view) = self.writes.then(|| polled.view()).flatten() else {
            return 0;
        };
        let stamp = Stamp {
            offset: polled.offset(),
            timestamp_ms: polled.record.timestamp_ms,
            fingerprint,
        };
        let times = &mut self.times;
        self.open
            .lines
            .append(|out| line::append(out, times, &view, stamp))
    }

    fn judge(&self, named: Named, polled: &Polled, answer: Option<Lookup>) -> (Verdict, String) {
        if let Some(seen) = self.seen.get(&named.id) {
            return if *seen == named.fingerprint {
                (Verdict::Duplicate, String::new())
            } else {
                conflict(named, *seen)
            };
        }
        match answer {
            // A lease is another mode's; here the chain decides.
            None | Some(Lookup::Unknown | Lookup::InProgress) => (Verdict::Written, String::new()),
            // What it was set aside for is over, or somebody thinks so.
            Some(Lookup::DeadLettered { position })
                if polled.reopens(self.name.partition, position) =>
            {
                (Verdict::Written, String::new())
            }
            Some(Lookup::Done { position } | Lookup::DeadLettered { position }) => {
                let here =
                    position.partition == self.name.partition && position.offset == polled.offset();
                let verdict = if here {
                    Verdict::Redelivered
                } else {
                    Verdict::Duplicate
                };
                (verdict, String::new())
            }
            Some(Lookup::Conflict { stored }) => conflict(named, stored),
        }
    }

    /// When the open segment closes if nothing more comes; `None` while it has nothing.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.open.since.map(|since| since + self.limits.interval)
    }

    /// Whether the open segment takes no more.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.cut_in_flight || self.open.cut || self.is_filled(self.open.bytes, self.open.end)
    }

    /// Whether the open segment shall close now. It cannot while another is being uploaded.
    #[must_use]
    pub fn is_due(&self, now: Instant) -> bool {
        self.is_full() || self.deadline().is_some_and(|deadline| deadline <= now)
    }

    fn is_filled(&self, bytes: u64, end: i64) -> bool {
        bytes >= self.limits.bytes || end.saturating_sub(self.open.start) >= self.limits.offsets
    }

    /// The segment being uploaded.
    #[must_use]
    pub fn in_flight(&self) -> Option<&Arc<ClosedSegment>> {
        self.in_flight.as_ref()
    }

    /// Closes the open segment and opens the next one behind it. Out: the closed one, to be
    /// uploaded, and its lines. `None` while another is being uploaded or there is nothing.
    pub fn close(&mut self) -> Option<(Arc<ClosedSegment>, Lines)> {
        if self.in_flight.is_some() || self.open.start == self.open.end {
            return None;
        }
        let next = Open::at(self.open.end);
        let closed = mem::replace(&mut self.open, next);
        // Cut where a listed segment starts: whether ours ends there is known only with the answer
        // to its upload. Until then the bound stays and nothing is taken behind it.
        self.cut_in_flight = closed.cut;
        if !closed.cut {
            self.pass_ahead();
        }
        let segment = Arc::new(ClosedSegment {
            name: self.name.segment(closed.start),
            end: closed.end,
            entries: closed.entries,
            faults: closed.faults,
        });
        self.in_flight = Some(Arc::clone(&segment));
        Some((segment, closed.lines))
    }

    /// The segment being uploaded lies at the destination. Its ids count as seen until
    /// [`forget`](Self::forget).
    pub fn created(&mut self) -> Option<Arc<ClosedSegment>> {
        self.cut_in_flight = false;
        self.pass_ahead();
        self.in_flight.take()
    }

    /// The store knows these ids now (or they are given up): they count as seen no longer.
    pub fn forget(&mut self, subjects: &[Subject]) {
        for subject in subjects {
            self.seen.remove(&subject.id);
        }
    }

    /// Every record taken and not yet created, in order: of the segment being uploaded, then of
    /// the open one.
    pub fn in_hand(&self) -> impl Iterator<Item = &Entry> {
        let in_flight = self.in_flight.iter().flat_map(|segment| &segment.entries);
        in_flight.chain(&self.open.entries)
    }

    /// In the place of the segment being uploaded lies `found`, and it is ours: everything below
    /// its end is dropped, the rest is kept with its verdicts, in a segment that starts there.
    /// `lines`: those of the segment being uploaded. The ids written in `found` count as seen.
    /// What is kept closes at the flush timer like anything else, also if nothing more comes.
    ///
    /// # Errors
    /// As for [`Lines::frame`]; the chain cannot go on then.
    pub fn go_on_behind(&mut self, found: &Found, lines: &[u8], now: Instant) -> io::Result<()> {
        let end = found.header.end;
        let in_flight = self.in_flight.take();
        self.cut_in_flight = false;
        let open = mem::replace(&mut self.open, Open::at(end));
        let open_lines = open.lines.text()?;
        let parts = [
            in_flight
                .as_ref()
                .map(|segment| (&segment.entries, &segment.faults, lines)),
            Some((&open.entries, &open.faults, &open_lines[..])),
        ];
        for (entries, faults, lines) in parts.into_iter().flatten() {
            let mut at = 0;
            for entry in entries {
                let line = at..at + entry.line as usize;
                at = line.end;
                if entry.offset >= end {
                    let line = lines.get(line).unwrap_or_default();
                    self.open.lines.append(|out| out.extend_from_slice(line));
                    self.open.push(*entry);
                } else if let (Verdict::Written, What::Named(named)) = (entry.verdict, entry.what) {
                    self.seen.remove(&named.id);
                }
            }
            let kept = faults.iter().filter(|fault| fault.record.offset >= end);
            self.open.faults.extend(kept.cloned());
        }
        if !self.open.entries.is_empty() {
            self.open.since = Some(open.since.unwrap_or(now));
        }
        for line in &found.lines {
            self.seen.insert(line.named.id, line.named.fingerprint);
        }
        self.pass_ahead();
        Ok(())
    }

    /// A listed segment that starts at or below the open one's start bounds nothing any more.
    fn pass_ahead(&mut self) {
        while self
            .ahead
            .front()
            .is_some_and(|start| *start <= self.open.start)
        {
            self.ahead.pop_front();
        }
    }
}

fn conflict(named: Named, stored: Fingerprint) -> (Verdict, String) {
    let detail = format!(
        "id {} was used before with fingerprint {stored}; this record has {}",
        named.id, named.fingerprint
    );
    (Verdict::DeadLetter(Reason::IdConflict), detail)
}

// === impl Open ===

impl Open {
    fn at(start: i64) -> Self {
        Self {
            start,
            end: start,
            entries: Vec::new(),
            faults: Vec::new(),
            lines: Lines::default(),
            bytes: 0,
            since: None,
            cut: false,
        }
    }

    fn push(&mut self, entry: Entry) {
        self.end = entry.offset + 1;
        self.bytes += u64::from(entry.bytes);
        self.entries.push(entry);
    }

    fn cut_at(&mut self, bound: i64) {
        self.end = bound;
        self.cut = true;
    }
}

#[cfg(test)]
mod tests;
