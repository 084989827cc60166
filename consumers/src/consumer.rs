//! The consumer of one destination: everything of the walk, put together and kept running.
//!
//! Promises: started before Kafka or the destination is there, it waits, says for what in
//! `/readyz`, and goes on by itself; a consumer that failed for good is made anew; one
//! destination never touches another.

use crate::chain::Limits;
use crate::counters::Counters;
use crate::dead_letter::DeadLetters;
use crate::decisions::Decisions;
use crate::dedupe::Dedupe;
use crate::deliver::{Backoff, Gate};
use crate::group::{Ended, Member};
use crate::health::Health;
use crate::instruments;
use crate::record;
use crate::record::lease::{Claims, Rules};
use crate::settings::{DestinationSettings, WriteMode};
use crate::sink::{self, OpenError, Sink};
use crate::store::Watched;
use crate::worker::{Context, Work};
use cloudsync_dedupe::settings::DecisionLog;
use cloudsync_dedupe::{DedupeStore, OnUnavailable, StoreError, Token};
use cloudsync_kafka::{
    Consumer, DeadLetterProducer, GroupSettings, KafkaError, KafkaSettings, Producer,
};
use cloudsync_runtime::{Metrics, Readiness, Shutdown, Tasks};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// What a destination's consumer is made of.
#[derive(Debug)]
pub struct ConsumerDeps {
    /// The destination's name, as records name it.
    pub name: String,
    /// Its section of the configuration.
    pub settings: DestinationSettings,
    /// The log.
    pub kafka: KafkaSettings,
    /// The dedupe store, opened for this destination.
    pub store: Arc<dyn DedupeStore>,
    /// `dedupe.shards`, as the store was opened with.
    pub shards: u32,
    /// `dedupe.lease`, as the store was opened with.
    pub lease: Duration,
    /// `dedupe.on_unavailable`.
    pub on_unavailable: OnUnavailable,
    /// `dedupe.stats_interval`.
    pub stats_interval: Duration,
    /// `dedupe.log`.
    pub decision_log: DecisionLog,
    /// Where its tasks run.
    pub tasks: Tasks,
    /// When to end.
    pub shutdown: Shutdown,
    /// Where it says what it waits for.
    pub readiness: Readiness,
    /// What `/metrics` tells; gets its instruments.
    pub metrics: Metrics,
}

/// The consumer of one destination.
#[derive(Debug)]
pub struct DestinationConsumer {
    deps: ConsumerDeps,
    counters: Arc<Counters>,
    health: Health,
    dead_letters: DeadLetterProducer,
    store: Arc<Watched>,
    decisions: Arc<Decisions>,
}

/// Why a consumer was not started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its destination's settings are refused.
    #[error("destinations.{name}.{key}: {why}")]
    Settings {
        /// The destination.
        name: String,
        /// The key within its section.
        key: &'static str,
        /// Why, and what would do.
        why: String,
    },
    /// The Kafka settings are refused.
    #[error("destination {name} cannot use kafka")]
    Kafka {
        /// The destination.
        name: String,
        /// Why.
        source: KafkaError,
    },
}

/// Why a consumer that was running ended: somebody has to act.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The destination is not ours to write to, or cannot keep what is promised.
    #[error("destination {name} is refused")]
    Destination {
        /// The destination.
        name: String,
        /// Why, and the way out.
        source: OpenError,
    },
    /// The dedupe store is laid out for other settings, or cannot keep what is promised.
    #[error("destination {name} cannot use its dedupe store")]
    Dedupe {
        /// The destination.
        name: String,
        /// Why, and the way out.
        source: StoreError,
    },
    /// Kafka will not have us, whatever we wait for.
    #[error("destination {name} cannot use kafka")]
    Kafka {
        /// The destination.
        name: String,
        /// Why.
        source: KafkaError,
    },
}

