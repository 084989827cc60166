//! Marks in the order of their time, packed: 32 bytes a mark, and a little for their times.
//!
//! In: marks at its end, each with its time. Out: marks by their number, and the oldest. Promises:
//! a mark's number is its own while it is there; its time is never told as earlier than it was,
//! and as later by less than a 128th of the window.

use super::place::Place;
use cloudsync::identity::{Fingerprint, Id16};
use std::collections::VecDeque;

/// So many that a chunk, with what an allocator adds, fits into a page: chunks fill the holes that
/// larger things leave.
const CHUNK: usize = 127;
pub(super) const CHUNK_BYTES: usize = size_of::<Chunk>();
/// Runs that hold one time each; beyond them a run is as long as a 128th of the window.
const EXACT_RUNS: usize = 64;
const RUNS_A_WINDOW: u64 = 128;
/// Most that the runs take, in a queue that has just doubled.
pub(super) const RUNS_BYTES: usize = 512 * size_of::<Run>();

type Chunk = [Mark; CHUNK];

/// What is known of an id: 32 bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    pub(super) id: Id16,
    pub(super) fingerprint: Fingerprint,
    pub(super) place: Place,
}

const NONE: Mark = Mark {
    id: Id16([0; 16]),
    fingerprint: Fingerprint(0),
    place: Place::EMPTY,
};

/// Marks that follow each other and count as of one time.
#[derive(Clone, Copy, Debug)]
struct Run {
    /// The number of its first mark.
    first: u64,
    oldest: u64,
    newest: u64,
}

#[derive(Debug)]
pub(super) struct Ring {
    chunks: VecDeque<Box<Chunk>>,
    /// The number of the oldest mark; its chunk is the first one.
    start: u64,
    /// Behind the newest mark.
    end: u64,
    runs: VecDeque<Run>,
    run_length: u64,
}

// === impl Ring ===

impl Ring {
    /// `window` in the unit of all times here.
    pub(super) fn new(window: u64) -> Self {
        Self {
            chunks: VecDeque::new(),
            start: 0,
            end: 0,
            runs: VecDeque::new(),
            run_length: window / RUNS_A_WINDOW,
        }
    }

    /// Marks in it, stale ones included.
    pub(super) fn len(&self) -> usize {
        usize::try_from(self.end - self.start).unwrap_or(usize::MAX)
    }

    pub(super) fn bytes(&self) -> usize {
        self.chunks.len() * CHUNK_BYTES
            + self.chunks.capacity() * size_of::<Box<Chunk>>()
            + self.runs.capacity() * size_of::<Run>()
    }

    /// The numbers of all marks, from the oldest on.
    pub(super) fn numbers(&self) -> std::ops::Range<u64> {
        self.start..self.end
    }

    pub(super) fn get(&self, number: u64) -> &Mark {
        let at = self.at(number);
        &self.chunks[at / CHUNK][at % CHUNK]
    }

    pub(super) fn get_mut(&mut self, number: u64) -> &mut Mark {
        let at = self.at(number);
        &mut self.chunks[at / CHUNK][at % CHUNK]
    }

    /// The number of the mark whose lowest bits are `low`, the others cut off above `bits`.
    pub(super) fn number(&self, low: u32, numbers: u32) -> u64 {
        let behind_start = u64::from(low).wrapping_sub(self.start) & u64::from(numbers - 1);
        self.start + behind_start
    }

    /// When the mark was set, at the latest.
    pub(super) fn time(&self, number: u64) -> u64 {
        let behind = self.runs.partition_point(|run| run.first <= number);
        let run = behind.checked_sub(1).and_then(|at| self.runs.get(at));
        run.map_or(0, |run| run.newest)
    }

    /// The oldest mark.
    pub(super) fn oldest(&self) -> Option<&Mark> {
        (self.start < self.end).then(|| self.get(self.start))
    }

    /// When the oldest mark was set, at the latest.
    pub(super) fn oldest_time(&self) -> Option<u64> {
        self.runs.front().map(|run| run.newest)
    }

    /// When the oldest mark was set, at the earliest.
    pub(super) fn oldest_since(&self) -> Option<u64> {
        self.runs.front().map(|run| run.oldest)
    }

    /// Marks from this number on count as set at `now`: they can be changed where they stand.
    pub(super) fn open_run(&mut self, now: u64) -> u64 {
        let long = self.runs.len() >= EXACT_RUNS;
        let (length, end) = (self.run_length, self.end);
        if let Some(last) = self.runs.back_mut() {
            // Callers read the clock before they took the lock, so it may step back a little.
            let now = now.max(last.newest);
            if last.oldest == now || long && now - last.oldest < length {
                last.newest = now;
                return last.first;
            }
        }
        let now = self.runs.back().map_or(now, |last| now.max(last.newest));
        self.runs.push_back(Run {
            first: end,
            oldest: now,
            newest: now,
        });
        end
    }

    /// Puts a mark at the end, into the run that was opened. Out: its number.
    pub(super) fn push(&mut self, mark: Mark) -> u64 {
        let number = self.end;
        self.end += 1;
        if self.at(number) == self.chunks.len() * CHUNK {
            self.chunks.push_back(Box::new([NONE; CHUNK]));
        }
        *self.get_mut(number) = mark;
        number
    }

    /// Takes the oldest mark out.
    pub(super) fn pop(&mut self) -> Option<Mark> {
        if self.start == self.end {
            return None;
        }
        let mark = *self.get(self.start);
        self.start += 1;
        if self.start.is_multiple_of(CHUNK as u64) {
            self.chunks.pop_front();
        }
        if self
            .runs
            .get(1)
            .is_some_and(|next| next.first <= self.start)
            || self.start == self.end
        {
            self.runs.pop_front();
        }
        if self.start == self.end {
            // An open run without a mark has no place here either.
            self.runs.clear();
            self.chunks.clear();
            self.start = 0;
            self.end = 0;
        }
        Some(mark)
    }

    /// Drops the stale marks; all others get other numbers.
    pub(super) fn compact(&mut self) {
        let compact = Self {
            run_length: self.run_length,
            ..Self::new(0)
        };
        let old = std::mem::replace(self, compact);
        let ends = old
            .runs
            .iter()
            .skip(1)
            .map(|run| run.first)
            .chain([old.end]);
        for (run, end) in old.runs.iter().zip(ends) {
            let first = self.end;
            for number in run.first.max(old.start)..end {
                let mark = old.get(number);
                if !mark.place.is_stale() {
                    self.push(*mark);
                }
            }
            if self.end > first {
                self.runs.push_back(Run { first, ..*run });
            }
        }
    }

    /// Gives back what a longer past needed.
    pub(super) fn shrink(&mut self) {
        if self.chunks.capacity() > 4 * self.chunks.len().max(4) {
            self.chunks.shrink_to(2 * self.chunks.len());
        }
    }

    fn at(&self, number: u64) -> usize {
        let first = self.start / CHUNK as u64 * CHUNK as u64;
        usize::try_from(number - first).unwrap_or(usize::MAX)
    }
}
