//! Records out of the log, and watermarks back into it.
//!
//! In: the partitions that the group gives us. Out: [`Event`]s, batches of records per partition,
//! and commits of what was settled. The order of a record's way: [`poll`] a dedicated thread that
//! does nothing but poll, [`partition`] its queue to the task that works on it, [`flow`] pauses
//! when the queue is full, [`outcome`] how it ended, [`tracker`] what may be committed, and
//! [`commit_table`] committing it. [`event`] is what happens to partitions; `rebalance` and
//! `assign` handle it.

// 1. out of the log
pub(crate) mod context;
pub mod event;
pub mod flow;
mod health;
pub mod partition;
pub mod poll;
mod rebalance;

mod assign;

// 2. back into it
pub mod outcome;
pub mod tracker;

mod commit_loop;
pub mod commit_table;
mod commit_thread;

use crate::KafkaError;
use crate::client::{self, blocking};
use crate::librdkafka::RecordQueue;
use crate::settings::KafkaSettings;
use commit_table::{CommitTable, Committer};
use commit_thread::CommitSender;
use context::GroupContext;
use event::Event;
use flow::QueueLimits;
use parking_lot::Mutex;
use poll::{Control, PollLoop};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use std::fmt;
use std::sync::{Arc, Weak, mpsc as std_mpsc};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// Events that may wait to be read. They come with rebalances and outages only.
const EVENTS: usize = 1_024;
/// Requests to the poll thread that may wait.
const REQUESTS: usize = 4_096;
/// Longest wait for in-flight work at a revocation.
const DRAIN: Duration = Duration::from_secs(10);
/// Longest wait for the last commits.
const LAST_COMMIT: Duration = Duration::from_secs(5);

/// What a group's member is started with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupSettings {
    /// The group's name.
    pub group: String,
    /// A fixed name of this member; with one, a quick restart moves no partitions. Two processes
    /// with one name put each other out.
    pub instance_id: Option<String>,
    /// What stands beside every committed offset.
    pub commit_metadata: String,
    /// How long a member may be silent before its partitions move. Default 12 s.
    pub session_timeout: Duration,
    /// How long a rebalance may wait for this member. Default 120 s.
    pub max_poll_interval: Duration,
    /// How much may wait between the poll thread and the readers.
    pub queue: QueueLimits,
}

/// A member of a group. Dropping it closes it without waiting; [`Consumer::close`] waits.
pub struct Consumer {
    native: Weak<BaseConsumer<GroupContext>>,
    settings: Arc<KafkaSettings>,
    committer: Committer,
    control: std_mpsc::SyncSender<Control>,
    ended: oneshot::Receiver<()>,
    close_within: Duration,
}

// === impl GroupSettings ===

impl GroupSettings {
    /// A member of `group` whose commits carry `commit_metadata`; the rest as by default.
    #[must_use]
    pub fn new(group: impl Into<String>, commit_metadata: impl Into<String>) -> Self {
        Self {
            group: group.into(),
            commit_metadata: commit_metadata.into(),
            ..Self::default()
        }
    }

    /// How long in-flight work may take at a revocation.
    fn drain(&self) -> Duration {
        DRAIN.min(self.max_poll_interval / 4)
    }
}

impl Default for GroupSettings {
    fn default() -> Self {
        Self {
            group: String::new(),
            instance_id: None,
            commit_metadata: String::new(),
            session_timeout: Duration::from_secs(12),
            max_poll_interval: Duration::from_secs(120),
            queue: QueueLimits::default(),
        }
    }
}

// === impl Consumer ===

