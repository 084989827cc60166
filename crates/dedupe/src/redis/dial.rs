//! How a connection to Redis comes about.
//!
//! In: a [`Target`] and the settings. Out: a [`Link`] to the master, or to the Cluster. Promises:
//! every wait for a connection or an answer has an end that the settings decide (the client's own
//! default for answers is half a second); TLS uses aws-lc-rs whatever else the process links.

use super::fault::{Fault, Kind, names_trust};
use super::link::Link;
use super::url::{Node, Shape, Target};
use crate::settings::{DedupeSettings, OpenError};
use redis::cluster::{ClusterClient, ClusterClientBuilder};
use redis::io::tcp::TcpSettings;
use redis::sentinel::{SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo,
    IntoConnectionInfo, RedisConnectionInfo, RedisError, TlsCertificates, TlsMode,
};
use std::fs;
use std::path::Path;
use std::time::Duration;
use tokio::time::timeout;

/// Largest certificate or key file, in bytes.
const MAX_PEM: u64 = 1 << 20;

/// Makes connections to one target.
#[derive(Debug)]
pub(super) struct Dialer {
    target: Target,
    certificates: TlsCertificates,
    connect_timeout: Duration,
    response_timeout: Duration,
}

/// A new link, and how a further connection to the same server is made.
pub(super) struct Dialled {
    pub(super) link: Link,
    /// Of the master; `None` in a Cluster, which has several.
    pub(super) master: Option<ConnectionInfo>,
}

// === impl Dialer ===

impl Dialer {
    pub(super) fn new(target: Target, settings: &DedupeSettings) -> Result<Self, OpenError> {
        if target.tls && rustls::crypto::CryptoProvider::get_default().is_none() {
            // Another thread may have been first; then that one holds.
            drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        }
        let dialer = Self {
            certificates: certificates(settings)?,
            connect_timeout: settings.redis_connect_timeout,
            response_timeout: settings.redis_response_timeout,
            target,
        };
        // Certificates are read here, so what is wrong with them is said at the start.
        for node in &dialer.target.nodes {
            dialer.info(node).map_err(|error| OpenError::Url {
                reason: error.to_string(),
            })?;
        }
        Ok(dialer)
    }

    /// How a node of the target is connected to.
    pub(super) fn info(&self, node: &Node) -> Result<ConnectionInfo, RedisError> {
        let host = node.host.clone();
        let address = if self.target.tls {
            ConnectionAddr::TcpTls {
                host,
                port: node.port,
                insecure: false,
                tls_params: None,
            }
        } else {
            ConnectionAddr::Tcp(host, node.port)
        };
        let plain = address
            .into_connection_info()?
            .set_tcp_settings(tcp())
            .set_redis_settings(self.login(true));
        if !self.target.tls {
            return Ok(plain);
        }
        let client = Client::build_with_tls(plain, self.certificates.clone())?;
        Ok(client.get_connection_info().clone())
    }

    fn login(&self, database: bool) -> RedisConnectionInfo {
        // The library's name is one right more that a user would need.
        let mut login = RedisConnectionInfo::default().set_skip_set_lib_name();
        if let Some(user) = &self.target.user {
            login = login.set_username(user);
        }
        if let Some(password) = &self.target.password {
            login = login.set_password(password);
        }
        if database {
            login = login.set_db(self.target.database);
        }
        login
    }

