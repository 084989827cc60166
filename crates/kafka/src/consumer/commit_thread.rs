//! Step 6 of the consumers' walk, last half: the thread that sends commits.
//!
//! In: offsets of some partitions. Out: the coordinator's answer for each.
//!
//! librdkafka tells the outcome of a commit only to a caller that waits for it, for up to about
//! 20 s when the coordinator is away. The poll thread must not wait, so this one does.

use super::context::{Callback, GroupContext};
use crate::KafkaError;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::KafkaError as NativeError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::sync::{Arc, Weak, mpsc};

/// Takes commits; it ends when this is dropped.
pub(crate) struct CommitSender {
    offsets: mpsc::SyncSender<BTreeMap<i32, i64>>,
}

/// What the thread has.
struct Sending {
    /// Weak: the poll thread closes the consumer.
    consumer: Weak<BaseConsumer<GroupContext>>,
    topic: String,
    metadata: String,
}

// === impl CommitSender ===

impl CommitSender {
    /// Starts the thread. Its answers come as [`Callback::Committed`].
    pub(crate) fn start(
        consumer: &Arc<BaseConsumer<GroupContext>>,
        topic: &str,
        metadata: &str,
    ) -> Result<Self, KafkaError> {
        let (offsets, queue) = mpsc::sync_channel(1);
        let sending = Sending {
            consumer: Arc::downgrade(consumer),
            topic: topic.to_owned(),
            metadata: metadata.to_owned(),
        };
        let named = std::thread::Builder::new().name("kafka-commit".to_owned());
        named
            .spawn(move || sending.run(&queue))
            .map_err(|error| KafkaError::Fatal {
                what: "consumer",
                reason: format!("cannot start its thread for commits: {error}"),
            })?;
        Ok(Self { offsets })
    }

    /// Sends `offsets`. False when an earlier commit is still waiting to be sent.
    pub(crate) fn send(&self, offsets: BTreeMap<i32, i64>) -> bool {
        self.offsets.try_send(offsets).is_ok()
    }
}

// === impl Sending ===

impl Sending {
    fn run(&self, queue: &mpsc::Receiver<BTreeMap<i32, i64>>) {
        while let Ok(offsets) = queue.recv() {
            let Some(consumer) = self.consumer.upgrade() else {
                return;
            };
            let failure = self
                .commit(&consumer, &offsets)
                .err()
                .map(|error| error.to_string());
            let each = offsets
                .into_iter()
                .map(|(at, offset)| (at, offset, failure.clone()));
            consumer.context().push(Callback::Committed(each.collect()));
        }
    }

    fn commit(
        &self,
        consumer: &BaseConsumer<GroupContext>,
        offsets: &BTreeMap<i32, i64>,
    ) -> Result<(), NativeError> {
        let mut list = TopicPartitionList::with_capacity(offsets.len());
        for (partition, offset) in offsets {
            let mut element = list.add_partition(&self.topic, *partition);
            element.set_metadata(&self.metadata);
            element.set_offset(Offset::Offset(*offset))?;
        }
        consumer.commit(&list, CommitMode::Sync)
    }
}
