//! Many processes around one log: two gateways, and for each destination several replicas.
//!
//! The log is the embedded one, in this process. The replicas of a destination that are set up
//! alike are a [`Side`]; sides of several kinds read the same log, each in a group of its own,
//! into a directory of its own and below a namespace of its own in the dedupe store, so that one
//! run proves all of them.

use crate::metrics::Numbers;
use crate::ports;
use crate::program::{Program, binary};
use crate::redis::Redis;
use anyhow::{Context, bail, ensure};
use cloudsync_devbroker::{Broker, BrokerConfig, Storage};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::process::Command;
use tokio::time::{Instant, sleep};

/// The destinations of every kind.
pub const DESTINATIONS: [&str; 2] = ["aws", "azure"];
/// What a replica logs when it has got partitions.
pub const ASSIGNED: &str = "partitions assigned";
/// Begins the line of statistics that a replica logs once in a while.
const STATISTICS: &str = "what the dedupe store holds";
/// How long a start may take on a busy machine, with many others.
const START: Duration = Duration::from_secs(120);
/// How long a process that was asked to end may take.
const STOP: Duration = Duration::from_secs(30);
/// Partitions of the topic, as `topics ensure` makes it.
pub const PARTITIONS: usize = 12;
/// Gateways. What one of them remembers of ids the other one does not know.
const GATEWAYS: usize = 2;

/// How the replicas of a side are set up.
#[derive(Clone, Debug)]
pub struct Kind {
    /// Its name: a folder, part of groups, and the namespace in the dedupe store.
    pub name: String,
    /// `destinations.*.mode`.
    pub mode: &'static str,
    /// `dedupe.layout` in the shared Redis; `None`: each replica remembers for itself.
    pub layout: Option<&'static str>,
    /// Replicas of each destination.
    pub replicas: usize,
    /// Other settings, as environment variables.
    pub settings: Vec<(String, String)>,
}

/// The replicas of one destination that are set up alike.
#[derive(Debug)]
pub struct Side {
    /// How.
    pub kind: Kind,
    /// The destination.
    pub destination: &'static str,
    /// Where it lies.
    pub directory: PathBuf,
    /// The consumer group.
    pub group: String,
    /// Its replicas, running or not.
    pub replicas: Vec<Program>,
    /// What ended replicas told last.
    past: Numbers,
    kafka: String,
    redis: Option<String>,
}

/// Everything that runs.
#[derive(Debug)]
pub struct Fleet {
    /// All sides.
    pub sides: Vec<Side>,
    log: Broker,
    gateways: Vec<(Program, SocketAddr)>,
    gateways_past: Numbers,
}

// === impl Kind ===

impl Kind {
    /// Three replicas of each destination in `mode`, with the shared store laid out as `layout`.
    #[must_use]
    pub fn new(mode: &'static str, layout: Option<&'static str>) -> Self {
        Self {
            name: format!("{mode}-{}", layout.unwrap_or("memory")),
            mode,
            layout,
            replicas: 3,
            settings: Vec::new(),
        }
    }

    /// The same with so many replicas.
    #[must_use]
    pub fn replicas(mut self, replicas: usize) -> Self {
        self.replicas = replicas;
        self
    }

    /// The same with another setting, by its name in the environment behind `CLOUDSYNC_`.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        let name = format!("CLOUDSYNC_{name}");
        self.settings.push((name, value.to_owned()));
        self
    }
}

// === impl Side ===

impl Side {
    fn new(data: &Path, kafka: &str, kind: &Kind, of: &'static str, redis: Option<&str>) -> Self {
        Self {
            kind: kind.clone(),
            destination: of,
            directory: data.join(&kind.name).join(of),
            group: format!("{}-{of}", kind.name),
            replicas: Vec::new(),
            past: Numbers::default(),
            kafka: kafka.to_owned(),
            redis: redis.map(ToOwned::to_owned),
        }
    }

