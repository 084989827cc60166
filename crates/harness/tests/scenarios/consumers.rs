//! Several consumer processes of one group, killed and replaced one after another.

use crate::support::{ASSIGNED, CATCH_UP, START, caught_up, program, repetitions, seed};
use cloudsync_devbroker::{Broker, BrokerConfig, Storage};
use cloudsync_harness::client::{Load, Sent, send_until};
use cloudsync_harness::ports;
use cloudsync_harness::program::{Program, was_killed};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

const REPLICAS: usize = 3;

/// A log in this process, a gateway and three consumers of `aws` as processes of their own.
struct Cluster {
    _log: Broker,
    gateway: Program,
    gateway_address: SocketAddr,
    consumers: Vec<Program>,
}

impl Cluster {
    async fn start(data: &Path) -> Self {
        let log = BrokerConfig {
            storage: Storage::Dir(data.join("log")),
            ..Default::default()
        };
        let log = Broker::start(log).unwrap();
        let kafka = log.address().to_string();
        let (gateway_address, admin) = (ports::free().unwrap(), ports::free().unwrap());
        let arguments = vec!["gateway".to_owned(), format!("--listen={gateway_address}")];
        let mut gateway = program(arguments, admin, &kafka, data);
        // Topics are made by command, never by the first who asks.
        let mut topics = program(
            vec!["topics".into(), "ensure".into()],
            ports::free().unwrap(),
            &kafka,
            data,
        );
        topics.start().unwrap();
        let ensured = topics.wait(START).await.unwrap();
        assert!(ensured.success(), "{}", topics.tail());
        gateway.start().unwrap();
        let mut consumers = Vec::new();
        for _ in 0..REPLICAS {
            let arguments = vec!["consumer".to_owned(), "--destination=aws".to_owned()];
            let mut consumer = program(arguments, ports::free().unwrap(), &kafka, data);
            consumer.start().unwrap();
            consumers.push(consumer);
        }
        gateway.ready(START).await.unwrap();
        for consumer in &mut consumers {
            consumer.ready(START).await.unwrap();
        }
        Self {
            _log: log,
            gateway,
            gateway_address,
            consumers,
        }
    }

    /// Starts the consumer `victim` anew, so that it dies at `moment`, and waits for its death.
    async fn dies_at(&mut self, victim: usize, moment: &str, choices: &mut StdRng) {
        let rebalance = moment == "during-rebalance";
        let times = if rebalance {
            1
        } else {
            choices.random_range(1..6)
        };
        let consumer = &mut self.consumers[victim];
        // It leaves the group, so that nobody has to wait for its session to end. One that has
        // only just started may end by the signal itself.
        consumer.terminate().unwrap();
        consumer.wait(START).await.unwrap();
        consumer.set("CLOUDSYNC_KILL_AT", &format!("{moment}:{times}"));
        let assigned = consumer.wrote(ASSIGNED);
        consumer.start().unwrap();
        if rebalance {
            let until = consumer.wait_until_wrote(ASSIGNED, assigned + 1, START);
            until.await.unwrap();
            self.takes_from(victim).await;
        }
        let consumer = &mut self.consumers[victim];
        let status = consumer.wait(START).await.unwrap();
        assert!(
            was_killed(status),
            "{moment}: {status}\n{}",
            consumer.tail()
        );
        consumer.set("CLOUDSYNC_KILL_AT", "");
    }

    /// Has `giver` give partitions up: it takes over those of a member that goes, and that member
    /// comes back.
    async fn takes_from(&mut self, giver: usize) {
        let before = self.consumers[giver].wrote(ASSIGNED);
        let guest = (giver + 1) % REPLICAS;
        self.consumers[guest].terminate().unwrap();
        self.consumers[guest].wait(START).await.unwrap();
        let took = self.consumers[giver].wait_until_wrote(ASSIGNED, before + 1, START);
        took.await.unwrap();
        self.consumers[guest].start().unwrap();
    }

    fn stream(
        &self,
        records: u32,
        seed: u64,
        enough: CancellationToken,
    ) -> JoinHandle<anyhow::Result<Sent>> {
        let load = Load {
            endpoint: format!("http://{}", self.gateway_address),
            prefix: "replicas".into(),
            records,
            keys: 300,
            resend: 0.0,
            rate: Some(3_000),
            seed,
        };
        #[expect(clippy::disallowed_methods, reason = "a test awaits its own task")]
        tokio::spawn(send_until(load, enough))
    }
}

/// Everything is there, each record of the log once. Nobody sent an id twice here but the client
/// after a lost connection, so without one nothing is doubled at all.
async fn holds_everything(cluster: &Cluster, data: &Path, sent: &Sent) {
    let verdict = caught_up(&data.join("aws"), "aws", &sent.journal).await;
    println!("aws: {}", verdict.summary());
    let log = cluster
        .consumers
        .iter()
        .map(Program::tail)
        .collect::<Vec<_>>()
        .join("\n---\n");
    assert!(
        verdict.is_clean_but_for_resends(),
        "{}\n{log}",
        verdict.summary()
    );
    assert!(
        verdict.doubled.is_empty() || sent.stats.resent > 0,
        "{}",
        verdict.summary()
    );
    assert!(cluster.gateway.starts() == 1);
}

/// Moments of a consumer, and `None`: any.
const MOMENTS: [Option<&str>; 4] = [
    Some("between-write-and-mark"),
    Some("between-mark-and-commit"),
    Some("during-rebalance"),
    None,
];

#[tokio::test]
async fn one_of_three_killed_again_and_again() {
    let seed = seed();
    let mut choices = StdRng::seed_from_u64(seed);
    let data = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::start(data.path()).await;
    let deaths = (repetitions() * 2).clamp(4, 10);
    let enough = CancellationToken::new();
    // Ten minutes' worth: it ends when the last one has died.
    let client = cluster.stream(2_000_000, seed, enough.clone());
    let mut hits: BTreeMap<&str, u32> = BTreeMap::new();
    for moment in MOMENTS.into_iter().cycle().take(deaths as usize) {
        let victim = choices.random_range(0..REPLICAS);
        match moment {
            Some(moment) => cluster.dies_at(victim, moment, &mut choices).await,
            None => {
                sleep(Duration::from_millis(choices.random_range(200..1_500))).await;
                cluster.consumers[victim].kill().unwrap();
            }
        }
        cluster.consumers[victim].start().unwrap();
        *hits.entry(moment.unwrap_or("any")).or_default() += 1;
    }
    enough.cancel();
    println!("deaths of one of three by moment: {hits:?}");
    let sent = tokio::time::timeout(CATCH_UP, client)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    holds_everything(&cluster, data.path(), &sent).await;
}

#[tokio::test]
async fn a_rolling_restart_under_load() {
    let seed = seed();
    let data = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::start(data.path()).await;
    let client = cluster.stream(20_000, seed, CancellationToken::new());
    for at in 0..REPLICAS {
        let consumer = &mut cluster.consumers[at];
        consumer.terminate().unwrap();
        let status = consumer.wait(Duration::from_secs(20)).await.unwrap();
        assert!(status.success(), "{status}\n{}", consumer.tail());
        consumer.start().unwrap();
        consumer.ready(START).await.unwrap();
    }
    let sent = tokio::time::timeout(CATCH_UP, client)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    holds_everything(&cluster, data.path(), &sent).await;
}
