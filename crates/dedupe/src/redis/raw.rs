//! The commands of a Redis store without the store: what it is held against.
//!
//! In: batches of subjects. Out: the very commands that the store would send for them now, made
//! beforehand, and then sent by the client library with nothing of ours around it; and what the
//! server says that it has used. Promises: an error among the answers is an error of the run; what
//! a destination has left on a server can be taken away, and nothing else is touched.

use super::buckets::Buckets;
use super::connected_later;
use super::fault::{Fault, Kind};
use super::held::Held;
use super::keys::Keys;
use super::link::Link;
use crate::claim::{LogPosition, Subject, Token};
use crate::settings::{DedupeSettings, Layout};
use crate::store::{DedupeStore, StoreError};
use cloudsync::identity::{Fingerprint, Id16};
use redis::aio::MultiplexedConnection;
use redis::{Cmd, FromRedisValue, Pipeline};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

/// Keys that a step of a SCAN looks at.
const SCAN: u32 = 1_000;
/// How long a server may take to free what it was told to drop.
const FREED: Duration = Duration::from_secs(60);

/// A call of a store.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    Lookup,
    Claim(Token),
    Complete,
}

/// For each batch the commands of its two calls.
pub(crate) type Pipelines = Arc<Vec<[Pipeline; 2]>>;

/// One server, spoken to without a store.
pub struct RawRedis {
    made_by: MadeBy,
    connection: MultiplexedConnection,
    parts: u16,
}

/// Whose commands they are.
enum MadeBy {
    Buckets(Buckets),
    Keys(Keys),
}

// === impl RawRedis ===

impl RawRedis {
    /// Connects, lays out the namespace as the store does, and teaches the server the scripts.
    pub(crate) async fn open(
        settings: &DedupeSettings,
        destination: &str,
    ) -> Result<Self, StoreError> {
        let held = connected_later(settings, destination, false);
        let held = held.map_err(|error| StoreError::Refused {
            store: format!("Redis of {destination}"),
            reason: error.to_string(),
        })?;
        let connected = held.connected().await.map_err(|fault| held.error(fault))?;
        let Link::Single(connection) = connected.link.clone() else {
            let text = "it is a Cluster; what one server costs is measured on one server";
            return Err(held.error(Fault::new(Kind::Refused, text)));
        };
        let made_by = match settings.layout {
            Layout::Buckets => {
                let store = Buckets::new(held, settings);
                let _taught = store.claim(Token::random(), &[nobody()]).await?;
                MadeBy::Buckets(store)
            }
            Layout::Keys => MadeBy::Keys(Keys::new(held, settings)),
        };
        Ok(Self {
            made_by,
            connection,
            parts: connected.parts,
        })
    }

    /// The commands of two calls for each of `batches`: a claim by `token`, or without one a
    /// look-up; and the marks.
    pub(crate) fn pipelines(&self, token: Option<Token>, batches: &[Vec<Subject>]) -> Pipelines {
        let first = token.map_or(Step::Lookup, Step::Claim);
        let of_batch = |batch: &Vec<Subject>| {
            [first, Step::Complete].map(|step| {
                let mut pipeline = Pipeline::new();
                for command in self.commands(step, batch) {
                    pipeline.add_command(command);
                }
                pipeline
            })
        };
        Arc::new(batches.iter().map(of_batch).collect())
    }

    fn commands(&self, step: Step, batch: &[Subject]) -> Vec<Cmd> {
        match &self.made_by {
            MadeBy::Buckets(store) => store.commands(step, batch, self.parts),
            MadeBy::Keys(store) => store.commands(step, batch),
        }
    }

