//! Partitions come and go.
//!
//! In: the group's decisions, one after another. Out: [`Event::Assigned`] (in `assign`);
//! [`Event::Revoking`], then a bounded wait, the last commit, and only then the end of the epoch;
//! or [`Event::Lost`]. Other partitions go on while one drains.

use super::event::{Event, RevokeAck};
use super::poll::{End, PollLoop};
use crate::client;
use rdkafka::consumer::Consumer;
use rdkafka::topic_partition_list::Offset;
use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Duration;
use tokio::time::Instant;

/// How soon a last commit that failed is sent again.
const COMMIT_AGAIN: Duration = Duration::from_millis(100);
/// The group's decisions that are not carried out yet.
#[derive(Default)]
pub(super) struct Rebalancing {
    decisions: VecDeque<Decision>,
    current: Option<Step>,
}

enum Decision {
    Assign(Vec<i32>),
    Revoke(Vec<i32>),
}

pub(super) enum Step {
    /// Asking where to start.
    Asking {
        partitions: Vec<i32>,
        since: Instant,
        next_try: Instant,
    },
    /// Waiting for the readers to finish.
    Draining {
        partitions: Vec<i32>,
        done: Receiver<()>,
        until: Instant,
    },
    /// Waiting for the last commit.
    Committing {
        partitions: Vec<i32>,
        until: Instant,
        next_try: Instant,
    },
}

// === impl Rebalancing ===

impl Rebalancing {
    pub(super) fn assign(&mut self, partitions: Vec<i32>) {
        self.decisions.push_back(Decision::Assign(partitions));
    }

    pub(super) fn revoke(&mut self, partitions: Vec<i32>) {
        self.decisions.push_back(Decision::Revoke(partitions));
    }
}

// === impl PollLoop ===

impl PollLoop {
    pub(super) fn is_rebalancing(&self) -> bool {
        self.rebalancing.current.is_some() || !self.rebalancing.decisions.is_empty()
    }

    /// Carries the group's decisions on, one after another.
    pub(super) fn rebalance(&mut self) {
        let now = Instant::now();
        if self.rebalancing.current.is_none() {
            match self.rebalancing.decisions.pop_front() {
                Some(Decision::Assign(partitions)) => {
                    let asking = Step::Asking {
                        partitions,
                        since: now,
                        next_try: now,
                    };
                    self.rebalancing.current = Some(asking);
                }
                Some(Decision::Revoke(partitions)) => self.start_revoking(partitions, now),
                None => return,
            }
        }
        let Some(step) = self.rebalancing.current.take() else {
            return;
        };
        self.rebalancing.current = match step {
            Step::Asking {
                partitions,
                since,
                next_try,
            } => self.try_assign(partitions, since, next_try, now),
            Step::Draining {
                partitions,
                done,
                until,
            } => self.drain(partitions, done, until, now),
            Step::Committing {
                partitions,
                until,
                next_try,
            } => self.commit_last(partitions, until, next_try, now),
        };
    }

    fn start_revoking(&mut self, partitions: Vec<i32>, now: Instant) {
        let lost = self.consumer.assignment_lost();
        tracing::info!(
            group = self.group.group,
            ?partitions,
            lost,
            "partitions revoked"
        );
        for partition in &partitions {
            if let Some(part) = self.parts.get_mut(partition) {
                part.intake = false;
                part.queue.close();
                tracing::debug!(partition, epoch = %part.epoch, "no more records");
            }
        }
        if lost {
            self.finish_revoking(&partitions);
            self.emit(Event::Lost { partitions });
            return;
        }
        let (ack, done) = RevokeAck::new();
        self.emit(Event::Revoking {
            partitions: partitions.clone(),
            done: ack,
        });
        let until = now + self.group.drain();
        self.rebalancing.current = Some(Step::Draining {
            partitions,
            done,
            until,
        });
    }

    fn drain(
        &mut self,
        partitions: Vec<i32>,
        done: Receiver<()>,
        until: Instant,
        now: Instant,
    ) -> Option<Step> {
        if self.consumer.assignment_lost() {
            self.finish_revoking(&partitions);
            self.emit(Event::Lost { partitions });
            return None;
        }
        match done.try_recv() {
            Err(TryRecvError::Empty) if now < until => {
                return Some(Step::Draining {
                    partitions,
                    done,
                    until,
                });
            }
            Err(TryRecvError::Empty) => {
                tracing::warn!(
                    ?partitions,
                    "work in flight did not end in time; it is redelivered"
                );
            }
            Ok(()) | Err(TryRecvError::Disconnected) => {}
        }
        let until = now + super::LAST_COMMIT;
        self.commit_last(partitions, until, now, now)
    }

    fn commit_last(
        &mut self,
        partitions: Vec<i32>,
        until: Instant,
        next_try: Instant,
        now: Instant,
    ) -> Option<Step> {
        let wait = |partitions, next_try| {
            Some(Step::Committing {
                partitions,
                until,
                next_try,
            })
        };
        let lost = self.consumer.assignment_lost();
        if !lost && now < until {
            if self.table.lock().is_sending(now) || now < next_try {
                return wait(partitions, next_try);
            }
            let offsets = self.table.lock().unconfirmed(&partitions, false, now);
            if !offsets.is_empty() {
                self.send_commit(offsets);
                return wait(partitions, now + COMMIT_AGAIN);
            }
        } else {
            tracing::warn!(
                ?partitions,
                lost,
                "the last commit was not taken; records are redelivered"
            );
        }
        self.finish_revoking(&partitions);
        None
    }

    fn finish_revoking(&mut self, partitions: &[i32]) {
        for partition in partitions {
            self.table.lock().retire(*partition);
            if let Some(part) = self.parts.remove(partition) {
                part.queue.close();
            }
        }
        self.disown(partitions);
        let list = client::list_of(&self.settings.topic, partitions, Offset::Invalid);
        if let Err(error) = list.and_then(|list| self.consumer.incremental_unassign(&list)) {
            self.fail(format!("cannot give up partitions {partitions:?}: {error}"));
        }
    }

    /// The loop has ended: ends all readers, and answers what the group still waits for.
    pub(super) fn abandon(&mut self) {
        let all: Vec<_> = self.parts.keys().copied().collect();
        for part in std::mem::take(&mut self.parts).into_values() {
            part.queue.close();
        }
        for partition in &all {
            self.table.lock().retire(*partition);
        }
        self.disown(&all);
        let unanswered = match self.rebalancing.current.take() {
            Some(Step::Asking { partitions, .. }) => Some(Decision::Assign(partitions)),
            Some(Step::Draining { partitions, .. } | Step::Committing { partitions, .. }) => {
                Some(Decision::Revoke(partitions))
            }
            None => None,
        };
        let failed = matches!(self.end, Some(End::Failed(_)));
        let rest = std::mem::take(&mut self.rebalancing.decisions);
        for decision in unanswered.into_iter().chain(rest) {
            let (assign, partitions) = match decision {
                Decision::Assign(partitions) => (true, partitions),
                Decision::Revoke(partitions) => (false, partitions),
            };
            let list = client::list_of(&self.settings.topic, &partitions, Offset::Invalid);
            let answered = list.and_then(|list| match assign {
                true => self.consumer.incremental_assign(&list),
                false => self.consumer.incremental_unassign(&list),
            });
            if let Err(error) = answered {
                tracing::debug!(%error, failed, "a rebalance was not answered");
            }
        }
    }
}
