//! Redis as a deployment has it: one server, a master with a replica and three Sentinels, or a
//! Cluster.

use crate::ports;
use crate::redis::{Aof, Redis};
use anyhow::{bail, ensure};
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Longest wait until servers have found each other.
const PATIENCE: Duration = Duration::from_secs(60);
/// Of every server with data.
const DATA: &str = "save \"\"\nappendonly yes\nappendfsync always\nrepl-diskless-sync-delay 0\n";
/// How long a master may be silent before the Sentinels replace it: more than a busy machine stands
/// still.
const DOWN_AFTER: Duration = Duration::from_secs(15);
/// The same before a Cluster misses one of its masters, which replaces nobody.
const NODE_TIMEOUT: Duration = Duration::from_secs(5);
/// Where the slots of the three masters begin, and the end.
const SLOTS: [u32; 4] = [0, 5_461, 10_923, 16_384];

/// Servers behind one URL.
#[derive(Debug)]
pub struct Deployment {
    /// As `dedupe.url` wants it.
    pub url: String,
    /// The only one; of Sentinel the master, its replica and three Sentinels; of a Cluster its masters.
    pub servers: Vec<Redis>,
}

// === impl Deployment ===

impl Deployment {
    /// One server.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn one(directory: &Path, aof: Aof) -> anyhow::Result<Self> {
        let server = Redis::start(directory, aof).await?;
        Ok(Self {
            url: server.url(),
            servers: vec![server],
        })
    }

    /// A master, its replica, and three Sentinels that agree by two.
    ///
    /// # Errors
    /// When one cannot be started, or they do not find each other.
    pub async fn sentinel(directory: &Path) -> anyhow::Result<Self> {
        let at = |name: &str| directory.join(name);
        let master = Redis::with(&at("master"), DATA, &[]).await?;
        let port = master.address().port();
        let config = format!("{DATA}replicaof 127.0.0.1 {port}\n");
        let replica = Redis::with(&at("replica"), &config, &[]).await?;
        until(
            &replica,
            &["INFO", "replication"],
            &["master_link_status:up"],
        )
        .await?;
        let config = format!(
            "sentinel monitor mymaster 127.0.0.1 {port} 2\n\
             sentinel down-after-milliseconds mymaster {}\n\
             sentinel failover-timeout mymaster 5000\n",
            DOWN_AFTER.as_millis()
        );
        let mut servers = vec![master, replica];
        for n in 0..3 {
            let directory = at(&format!("sentinel{n}"));
            servers.push(Redis::with(&directory, &config, &["--sentinel"]).await?);
        }
        let sentinels = servers.get(2..).unwrap_or_default();
        for sentinel in sentinels {
            let known = ["status=ok", "slaves=1,sentinels=3"];
            until(sentinel, &["INFO", "sentinel"], &known).await?;
        }
        let url = format!("redis+sentinel://{}/mymaster", addresses(sentinels));
        Ok(Self { url, servers })
    }

    /// Three masters.
    ///
    /// # Errors
    /// As [`Deployment::sentinel`].
    pub async fn cluster(directory: &Path) -> anyhow::Result<Self> {
        let mut servers = Vec::new();
        let mut first = None;
        for (n, slots) in SLOTS.windows(2).enumerate() {
            let bus = ports::free()?.port().to_string();
            let config = format!(
                "{DATA}cluster-enabled yes\ncluster-port {bus}\ncluster-node-timeout {}\n",
                NODE_TIMEOUT.as_millis()
            );
            let master = Redis::with(&directory.join(format!("master{n}")), &config, &[]).await?;
            let &[from, behind] = slots else { continue };
            let (from, to) = (from.to_string(), (behind - 1).to_string());
            master
                .ask(&["CLUSTER", "ADDSLOTSRANGE", &from, &to])
                .await?;
            let epoch = (n + 1).to_string();
            master.ask(&["CLUSTER", "SET-CONFIG-EPOCH", &epoch]).await?;
            let (port, bus) =
                first.get_or_insert_with(|| (master.address().port().to_string(), bus));
            if n > 0 {
                master
                    .ask(&["CLUSTER", "MEET", "127.0.0.1", port, bus])
                    .await?;
            }
            servers.push(master);
        }
        let cluster = Self {
            url: format!("redis+cluster://{}", addresses(&servers)),
            servers,
        };
        cluster.is_whole().await?;
        Ok(cluster)
    }

    /// Waits until every master of a Cluster knows the others, and that no slot is without one.
    ///
    /// # Errors
    /// When that does not happen.
    pub async fn is_whole(&self) -> anyhow::Result<()> {
        let known = ["cluster_state:ok", "cluster_known_nodes:3"];
        for server in &self.servers {
            until(server, &["CLUSTER", "INFO"], &known).await?;
        }
        Ok(())
    }

    /// Whether the replica of Sentinel has been made the master.
    ///
    /// # Errors
    /// When it does not say.
    pub async fn replica_is_master(&self) -> anyhow::Result<bool> {
        let Some(replica) = self.servers.get(1) else {
            bail!("there is no replica");
        };
        let said = replica.ask(&["INFO", "replication"]).await?;
        let said = said.text().unwrap_or_default();
        ensure!(said.contains("role:"), "{said}");
        Ok(said.contains("role:master"))
    }
}

fn addresses(servers: &[Redis]) -> String {
    let mut all = String::new();
    for server in servers {
        let comma = if all.is_empty() { "" } else { "," };
        // Writing to a string does not fail.
        let _written = write!(all, "{comma}{}", server.address()).is_ok();
    }
    all
}

/// Waits until `server` answers `words` with all of `parts`.
async fn until(server: &Redis, words: &[&str], parts: &[&str]) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let said = server.ask(words).await?;
        let said = said.text().unwrap_or_default();
        if parts.iter().all(|part| said.contains(part)) {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{words:?}: {said}");
        sleep(Duration::from_millis(50)).await;
    }
}