    /// Sends `pipelines` from so many tasks at a time, each with one call under way.
    pub(crate) async fn run(&self, pipelines: &Pipelines, tasks: usize) -> Result<(), StoreError> {
        let mut running = JoinSet::new();
        for task in 0..tasks {
            let (pipelines, mut connection) = (Arc::clone(pipelines), self.connection.clone());
            running.spawn(async move {
                for pipeline in pipelines.iter().skip(task).step_by(tasks).flatten() {
                    let count = pipeline.len();
                    let answers = connection.send_packed_commands(pipeline, 0, count).await?;
                    if let Some(fault) = Fault::among(&answers) {
                        return Err(fault);
                    }
                }
                Ok(())
            });
        }
        while let Some(ended) = running.join_next().await {
            let ended = ended.unwrap_or_else(|error| {
                let text = error.to_string();
                Err(Fault::new(Kind::Unable, text))
            });
            ended.map_err(|fault| self.held().error(fault))?;
        }
        Ok(())
    }

    /// Processor time that the server has used so far, user and system, by its own account.
    ///
    /// # Errors
    /// [`StoreError`], also when it does not tell.
    pub async fn cpu(&self) -> Result<Duration, StoreError> {
        let info = self.info("cpu").await?;
        let user: f64 = self.field(&info, "used_cpu_user")?;
        let system: f64 = self.field(&info, "used_cpu_sys")?;
        Ok(Duration::try_from_secs_f64(user + system).unwrap_or_default())
    }

    /// Bytes that the server has allocated, by its own account.
    ///
    /// # Errors
    /// [`StoreError`], also when it does not tell.
    pub async fn memory(&self) -> Result<u64, StoreError> {
        self.field(&self.info("memory").await?, "used_memory")
    }

    /// Takes away every key of the destination and its namespace's meta, and waits until their
    /// memory is free. Walks through all keys of the database; changes none of others.
    ///
    /// # Errors
    /// [`StoreError`]; what is left then ends by itself, as marks do, but for the meta.
    pub async fn wipe(&self) -> Result<(), StoreError> {
        let names = &self.held().names;
        let (pattern, mut cursor) = (names.pattern(), 0);
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg(&pattern);
            scan.arg("COUNT").arg(SCAN);
            let found: (u64, Vec<Vec<u8>>) = self.ask(&scan).await?;
            if !found.1.is_empty() {
                let _gone: u64 = self.ask(redis::cmd("UNLINK").arg(found.1)).await?;
            }
            cursor = found.0;
            if cursor == 0 {
                break;
            }
        }
        let _gone: u64 = self.ask(redis::cmd("UNLINK").arg(names.meta())).await?;
        // A thread of the server does that, whose time would count for what comes next.
        let until = Instant::now() + FREED;
        loop {
            let info = self.info("memory").await?;
            let pending: u64 = self.field(&info, "lazyfree_pending_objects")?;
            if pending == 0 || Instant::now() > until {
                return Ok(());
            }
            sleep(Duration::from_millis(5)).await;
        }
    }

    async fn info(&self, section: &str) -> Result<String, StoreError> {
        self.ask(redis::cmd("INFO").arg(section)).await
    }

    fn field<T: std::str::FromStr>(&self, info: &str, name: &str) -> Result<T, StoreError> {
        let mut lines = info.lines();
        let found = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        found.and_then(|it| it.trim().parse().ok()).ok_or_else(|| {
            let text = format!("its INFO has no {name}, and so cannot be measured");
            self.held().error(Fault::new(Kind::Unable, text))
        })
    }

    async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, StoreError> {
        let answer = command.query_async(&mut self.connection.clone()).await;
        answer.map_err(|error| self.held().error(error.into()))
    }

    fn held(&self) -> &Held {
        match &self.made_by {
            MadeBy::Buckets(store) => &store.held,
            MadeBy::Keys(store) => &store.held,
        }
    }
}

impl fmt::Debug for RawRedis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.held().fmt(f)
    }
}

/// An id that no record has.
fn nobody() -> Subject {
    Subject {
        id: Id16([0; 16]),
        fingerprint: Fingerprint(0),
        shard: 0,
        position: LogPosition {
            partition: 0,
            offset: 0,
        },
    }
}
