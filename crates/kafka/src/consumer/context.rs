//! What librdkafka calls back with, kept for the poll loop.
//!
//! A rebalance is answered after the poll that announced it, not inside: the loop then owns all
//! state without locks, and can go on polling other partitions while one drains.

use crate::client;
use parking_lot::Mutex;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError as NativeError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaRespErr;
use std::sync::atomic::{AtomicBool, Ordering};

/// One call of librdkafka.
#[derive(Debug)]
pub(crate) enum Callback {
    /// The group gives us these.
    Assign(Vec<i32>),
    /// The group takes these.
    Revoke(Vec<i32>),
    /// A commit was answered: partition, offset, and why it failed, if so.
    Committed(Vec<(i32, i64, Option<String>)>),
    /// The client as a whole has a problem.
    Error(RDKafkaErrorCode, String),
}

/// Context of the group's consumer.
#[derive(Debug, Default)]
pub(crate) struct GroupContext {
    callbacks: Mutex<Vec<Callback>>,
    closing: AtomicBool,
}

// === impl GroupContext ===

impl GroupContext {
    /// What was called since the last time, in order.
    pub(crate) fn take(&self) -> Vec<Callback> {
        std::mem::take(&mut self.callbacks.lock())
    }

    /// From now on rebalances are answered at once: nobody takes them any more.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::Release);
    }

    pub(crate) fn push(&self, callback: Callback) {
        self.callbacks.lock().push(callback);
    }
}

impl ClientContext for GroupContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        client::log(level, facility, message);
    }

    fn error(&self, error: NativeError, reason: &str) {
        tracing::debug!(%error, reason, "kafka consumer");
        if let Some(code) = error.rdkafka_error_code() {
            self.push(Callback::Error(code, reason.to_owned()));
        }
    }

    fn stats_raw(&self, _statistics: &[u8]) {}
}

impl ConsumerContext for GroupContext {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        kind: RDKafkaRespErr,
        list: &mut TopicPartitionList,
    ) {
        let assign = kind == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if self.closing.load(Ordering::Acquire) {
            let answered = if assign {
                consumer.incremental_assign(list)
            } else {
                consumer.incremental_unassign(list)
            };
            if let Err(error) = answered {
                tracing::debug!(%error, assign, "the last rebalance was not answered");
            }
            return;
        }
        let partitions = list
            .elements()
            .iter()
            .map(|element| element.partition())
            .collect();
        self.push(if assign {
            Callback::Assign(partitions)
        } else {
            Callback::Revoke(partitions)
        });
    }
}
