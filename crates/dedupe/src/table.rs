//! One table of a store that lives in this process: a state machine without locks and without a
//! clock.
//!
//! In: one subject at a time, and the time in microseconds since some moment of the store's choice
//! (callers read it before they take the lock, so it may step back by the time they waited for it).
//! Out: its answer. Promises: the laws of the trait for one id, and the bounds.

use crate::claim::{Claim, Found, FoundState, Lease, LogPosition, Lookup, Subject, Token};
use crate::store::Stats;
use cloudsync::identity::{Fingerprint, Id16};
use marks::{Known, Marks};
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

mod index;
mod marks;
mod place;
mod ring;

pub(crate) use index::Index;
pub(crate) use marks::{FIXED_BYTES, MARK_BYTES, MAX_MARKS};

/// What a claim in progress takes at most: its slot in a map that has just doubled (8/7 of it at a
/// load of one half).
pub(crate) const HELD_BYTES: u64 = SLOT_BYTES * 16 / 7;
const SLOT_BYTES: u64 = size_of::<(Id16, Held)>() as u64 + 1;
/// Ended marks that a new mark takes with it, so that none pile up between two clean-ups.
const TAKEN_ALONG: usize = 8;

#[derive(Clone, Copy, Debug)]
pub(crate) struct TableLimits {
    pub(crate) entries: usize,
    /// By [`MARK_BYTES`] and [`HELD_BYTES`].
    pub(crate) bytes: u64,
    /// In microseconds, as all times here.
    pub(crate) window: u64,
    pub(crate) lease: Duration,
    pub(crate) cleanup_interval: u64,
}

/// Every entry is a running (or ended) lease. Nothing can be dropped for a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

#[derive(Clone, Copy, Debug)]
pub(crate) enum MarkKind {
    Done,
    /// By a holder, or by somebody who claimed nothing.
    DeadLettered(Option<Token>),
}

#[derive(Clone, Copy, Debug)]
struct Held {
    fingerprint: Fingerprint,
    token: Token,
    deadline: u64,
}

/// An id is held or marked, or neither; held it may have an ended mark besides, which says nothing.
#[derive(Clone, Copy, Debug)]
enum Entry {
    Held(Held),
    Marked(Known),
}

#[derive(Debug)]
pub(crate) struct Table {
    limits: TableLimits,
    held: HashMap<Id16, Held>,
    marks: Marks,
    /// No lease ends before this.
    first_deadline: u64,
    next_cleanup: u64,
    counts: Stats,
}

// === impl Entry ===

impl Entry {
    fn fingerprint(&self) -> Fingerprint {
        match self {
            Self::Held(held) => held.fingerprint,
            Self::Marked(known) => known.fingerprint,
        }
    }
}

// === impl Table: the calls of the trait ===

impl Table {
    /// `now` is the time of its first call, or before.
    pub(crate) fn new(limits: TableLimits, now: u64) -> Self {
        Self {
            limits,
            held: HashMap::new(),
            marks: Marks::new(limits.window),
            first_deadline: u64::MAX,
            next_cleanup: now.saturating_add(limits.cleanup_interval),
            counts: Stats::default(),
        }
    }

    /// So many marks will be set soon.
    pub(crate) fn expect(&mut self, marks: usize) {
        self.marks.expect(marks.min(self.limits.entries));
    }

    pub(crate) fn lookup(&mut self, now: u64, subject: &Subject) -> Lookup {
        self.counts.lookups += 1;
        let lookup = Lookup::of(self.found(now, subject), subject);
        match lookup {
            Lookup::Unknown | Lookup::InProgress => {}
            Lookup::Conflict { .. } => self.counts.conflicts += 1,
            Lookup::Done { position } | Lookup::DeadLettered { position } => {
                self.met_again(position, subject);
            }
        }
        lookup
    }

    /// What stands under the id of `subject`, whatever its content. Not counted.
    pub(crate) fn found(&self, now: u64, subject: &Subject) -> Option<Found> {
        let entry = self.known(now, subject)?;
        let fingerprint = entry.fingerprint();
        let state = match entry {
            Entry::Held(held) if held.deadline <= now => return None,
            Entry::Held(_) => FoundState::InProgress,
            Entry::Marked(Known { position, done, .. }) => match done {
                true => FoundState::Done { position },
                false => FoundState::DeadLettered { position },
            },
        };
        Some(Found { fingerprint, state })
    }

