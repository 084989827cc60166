//! The connection that a store holds, from the first call on.
//!
//! In: commands. Out: answers, or an error of the store. Promises: a store whose Redis is away
//! opens all the same and goes on by itself once Redis is there; a connection that ended is made
//! anew and the call repeated once (every call of a store may be repeated); nobody waits longer
//! than [`Held::patience`], which the time-outs of the settings decide; a namespace that is laid out
//! otherwise, or a server that would evict, is refused before anything is written.

use super::amnesia::Amnesia;
use super::clock::Clocks;
use super::dial::{Dialer, Dialled};
use super::fault::{Fault, Kind};
use super::link::{Link, Request};
use super::meta::Meta;
use super::names::Names;
use super::pools::Pools;
use super::server;
use super::url::Node;
use crate::store::{Health, StoreError};
use deadpool_redis::Connection;
use parking_lot::RwLock;
use redis::{Cmd, Value};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

/// What a store keeps of its Redis.
pub(super) struct Held {
    /// Which store, without credentials.
    store: String,
    dialer: Dialer,
    pub(super) names: Names,
    pub(super) clocks: Clocks,
    meta: Meta,
    /// The `maxmemory-policy` that the server may have.
    policy: String,
    current: RwLock<Option<Arc<Connected>>>,
    /// Who connects holds it; when and how the last attempt failed.
    connecting: Mutex<Option<(Instant, Fault)>>,
    amnesia: Amnesia,
    /// It belongs to somebody who looks, and lays out nothing.
    looks: bool,
    warned: AtomicBool,
}

/// A connection that has been looked over.
pub(super) struct Connected {
    pub(super) link: Link,
    /// Connections of their own, for transactions.
    pub(super) pools: Pools,
    /// Hashes of a shard and generation.
    pub(super) parts: u16,
}

/// How a command names its script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scripts {
    /// By its digest: the server knows it.
    Known,
    /// With its whole text: the server learns it.
    Whole,
}

// === impl Held ===

impl Held {
    pub(super) fn new(
        store: String,
        dialer: Dialer,
        names: Names,
        meta: Meta,
        policy: String,
        looks: bool,
    ) -> Self {
        Self {
            clocks: Clocks::new(names.shards()),
            store,
            dialer,
            names,
            meta,
            policy,
            current: RwLock::new(None),
            connecting: Mutex::new(None),
            amnesia: Amnesia::new(),
            looks,
            warned: AtomicBool::new(false),
        }
    }

    /// Sends what `make` makes for the connection, and gives its answers with what `make` keeps
    /// for reading them. No answer is an error of the server.
    pub(super) async fn send<Kept: Send>(
        &self,
        make: impl Fn(&Connected, Scripts) -> (Vec<Request>, Kept) + Send + Sync,
    ) -> Result<(Vec<Vec<Value>>, Kept), StoreError> {
        self.in_time(self.send_again(&make)).await
    }

    async fn send_again<Kept: Send>(
        &self,
        make: &(impl Fn(&Connected, Scripts) -> (Vec<Request>, Kept) + Send + Sync),
    ) -> Result<(Vec<Vec<Value>>, Kept), Fault> {
        let (mut scripts, mut repeated) = (Scripts::Known, false);
        loop {
            let fault = match self.attempt(make, scripts).await {
                Ok(answers) => return Ok(answers),
                Err(fault) => fault,
            };
            match fault.kind {
                Kind::NoScript if scripts == Scripts::Known => scripts = Scripts::Whole,
                Kind::Lost if !repeated => repeated = true,
                _ => return Err(fault),
            }
        }
    }