/// A member that ran for so long did not fail at once: the next failure counts as the first.
const LONG_LIFE: Duration = Duration::from_secs(60);

// === impl DestinationConsumer ===

impl DestinationConsumer {
    /// Checks the settings. Nothing is contacted before [`run`](Self::run).
    ///
    /// # Errors
    /// [`StartError`], when the settings cannot work, whatever is waited for.
    pub fn start(deps: ConsumerDeps) -> Result<Self, StartError> {
        let refused = |key, why| {
            Err(StartError::Settings {
                name: deps.name.clone(),
                key,
                why,
            })
        };
        if deps.settings.url.is_empty() {
            return refused("url", "it is not set".to_owned());
        }
        if let Some((key, why)) = deps.settings.errors().into_iter().next() {
            return refused(key, why);
        }
        let producer = Producer::new(&deps.kafka).map_err(|source| StartError::Kafka {
            name: deps.name.clone(),
            source,
        })?;
        let dead_letters = DeadLetterProducer::new(producer, &deps.kafka);
        let health = Health::new(&deps.readiness, &deps.name);
        let counters = Arc::default();
        let dedupe = Arc::clone(&deps.store);
        let store = Watched::new(&deps.name, dedupe, &deps.readiness, health.clone());
        let store = Arc::new(store);
        instruments::register(&deps.metrics, &deps.name, &counters);
        instruments::register_store(&deps.metrics, &deps.name, &store);
        let decisions = Decisions::new(&deps.name, deps.decision_log);
        Ok(Self {
            store,
            decisions: Arc::new(decisions),
            deps,
            counters,
            health,
            dead_letters,
        })
    }

    /// What it has done so far.
    #[must_use]
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// Consumes until the process drains; then leaves the group and ends.
    ///
    /// # Errors
    /// [`RunError`], when going on would break a promise and waiting does not help.
    pub async fn run(self) -> Result<(), RunError> {
        let shutdown = self.deps.shutdown.clone();
        tokio::select! {
            ended = Box::pin(self.supervise()) => ended,
            () = shutdown.stopping() => Ok(()),
        }
    }

    async fn supervise(self) -> Result<(), RunError> {
        let Some(sink) = self.open_sink().await? else {
            return Ok(());
        };
        self.watch_store().await?;
        let settings = &self.deps.settings;
        let gate = Gate::new(
            settings.attempt_limits(),
            Arc::clone(&self.counters),
            self.health.clone(),
        );
        let gate = Arc::new(gate);
        let dedupe = Arc::new(self.dedupe());
        let work = self.work(sink);
        let mut backoff = failures();
        while !self.deps.shutdown.is_draining() {
            let mut group = GroupSettings::new(&settings.group, settings.commit_metadata());
            group.instance_id.clone_from(&settings.instance_id);
            let (consumer, events) =
                Consumer::start(&self.deps.kafka, group).map_err(|source| RunError::Kafka {
                    name: self.deps.name.clone(),
                    source,
                })?;
            let consumer = Arc::new(consumer);
            let context = Arc::new(self.context(&gate, &dedupe, work.clone(), &consumer));
            let began = Instant::now();
            let member = Member::new(context, consumer, self.deps.tasks.clone());
            let error = match member.run(events, &self.deps.shutdown).await {
                Ended::Left => return Ok(()),
                Ended::Failed(error) => error,
            };
            if began.elapsed() > LONG_LIFE {
                backoff = failures();
            }
            let wait = backoff.next(rand::random(), Duration::from_millis(500));
            let destination = &self.deps.name;
            tracing::error!(destination, %error, ?wait, "the consumer failed; starting it anew");
            self.health
                .log(Some(format!("a new consumer, because {error}")));
            self.sleep(wait).await;
        }
        Ok(())
    }

