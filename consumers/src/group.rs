//! The member of a destination's group: partitions come and go, each with its worker.
//!
//! In: the events of one consumer. Out: one task for each assigned partition. Promises: a
//! rebalance goes on only when the workers of the partitions that move have ended what was under
//! way; closing leaves the group the same way.

use crate::health::Health;
use crate::record;
use crate::worker::{self, Context, Work};
use cloudsync_kafka::{AssignedPartition, Consumer, Event, KafkaError, RevokeAck};
use cloudsync_runtime::{Moment, Shutdown, Tasks, kill_point};
use futures::future::{BoxFuture, join_all};
use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::{CancellationToken, DropGuard};

/// How a member ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// It left the group, because the process drains.
    Left,
    /// It cannot go on; another one may.
    Failed(KafkaError),
}

/// One member, from its start to its end.
pub(crate) struct Member {
    context: Arc<Context>,
    tasks: Tasks,
    health: Health,
    consumer: Option<Arc<Consumer>>,
    workers: HashMap<i32, Running>,
    all: CancellationToken,
    /// Whatever way this ends, no worker stays behind.
    _guard: DropGuard,
}

struct Running {
    revoked: CancellationToken,
    task: JoinHandle<()>,
}

// === impl Member ===

impl Member {
    pub(crate) fn new(context: Arc<Context>, consumer: Arc<Consumer>, tasks: Tasks) -> Self {
        let all = CancellationToken::new();
        Self {
            health: context.health.clone(),
            context,
            tasks,
            consumer: Some(consumer),
            workers: HashMap::new(),
            _guard: all.clone().drop_guard(),
            all,
        }
    }

    /// Works until the process drains or the consumer fails.
    pub(crate) async fn run(
        mut self,
        mut events: mpsc::Receiver<Event>,
        shutdown: &Shutdown,
    ) -> Ended {
        let mut closing: Option<BoxFuture<'static, ()>> = None;
        let ended = loop {
            tokio::select! {
                event = events.recv() => match event {
                    Some(Event::Failed { error }) => break Ended::Failed(error),
                    Some(event) => self.event(event),
                    None if closing.is_some() => break Ended::Left,
                    None => break Ended::Failed(KafkaError::Closed { what: "consumer" }),
                },
                () = shutdown.draining(), if closing.is_none() => {
                    closing = self.consumer.take().map(|consumer| Box::pin(close(consumer)) as _);
                }
                () = ended_or_never(&mut closing) => {
                    closing = None;
                    break Ended::Left;
                }
            }
        };
        self.all.cancel();
        let tasks = self.workers.drain().map(|(_, running)| running.task);
        join_all(tasks).await;
        if let Some(closing) = closing {
            closing.await;
        }
        ended
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Assigned { partitions } => {
                for partition in partitions {
                    self.assigned(partition);
                }
            }
            Event::Revoking { partitions, done } => self.revoking(&partitions, done),
            Event::Lost { partitions } => {
                tracing::warn!(
                    destination = self.health.name(),
                    ?partitions,
                    "partitions lost"
                );
                for partition in partitions {
                    self.release(partition);
                }
            }
            Event::Waiting { for_what } => {
                tracing::info!(destination = self.health.name(), for_what, "waiting");
                self.health.log(Some(for_what));
            }
            Event::Ready => self.health.log(None),
            // Ends the member; taken before.
            Event::Failed { .. } => {}
        }
    }

    fn assigned(&mut self, assigned: AssignedPartition) {
        let Some(consumer) = self.consumer.as_ref().map(Arc::downgrade) else {
            return;
        };
        let partition = assigned.partition;
        self.release(partition);
        let revoked = self.all.child_token();
        let work = begin(
            Arc::clone(&self.context),
            consumer,
            assigned,
            revoked.clone(),
        );
        let task = self.tasks.spawn("partition", work);
        self.workers.insert(partition, Running { revoked, task });
    }

    fn release(&mut self, partition: i32) -> Option<JoinHandle<()>> {
        let running = self.workers.remove(&partition)?;
        running.revoked.cancel();
        Some(running.task)
    }

    fn revoking(&mut self, partitions: &[i32], done: RevokeAck) {
        kill_point(Moment::DuringRebalance);
        let ending: Vec<_> = partitions.iter().filter_map(|p| self.release(*p)).collect();
        // Not awaited here: the events that follow are to be read while the workers end.
        self.tasks.spawn("revoke", async move {
            join_all(ending).await;
            done.done();
        });
    }
}

async fn ended_or_never(closing: &mut Option<BoxFuture<'static, ()>>) {
    match closing {
        Some(closing) => closing.await,
        None => futures::future::pending().await,
    }
}

/// Closes `consumer` as soon as nobody is asking it something; a question takes seconds at most.
async fn close(mut consumer: Arc<Consumer>) {
    loop {
        match Arc::try_unwrap(consumer) {
            Ok(consumer) => return consumer.close().await,
            Err(shared) => consumer = shared,
        }
        sleep(Duration::from_millis(20)).await;
    }
}

/// Learns which log it is, then works.
async fn begin(
    context: Arc<Context>,
    consumer: Weak<Consumer>,
    assigned: AssignedPartition,
    revoked: CancellationToken,
) {
    let log: Arc<str> = loop {
        let Some(consumer) = consumer.upgrade() else {
            return;
        };
        let answer = tokio::select! {
            answer = consumer.log_id() => answer,
            () = revoked.cancelled() => return,
        };
        drop(consumer);
        match answer {
            Ok(id) => break id.into(),
            Err(error) => tracing::warn!(%error, "the log does not say which one it is"),
        }
        tokio::select! {
            () = sleep(Duration::from_millis(500)) => {}
            () = revoked.cancelled() => return,
        }
    };
    match context.work.clone() {
        Work::Batch(sink) => worker::run(context, sink, assigned, log, revoked).await,
        Work::Record(shared) => record::run(context, shared, assigned, log, revoked).await,
    }
}
