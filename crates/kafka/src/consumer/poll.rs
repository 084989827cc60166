//! Step 1 of the consumers' walk: what comes in is the log, what goes out are batches of records
//! per partition and the events of the group. It promises that nothing on its thread ever waits
//! for a destination or for a commit's answer, so that the group's member stays alive however slow
//! those are.
//!
//! One turn of the loop: poll for up to 5 ms, hand the batches over, pause or resume partitions,
//! answer rebalances, send commits, serve requests.

use super::GroupSettings;
use super::commit_loop::Waiter;
use super::commit_table::{CommitError, CommitTable};
use super::commit_thread::CommitSender;
use super::context::{Callback, GroupContext};
use super::event::Event;
use super::flow::QueueLimits;
use super::health::Health;
use super::partition::{BatchBuilder, Drained, Queue};
use super::rebalance::Rebalancing;
use super::tracker::{Epoch, Watermark};
use crate::KafkaError;
use crate::librdkafka::{RecordQueue, polled};
use crate::record::{Incoming, Taken};
use crate::settings::KafkaSettings;
use parking_lot::Mutex;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError as NativeError;
use rdkafka::topic_partition_list::Offset;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};
use std::time::Duration;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc as tokio_mpsc, oneshot};
use tokio::time::Instant;

/// A batch is handed over at this many records,
const BATCH_RECORDS: usize = 512;
/// or this many bytes,
const BATCH_BYTES: usize = 1 << 20;
/// or after this long, or when nothing more is there,
const TURN: Duration = Duration::from_millis(5);
/// or after so many records of all partitions: with the limits of the queues they bound what waits
/// there, however fast they come.
const TURN_RECORDS: usize = 8_192;
/// Longest poll when nothing else is to be done.
const IDLE: Duration = Duration::from_millis(50);
/// Most events of the group in one turn.
const EVENTS: usize = 64;
/// Longest poll when somebody waits for something else than a record.
const BUSY: Duration = Duration::from_millis(2);
/// Longest poll when a partition may have room again.
const PAUSED: Duration = Duration::from_millis(10);

/// A request to the poll thread.
#[derive(Debug)]
pub(crate) enum Control {
    /// Commit this and say how it went.
    CommitNow {
        /// What.
        watermark: Watermark,
        /// To whom.
        reply: oneshot::Sender<Result<(), CommitError>>,
    },
    /// Leave the group and end.
    Close,
}

/// A partition that is ours.
pub(crate) struct Part {
    pub(super) epoch: Epoch,
    pub(super) queue: Arc<Queue>,
    pub(super) builder: BatchBuilder,
    /// The next offset is at least this.
    pub(super) next: i64,
    pub(super) paused: bool,
    /// False once it is being revoked.
    pub(super) intake: bool,
}

/// Why the loop ends.
pub(super) enum End {
    Closed,
    Failed(KafkaError),
}

/// The thread's state.
pub(crate) struct PollLoop {
    pub(super) consumer: Arc<BaseConsumer<GroupContext>>,
    pub(super) settings: Arc<KafkaSettings>,
    pub(super) group: GroupSettings,
    pub(super) limits: QueueLimits,
    pub(super) table: Arc<Mutex<CommitTable>>,
    pub(super) requests: mpsc::Receiver<Control>,
    pub(super) drained: Arc<Drained>,
    /// Where the records of `parts` come from. `None` only while they are taken.
    pub(super) records: Option<RecordQueue<GroupContext>>,
    pub(super) parts: BTreeMap<i32, Part>,
    pub(super) rebalancing: Rebalancing,
    pub(super) health: Health,
    pub(super) end: Option<End>,
    /// When a close that does not come to its end is given up.
    pub(super) closing: Option<Instant>,
    events: tokio_mpsc::Sender<Event>,
    pub(super) sender: CommitSender,
    pub(super) waiters: Vec<Waiter>,
    /// Partitions to be committed whatever the time.
    pub(super) forced: BTreeSet<i32>,
}

// === impl PollLoop ===

