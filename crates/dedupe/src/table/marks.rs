//! Done and dead-letter marks: exact, by id and by age, in less than 40 bytes each.
//!
//! In: marks, with their time in microseconds. Out: what is known of an id; the oldest mark first
//! when they are dropped. Promises: [`MARK_BYTES`] a mark and [`FIXED_BYTES`] at the most, slack of
//! every kind included.
//!
//! A mark takes 32 bytes in the [`Ring`], where marks stand by age, and 5 to 6 bytes in the
//! [`Index`], which leads there. A mark set anew gets a new place, unless its time is the same; the
//! old one is stale, and an eighth of all places may be.

use super::index::{self, Index, NUMBERS};
use super::place::Place;
use super::ring::{self, Mark, Ring};
use crate::claim::{LogPosition, Subject};
use cloudsync::identity::{Fingerprint, Id16};
use std::collections::HashMap;

/// What a mark takes at most: its place and an eighth of a stale one, its share of an index that
/// has just grown, of the list of chunks, and of what an allocator adds to a chunk.
pub(crate) const MARK_BYTES: u64 = 36 + 7 + 1;
/// What there is beyond that: a chunk that fills and one that empties, stale places, the times.
pub(crate) const FIXED_BYTES: u64 =
    (2 * ring::CHUNK_BYTES + STALE * size_of::<Mark>() + ring::RUNS_BYTES + index::BUCKET_BYTES)
        as u64;
/// Most marks: places have numbers of 24 bits, and some of them are stale.
pub(crate) const MAX_MARKS: usize = NUMBERS as usize / 2;
/// Stale places beyond an eighth of the live ones.
const STALE: usize = 64;

/// What is known of an id.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    pub(super) fingerprint: Fingerprint,
    pub(super) position: LogPosition,
    pub(super) done: bool,
    /// When it was marked, at the latest.
    pub(super) at: u64,
}

#[derive(Debug)]
pub(super) struct Marks {
    ring: Ring,
    index: Index,
    /// Positions that do not fit into a place.
    wide: HashMap<Id16, LogPosition>,
}

// === impl Marks ===

impl Marks {
    pub(super) fn new(window: u64) -> Self {
        Self {
            ring: Ring::new(window),
            index: Index::default(),
            wide: HashMap::new(),
        }
    }

    /// Makes room for so many marks at once.
    pub(super) fn expect(&mut self, marks: usize) {
        if marks > self.index.room() {
            self.rebuild(marks);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    pub(super) fn bytes(&self) -> usize {
        let wide = self.wide.capacity() * 8 / 7 * (size_of::<(Id16, LogPosition)>() + 1);
        self.ring.bytes() + self.index.bytes() + wide
    }

    pub(super) fn get(&self, id: &Id16) -> Option<Known> {
        let number = self.find(id)?;
        let mark = self.ring.get(number);
        let position = mark.place.position().or_else(|| self.wide.get(id).copied());
        Some(Known {
            fingerprint: mark.fingerprint,
            position: position?,
            done: mark.place.is_done(),
            at: self.ring.time(number),
        })
    }

    /// Marks the subject's id as of `now`, whatever was known of it.
    pub(super) fn set(&mut self, now: u64, subject: &Subject, done: bool) {
        let Subject {
            id,
            fingerprint,
            position,
            ..
        } = *subject;
        let place = Place::pack(position, done);
        if place.position().is_none() {
            self.wide.insert(id, position);
        } else if !self.wide.is_empty() {
            self.wide.remove(&id);
        }
        let mark = Mark {
            id,
            fingerprint,
            place,
        };
        let open = self.ring.open_run(now);
        match self.find(&id) {
            Some(number) if number >= open => *self.ring.get_mut(number) = mark,
            Some(old) => {
                self.ring.get_mut(old).place.make_stale();
                let number = self.ring.push(mark);
                self.index.replace(&id, low(old), low(number));
                if self.ring.len() > self.len() + self.len() / 8 + STALE {
                    self.ring.compact();
                    self.rebuild(self.index.room());
                }
            }
            None => {
                if self.index.len() >= self.index.room() {
                    self.rebuild(self.index.next_room());
                }
                let number = self.ring.push(mark);
                self.index.insert(&id, low(number));
            }
        }
    }

    pub(super) fn remove(&mut self, id: &Id16) {
        if let Some(number) = self.find(id) {
            self.ring.get_mut(number).place.make_stale();
            self.index.remove(id, low(number));
            self.wide.remove(id);
        }
    }

    /// When the oldest mark was set, at the latest.
    pub(super) fn oldest(&mut self) -> Option<u64> {
        self.pop_stale();
        self.ring.oldest_time()
    }

    /// When the oldest mark was set, at the earliest.
    pub(super) fn oldest_since(&mut self) -> Option<u64> {
        self.pop_stale();
        self.ring.oldest_since()
    }

    fn pop_stale(&mut self) {
        while self.ring.oldest().is_some_and(|mark| mark.place.is_stale()) {
            self.ring.pop();
        }
    }

    /// Drops the oldest mark. Out: whether there was one.
    pub(super) fn drop_oldest(&mut self) -> bool {
        loop {
            let number = self.ring.numbers().start;
            let Some(mark) = self.ring.pop() else {
                return false;
            };
            if !mark.place.is_stale() {
                self.index.remove(&mark.id, low(number));
                self.wide.remove(&mark.id);
                return true;
            }
        }
    }

    /// Gives back what more marks needed.
    pub(super) fn shrink(&mut self) {
        self.ring.shrink();
        if self.index.room() > 2 * self.len().max(64) {
            self.rebuild(self.len() + self.len() / 8);
        }
    }

    fn find(&self, id: &Id16) -> Option<u64> {
        let is_it = |low| self.ring.get(self.ring.number(low, NUMBERS)).id == *id;
        let low = self.index.find(id, is_it)?;
        Some(self.ring.number(low, NUMBERS))
    }

    fn rebuild(&mut self, room: usize) {
        // The old one goes first: there are never two.
        self.index = Index::default();
        self.index = Index::with_room_for(room);
        for number in self.ring.numbers() {
            let mark = self.ring.get(number);
            if !mark.place.is_stale() {
                self.index.insert(&mark.id, low(number));
            }
        }
    }
}

fn low(number: u64) -> u32 {
    // Masked to 24 bits.
    u32::try_from(number & u64::from(NUMBERS - 1)).unwrap_or_default()
}