    /// What `call` answers, or an error when [`Self::patience`] is over: then the connection is
    /// given up as well, so that the next call does not wait on the same one.
    pub(super) async fn in_time<T>(
        &self,
        call: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, StoreError> {
        let limit = self.dialer.longest_call();
        let before = self.current.read().clone();
        let answer = timeout(limit, call).await.unwrap_or_else(|_| {
            let mut current = self.current.write();
            let newer = current.as_ref().is_some_and(|now| {
                before
                    .as_ref()
                    .is_some_and(|before| !Arc::ptr_eq(before, now))
            });
            if !newer {
                *current = None;
            }
            Err(Fault::new(
                Kind::Late,
                format!("no answer within {limit:?}"),
            ))
        });
        answer.map_err(|fault| self.error(fault))
    }

    /// As [`DedupeStore::patience`](crate::DedupeStore::patience): a little more than a call
    /// takes, so that the store itself ends it, and knows.
    pub(super) fn patience(&self) -> Duration {
        self.dialer.longest_call() + Duration::from_millis(500)
    }

    async fn attempt<Kept: Send>(
        &self,
        make: &(impl Fn(&Connected, Scripts) -> (Vec<Request>, Kept) + Send + Sync),
        scripts: Scripts,
    ) -> Result<(Vec<Vec<Value>>, Kept), Fault> {
        let connected = self.connected().await?;
        let (requests, kept) = make(&connected, scripts);
        if requests.is_empty() {
            return Ok((Vec::new(), kept));
        }
        let sent = checked(&connected.link, requests).await;
        let answers = sent.map_err(|fault| self.heard(&connected, fault))?;
        Ok((answers, kept))
    }

    /// Drops the connection, if it is of no further use after `fault`.
    pub(super) fn heard(&self, connected: &Arc<Connected>, fault: Fault) -> Fault {
        if !matches!(fault.kind, Kind::Unable | Kind::NoScript) {
            let mut current = self.current.write();
            if current
                .as_ref()
                .is_some_and(|now| Arc::ptr_eq(now, connected))
            {
                *current = None;
            }
        }
        fault
    }

    /// A connection to the master of `slot` that nobody else uses.
    pub(super) async fn exclusive(
        &self,
        connected: &Connected,
        slot: u16,
    ) -> Result<Connection, Fault> {
        let info = |node: &Node| self.dialer.info(node);
        connected.pools.get(&connected.link, slot, info).await
    }

    pub(super) fn error(&self, fault: Fault) -> StoreError {
        fault.into_error(&self.store)
    }

    /// As [`DedupeStore::ready`](crate::DedupeStore::ready). Looks at the markers now, which takes
    /// a write where somebody does more than look: a server that reads and cannot write is no store.
    pub(super) async fn ready(&self) -> Result<(), StoreError> {
        self.in_time(async {
            let Some(held) = self.current.read().clone() else {
                // Whoever connects looks as well.
                return self.connected().await.map(drop);
            };
            self.amnesia.looks_now();
            let looked = self.look(&held.link).await;
            looked.map(drop).map_err(|fault| self.heard(&held, fault))
        })
        .await
    }

    /// As [`DedupeStore::health`](crate::DedupeStore::health).
    pub(super) fn health(&self) -> Health {
        Health {
            memory_losses: self.losses(),
        }
    }

    /// Hashes of a shard and generation.
    pub(super) fn parts(&self) -> u16 {
        self.meta.parts()
    }

    /// How often the memory of a server was found lost.
    pub(super) fn losses(&self) -> u64 {
        self.amnesia.losses()
    }

    /// The connection: the one that is held, or a new one.
    pub(super) async fn connected(&self) -> Result<Arc<Connected>, Fault> {
        let held = self.current.read().clone();
        if let Some(connected) = held {
            if self.amnesia.is_due() {
                let looked = self.look(&connected.link).await;
                looked.map_err(|fault| self.heard(&connected, fault))?;
            }
            return Ok(connected);
        }
        let began = Instant::now();
        let mut last = self.connecting.lock().await;
        if let Some(connected) = self.current.read().clone() {
            return Ok(connected);
        }
        // One attempt answers all who waited for it.
        if let Some((_, fault)) = last.as_ref().filter(|(at, _)| *at >= began) {
            return Err(fault.clone());
        }
        match self.connect().await {
            Ok(connected) => {
                let connected = Arc::new(connected);
                *self.current.write() = Some(Arc::clone(&connected));
                *last = None;
                tracing::info!(store = self.store, "connected to the dedupe store");
                Ok(connected)
            }
            Err(fault) => {
                *last = Some((Instant::now(), fault.clone()));
                Err(fault)
            }
        }
    }

    async fn connect(&self) -> Result<Connected, Fault> {
        let Dialled { link, master } = self.dialer.dial().await?;
        self.look_over(&link).await?;
        self.read_clocks(&link).await?;
        let parts = self.look(&link).await?;
        let pools = Pools::new(master, self.dialer.config(), self.dialer.patience());
        Ok(Connected { link, pools, parts })
    }

    /// Refuses servers that would forget ids to make room.
    async fn look_over(&self, link: &Link) -> Result<(), Fault> {
        let mut silent = false;
        for policy in server::policies(link, &self.names).await? {
            match policy {
                Some(policy) if policy == "noeviction" || policy == self.policy => {}
                Some(policy) => return Err(server::evicts(&policy)),
                None => silent = true,
            }
        }
        if silent && !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                store = self.store,
                "the server tells neither CONFIG GET nor INFO; that its maxmemory-policy is \
                 noeviction cannot be checked"
            );
        }
        Ok(())
    }

    async fn read_clocks(&self, link: &Link) -> Result<(), Fault> {
        let shards = link.servers(&self.names);
        let time = |shard| Request::of_shard(&self.names, shard, vec![redis::cmd("TIME")]);
        let answers = checked(link, (0..shards).map(time).collect()).await?;
        for (shard, answer) in (0..).zip(&answers) {
            self.clocks.told(shard, time_in(answer.first())?);
        }
        if shards == 1 {
            let time = self.clocks.now(0);
            (1..self.names.shards()).for_each(|shard| self.clocks.told(shard, time));
        }
        Ok(())
    }

    /// As [`Self::look`], and sets nothing.
    async fn read_meta(&self, link: &Link) -> Result<u16, Fault> {
        let key = self.names.meta();
        let found = self.ask_meta(link, redis::cmd("GET").arg(key)).await?;
        self.meta.agree(key, found.as_deref())
    }

    /// What `command` answers about the meta; `None` where nothing stands there.
    async fn ask_meta(&self, link: &Link, command: &Cmd) -> Result<Option<Vec<u8>>, Fault> {
        let slot = super::names::slot_of(self.names.meta().as_bytes());
        let commands = vec![command.clone()];
        let answers = checked(link, vec![Request { slot, commands }]).await?;
        Ok(match answers.into_iter().flatten().next() {
            Some(Value::BulkString(found)) => Some(found),
            _ => None,
        })
    }

    /// Looks at the meta and the markers. Out: the hashes of a shard and generation.
    async fn look(&self, link: &Link) -> Result<u16, Fault> {
        if self.looks {
            return self.read_meta(link).await;
        }
        let key = self.names.meta();
        let mut set = Cmd::new();
        set.arg("SET").arg(key).arg(self.meta.to_string());
        let found = self.ask_meta(link, set.arg("NX").arg("GET")).await?;
        let parts = self.meta.agree(key, found.as_deref())?;
        // Only now, so that a namespace of others is left as it was.
        let (requests, fresh) = Amnesia::look(&self.names).into_parts();
        let answers = checked(link, requests).await?;
        if self.amnesia.learn(&fresh, &answers) {
            tracing::warn!(
                store = self.store,
                "Redis has lost what it knew of ids: those sent again count as new"
            );
        }
        Ok(parts)
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.store)
    }
}

/// Sends `requests`; an error of the server among the answers is the error of all.
pub(super) async fn checked(link: &Link, requests: Vec<Request>) -> Result<Vec<Vec<Value>>, Fault> {
    let answers = link.send(requests).await?;
    match answers.iter().find_map(|answers| Fault::among(answers)) {
        Some(fault) => Err(fault),
        None => Ok(answers),
    }
}

/// The answer to `TIME`, in milliseconds.
pub(super) fn time_in(answer: Option<&Value>) -> Result<u64, Fault> {
    let read = || {
        let Some(Value::Array(parts)) = answer else {
            return None;
        };
        let [Value::BulkString(seconds), Value::BulkString(micros)] = parts.as_slice() else {
            return None;
        };
        let number = |bytes| std::str::from_utf8(bytes).ok()?.parse::<u64>().ok();
        Some(number(seconds)? * 1_000 + number(micros)? / 1_000)
    };
    read().ok_or_else(|| Fault::unreadable("the answer to TIME"))
}
