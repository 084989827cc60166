//! What a Redis store has answered, for [`Stats`].
//!
//! In: answers. Out: counts. Promises: the numbers that the memory store would count.

use crate::claim::{Claim, LogPosition, Lookup, Subject};
use crate::store::Stats;
use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Debug, Default)]
pub(super) struct Counts {
    lookups: AtomicU64,
    granted: AtomicU64,
    taken_over: AtomicU64,
    busy: AtomicU64,
    duplicates: AtomicU64,
    redeliveries: AtomicU64,
    conflicts: AtomicU64,
    renewed: AtomicU64,
    marked: AtomicU64,
}

/// Counts of one call, added to the shared ones at its end.
#[derive(Default)]
struct Met {
    duplicates: u64,
    redeliveries: u64,
    conflicts: u64,
}

fn add(to: &AtomicU64, count: u64) {
    if count > 0 {
        to.fetch_add(count, Ordering::Relaxed);
    }
}

// === impl Counts ===

impl Counts {
    pub(super) fn looked_up(&self, subjects: &[Subject], answers: &[Lookup]) {
        let mut met = Met::default();
        for (subject, answer) in subjects.iter().zip(answers) {
            match answer {
                Lookup::Unknown | Lookup::InProgress => {}
                Lookup::Done { position } | Lookup::DeadLettered { position } => {
                    met.again(subject, *position);
                }
                Lookup::Conflict { .. } => met.conflicts += 1,
            }
        }
        add(&self.lookups, answers.len() as u64);
        self.met(&met);
    }

    pub(super) fn claimed(&self, subjects: &[Subject], answers: &[Claim]) {
        let mut met = Met::default();
        let (mut granted, mut taken_over, mut busy) = (0, 0, 0);
        for (subject, answer) in subjects.iter().zip(answers) {
            match answer {
                Claim::Granted(_) | Claim::Mine(_) => granted += 1,
                Claim::TakenOver(_) => {
                    granted += 1;
                    taken_over += 1;
                }
                Claim::Done { position } | Claim::DeadLettered { position } => {
                    met.again(subject, *position);
                }
                Claim::Conflict { .. } => met.conflicts += 1,
                Claim::Busy { .. } => busy += 1,
            }
        }
        add(&self.granted, granted);
        add(&self.taken_over, taken_over);
        add(&self.busy, busy);
        self.met(&met);
    }

    pub(super) fn renewed(&self, answers: &[bool]) {
        add(
            &self.renewed,
            answers.iter().filter(|held| **held).count() as u64,
        );
    }

    pub(super) fn marked(&self, count: usize) {
        add(&self.marked, count as u64);
    }

    fn met(&self, met: &Met) {
        add(&self.duplicates, met.duplicates);
        add(&self.redeliveries, met.redeliveries);
        add(&self.conflicts, met.conflicts);
    }

    /// The counts, in `stats`.
    pub(super) fn fill(&self, stats: &mut Stats) {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        stats.lookups = read(&self.lookups);
        stats.granted = read(&self.granted);
        stats.taken_over = read(&self.taken_over);
        stats.busy = read(&self.busy);
        stats.duplicates = read(&self.duplicates);
        stats.redeliveries = read(&self.redeliveries);
        stats.conflicts = read(&self.conflicts);
        stats.renewed = read(&self.renewed);
        stats.marked = read(&self.marked);
    }
}

impl Met {
    fn again(&mut self, subject: &Subject, marked: LogPosition) {
        let again = marked == subject.position;
        self.redeliveries += u64::from(again);
        self.duplicates += u64::from(!again);
    }
}