impl PollLoop {
    pub(super) fn new(
        records: RecordQueue<GroupContext>,
        sender: CommitSender,
        settings: Arc<KafkaSettings>,
        group: GroupSettings,
        table: Arc<Mutex<CommitTable>>,
        requests: mpsc::Receiver<Control>,
        events: tokio_mpsc::Sender<Event>,
    ) -> Self {
        Self {
            consumer: Arc::clone(records.consumer()),
            settings,
            limits: group.queue,
            group,
            table,
            requests,
            drained: Arc::default(),
            records: Some(records),
            parts: BTreeMap::new(),
            rebalancing: Rebalancing::default(),
            health: Health::default(),
            end: None,
            closing: None,
            events,
            sender,
            waiters: Vec::new(),
            forced: BTreeSet::new(),
        }
    }

    /// Runs to the end, and reports a panic as the failure that it is.
    pub(super) fn run_guarded(mut self) {
        if catch_unwind(AssertUnwindSafe(|| self.run())).is_err() {
            self.fail("its thread panicked".to_owned());
        }
        self.abandon();
        if let Some(End::Failed(error)) = self.end.take() {
            tracing::error!(%error, group = self.group.group, "the consumer has ended");
            self.emit(Event::Failed { error });
        }
    }

    fn run(&mut self) {
        if !self.connect() {
            return;
        }
        while self.end.is_none() {
            self.poll();
            self.take_callbacks();
            self.balance();
            self.rebalance();
            self.commit();
            self.serve_requests();
            self.check_health();
            self.check_closing();
        }
    }

    /// Says `event`. A receiver that is gone or does not read ends the consumer.
    pub(super) fn emit(&mut self, event: Event) {
        match self.events.try_send(event) {
            Ok(()) => {}
            Err(TrySendError::Closed(_)) => self.start_closing(),
            Err(TrySendError::Full(_)) => self.fail("its events are not read".to_owned()),
        }
    }

    /// Ends the loop for good.
    pub(super) fn fail(&mut self, reason: String) {
        if !matches!(self.end, Some(End::Failed(_))) {
            self.end = Some(End::Failed(KafkaError::Fatal {
                what: "consumer",
                reason,
            }));
        }
    }

    fn poll(&mut self) {
        let timeout = self.poll_timeout();
        if self.parts.is_empty() {
            self.poll_group(timeout);
            return;
        }
        let waits = |records: &RecordQueue<_>| records.others_wait();
        for _ in 0..EVENTS {
            if !self.records.as_ref().is_some_and(waits) {
                break;
            }
            self.poll_group(Duration::ZERO);
        }
        self.take_records(timeout);
        for part in self
            .parts
            .values_mut()
            .filter(|part| part.builder.len() > 0)
        {
            part.queue.push(part.builder.take());
        }
    }

    /// What concerns the group; and records that were fetched before their partition was attached.
    fn poll_group(&mut self, timeout: Duration) {
        let consumer = Arc::clone(&self.consumer);
        match consumer.poll(timeout) {
            Some(Ok(message)) => match polled(&message) {
                Taken::Record(record) => self.take(record),
                Taken::Error(_, code) => self.take_error(&NativeError::MessageConsumption(code)),
            },
            Some(Err(error)) => self.take_error(&error),
            None => {}
        }
    }

    /// Records until none is there or the turn is over.
    fn take_records(&mut self, timeout: Duration) {
        // From the first records on: the wait for them is none of the turn.
        let (mut turn, mut taken, mut timeout) = (None, 0, timeout);
        // Out of its place, since what is taken from it goes into the other fields.
        let Some(mut records) = self.records.take() else {
            return;
        };
        loop {
            let mut lost: Vec<i32> = Vec::new();
            let count = records.take(timeout, |taken| match taken {
                Taken::Record(record) if lost.contains(&record.partition) => {}
                Taken::Record(record) => self.take(record),
                Taken::Error(partition, code) => {
                    lost.push(partition);
                    self.take_error(&NativeError::MessageConsumption(code));
                }
            });
            self.seek_again(&lost);
            timeout = Duration::ZERO;
            taken += count;
            let late = turn.get_or_insert_with(Instant::now).elapsed() >= TURN;
            if count == 0 || self.end.is_some() || late || taken >= TURN_RECORDS {
                break;
            }
        }
        self.records = Some(records);
    }