    /// Its name in what a test prints.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{} {}", self.kind.name, self.destination)
    }

    /// How the keys of its ids begin in the dedupe store.
    #[must_use]
    pub fn keys(&self) -> String {
        format!("cs1:{{{}.{}-", self.kind.name, self.destination)
    }

    /// Starts one replica more. Out: its place in [`Side::replicas`].
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn add_replica(&mut self) -> anyhow::Result<usize> {
        let arguments = [
            "consumer".to_owned(),
            format!("--destination={}", self.destination),
        ];
        let logs = self.directory.with_extension("logs");
        let mut replica = role(arguments.to_vec(), ports::free()?, &self.kafka, &logs);
        let of = |key| {
            format!(
                "CLOUDSYNC_DESTINATIONS__{}__{key}",
                self.destination.to_uppercase()
            )
        };
        replica.set(&of("URL"), &format!("file://{}", self.directory.display()));
        replica.set(&of("GROUP"), &self.group);
        replica.set(&of("MODE"), self.kind.mode);
        replica.set("CLOUDSYNC_DEDUPE__NAMESPACE", &self.kind.name);
        replica.set("CLOUDSYNC_DEDUPE__STATS_INTERVAL", "1s");
        match (self.kind.layout, &self.redis) {
            (Some(layout), Some(redis)) => {
                replica.set("CLOUDSYNC_DEDUPE__URL", redis);
                replica.set("CLOUDSYNC_DEDUPE__LAYOUT", layout);
            }
            (None, _) => replica.set("CLOUDSYNC_DEDUPE__URL", "memory:"),
            (Some(_), None) => bail!("{} needs a Redis", self.kind.name),
        }
        for (name, value) in &self.kind.settings {
            replica.set(name, value);
        }
        replica.start()?;
        self.replicas.push(replica);
        Ok(self.replicas.len() - 1)
    }

    /// Waits until every replica that was started is ready.
    ///
    /// # Errors
    /// When one is not.
    pub async fn ready(&mut self) -> anyhow::Result<()> {
        for replica in self.replicas.iter_mut().filter(|it| it.is_started()) {
            replica.ready(START).await?;
        }
        Ok(())
    }

    /// Ends the replica `at` as an orchestrator does, keeping what it tells now: a number that it
    /// changes later is lost, so let there be nothing to do.
    ///
    /// # Errors
    /// When it does not end well.
    pub async fn stop(&mut self, at: usize) -> anyhow::Result<()> {
        let numbers = self.replicas[at].numbers().await?;
        self.past.add(&numbers);
        end(&mut self.replicas[at]).await
    }

    /// What all replicas tell, and ended ones told.
    ///
    /// # Errors
    /// When one does not answer.
    pub async fn numbers(&self) -> anyhow::Result<Numbers> {
        let mut all = self.past.clone();
        for replica in self.replicas.iter().filter(|it| it.is_started()) {
            all.add(&replica.numbers().await?);
        }
        Ok(all)
    }

    /// Adds up the most that each replica has ever said of `what` in its statistics.
    #[must_use]
    pub fn said(&self, what: &str) -> u64 {
        self.replicas
            .iter()
            .map(|it| most(&it.written(), what))
            .sum()
    }

    /// How often its replicas have got partitions.
    #[must_use]
    pub fn assignments(&self) -> usize {
        self.replicas.iter().map(|it| it.wrote(ASSIGNED)).sum()
    }

    /// The partitions that each replica has, by what it logged. For replicas that were never
    /// killed: those say nothing of what they lose.
    #[must_use]
    pub fn owned(&self) -> Vec<BTreeSet<i32>> {
        self.replicas
            .iter()
            .map(|it| owned(&it.written()))
            .collect()
    }

    /// Whether every partition has one owner, and nobody two more than another one.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        let owned = self.owned();
        let all: BTreeSet<i32> = owned.iter().flatten().copied().collect();
        let replicas = owned.len().max(1);
        let fair = PARTITIONS / replicas..=PARTITIONS.div_ceil(replicas);
        all.len() == PARTITIONS
            && owned.iter().map(BTreeSet::len).sum::<usize>() == PARTITIONS
            && owned.iter().all(|share| fair.contains(&share.len()))
    }

    /// The last lines of all replicas, without their statistics.
    #[must_use]
    pub fn tail(&self) -> String {
        let tail = |replica: &Program| {
            let text = replica.written();
            let lines = text.lines().filter(|line| !line.contains(STATISTICS));
            let lines: Vec<_> = lines.collect();
            lines[lines.len().saturating_sub(12)..].join("\n")
        };
        let tails: Vec<_> = self.replicas.iter().map(tail).collect();
        format!("{}\n{}", self.name(), tails.join("\n---\n"))
    }
}