impl Consumer {
    /// Starts the poll thread. Neither brokers nor topic need to be there yet: the consumer waits
    /// for them, says so by [`Event::Waiting`], and goes on by itself.
    ///
    /// # Errors
    /// [`KafkaError::Settings`] and [`KafkaError::Client`], when no client can be made of the
    /// settings.
    pub fn start(
        settings: &KafkaSettings,
        group: GroupSettings,
    ) -> Result<(Self, mpsc::Receiver<Event>), KafkaError> {
        settings.validate()?;
        let no_queue = || KafkaError::Fatal {
            what: "consumer",
            reason: "librdkafka made no queue".to_owned(),
        };
        let records = RecordQueue::new(native(settings, &group)?).ok_or_else(no_queue)?;
        let native = records.consumer();
        let settings = Arc::new(settings.clone());
        let table = Arc::new(Mutex::new(CommitTable::new(Instant::now())));
        let (events, receiver) = mpsc::channel(EVENTS);
        let (control, requests) = std_mpsc::sync_channel(REQUESTS);
        let (ending, ended) = oneshot::channel();
        let consumer = Self {
            native: Arc::downgrade(native),
            settings: Arc::clone(&settings),
            committer: Committer::new(Arc::clone(&table), control.clone()),
            control,
            ended,
            close_within: group.drain() + LAST_COMMIT + Duration::from_secs(10),
        };
        let sender = CommitSender::start(native, &settings.topic, &group.commit_metadata)?;
        let name = format!("kafka-{}", group.group);
        let poll_loop = PollLoop::new(records, sender, settings, group, table, requests, events);
        let run = move || {
            poll_loop.run_guarded();
            drop(ending);
        };
        std::thread::Builder::new()
            .name(name)
            .spawn(run)
            .map_err(|error| KafkaError::Fatal {
                what: "consumer",
                reason: format!("cannot start its thread: {error}"),
            })?;
        Ok((consumer, receiver))
    }

    /// Takes watermarks for this member.
    #[must_use]
    pub fn committer(&self) -> Committer {
        self.committer.clone()
    }

    /// The offset behind the last record of `partition` that a consumer may read, asked now.
    ///
    /// # Errors
    /// [`KafkaError::Unavailable`] after about 10 s, [`KafkaError::Closed`].
    pub async fn high_watermark(&self, partition: i32) -> Result<i64, KafkaError> {
        let settings = Arc::clone(&self.settings);
        self.ask(move |native| {
            let answer = native.fetch_watermarks(&settings.topic, partition, client::ANSWER);
            answer.map(|(_, high)| high).map_err(|error| {
                let what = format!("end of partition {partition} of {}", settings.topic);
                client::unavailable(&settings, &what, &error)
            })
        })
        .await
    }

    /// Kafka's cluster id: another log has another one.
    ///
    /// # Errors
    /// [`KafkaError::Unavailable`] after about 10 s, [`KafkaError::Closed`].
    pub async fn log_id(&self) -> Result<String, KafkaError> {
        let brokers = self.settings.brokers.clone();
        self.ask(move |native| {
            let answer = native.client().fetch_cluster_id(client::ANSWER);
            let what = "cluster id: no answer in time".to_owned();
            answer.ok_or(KafkaError::Unavailable { brokers, what })
        })
        .await
    }

    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&BaseConsumer<GroupContext>) -> Result<T, KafkaError> + Send + 'static,
    ) -> Result<T, KafkaError> {
        let native = Weak::clone(&self.native);
        blocking("consumer", move || match native.upgrade() {
            Some(native) => question(&native),
            None => Err(KafkaError::Closed { what: "consumer" }),
        })
        .await
    }

    /// Leaves the group: partitions are revoked ([`Event::Revoking`]), their watermarks
    /// committed, the thread ended. Bounded by about 25 s.
    pub async fn close(mut self) {
        // A full or closed channel: the thread is ending anyway, or never will.
        if self.control.try_send(Control::Close).is_err() {
            tracing::debug!("the consumer has ended already");
        }
        if tokio::time::timeout(self.close_within, &mut self.ended)
            .await
            .is_err()
        {
            tracing::warn!("the consumer did not end in time and is left behind");
        }
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        if self.control.try_send(Control::Close).is_err() {
            tracing::trace!("the consumer has ended already");
        }
    }
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer")
            .field("topic", &self.settings.topic)
            .finish_non_exhaustive()
    }
}

fn native(
    settings: &KafkaSettings,
    group: &GroupSettings,
) -> Result<BaseConsumer<GroupContext>, KafkaError> {
    let session = group.session_timeout.as_millis();
    let mut config = settings.reader(&group.group);
    config
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("session.timeout.ms", session.to_string())
        .set(
            "heartbeat.interval.ms",
            (session / 4).clamp(100, 3_000).to_string(),
        )
        .set(
            "max.poll.interval.ms",
            group.max_poll_interval.as_millis().to_string(),
        );
    if let Some(instance) = &group.instance_id {
        config.set("group.instance.id", instance);
    }
    config
        .create_with_context(GroupContext::default())
        .map_err(|source| KafkaError::Client {
            what: "consumer",
            source,
        })
}
