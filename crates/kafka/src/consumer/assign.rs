//! A partition becomes ours.
//!
//! In: the group's decision. Out: [`Event::Assigned`], with what was committed and where the log
//! starts and ends, asked before the first record is read.

use super::event::{AssignedPartition, Committed, Event};
use super::partition::{BatchBuilder, PartitionRecords, Queue};
use super::poll::{Part, PollLoop};
use super::rebalance::Step;
use super::tracker::Epoch;
use crate::KafkaError;
use crate::client;
use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError as NativeError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How soon a question that failed is asked again.
const RETRY: Duration = Duration::from_millis(500);
/// How long a committed offset behind the end of the log is given to become real: a new leader
/// may not know its end yet.
const UNCERTAIN: Duration = Duration::from_secs(5);

/// Where a partition's reading starts.
struct Start {
    committed: Option<Committed>,
    log_start: i64,
    log_end: i64,
}

// === impl Start ===

impl Start {
    /// Where to read from: the committed offset, as long as the log has it.
    fn offset(&self) -> i64 {
        match &self.committed {
            Some(at) if (self.log_start..=self.log_end).contains(&at.offset) => at.offset,
            Some(_) | None => self.log_start,
        }
    }

    fn is_behind_the_end(&self) -> bool {
        self.committed
            .as_ref()
            .is_some_and(|at| at.offset > self.log_end)
    }

    fn report(&self, topic: &str, partition: i32) {
        let (log_start, log_end) = (self.log_start, self.log_end);
        if let Some(Committed {
            offset: committed, ..
        }) = &self.committed
            && *committed != self.offset()
        {
            let committed = *committed;
            tracing::error!(
                topic,
                partition,
                committed,
                log_start,
                log_end,
                "the log does not hold the committed offset any more; reading from its start"
            );
        }
    }
}

// === impl PollLoop ===

impl PollLoop {
    pub(super) fn try_assign(
        &mut self,
        partitions: Vec<i32>,
        since: Instant,
        next_try: Instant,
        now: Instant,
    ) -> Option<Step> {
        let again = |partitions| {
            Some(Step::Asking {
                partitions,
                since,
                next_try: now + RETRY,
            })
        };
        if now < next_try {
            return Some(Step::Asking {
                partitions,
                since,
                next_try,
            });
        }
        let starts = match self.ask_starts(&partitions) {
            Ok(starts) => starts,
            Err(error) => {
                tracing::warn!(%error, ?partitions, "cannot ask where to start; trying again");
                return again(partitions);
            }
        };
        if starts.values().any(Start::is_behind_the_end) && now - since < UNCERTAIN {
            return again(partitions);
        }
        if let Err(error) = self.assign(starts) {
            self.fail(format!(
                "cannot take over partitions {partitions:?}: {error}"
            ));
        }
        None
    }

    fn ask_starts(&self, partitions: &[i32]) -> Result<BTreeMap<i32, Start>, KafkaError> {
        let (settings, topic) = (&*self.settings, self.settings.topic.as_str());
        let mut committed = client::committed(&*self.consumer, settings, partitions)?;
        let starts = client::ends(
            &*self.consumer,
            settings,
            topic,
            partitions,
            Offset::Beginning,
        )?;
        let ends = client::ends(&*self.consumer, settings, topic, partitions, Offset::End)?;
        let start = |(partition, log_start): (i32, i64)| {
            let committed = committed.remove(&partition);
            let log_end = ends.get(&partition).copied().unwrap_or(log_start);
            (
                partition,
                Start {
                    committed,
                    log_start,
                    log_end,
                },
            )
        };
        Ok(starts.into_iter().map(start).collect())
    }

    fn assign(&mut self, starts: BTreeMap<i32, Start>) -> Result<(), NativeError> {
        let topic = self.settings.topic.clone();
        let mut list = TopicPartitionList::with_capacity(starts.len());
        for (partition, start) in &starts {
            start.report(&topic, *partition);
            list.add_partition_offset(&topic, *partition, Offset::Offset(start.offset()))?;
            let attached = self.records.as_ref().map(|r| r.attach(&topic, *partition));
            if attached != Some(true) {
                let why = format!("partition {partition} of {topic} has no queue");
                return Err(NativeError::Subscription(why));
            }
        }
        self.consumer.incremental_assign(&list)?;
        // A rebalance in which we keep what we have assigns nothing, and is told to librdkafka only.
        if starts.is_empty() {
            return Ok(());
        }
        // A pause outlives the assignment that it was made in.
        self.consumer.resume(&list)?;
        let mut assigned = Vec::with_capacity(starts.len());
        for (partition, start) in starts {
            assigned.push(self.take_over(partition, start));
        }
        tracing::info!(
            group = self.group.group,
            partitions = ?assigned.iter().map(|one| one.partition).collect::<Vec<_>>(),
            "partitions assigned"
        );
        self.emit(Event::Assigned {
            partitions: assigned,
        });
        Ok(())
    }

    fn take_over(&mut self, partition: i32, start: Start) -> AssignedPartition {
        let epoch = Epoch::next();
        let queue = Arc::new(Queue::new(Arc::clone(&self.drained)));
        let offset = start.offset();
        let ours = start
            .committed
            .as_ref()
            .filter(|at| at.metadata == self.group.commit_metadata);
        self.table
            .lock()
            .assign(partition, epoch, offset, ours.map(|at| at.offset));
        let part = Part {
            epoch,
            queue: Arc::clone(&queue),
            builder: BatchBuilder::new(),
            next: offset,
            paused: false,
            intake: true,
        };
        if let Some(earlier) = self.parts.insert(partition, part) {
            earlier.queue.close();
        }
        AssignedPartition {
            partition,
            epoch,
            committed: start.committed,
            log_start: start.log_start,
            log_end: start.log_end,
            start: offset,
            records: PartitionRecords::new(queue),
        }
    }
}