    pub(crate) fn claim(
        &mut self,
        now: u64,
        token: Token,
        subject: &Subject,
    ) -> Result<Claim, Full> {
        let lease = Lease {
            length: self.limits.lease,
        };
        let claim = match self.known(now, subject) {
            None => {
                self.make_room(now, HELD_BYTES)?;
                Claim::Granted(lease)
            }
            Some(entry) if entry.fingerprint() != subject.fingerprint => {
                self.counts.conflicts += 1;
                return Ok(Claim::Conflict {
                    stored: entry.fingerprint(),
                });
            }
            Some(Entry::Marked(known)) => {
                let position = self.met_again(known.position, subject);
                return Ok(if known.done {
                    Claim::Done { position }
                } else {
                    Claim::DeadLettered { position }
                });
            }
            Some(Entry::Held(held)) if held.token == token => Claim::Mine(lease),
            Some(Entry::Held(held)) if held.deadline > now && !token.succeeds(held.token) => {
                self.counts.busy += 1;
                return Ok(Claim::Busy {
                    remaining: Duration::from_micros(held.deadline - now),
                });
            }
            Some(Entry::Held(_)) => {
                self.counts.taken_over += 1;
                Claim::TakenOver(lease)
            }
        };
        self.counts.granted += 1;
        self.hold(now, token, subject);
        Ok(claim)
    }

    /// Out: whether it was marked; `false` where something stands that a dead letter does not undo.
    pub(crate) fn mark(
        &mut self,
        now: u64,
        kind: MarkKind,
        subject: &Subject,
    ) -> Result<bool, Full> {
        self.drop_ended_marks(now, TAKEN_ALONG);
        let known = self.known(now, subject);
        let (done, stands) = match (kind, known) {
            (MarkKind::Done, _) => (true, false),
            (MarkKind::DeadLettered(_), Some(Entry::Marked(known))) => (false, known.done),
            (MarkKind::DeadLettered(Some(token)), Some(Entry::Held(held))) => {
                (false, held.token != token)
            }
            (MarkKind::DeadLettered(_), _) => (false, false),
        };
        if stands {
            return Ok(false);
        }
        match known {
            None => self.make_room(now, MARK_BYTES)?,
            Some(Entry::Held(_)) => self.let_go(subject.id),
            Some(Entry::Marked(_)) => {}
        }
        self.marks.set(now, subject, done);
        self.counts.marked += 1;
        Ok(true)
    }

    pub(crate) fn release(&mut self, token: Token, subject: &Subject) {
        if self.is_held_by(token, subject) {
            self.let_go(subject.id);
        }
    }

    pub(crate) fn renew(&mut self, now: u64, token: Token, subject: &Subject) -> bool {
        let mine = self.is_held_by(token, subject);
        if mine {
            self.hold(now, token, subject);
            self.counts.renewed += 1;
        }
        mine
    }

    pub(crate) fn forget(&mut self, subject: &Subject) {
        self.let_go(subject.id);
        self.marks.remove(&subject.id);
    }

    pub(crate) fn reopen(&mut self, now: u64, subject: &Subject) {
        let found = self.found(now, subject);
        if found.is_some_and(|found| found.is_reopened_by(subject)) {
            self.marks.remove(&subject.id);
        }
    }

    pub(crate) fn add_to(&mut self, now: u64, sum: &mut Stats) {
        let mine = &self.counts;
        sum.entries += self.len() as u64;
        sum.in_progress += self.held.len() as u64;
        sum.bytes += self.marks.bytes() as u64 + self.held.capacity() as u64 * 8 / 7 * SLOT_BYTES;
        sum.evicted += mine.evicted;
        sum.expired += mine.expired;
        sum.last_cleanup = sum.last_cleanup.max(mine.last_cleanup);
        sum.lookups += mine.lookups;
        sum.granted += mine.granted;
        sum.taken_over += mine.taken_over;
        sum.busy += mine.busy;
        sum.duplicates += mine.duplicates;
        sum.redeliveries += mine.redeliveries;
        sum.conflicts += mine.conflicts;
        sum.renewed += mine.renewed;
        sum.marked += mine.marked;
        let oldest = self.oldest_mark();
        let age = oldest.map(|at| Duration::from_micros(now.saturating_sub(at)));
        sum.effective_window = sum.effective_window.max(age);
    }

