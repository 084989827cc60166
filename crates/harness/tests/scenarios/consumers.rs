//! Several consumer processes of one group, killed and replaced one after another.

use crate::support::{CATCH_UP, START, caught_up, repetitions, seed};
use cloudsync_devbroker::{Broker, BrokerConfig, Storage};
use cloudsync_harness::client::{Load, Sent, send};
use cloudsync_harness::ports;
use cloudsync_harness::program::Program;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::sleep;

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

    fn stream(&self, records: u32, seed: u64) -> JoinHandle<anyhow::Result<Sent>> {
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
        tokio::spawn(send(load))
    }
}

fn program(arguments: Vec<String>, admin: SocketAddr, kafka: &str, data: &Path) -> Program {
    let mut program = Program::new(arguments, admin, data);
    program.set("CLOUDSYNC_ADMIN__LISTEN", &admin.to_string());
    program.set("CLOUDSYNC_KAFKA__BROKERS", kafka);
    program.set("CLOUDSYNC_KAFKA__REPLICATION", "1");
    program.set(
        "CLOUDSYNC_DESTINATIONS__AWS__URL",
        &format!("file://{}/aws", data.display()),
    );
    program.set("CLOUDSYNC_DESTINATIONS__AWS__GROUP", "aws-sync-group");
    program
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

#[tokio::test]
async fn one_of_three_killed_again_and_again() {
    let seed = seed();
    let mut choices = StdRng::seed_from_u64(seed);
    let data = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::start(data.path()).await;
    let deaths = (repetitions() * 2).clamp(4, 10);
    let client = cluster.stream(6_000 * deaths, seed);
    for _ in 0..deaths {
        sleep(Duration::from_millis(choices.random_range(200..1_500))).await;
        let victim = &mut cluster.consumers[choices.random_range(0..REPLICAS)];
        victim.kill().unwrap();
        victim.start().unwrap();
    }
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
    let client = cluster.stream(20_000, seed);
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
