//! One table of the memory store: a state machine without locks and without a clock.
//!
//! In: one subject at a time, and the time in microseconds since the store was opened (callers
//! read it before they take the lock, so it may step back by the time they waited for it). Out:
//! its answer. Promises: the laws of the trait for one id, and the bounds.

use crate::claim::{Claim, Lease, LogPosition, Lookup, Subject, Token};
use crate::store::Stats;
use cloudsync::identity::{Fingerprint, Id16, IdHash};
use std::collections::{HashMap, VecDeque};
use std::time::Duration;
use tokio::time::Instant;

/// What an entry takes at most: its slot in a map that has just doubled (8/7 of it at a load of
/// one half), and its places in a queue that has just doubled and is half stale.
pub(super) const ENTRY_BYTES: u64 = SLOT_BYTES * 16 / 7 + 4 * QUEUE_BYTES;
const SLOT_BYTES: u64 = size_of::<(Id16, Entry)>() as u64 + 1;
const QUEUE_BYTES: u64 = size_of::<(u64, Id16)>() as u64;
/// Stale places that a queue may hold beyond its live ones.
const STALE: usize = 64;

#[derive(Clone, Copy, Debug)]
pub(super) struct TableLimits {
    pub(super) entries: usize,
    /// In microseconds, as all times here.
    pub(super) window: u64,
    pub(super) lease: Duration,
    pub(super) cleanup_interval: u64,
}

/// Every entry is a running (or ended) lease. Nothing can be dropped for a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

#[derive(Clone, Copy, Debug)]
pub(super) enum MarkKind {
    Done,
    /// By a holder, or by somebody who claimed nothing.
    DeadLettered(Option<Token>),
}

/// 32 bytes; the position stands in two fields so that nothing is lost to padding.
#[derive(Clone, Copy, Debug)]
enum Entry {
    Held {
        fingerprint: Fingerprint,
        token: Token,
        deadline: u64,
    },
    Marked {
        fingerprint: Fingerprint,
        offset: i64,
        at: u64,
        partition: i32,
        done: bool,
    },
}

#[derive(Debug)]
pub(super) struct Table {
    limits: TableLimits,
    entries: HashMap<Id16, Entry, IdHash>,
    /// Marks by age. A place is stale when its mark is gone or has another time.
    order: VecDeque<(u64, Id16)>,
    held: usize,
    /// No lease ends before this.
    first_deadline: u64,
    next_cleanup: u64,
    counts: Stats,
}

// === impl Entry ===

impl Entry {
    fn fingerprint(&self) -> Fingerprint {
        match self {
            Self::Held { fingerprint, .. } | Self::Marked { fingerprint, .. } => *fingerprint,
        }
    }
}

// === impl Table: the calls of the trait ===

impl Table {
    pub(super) fn new(limits: TableLimits) -> Self {
        Self {
            limits,
            entries: HashMap::default(),
            order: VecDeque::new(),
            held: 0,
            first_deadline: u64::MAX,
            next_cleanup: limits.cleanup_interval,
            counts: Stats::default(),
        }
    }

    pub(super) fn lookup(&mut self, now: u64, subject: &Subject) -> Lookup {
        self.counts.lookups += 1;
        match self.known(now, subject) {
            None => Lookup::Unknown,
            Some(Entry::Held { deadline, .. }) if deadline <= now => Lookup::Unknown,
            Some(entry) if entry.fingerprint() != subject.fingerprint => {
                self.counts.conflicts += 1;
                Lookup::Conflict {
                    stored: entry.fingerprint(),
                }
            }
            Some(Entry::Held { .. }) => Lookup::InProgress,
            Some(Entry::Marked {
                partition,
                offset,
                done,
                ..
            }) => {
                let position = self.met_again(LogPosition { partition, offset }, subject);
                if done {
                    Lookup::Done { position }
                } else {
                    Lookup::DeadLettered { position }
                }
            }
        }
    }

