//! A running proxy, and what can be done to it.

use super::chooser::Chooser;
use super::door::{Door, Server};
use super::plan::{Fault, Outage, Plan, Window};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// How often each fault happened.
pub type Counts = BTreeMap<Fault, u64>;

/// A proxy with faults in front of a server. It ends when this is dropped.
#[derive(Debug)]
pub struct FaultyProxy {
    address: SocketAddr,
    server: Arc<Server>,
    switches: watch::Sender<Switches>,
    listens: watch::Receiver<bool>,
    _tasks: JoinSet<()>,
}

/// What is switched on just now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Switches {
    /// By hand.
    outage: Option<Outage>,
    /// By the plan.
    window: Option<Outage>,
    pub(super) denied: bool,
}

// === impl FaultyProxy ===

impl FaultyProxy {
    /// Starts one on a free port of this machine, in front of the server at `upstream`, which
    /// speaks HTTP/1.1 without TLS. `seed` decides what befalls which request.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn start(upstream: SocketAddr, plan: Plan, seed: u64) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        tracing::info!(%address, %upstream, seed, ?plan, "a proxy with faults");
        let windows = plan.windows.clone();
        let server = Arc::new(Server {
            upstream,
            chooser: Chooser::new(plan, seed),
            counts: Mutex::default(),
            requests: Mutex::default(),
        });
        let (switches, seen) = watch::channel(Switches::default());
        let (listening, listens) = watch::channel(true);
        let mut tasks = JoinSet::new();
        tasks.spawn(Door::new(address, Arc::clone(&server), seen, listening).serve(listener));
        for window in windows {
            tasks.spawn(outage(switches.clone(), window));
        }
        Ok(Self {
            address,
            server,
            switches,
            listens,
            _tasks: tasks,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The server is away from now on, or is back with `None`. Outages of the plan come and go
    /// beside that.
    ///
    /// # Errors
    /// When it cannot listen again: its port was taken meanwhile.
    pub async fn set_outage(&mut self, outage: Option<Outage>) -> io::Result<()> {
        self.switches.send_modify(|it| it.outage = outage);
        let away = self.switches.borrow().outage() == Some(Outage::Refuses);
        let done = self.listens.wait_for(|listens| *listens != away).await;
        done.map(drop).map_err(|_| io::ErrorKind::AddrInUse.into())
    }

    /// From now on everything is answered 403, or no longer.
    pub fn set_denied(&self, denied: bool) {
        self.switches.send_modify(|it| it.denied = denied);
    }

    /// How often each fault happened. Connections that were refused are not seen.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.server.counts.lock().clone()
    }

    /// Requests that came.
    #[must_use]
    pub fn requests(&self) -> u64 {
        *self.server.requests.lock()
    }

    /// The faults that the plan asks for and that did not happen: a run with any of them proves
    /// nothing.
    #[must_use]
    pub fn missing(&self) -> Vec<Fault> {
        let counts = self.counts();
        let plan = self.server.chooser.plan();
        plan.kinds()
            .filter(|fault| !counts.contains_key(fault))
            .collect()
    }
}

// === impl Switches ===

impl Switches {
    pub(super) fn outage(self) -> Option<Outage> {
        self.outage.or(self.window)
    }
}

async fn outage(switches: watch::Sender<Switches>, window: Window) {
    sleep(window.after).await;
    switches.send_modify(|it| it.window = Some(window.outage));
    sleep(window.lasts).await;
    switches.send_modify(|it| it.window = None);
}
