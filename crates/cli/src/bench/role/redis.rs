//! A Redis of the bench's own.
//!
//! In: a directory. Out: where it listens, and its process. Promises: it keeps nothing on disk, is
//! reached from this machine only, and ends with the bench.

use super::{Inbox, answer, not_for_me};
use crate::bench::messages::{Answer, Question};
use anyhow::{Context, ensure};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::{Instant, sleep};

/// How long it may take to come up.
const READY: Duration = Duration::from_secs(20);

pub(super) async fn serve(directory: &Path, mut inbox: Inbox) -> anyhow::Result<()> {
    std::fs::create_dir_all(directory)
        .with_context(|| format!("cannot make {}", directory.display()))?;
    let address = free().context("no free port")?;
    let port = address.port().to_string();
    let mut redis = Command::new("redis-server")
        .args(["--bind", "127.0.0.1", "--port", &port])
        .args(["--save", "", "--appendonly", "no", "--daemonize", "no"])
        .arg("--dir")
        .arg(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .context("cannot start redis-server; install it (apt install redis-server)")?;
    let until = Instant::now() + READY;
    while TcpStream::connect(address).await.is_err() {
        if let Some(status) = redis.try_wait().context("has redis-server ended?")? {
            anyhow::bail!("redis-server ended with {status}");
        }
        ensure!(Instant::now() < until, "redis-server does not listen");
        sleep(Duration::from_millis(10)).await;
    }
    answer(&Answer::Up {
        address: Some(address),
        pid: redis.id(),
    });
    tokio::select! {
        ended = redis.wait() => anyhow::bail!("redis-server ended: {ended:?}"),
        question = inbox.next::<Question>() => Err(not_for_me(&question?)),
    }
}

fn free() -> std::io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}