    /// When the oldest mark was set, at the latest.
    pub(crate) fn oldest_mark(&mut self) -> Option<u64> {
        self.marks.oldest()
    }

    /// When the oldest mark was set, at the earliest.
    pub(crate) fn oldest_since(&mut self) -> Option<u64> {
        self.marks.oldest_since()
    }

    /// Counts from here on.
    pub(crate) fn reset_counts(&mut self) -> Stats {
        std::mem::take(&mut self.counts)
    }
}

// === impl Table: what it knows ===

impl Table {
    fn len(&self) -> usize {
        self.marks.len() + self.held.len()
    }

    /// What is known of an id, a mark only inside its window.
    fn known(&self, now: u64, subject: &Subject) -> Option<Entry> {
        if !self.held.is_empty()
            && let Some(held) = self.held.get(&subject.id)
        {
            return Some(Entry::Held(*held));
        }
        let known = self.marks.get(&subject.id)?;
        (!self.is_over(now, known.at)).then_some(Entry::Marked(known))
    }

    fn is_over(&self, now: u64, marked_at: u64) -> bool {
        now.saturating_sub(marked_at) > self.limits.window
    }

    fn met_again(&mut self, marked: LogPosition, subject: &Subject) -> LogPosition {
        let again = marked == subject.position;
        self.counts.redeliveries += u64::from(again);
        self.counts.duplicates += u64::from(!again);
        marked
    }

    fn is_held_by(&self, token: Token, subject: &Subject) -> bool {
        let held = self.held.get(&subject.id);
        held.is_some_and(|held| held.token == token)
    }

    fn hold(&mut self, now: u64, token: Token, subject: &Subject) {
        let lease = u64::try_from(self.limits.lease.as_micros()).unwrap_or(u64::MAX);
        let deadline = now.saturating_add(lease);
        self.first_deadline = self.first_deadline.min(deadline);
        let held = Held {
            fingerprint: subject.fingerprint,
            token,
            deadline,
        };
        self.held.insert(subject.id, held);
    }

    fn let_go(&mut self, id: Id16) {
        self.held.remove(&id);
        // What a burst of claims needed belongs to marks again.
        if self.held.capacity() > 4 * self.held.len().max(16) {
            self.held.shrink_to(2 * self.held.len());
        }
    }
}

// === impl Table: what it drops ===

impl Table {
    pub(crate) fn clean_up_if_due(&mut self, now: u64) {
        if now >= self.next_cleanup {
            self.clean_up(now);
        }
    }

    pub(crate) fn clean_up(&mut self, now: u64) {
        let began = Instant::now();
        self.next_cleanup = now.saturating_add(self.limits.cleanup_interval);
        self.drop_ended_marks(now, usize::MAX);
        self.drop_ended_leases(now);
        self.marks.shrink();
        self.counts.last_cleanup = Some(began.elapsed());
    }

    /// Room for one entry more of `bytes`: by what has ended, else by the oldest marks.
    fn make_room(&mut self, now: u64, bytes: u64) -> Result<(), Full> {
        if self.has_room(bytes) {
            return Ok(());
        }
        self.drop_ended_marks(now, usize::MAX);
        if !self.has_room(bytes) {
            self.drop_ended_leases(now);
        }
        while !self.has_room(bytes) {
            if !self.marks.drop_oldest() {
                return Err(Full);
            }
            self.counts.evicted += 1;
        }
        Ok(())
    }

    fn has_room(&self, bytes: u64) -> bool {
        let (marks, held) = (self.marks.len(), self.held.len());
        let used = marks as u64 * MARK_BYTES + held as u64 * HELD_BYTES;
        self.len() < self.limits.entries && marks < MAX_MARKS && used + bytes <= self.limits.bytes
    }

    fn drop_ended_marks(&mut self, now: u64, most: usize) {
        for _ in 0..most {
            let ended = self.oldest_mark().filter(|at| self.is_over(now, *at));
            if ended.is_none() || !self.marks.drop_oldest() {
                return;
            }
            self.counts.expired += 1;
        }
    }

    /// Looks through all leases, but not before one can have ended.
    fn drop_ended_leases(&mut self, now: u64) {
        if now < self.first_deadline {
            return;
        }
        let mut first = u64::MAX;
        self.held.retain(|_, held| {
            let runs = held.deadline > now;
            if runs {
                first = first.min(held.deadline);
            }
            runs
        });
        self.first_deadline = first;
    }
}