    pub(super) fn config(&self) -> AsyncConnectionConfig {
        AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.connect_timeout))
            .set_response_timeout(Some(self.response_timeout))
    }

    /// Longest wait for a connection of a pool, and for making one.
    pub(super) fn patience(&self) -> Duration {
        self.connect_timeout
    }

    /// Longest time that a call may take in all: finding the master, connecting, looking the
    /// server over, and the call itself, repeated once.
    pub(super) fn longest_call(&self) -> Duration {
        self.connect_timeout * 2 + self.response_timeout * 2
    }

    /// Connects.
    ///
    /// # Errors
    /// [`Fault`], which names the target nowhere: the caller does.
    pub(super) async fn dial(&self) -> Result<Dialled, Fault> {
        let late = |_| {
            let text = "no connection in time (dedupe.redis_connect_timeout)";
            Fault::new(Kind::Late, text)
        };
        match &self.target.shape {
            Shape::Standalone => {
                let info = self.info(self.first_node())?;
                self.connect(info).await
            }
            Shape::Sentinel { master } => {
                let found = timeout(self.connect_timeout, self.ask_sentinels(master)).await;
                let info = found.map_err(late)?.map_err(|error| {
                    // The client calls it a fault of the configuration when no Sentinel answers.
                    let text = error.to_string();
                    let refused = names_trust(&text);
                    let kind = if refused { Kind::Refused } else { Kind::Unable };
                    Fault::new(kind, format!("no master {master:?}: {text}"))
                })?;
                self.connect(info).await
            }
            Shape::Cluster => {
                let client = self.cluster()?;
                let connecting = client.get_async_connection();
                let connection = timeout(self.connect_timeout, connecting).await;
                Ok(Dialled {
                    link: Link::Cluster(connection.map_err(late)??),
                    master: None,
                })
            }
        }
    }

    async fn connect(&self, info: ConnectionInfo) -> Result<Dialled, Fault> {
        let client = Client::open(info.clone())?;
        let connection = client
            .get_multiplexed_async_connection_with_config(&self.config())
            .await?;
        Ok(Dialled {
            link: Link::Single(connection),
            master: Some(info),
        })
    }

    fn first_node(&self) -> &Node {
        &self.target.nodes[0]
    }

    /// Where the master is. Each time anew: a list of Sentinels that is kept goes stale.
    async fn ask_sentinels(&self, master: &str) -> Result<ConnectionInfo, RedisError> {
        let mut sentinels = Vec::with_capacity(self.target.nodes.len());
        for node in &self.target.nodes {
            sentinels.push(self.info(node)?.addr().clone());
        }
        let kind = SentinelServerType::Master;
        let mut builder = SentinelClientBuilder::new(sentinels, master, kind)?
            .set_client_to_redis_db(self.target.database);
        if self.target.tls {
            builder = builder
                .set_client_to_redis_tls_mode(TlsMode::Secure)
                .set_client_to_sentinel_tls_mode(TlsMode::Secure)
                .set_client_to_redis_certificates(self.certificates.clone())
                .set_client_to_sentinel_certificates(self.certificates.clone());
        }
        if let Some(user) = &self.target.user {
            builder = builder.set_client_to_redis_username(user);
        }
        if let Some(password) = &self.target.password {
            builder = builder.set_client_to_redis_password(password);
        }
        let client = builder.build()?.async_get_client().await?;
        let found = client.get_connection_info().clone();
        Ok(found
            .set_tcp_settings(tcp())
            .set_redis_settings(self.login(true)))
    }

    fn cluster(&self) -> Result<ClusterClient, RedisError> {
        let nodes = self.target.nodes.iter().map(|node| self.info(node));
        let nodes = nodes.collect::<Result<Vec<ConnectionInfo>, RedisError>>()?;
        let mut builder = ClusterClientBuilder::new(nodes)
            .connection_timeout(self.connect_timeout)
            .response_timeout(self.response_timeout)
            // A call has one end, whatever is tried inside.
            .overall_response_timeout(Some(self.response_timeout))
            .tcp_settings(tcp())
            .retries(2);
        if self.target.tls {
            builder = builder
                .tls(TlsMode::Secure)
                .certs(self.certificates.clone());
        }
        builder.build()
    }
}

/// A call is sent when it is made, not when the one before it has been answered.
fn tcp() -> TcpSettings {
    TcpSettings::default().set_nodelay(true)
}

fn certificates(settings: &DedupeSettings) -> Result<TlsCertificates, OpenError> {
    let read = |name: &'static str, path: &Option<String>| match path {
        None => Ok(None),
        Some(path) => read_pem(Path::new(path)).map(Some).map_err(|reason| {
            let reason = format!("dedupe.{name} = {path:?}: {reason}");
            OpenError::Url { reason }
        }),
    };
    let root_cert = read("redis_ca", &settings.redis_ca)?;
    let cert = read("redis_cert", &settings.redis_cert)?;
    let key = read("redis_key", &settings.redis_key)?;
    let client_tls = match (cert, key) {
        (None, None) => None,
        (Some(client_cert), Some(client_key)) => Some(ClientTlsConfig {
            client_cert,
            client_key,
        }),
        _ => {
            let reason = "dedupe.redis_cert and dedupe.redis_key are set together or not at all";
            return Err(OpenError::Url {
                reason: reason.to_owned(),
            });
        }
    };
    Ok(TlsCertificates {
        client_tls,
        root_cert,
    })
}

fn read_pem(path: &Path) -> Result<Vec<u8>, String> {
    let size = fs::metadata(path).map_err(|e| e.to_string())?.len();
    if size > MAX_PEM {
        return Err(format!("it has {size} bytes, more than {MAX_PEM}"));
    }
    fs::read(path).map_err(|error| error.to_string())
}