/// The largest number that stands behind `what` in lines of JSON.
fn most(text: &str, what: &str) -> u64 {
    let field = format!("\"{what}\":");
    let behind = text.split(&field).skip(1);
    let number = |rest: &str| {
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().ok()
    };
    behind.filter_map(number).max().unwrap_or(0)
}

/// What a log's lines of assigned and revoked partitions leave.
fn owned(text: &str) -> BTreeSet<i32> {
    let mut owned = BTreeSet::new();
    for line in text.lines() {
        let numbers = || -> Option<BTreeSet<i32>> {
            let list = line.split_once("\"partitions\":\"[")?.1.split_once(']')?.0;
            Some(
                list.split(',')
                    .filter_map(|n| n.trim().parse().ok())
                    .collect(),
            )
        };
        if line.contains(ASSIGNED) {
            owned.extend(numbers().unwrap_or_default());
        } else if line.contains("partitions revoked") {
            let gone = numbers().unwrap_or_default();
            owned.retain(|partition| !gone.contains(partition));
        }
    }
    owned
}

// === impl Fleet ===

impl Fleet {
    /// Starts everything below `data`, and waits until it is ready: each of `kinds` for each of
    /// `destinations`.
    ///
    /// # Errors
    /// When something is not.
    pub async fn start(
        data: &Path,
        kinds: &[Kind],
        destinations: &[&'static str],
        redis: Option<&Redis>,
    ) -> anyhow::Result<Self> {
        let log = Broker::start(BrokerConfig {
            storage: Storage::Dir(data.join("log")),
            ..BrokerConfig::default()
        })?;
        let kafka = log.address().to_string();
        // Topics are made by command, never by the first who asks.
        let ensure = vec!["topics".to_owned(), "ensure".to_owned()];
        let mut topics = role(ensure, ports::free()?, &kafka, data);
        topics.start()?;
        let ensured = topics.wait(START).await?;
        ensure!(ensured.success(), "{}", topics.tail());
        let mut gateways = Vec::new();
        for _ in 0..GATEWAYS {
            let listen = ports::free()?;
            let arguments = vec!["gateway".to_owned(), format!("--listen={listen}")];
            let mut gateway = role(arguments, ports::free()?, &kafka, data);
            gateway.start()?;
            gateways.push((gateway, listen));
        }
        let url = redis.map(Redis::url);
        let mut sides = Vec::new();
        for kind in kinds {
            for destination in destinations {
                let mut side = Side::new(data, &kafka, kind, destination, url.as_deref());
                for _ in 0..kind.replicas {
                    side.add_replica()?;
                }
                sides.push(side);
            }
        }
        let mut fleet = Self {
            sides,
            log,
            gateways,
            gateways_past: Numbers::default(),
        };
        fleet.ready().await?;
        Ok(fleet)
    }

    async fn ready(&mut self) -> anyhow::Result<()> {
        for (gateway, _) in &mut self.gateways {
            gateway.ready(START).await?;
        }
        for side in &mut self.sides {
            side.ready().await?;
        }
        Ok(())
    }

    /// A gateway's address as a client wants it; there are two, which know nothing of each other.
    #[must_use]
    pub fn endpoint(&self, gateway: usize) -> String {
        format!("http://{}", self.gateways[gateway % GATEWAYS].1)
    }

    /// Ends every process and starts it again; the log and the dedupe store stay. To be called
    /// when there is nothing to do, see [`Side::stop`].
    ///
    /// # Errors
    /// When one does not end well, or is not ready again.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        let numbers = self.gateway_numbers().await?;
        self.gateways_past = numbers;
        for side in &mut self.sides {
            side.past = side.numbers().await?;
        }
        let gateways = self.gateways.iter_mut().map(|(gateway, _)| gateway);
        let replicas = self.sides.iter_mut().flat_map(|side| &mut side.replicas);
        let mut all: Vec<&mut Program> = gateways.chain(replicas).collect();
        for process in &all {
            process.terminate()?;
        }
        for process in &mut all {
            ended(process).await?;
        }
        for process in all {
            process.start()?;
        }
        self.ready().await
    }