    pub(super) fn claim(
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
                self.make_room(now)?;
                Claim::Granted(lease)
            }
            Some(entry) if entry.fingerprint() != subject.fingerprint => {
                self.counts.conflicts += 1;
                return Ok(Claim::Conflict {
                    stored: entry.fingerprint(),
                });
            }
            Some(Entry::Marked {
                partition,
                offset,
                done,
                ..
            }) => {
                let position = self.met_again(LogPosition { partition, offset }, subject);
                return Ok(if done {
                    Claim::Done { position }
                } else {
                    Claim::DeadLettered { position }
                });
            }
            Some(Entry::Held { token: holder, .. }) if holder == token => Claim::Mine(lease),
            Some(Entry::Held {
                token: holder,
                deadline,
                ..
            }) if deadline > now && !token.succeeds(holder) => {
                self.counts.busy += 1;
                return Ok(Claim::Busy {
                    remaining: Duration::from_micros(deadline - now),
                });
            }
            Some(Entry::Held { .. }) => {
                self.counts.taken_over += 1;
                Claim::TakenOver(lease)
            }
        };
        self.counts.granted += 1;
        self.hold(now, token, subject);
        Ok(claim)
    }

    pub(super) fn mark(&mut self, now: u64, kind: MarkKind, subject: &Subject) -> Result<(), Full> {
        let known = self.known(now, subject);
        let (done, stands) = match (kind, known) {
            (MarkKind::Done, _) => (true, false),
            (MarkKind::DeadLettered(_), Some(Entry::Marked { done, .. })) => (false, done),
            (MarkKind::DeadLettered(Some(token)), Some(Entry::Held { token: holder, .. })) => {
                (false, holder != token)
            }
            (MarkKind::DeadLettered(_), _) => (false, false),
        };
        if stands {
            return Ok(());
        }
        match known {
            None => self.make_room(now)?,
            Some(Entry::Held { .. }) => self.held -= 1,
            Some(Entry::Marked { .. }) => {}
        }
        // Marked again at the same moment it keeps its place in the order.
        if !matches!(known, Some(Entry::Marked { at, .. }) if at == now) {
            self.order.push_back((now, subject.id));
        }
        let LogPosition { partition, offset } = subject.position;
        let fingerprint = subject.fingerprint;
        let entry = Entry::Marked {
            fingerprint,
            offset,
            at: now,
            partition,
            done,
        };
        self.entries.insert(subject.id, entry);
        self.counts.marked += 1;
        if self.order.len() > 2 * (self.entries.len() - self.held) + STALE {
            self.drop_stale();
        }
        Ok(())
    }

    pub(super) fn release(&mut self, token: Token, subject: &Subject) {
        if self.is_held_by(token, subject) {
            self.entries.remove(&subject.id);
            self.held -= 1;
        }
    }

    pub(super) fn renew(&mut self, now: u64, token: Token, subject: &Subject) -> bool {
        let mine = self.is_held_by(token, subject);
        if mine {
            self.hold(now, token, subject);
            self.counts.renewed += 1;
        }
        mine
    }

    pub(super) fn forget(&mut self, subject: &Subject) {
        if let Some(Entry::Held { .. }) = self.entries.remove(&subject.id) {
            self.held -= 1;
        }
    }

    pub(super) fn add_to(&mut self, now: u64, sum: &mut Stats) {
        let mine = &self.counts;
        sum.entries += self.entries.len() as u64;
        sum.in_progress += self.held as u64;
        sum.bytes += self.entries.capacity() as u64 * 8 / 7 * SLOT_BYTES
            + self.order.capacity() as u64 * QUEUE_BYTES;
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
        let age = self
            .oldest_mark()
            .map(|(at, _)| Duration::from_micros(now.saturating_sub(at)));
        sum.effective_window = sum.effective_window.max(age);
    }
}

// === impl Table: what it knows ===

impl Table {
    /// What is known of an id, a mark only inside its window.
    fn known(&self, now: u64, subject: &Subject) -> Option<Entry> {
        match self.entries.get(&subject.id) {
            Some(Entry::Marked { at, .. }) if self.is_over(now, *at) => None,
            entry => entry.copied(),
        }
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
        let entry = self.entries.get(&subject.id);
        matches!(entry, Some(Entry::Held { token: holder, .. }) if *holder == token)
    }

    fn hold(&mut self, now: u64, token: Token, subject: &Subject) {
        let lease = u64::try_from(self.limits.lease.as_micros()).unwrap_or(u64::MAX);
        let deadline = now.saturating_add(lease);
        self.first_deadline = self.first_deadline.min(deadline);
        let entry = Entry::Held {
            fingerprint: subject.fingerprint,
            token,
            deadline,
        };
        let before = self.entries.insert(subject.id, entry);
        self.held += usize::from(!matches!(before, Some(Entry::Held { .. })));
    }
}

// === impl Table: what it drops ===

impl Table {
    pub(super) fn clean_up_if_due(&mut self, now: u64) {
        if now >= self.next_cleanup {
            self.clean_up(now);
        }
    }

    pub(super) fn clean_up(&mut self, now: u64) {
        let began = Instant::now();
        self.next_cleanup = now.saturating_add(self.limits.cleanup_interval);
        self.drop_ended_marks(now);
        self.drop_ended_leases(now);
        self.counts.last_cleanup = Some(began.elapsed());
    }

    /// Room for one entry more: by what has ended, else by the oldest mark.
    fn make_room(&mut self, now: u64) -> Result<(), Full> {
        for drop_ended in [
            |_: &mut Self, _| {},
            Self::drop_ended_marks,
            Self::drop_ended_leases,
        ] {
            drop_ended(self, now);
            if self.entries.len() < self.limits.entries {
                return Ok(());
            }
        }
        let (_, oldest) = self.oldest_mark().ok_or(Full)?;
        self.order.pop_front();
        self.entries.remove(&oldest);
        self.counts.evicted += 1;
        Ok(())
    }

    fn drop_ended_marks(&mut self, now: u64) {
        while let Some((at, id)) = self.oldest_mark()
            && self.is_over(now, at)
        {
            self.order.pop_front();
            self.entries.remove(&id);
            self.counts.expired += 1;
        }
    }

    /// Looks through all entries, but not before a lease can have ended.
    fn drop_ended_leases(&mut self, now: u64) {
        if now < self.first_deadline {
            return;
        }
        let mut first = u64::MAX;
        let before = self.entries.len();
        self.entries.retain(|_, entry| match entry {
            Entry::Held { deadline, .. } if *deadline <= now => false,
            Entry::Held { deadline, .. } => {
                first = first.min(*deadline);
                true
            }
            Entry::Marked { .. } => true,
        });
        self.held -= before - self.entries.len();
        self.first_deadline = first;
    }

    /// The oldest mark, with the stale places before it dropped: it stands first in the order.
    fn oldest_mark(&mut self) -> Option<(u64, Id16)> {
        while let Some((at, id)) = self.order.front().copied() {
            if self.is_live(at, id) {
                return Some((at, id));
            }
            self.order.pop_front();
        }
        None
    }

    fn is_live(&self, at: u64, id: Id16) -> bool {
        matches!(self.entries.get(&id), Some(Entry::Marked { at: marked, .. }) if *marked == at)
    }

    fn drop_stale(&mut self) {
        let mut order = std::mem::take(&mut self.order);
        order.retain(|(at, id)| self.is_live(*at, *id));
        self.order = order;
    }
}
