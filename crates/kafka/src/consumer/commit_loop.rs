//! Step 6 of the consumers' walk, in the poll loop: when commits are due.
//!
//! In: the table of what is due, a revocation, or somebody who asks and waits. Out: commits for the
//! sending thread, and later what came of them. Promises: never more than one under way.

use super::commit_table::{CommitError, UNANSWERED};
use super::poll::PollLoop;
use super::tracker::Watermark;
use std::collections::BTreeMap;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Somebody who waits for a commit.
pub(super) struct Waiter {
    watermark: Watermark,
    until: Instant,
    reply: oneshot::Sender<Result<(), CommitError>>,
}

// === impl PollLoop ===

impl PollLoop {
    pub(super) fn has_waiters(&self) -> bool {
        !self.waiters.is_empty()
    }

    pub(super) fn commit(&mut self) {
        let now = Instant::now();
        let offsets = {
            let mut table = self.table.lock();
            if self.forced.is_empty() || table.is_sending(now) {
                table.due(now).unwrap_or_default()
            } else {
                let forced: Vec<_> = std::mem::take(&mut self.forced).into_iter().collect();
                table.unconfirmed(&forced, true, now)
            }
        };
        self.send_commit(offsets);
        let late = self.waiters.extract_if(.., |waiter| waiter.until <= now);
        for waiter in late {
            waiter.fail("no answer in time");
        }
    }

    /// Sends a commit; its answer comes as a callback.
    pub(super) fn send_commit(&self, offsets: BTreeMap<i32, i64>) {
        if offsets.is_empty() {
            return;
        }
        let partitions: Vec<_> = offsets.keys().copied().collect();
        if !self.sender.send(offsets) {
            self.table.lock().answered(&partitions, false);
        }
    }

    pub(super) fn commit_answered(&mut self, offsets: &[(i32, i64, Option<String>)]) {
        let mut table = self.table.lock();
        for (partition, offset, failure) in offsets {
            match failure {
                None => table.confirmed(*partition, *offset),
                Some(error) => {
                    tracing::warn!(error, partition, offset, "a commit failed; it is repeated");
                }
            }
            table.answered(&[*partition], failure.is_none());
        }
        let mut waiting = Vec::new();
        for waiter in self.waiters.drain(..) {
            let of_it = |(partition, ..): &&(i32, _, _)| *partition == waiter.watermark.partition();
            let failure = offsets
                .iter()
                .find(of_it)
                .and_then(|(.., failure)| failure.as_deref());
            if table.is_confirmed(&waiter.watermark) {
                waiter.answer(Ok(()));
            } else if let Some(reason) = failure {
                waiter.fail(reason);
            } else {
                // The answer was to a commit before it.
                self.forced.insert(waiter.watermark.partition());
                waiting.push(waiter);
            }
        }
        self.waiters = waiting;
    }

    /// Whoever waits for a commit of `partitions` is told that they moved on.
    pub(super) fn disown(&mut self, partitions: &[i32]) {
        let gone = |waiter: &mut Waiter| partitions.contains(&waiter.watermark.partition());
        for waiter in self.waiters.extract_if(.., gone) {
            let error = not_owned(&waiter.watermark);
            waiter.answer(Err(error));
        }
        self.forced
            .retain(|partition| !partitions.contains(partition));
    }

    /// Commits `watermark` with the next commit, and answers `reply`.
    pub(super) fn commit_now(
        &mut self,
        watermark: Watermark,
        reply: oneshot::Sender<Result<(), CommitError>>,
    ) {
        let waiter = Waiter {
            watermark,
            until: Instant::now() + UNANSWERED,
            reply,
        };
        let mut table = self.table.lock();
        if !table.owns(&watermark) {
            waiter.answer(Err(not_owned(&watermark)));
            return;
        }
        table.submit(watermark);
        if table.is_confirmed(&watermark) {
            waiter.answer(Ok(()));
        } else {
            self.forced.insert(watermark.partition());
            self.waiters.push(waiter);
        }
    }
}

// === impl Waiter ===

impl Waiter {
    fn answer(self, result: Result<(), CommitError>) {
        if self.reply.send(result).is_err() {
            tracing::trace!("nobody waits for the commit any more");
        }
    }

    fn fail(self, reason: &str) {
        let error = CommitError::Failed {
            partition: self.watermark.partition(),
            offset: self.watermark.offset(),
            reason: reason.to_owned(),
        };
        self.answer(Err(error));
    }
}

fn not_owned(watermark: &Watermark) -> CommitError {
    CommitError::NotOwned {
        partition: watermark.partition(),
        epoch: watermark.epoch(),
    }
}