    /// Ends the gateways and starts them again: they remember nothing.
    ///
    /// # Errors
    /// As [`Fleet::restart`].
    pub async fn restart_gateways(&mut self) -> anyhow::Result<()> {
        self.gateways_past = self.gateway_numbers().await?;
        for (gateway, _) in &mut self.gateways {
            end(gateway).await?;
            gateway.start()?;
        }
        self.ready().await
    }

    /// Records of the data topic, counted in the log.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.in_topic("data-topic")
    }

    /// Records of the dead-letter topic, counted in the log.
    #[must_use]
    pub fn dead_letters(&self) -> u64 {
        self.in_topic("data-topic-dlq")
    }

    fn in_topic(&self, topic: &str) -> u64 {
        let stats = self.log.stats();
        let of = stats.partitions.iter().filter(|it| it.topic == topic);
        of.map(|it| u64::try_from(it.end - it.start).unwrap_or(0))
            .sum()
    }

    /// What all gateways tell, and ended ones told.
    ///
    /// # Errors
    /// When one does not answer.
    pub async fn gateway_numbers(&self) -> anyhow::Result<Numbers> {
        let mut all = self.gateways_past.clone();
        for (gateway, _) in &self.gateways {
            all.add(&gateway.numbers().await?);
        }
        Ok(all)
    }

    /// Records that some group has yet to settle, as `cloudsync lag` tells.
    ///
    /// # Errors
    /// When it does not tell.
    pub async fn lag(&self) -> anyhow::Result<i64> {
        let mut command = Command::new(binary()?);
        let brokers = self.log.address().to_string();
        command.args(["lag", "--output=json", "--brokers", &brokers]);
        for side in &self.sides {
            command.args(["--group", &side.group]);
        }
        let output = command.kill_on_drop(true).output().await?;
        let said = || String::from_utf8_lossy(&output.stderr).into_owned();
        let found: serde_json::Value = serde_json::from_slice(&output.stdout).with_context(said)?;
        let groups = found["groups"].as_array().with_context(said)?;
        ensure!(groups.len() == self.sides.len(), "{found}");
        let lags = groups.iter().map(|group| group["lag"].as_i64());
        lags.sum::<Option<i64>>().context("a group without a lag")
    }

    /// Waits until every group has settled everything.
    ///
    /// # Errors
    /// When that takes longer than `patience`.
    pub async fn at_rest(&self, patience: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + patience;
        loop {
            let lag = self.lag().await?;
            if lag == 0 {
                return Ok(());
            }
            if Instant::now() > deadline {
                let tails: Vec<_> = self.sides.iter().map(Side::tail).collect();
                bail!(
                    "still {lag} behind after {patience:?}\n{}",
                    tails.join("\n")
                );
            }
            sleep(Duration::from_millis(100)).await;
        }
    }
}

/// A role of the program on the Kafka at `kafka`, which logs below `directory`.
fn role(arguments: Vec<String>, admin: SocketAddr, kafka: &str, directory: &Path) -> Program {
    let mut program = Program::new(arguments, admin, directory);
    program.set("CLOUDSYNC_ADMIN__LISTEN", &admin.to_string());
    program.set("CLOUDSYNC_KAFKA__BROKERS", kafka);
    program.set("CLOUDSYNC_KAFKA__REPLICATION", "1");
    program
}

async fn end(process: &mut Program) -> anyhow::Result<()> {
    process.terminate()?;
    ended(process).await
}

async fn ended(process: &mut Program) -> anyhow::Result<()> {
    let status = process.wait(STOP).await?;
    ensure!(status.success(), "{status}\n{}", process.tail());
    Ok(())
}