    /// Waits a moment for the dedupe store, and looks at it from then on.
    async fn watch_store(&self) -> Result<(), RunError> {
        let ConsumerDeps {
            stats_interval,
            shutdown,
            ..
        } = &self.deps;
        let ready = self.store.wait(shutdown).await;
        ready.map_err(|source| RunError::Dedupe {
            name: self.deps.name.clone(),
            source,
        })?;
        let counters = Arc::clone(&self.counters);
        let report = Arc::clone(&self.store).report(counters, *stats_interval, shutdown.clone());
        self.deps.tasks.spawn("dedupe statistics", report);
        Ok(())
    }

    /// Opens the destination, however long that takes; `None` when the process drains.
    async fn open_sink(&self) -> Result<Option<Sink>, RunError> {
        let mut backoff = failures();
        while !self.deps.shutdown.is_draining() {
            let error = match sink::open(&self.deps.settings, &self.deps.name).await {
                Ok(sink) => {
                    self.health.destination(None);
                    return Ok(Some(sink));
                }
                Err(OpenError::Unavailable(error)) => error.chain(),
                Err(source @ (OpenError::Url { .. } | OpenError::Refused(_))) => {
                    let name = self.deps.name.clone();
                    self.health.destination(Some(source.to_string()));
                    return Err(RunError::Destination { name, source });
                }
            };
            if backoff.attempts() == 0 {
                tracing::warn!(destination = self.deps.name, %error, "waiting for the destination");
            }
            self.health.destination(Some(error));
            self.sleep(backoff.next(rand::random(), Duration::from_millis(200)))
                .await;
        }
        Ok(None)
    }

    fn dedupe(&self) -> Dedupe {
        Dedupe::new(
            Arc::clone(&self.deps.store),
            Arc::clone(&self.counters),
            self.deps.on_unavailable,
            self.health.clone(),
        )
    }

    fn work(&self, sink: Sink) -> Work {
        let ConsumerDeps {
            settings,
            store,
            lease,
            on_unavailable,
            ..
        } = &self.deps;
        let sink = match (settings.mode(), sink) {
            (WriteMode::Batch, Sink::Objects(objects)) => return Work::Batch(objects),
            (_, sink) => record::records(sink),
        };
        let instance = settings.instance_id.as_deref();
        let claims = Claims::new(
            Arc::clone(store),
            // Named, where no other process bears the name.
            instance.map_or_else(Token::random, Token::of_instance),
            Rules::new(*on_unavailable, sink.idempotence(), *lease),
            self.health.clone(),
            Arc::clone(&self.decisions),
        );
        Work::Record(Arc::new(record::Shared::new(sink, claims, settings)))
    }

    fn context(
        &self,
        gate: &Arc<Gate>,
        dedupe: &Arc<Dedupe>,
        work: Work,
        consumer: &Arc<Consumer>,
    ) -> Context {
        let ConsumerDeps {
            name,
            settings,
            kafka,
            shards,
            ..
        } = &self.deps;
        Context {
            destination: name.clone(),
            topic: kafka.topic.as_str().into(),
            limits: Limits {
                bytes: settings.segment_bytes(kafka.partitions),
                offsets: i64::from(settings.flush_records),
                interval: settings.flush_interval(),
            },
            shards: *shards,
            commit_metadata: settings.commit_metadata(),
            gate: Arc::clone(gate),
            dedupe: Arc::clone(dedupe),
            decisions: Arc::clone(&self.decisions),
            dead_letters: DeadLetters::new(
                self.dead_letters.clone(),
                self.health.clone(),
                &settings.group,
            ),
            counters: Arc::clone(&self.counters),
            health: self.health.clone(),
            consumer: Arc::downgrade(consumer),
            committer: consumer.committer(),
            work,
        }
    }

    async fn sleep(&self, wait: Duration) {
        tokio::select! {
            () = sleep(wait) => {}
            () = self.deps.shutdown.draining() => {}
        }
    }
}

fn failures() -> Backoff {
    Backoff::new(Duration::from_millis(250), Duration::from_secs(15))
}
