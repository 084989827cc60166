//! Connections for transactions, one user at a time.
//!
//! In: a slot. Out: a connection to its master from a pool. Promises: what a connection watches
//! is watched by one call only, and on one connection: it never connects anew by itself in
//! between; pools are bounded, in size and in every wait.

use super::fault::{Fault, Kind};
use super::held::checked;
use super::link::{Link, Request};
use super::url::Node;
use deadpool_redis::{Connection, Manager, Pool, PoolError, Runtime, TimeoutType};
use parking_lot::Mutex;
use redis::{AsyncConnectionConfig, Cmd, ConnectionAddr, ConnectionInfo, Value};
use std::collections::HashMap;
use std::time::Duration;
use tokio::sync::OnceCell;

/// Connections to one server.
const SIZE: usize = 8;

/// Pools to the servers behind one link. They go when the link goes.
pub(super) struct Pools {
    /// `None` in a Cluster.
    master: Option<ConnectionInfo>,
    config: AsyncConnectionConfig,
    patience: Duration,
    pools: Mutex<HashMap<ConnectionAddrKey, Pool>>,
    /// Of a Cluster: from slot, to slot, master.
    slots: OnceCell<Vec<(u16, u16, Node)>>,
}

type ConnectionAddrKey = (String, u16);

// === impl Pools ===

impl Pools {
    pub(super) fn new(
        master: Option<ConnectionInfo>,
        config: AsyncConnectionConfig,
        patience: Duration,
    ) -> Self {
        Self {
            master,
            config,
            patience,
            pools: Mutex::new(HashMap::new()),
            slots: OnceCell::new(),
        }
    }

    /// A connection to the master of `slot`. `info` tells how a node of a Cluster is connected to.
    pub(super) async fn get(
        &self,
        link: &Link,
        slot: u16,
        info: impl Fn(&Node) -> Result<ConnectionInfo, redis::RedisError> + Send + Sync,
    ) -> Result<Connection, Fault> {
        let info = match &self.master {
            Some(master) => master.clone(),
            None => info(&self.node_of(link, slot).await?)?,
        };
        let pool = self.pool(info)?;
        pool.get().await.map_err(|error| match error {
            PoolError::Backend(error) => Fault::from(error),
            // All of them are in use: that says nothing against the server.
            PoolError::Timeout(TimeoutType::Wait) => {
                Fault::new(Kind::Unable, "no connection of the pool was free in time")
            }
            PoolError::Timeout(_) => Fault::new(Kind::Late, "no connection for the pool in time"),
            error => Fault::new(Kind::Unable, error.to_string()),
        })
    }

    fn pool(&self, info: ConnectionInfo) -> Result<Pool, Fault> {
        let key = match info.addr() {
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
                (host.clone(), *port)
            }
            other => (other.to_string(), 0),
        };
        let mut pools = self.pools.lock();
        if let Some(pool) = pools.get(&key) {
            return Ok(pool.clone());
        }
        let manager = Manager::new_with_config(info, self.config.clone())?;
        let pool = Pool::builder(manager)
            .max_size(SIZE)
            .wait_timeout(Some(self.patience))
            .create_timeout(Some(self.patience))
            .recycle_timeout(Some(self.patience))
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| Fault::new(Kind::Unable, error.to_string()))?;
        pools.insert(key, pool.clone());
        Ok(pool)
    }

    async fn node_of(&self, link: &Link, slot: u16) -> Result<Node, Fault> {
        let slots = self.slots.get_or_try_init(|| ask_slots(link, slot)).await?;
        let found = slots
            .iter()
            .find(|(from, to, _)| (*from..=*to).contains(&slot));
        found
            .map(|(_, _, node)| node.clone())
            .ok_or_else(|| Fault::new(Kind::Lost, format!("no master has slot {slot}")))
    }
}

async fn ask_slots(link: &Link, slot: u16) -> Result<Vec<(u16, u16, Node)>, Fault> {
    let mut ask = Cmd::new();
    ask.arg("CLUSTER").arg("SLOTS");
    let commands = vec![ask];
    let answers = checked(link, vec![Request { slot, commands }]).await?;
    let ranges = match answers.into_iter().flatten().next() {
        Some(Value::Array(ranges)) => ranges,
        _ => return Err(Fault::unreadable("the answer to CLUSTER SLOTS")),
    };
    Ok(ranges.iter().filter_map(range).collect())
}

/// `[from, to, [host, port, …], …]`
fn range(value: &Value) -> Option<(u16, u16, Node)> {
    let Value::Array(parts) = value else {
        return None;
    };
    let [Value::Int(from), Value::Int(to), Value::Array(master), ..] = parts.as_slice() else {
        return None;
    };
    let [Value::BulkString(host), Value::Int(port), ..] = master.as_slice() else {
        return None;
    };
    let node = Node {
        host: String::from_utf8(host.clone())
            .ok()
            .filter(|host| !host.is_empty())?,
        port: u16::try_from(*port).ok()?,
    };
    Some((u16::try_from(*from).ok()?, u16::try_from(*to).ok()?, node))
}
