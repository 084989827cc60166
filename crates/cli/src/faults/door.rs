//! Connections, and what is done with each request.

use super::chooser::{Chooser, Fate};
use super::plan::{Fault, Outage};
use super::proxy::{Counts, Switches};
use super::reply::{self, Ended, Reply};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, IF_NONE_MATCH};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// Longest that a request hangs.
const HANGS: Duration = Duration::from_secs(600);
/// Most connections at once; more wait at the door.
const CONNECTIONS: usize = 1_024;

/// What all connections share.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) upstream: SocketAddr,
    pub(super) chooser: Chooser,
    pub(super) counts: Mutex<Counts>,
    pub(super) requests: Mutex<u64>,
}

/// Takes connections.
pub(super) struct Door {
    address: SocketAddr,
    server: Arc<Server>,
    switches: watch::Receiver<Switches>,
    listening: watch::Sender<bool>,
}

// === impl Door ===

impl Door {
    pub(super) fn new(
        address: SocketAddr,
        server: Arc<Server>,
        switches: watch::Receiver<Switches>,
        listening: watch::Sender<bool>,
    ) -> Self {
        Self {
            address,
            server,
            switches,
            listening,
        }
    }

    /// Serves until the proxy is dropped.
    pub(super) async fn serve(mut self, first: TcpListener) {
        let mut listener = Some(first);
        loop {
            if let Some(listener) = listener.take() {
                self.listening.send_replace(true);
                self.take(listener).await;
                self.listening.send_replace(false);
            }
            let gone = self.switches.wait_for(|it| !refuses(*it)).await.is_err();
            if gone {
                return;
            }
            match TcpListener::bind(self.address).await {
                Ok(again) => listener = Some(again),
                Err(error) => {
                    let address = self.address;
                    tracing::error!(%address, %error, "a proxy with faults cannot listen again");
                    return;
                }
            }
        }
    }

    /// Takes connections until none is taken any more; then all of them end.
    async fn take(&mut self, listener: TcpListener) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept(), if connections.len() < CONNECTIONS => {
                    let Ok((stream, _)) = accepted else { continue };
                    let server = Arc::clone(&self.server);
                    connections.spawn(connection(stream, server, self.switches.clone()));
                }
                Some(_) = connections.join_next() => {}
                () = refused(&mut self.switches) => {
                    connections.shutdown().await;
                    return;
                }
            }
        }
    }
}

fn refuses(switches: Switches) -> bool {
    switches.outage() == Some(Outage::Refuses)
}

/// Waits until no connection is taken any more, or the proxy is dropped.
async fn refused(switches: &mut watch::Receiver<Switches>) {
    let _dropped = switches.wait_for(|it| refuses(*it)).await.is_err();
}

async fn connection(stream: TcpStream, server: Arc<Server>, switches: watch::Receiver<Switches>) {
    let service = service_fn(|request| {
        let now = *switches.borrow();
        let server = Arc::clone(&server);
        async move { server.answer(request, now).await }
    });
    let served = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // However it ends: what was done is counted.
    drop(served.await);
}

// === impl Server ===

impl Server {
    async fn answer(&self, request: Request<Incoming>, now: Switches) -> Result<Reply, Ended> {
        *self.requests.lock() += 1;
        if let Some(outage) = now.outage() {
            self.happened(Fault::Away, &request);
            return match outage {
                Outage::Refuses => Err(Ended),
                Outage::Answers => Ok(reply::broken(true)),
                Outage::Hangs => hang().await,
            };
        }
        if now.denied {
            self.happened(Fault::Denied, &request);
            // Read, as a server does: a client that still sends does not see the answer.
            reply::whole(request).await?;
            return Ok(reply::denied());
        }
        let fate = self.chooser.choose(&request);
        if let Some(fault) = fate.fault {
            self.happened(fault, &request);
        }
        self.fulfil(request, fate).await
    }

    async fn fulfil(&self, request: Request<Incoming>, fate: Fate) -> Result<Reply, Ended> {
        if fate.fault == Some(Fault::CutRequest) {
            let mut body = request.into_body();
            drop(body.frame().await);
            return Err(Ended);
        }
        if let Some(late) = fate.late {
            self.happened(Fault::Late, &request);
            sleep(late).await;
        }
        let mut request = reply::whole(request).await?;
        let is_blind =
            self.chooser.plan().ignores_conditions && request.headers().contains_key(IF_NONE_MATCH);
        // Whoever signed the condition is not believed without it; only the answer can be false then.
        let is_signed = request.headers().contains_key(AUTHORIZATION);
        if is_blind {
            self.happened(Fault::Unconditional, &request);
            if !is_signed {
                request.headers_mut().remove(IF_NONE_MATCH);
            }
        }
        match fate.fault {
            Some(Fault::Broken) => Ok(reply::broken(fate.other)),
            Some(Fault::Throttle) => Ok(reply::throttled(self.chooser.plan().retry_after)),
            Some(Fault::Denied) => Ok(reply::denied()),
            Some(Fault::Hang) => hang().await,
            Some(Fault::LostReply) => {
                let _lost: Response<_> = self.forward(request).await?;
                Err(Ended)
            }
            Some(Fault::CutReply) => reply::cut(self.forward(request).await?),
            Some(Fault::CutRequest | Fault::Away) => Err(Ended),
            Some(Fault::Late | Fault::Unconditional) | None => {
                let reply = self.forward(request).await?;
                let refused = matches!(reply.status().as_u16(), 409 | 412);
                if is_blind && is_signed && refused {
                    return Ok(reply::overwritten());
                }
                Ok(reply::passed(reply))
            }
        }
    }

    async fn forward(&self, request: reply::Whole) -> Result<Response<bytes::Bytes>, Ended> {
        reply::forward(self.upstream, request).await
    }

    fn happened<B>(&self, fault: Fault, request: &Request<B>) {
        *self.counts.lock().entry(fault).or_default() += 1;
        let (method, path) = (request.method(), request.uri().path());
        tracing::debug!(upstream = %self.upstream, %fault, %method, path, "a fault");
    }
}

async fn hang() -> Result<Reply, Ended> {
    sleep(HANGS).await;
    Err(Ended)
}