    /// librdkafka has lost its place in `partitions` ([`Taken::Error`]).
    fn seek_again(&mut self, partitions: &[i32]) {
        for partition in partitions {
            let part = self.parts.get(partition).filter(|part| part.intake);
            let Some(next) = part.map(|part| part.next) else {
                continue;
            };
            let place = Offset::Offset(next);
            let topic = &self.settings.topic;
            let sought = self.consumer.seek(topic, *partition, place, Duration::ZERO);
            if let Err(error) = sought {
                let reason =
                    format!("cannot go on at offset {next} of partition {partition}: {error}");
                self.fail(reason);
            }
        }
    }

    fn poll_timeout(&self) -> Duration {
        let busy = self.is_rebalancing() || self.has_waiters() || self.closing.is_some();
        let paused = self.parts.values().any(|part| part.paused);
        match (busy, paused) {
            (true, _) => BUSY,
            (false, true) => PAUSED,
            (false, false) => IDLE,
        }
    }

    fn take(&mut self, record: Incoming<'_>) {
        // One that was fetched before its partition moved on.
        let partition = record.partition;
        let Some(part) = self.parts.get_mut(&partition).filter(|part| part.intake) else {
            return;
        };
        let offset = record.offset;
        if offset < part.next {
            let (topic, next) = (&self.settings.topic, part.next);
            let reason = format!(
                "partition {partition} of {topic} went back from offset {next} to {offset}"
            );
            self.fail(reason);
            return;
        }
        part.next = offset.saturating_add(1);
        part.builder.push(record);
        if part.builder.len() >= BATCH_RECORDS || part.builder.bytes() >= BATCH_BYTES {
            part.queue.push(part.builder.take());
        }
    }

    fn take_error(&mut self, error: &NativeError) {
        match error {
            NativeError::MessageConsumptionFatal(code) => {
                let detail = self.consumer.client().fatal_error();
                self.fail(detail.map_or_else(|| code.to_string(), |(_, reason)| reason));
            }
            NativeError::MessageConsumption(code) => self.note_error(*code, &error.to_string()),
            other => tracing::warn!(error = %other, "polling"),
        }
    }

    fn take_callbacks(&mut self) {
        for callback in self.consumer.context().take() {
            match callback {
                Callback::Assign(partitions) => self.rebalancing.assign(partitions),
                Callback::Revoke(partitions) => self.rebalancing.revoke(partitions),
                Callback::Committed(offsets) => self.commit_answered(&offsets),
                Callback::Error(code, reason) => self.note_error(code, &reason),
            }
        }
    }

    fn serve_requests(&mut self) {
        while let Ok(request) = self.requests.try_recv() {
            self.serve(request);
        }
    }

    pub(super) fn serve(&mut self, request: Control) {
        match request {
            Control::Close => self.start_closing(),
            Control::CommitNow { watermark, reply } => self.commit_now(watermark, reply),
        }
    }

    pub(super) fn start_closing(&mut self) {
        if self.closing.is_none() {
            let patience = self.group.drain() + super::LAST_COMMIT * 2;
            self.closing = Some(Instant::now() + patience);
            // The group answers with a revocation of everything, which ends the loop.
            self.consumer.unsubscribe();
        }
    }

    fn check_closing(&mut self) {
        let Some(until) = self.closing else { return };
        let done = self.parts.is_empty() && !self.is_rebalancing();
        if (done || Instant::now() >= until) && self.end.is_none() {
            self.end = Some(End::Closed);
        }
    }
}

impl Drop for PollLoop {
    fn drop(&mut self) {
        // Closing the native consumer serves rebalances, and must not leave them to nobody.
        self.consumer.context().close();
    }
}
