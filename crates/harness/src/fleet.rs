//! Many processes around one log: two gateways, and for each destination several replicas.
//!
//! The log is the embedded one, in this process. The replicas of a destination that are set up
//! alike are a [`Side`]; sides of several kinds read the same log, each in a group of its own,
//! into a directory of its own and below a namespace of its own in the dedupe store, so that one
//! run proves all of them.

use crate::metrics::Numbers;
use crate::ports;
use crate::program::{Program, binary};
use crate::side::{START, end, ended, role};
use anyhow::{Context, bail, ensure};
use cloudsync_devbroker::{Broker, BrokerConfig, Storage};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use tokio::process::Command;
use tokio::time::{Instant, sleep};

pub use crate::side::{ASSIGNED, Kind, PARTITIONS, PLAIN, Side};

/// The destinations of every kind.
pub const DESTINATIONS: [&str; 2] = ["aws", "azure"];
/// Gateways. What the first remembers of ids the second does not know, which remembers none.
const GATEWAYS: usize = 2;

/// Everything that runs.
#[derive(Debug)]
pub struct Fleet {
    /// All sides.
    pub sides: Vec<Side>,
    log: Broker,
    gateways: Vec<(Program, SocketAddr)>,
    gateways_past: Numbers,
}

// === impl Fleet ===

impl Fleet {
    /// Starts everything below `data`, and waits until it is ready: each of `kinds` for each of
    /// `destinations`, on the shared store at `redis`.
    ///
    /// # Errors
    /// When something is not.
    pub async fn start(
        data: &Path,
        kinds: &[Kind],
        destinations: &[&'static str],
        redis: Option<&str>,
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
        for at in 0..GATEWAYS {
            let listen = ports::free()?;
            let arguments = vec!["gateway".to_owned(), format!("--listen={listen}")];
            let mut gateway = role(arguments, ports::free()?, &kafka, data);
            if at > 0 {
                gateway.set("CLOUDSYNC_GATEWAY__RECENT_IDS", "0");
            }
            gateway.start()?;
            gateways.push((gateway, listen));
        }
        let mut sides = Vec::new();
        for kind in kinds {
            for destination in destinations {
                let mut side = Side::new(data, &kafka, kind, destination, redis).await?;
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

    /// A gateway's address as a client wants it; there are two, which know nothing of each other, and
    /// only the first has `gateway.recent_ids`.
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
