//! Where a bench happens: its settings, its directory, its processes.
//!
//! In: a plan and settings. Out: running processes. Promises: everything is on free ports of this
//! machine and below one directory, whatever the settings say.

use crate::args::BenchDedupe;
use crate::bench::crew::{Crew, Role};
use crate::bench::messages::{Job, LoadJob, Way};
use crate::bench::plan::Plan;
use crate::failure::Failure;
use crate::settings::{Settings, file_url};
use anyhow::Context;
use cloudsync_consumers::DestinationSettings;
use cloudsync_kafka::KafkaSettings;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

/// The destinations of `pipeline`.
const DESTINATIONS: [&str; 2] = ["aws", "azure"];

/// Where a bench happens.
pub(crate) struct World<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) settings: Settings,
    pub(crate) directory: &'a Path,
    crew: &'a mut Crew,
}

impl<'a> World<'a> {
    /// `settings`, bent so that nothing outside of `directory` and this machine is touched.
    ///
    /// # Errors
    /// [`Failure::Usage`] when the log is another one than the embedded.
    pub(crate) fn new(
        plan: &'a Plan,
        mut settings: Settings,
        directory: &'a Path,
        crew: &'a mut Crew,
    ) -> Result<Self, Failure> {
        if !settings.log_is_embedded() {
            return Err(Failure::usage(
                "bench runs on its embedded log; kafka.brokers is for up, gateway and consumer",
            ));
        }
        let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        settings.log.listen = free;
        settings.gateway.listen = free;
        settings.dedupe.url = match plan.dedupe {
            Some(BenchDedupe::Embedded) => file_url(&directory.join("dedupe")),
            // A Redis says where it is when it has been started.
            _ => "memory:".to_owned(),
        };
        // Nobody's group but ours, and each with what is set for it.
        let mut given = std::mem::take(&mut settings.destinations);
        for name in DESTINATIONS {
            let group = format!("{name}-sync-group");
            let mut destination = given
                .remove(name)
                .unwrap_or_else(|| DestinationSettings::new("", group));
            destination.url = if plan.files {
                file_url(&directory.join(name))
            } else {
                "null://".to_owned()
            };
            settings.destinations.insert(name.to_owned(), destination);
        }
        Ok(Self {
            plan,
            settings,
            directory,
            crew,
        })
    }

    fn boxed(&self) -> Box<Settings> {
        Box::new(self.settings.clone())
    }

    /// Starts the log; everything that is started later finds it.
    pub(super) async fn log(&mut self) -> anyhow::Result<Role> {
        let job = Job::Log {
            settings: self.boxed(),
            directory: self.directory.join("log"),
        };
        let log = self.crew.start("log", &job).await?;
        self.settings.kafka.brokers = log.address()?.to_string();
        Ok(log)
    }

    /// Starts what the dedupe stores of all consumers share, if they share anything.
    pub(super) async fn store(&mut self) -> anyhow::Result<Option<Role>> {
        let Some(layout) = self.plan.dedupe.and_then(BenchDedupe::layout) else {
            return Ok(None);
        };
        self.settings.dedupe.layout = layout;
        let directory = self.directory.join("redis");
        let redis = self.crew.start("redis", &Job::Redis { directory }).await?;
        let dedupe = &mut self.settings.dedupe;
        dedupe.url = format!("redis://{}/0", redis.address()?);
        // It is nobody else's, and has no users.
        (dedupe.redis_user, dedupe.redis_password) = (None, None);
        Ok(Some(redis))
    }

    pub(super) async fn gateway(&mut self) -> anyhow::Result<Role> {
        let settings = self.boxed();
        self.crew.start("gateway", &Job::Gateway { settings }).await
    }

    /// The consumer of `destination`, which waits to be told to begin.
    pub(super) async fn consumer(&mut self, role: &str, destination: &str) -> anyhow::Result<Role> {
        let job = Job::Consumer {
            settings: self.boxed(),
            destination: destination.to_owned(),
            dedupe: self.plan.dedupe.is_some(),
        };
        self.crew.start(role, &job).await
    }

    pub(super) async fn load(&mut self, way: Way) -> anyhow::Result<Role> {
        let job = Job::Load(LoadJob {
            way,
            connections: self.plan.connections,
            batch: self.plan.batch,
            payload_bytes: self.plan.payload_bytes,
        });
        self.crew.start("load", &job).await
    }

    pub(super) async fn producer(&mut self, role: &str) -> anyhow::Result<Role> {
        let job = Job::Produce {
            kafka: Box::new(self.settings.kafka.clone()),
            payload_bytes: self.plan.payload_bytes,
        };
        self.crew.start(role, &job).await
    }

    pub(super) async fn fetcher(&mut self, role: &str) -> anyhow::Result<Role> {
        let kafka = Box::new(self.settings.kafka.clone());
        self.crew.start(role, &Job::Fetch { kafka }).await
    }

    /// A server with nothing behind it; or one that writes into `topic`.
    pub(super) async fn server(&mut self, role: &str, topic: Option<&str>) -> anyhow::Result<Role> {
        let log = match topic {
            Some(topic) => Some(Box::new(self.make_topic(topic).await?)),
            None => None,
        };
        self.crew.start(role, &Job::Server { log }).await
    }

    /// Makes a topic like the one for records; returns the settings with it.
    pub(super) async fn make_topic(&self, name: &str) -> anyhow::Result<KafkaSettings> {
        let kafka = KafkaSettings {
            topic: name.to_owned(),
            dlq_topic: format!("{name}-dlq"),
            ..self.settings.kafka.clone()
        };
        let made = cloudsync_kafka::ensure_topics(&kafka).await;
        made.with_context(|| format!("cannot make the topic {name}"))?;
        Ok(kafka)
    }
}
