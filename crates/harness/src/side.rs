//! The replicas of one destination that are set up alike: started, ended, and what they say.

use crate::checker::{Verdict, check, check_endpoint};
use crate::endpoint::{Behaviour, Endpoint};
use crate::journal::Journal;
use crate::metrics::Numbers;
use crate::ports;
use crate::program::Program;
use anyhow::{bail, ensure};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// In place of a mode: posts to an HTTP endpoint, which has an effect for each post.
pub const PLAIN: &str = "plain";
/// What a replica logs when it has got partitions.
pub const ASSIGNED: &str = "partitions assigned";
/// Begins the line of statistics that a replica logs once in a while.
const STATISTICS: &str = "what the dedupe store holds";
/// How long a start may take on a busy machine, with many others.
pub(crate) const START: Duration = Duration::from_secs(120);
/// How long a process that was asked to end may take.
const STOP: Duration = Duration::from_secs(30);
/// Partitions of the topic, as `topics ensure` makes it.
pub const PARTITIONS: usize = 12;

/// How the replicas of a side are set up.
#[derive(Clone, Debug)]
pub struct Kind {
    /// Its name: a folder, part of groups, and the namespace in the dedupe store.
    pub name: String,
    /// `destinations.*.mode`; [`PLAIN`]: an HTTP endpoint that recognises no duplicate.
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
    /// Where it lies, and its logs beside it.
    pub directory: PathBuf,
    /// Where it lies instead, if it is [`PLAIN`].
    pub endpoint: Option<Endpoint>,
    /// The consumer group.
    pub group: String,
    /// Its replicas, running or not.
    pub replicas: Vec<Program>,
    /// What ended replicas told last.
    pub(crate) past: Numbers,
    kafka: String,
    redis: Option<String>,
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

    /// Whether a record is written under a lease.
    #[must_use]
    pub fn is_leased(&self) -> bool {
        self.mode != "batch"
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
    pub(crate) async fn new(
        data: &Path,
        kafka: &str,
        kind: &Kind,
        of: &'static str,
        redis: Option<&str>,
    ) -> anyhow::Result<Self> {
        let endpoint = match kind.mode {
            PLAIN => Some(Endpoint::start(Behaviour::default()).await?),
            _ => None,
        };
        Ok(Self {
            kind: kind.clone(),
            destination: of,
            directory: data.join(&kind.name).join(of),
            endpoint,
            group: format!("{}-{of}", kind.name),
            replicas: Vec::new(),
            past: Numbers::default(),
            kafka: kafka.to_owned(),
            redis: redis.map(ToOwned::to_owned),
        })
    }

    /// Holds what lies there against `journal`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn check(&self, journal: &Journal) -> anyhow::Result<Verdict> {
        match &self.endpoint {
            Some(endpoint) => Ok(check_endpoint(endpoint, self.destination, journal)),
            None => check(&self.directory, self.destination, journal),
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
        match &self.endpoint {
            Some(endpoint) => {
                replica.set(&of("URL"), &endpoint.url());
                replica.set(&of("ALLOW_PRIVATE"), "true");
                // What the journal knows.
                replica.set(&of("IDEMPOTENCY_KEY"), "request_id");
            }
            None => {
                replica.set(&of("URL"), &format!("file://{}", self.directory.display()));
                replica.set(&of("MODE"), self.kind.mode);
            }
        }
        replica.set(&of("GROUP"), &self.group);
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

    /// Adds up what each replica has said of `what` in its statistics, in all of its lives.
    #[must_use]
    pub fn said(&self, what: &str) -> u64 {
        self.replicas
            .iter()
            .map(|it| counted(&it.written(), what))
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

/// The count that stands behind `what` in lines of JSON. It only grows, but begins anew whenever the
/// process does.
fn counted(text: &str, what: &str) -> u64 {
    let field = format!("\"{what}\":");
    let behind = text.split(&field).skip(1);
    let number = |rest: &str| -> Option<u64> {
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().ok()
    };
    let (mut before, mut last) = (0, 0);
    for count in behind.filter_map(number) {
        if count < last {
            before += last;
        }
        last = count;
    }
    before + last
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

/// A role of the program on the Kafka at `kafka`, which logs below `directory`.
pub(crate) fn role(
    arguments: Vec<String>,
    admin: SocketAddr,
    kafka: &str,
    directory: &Path,
) -> Program {
    let mut program = Program::new(arguments, admin, directory);
    program.set("CLOUDSYNC_ADMIN__LISTEN", &admin.to_string());
    program.set("CLOUDSYNC_KAFKA__BROKERS", kafka);
    program.set("CLOUDSYNC_KAFKA__REPLICATION", "1");
    program
}

pub(crate) async fn end(process: &mut Program) -> anyhow::Result<()> {
    process.terminate()?;
    ended(process).await
}

pub(crate) async fn ended(process: &mut Program) -> anyhow::Result<()> {
    let status = process.wait(STOP).await?;
    ensure!(status.success(), "{status}\n{}", process.tail());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_in_several_lives_adds_up() {
        let lines = |counts: &[u64]| -> String {
            let line = |count| format!("{{\"busy\":9,\"taken_over\":{count}}}\n");
            counts.iter().map(line).collect()
        };
        assert_eq!(counted(&lines(&[]), "taken_over"), 0);
        assert_eq!(counted(&lines(&[0, 4, 4, 7]), "taken_over"), 7);
        assert_eq!(counted(&lines(&[0, 7, 0, 2, 0, 1]), "taken_over"), 10);
    }
}
