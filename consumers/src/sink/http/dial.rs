//! The way to an endpoint: its name looked up, every address checked, one of them connected to.
//!
//! In: an [`Endpoint`]. Out: a connection, with TLS where the URL says so. Promises: what is
//! connected to is the address that was checked, not the name asked a second time; no proxy is
//! asked, whatever the environment says; each step ends in time.

use super::address::{Reach, reach_of};
use super::endpoint::Endpoint;
use crate::sink::ErrorClass;
use futures::future::BoxFuture;
use http::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use std::error::Error;
use std::fmt;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tokio_util::either::Either;

/// Longest time for a connection, TLS included.
const CONNECT: Duration = Duration::from_secs(5);
/// Longest time for one address of several.
const ONE_ADDRESS: Duration = Duration::from_secs(2);

/// Connects to one endpoint. Clones share everything.
#[derive(Clone, Debug)]
pub(super) struct Dialer {
    inner: Arc<Inner>,
}

struct Inner {
    host: String,
    port: u16,
    allow_private: bool,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    /// The name leads nowhere just now.
    #[error("{host} cannot be looked up")]
    Name {
        /// The name.
        host: String,
        /// Why.
        source: io::Error,
    },
    /// The name leads where no record may go.
    #[error("{0}")]
    Address(String),
    /// Nobody takes the connection.
    #[error("{address} takes no connection")]
    Connect {
        /// The last address that was tried.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// It is not whom the URL names, or does not speak TLS.
    #[error("TLS with {host} fails")]
    Tls {
        /// The name.
        host: String,
        /// Why.
        source: io::Error,
    },
    /// It took too long.
    #[error("no connection to {host} within {CONNECT:?}")]
    Late {
        /// The name.
        host: String,
    },
}

/// A connection.
pub(super) struct Stream(Either<TcpStream, Box<TlsStream<TcpStream>>>);

/// The dial's own error somewhere below `error`.
pub(super) fn error_below<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a DialError> {
    let mut below = Some(error);
    while let Some(cause) = below {
        if let Some(found) = cause.downcast_ref() {
            return Some(found);
        }
        below = cause.source();
    }
    None
}

/// Errs unless a record may go to every one of `addresses`, which `host` has.
fn check(host: &str, addresses: &[SocketAddr], allow_private: bool) -> Result<(), DialError> {
    for address in addresses {
        let ip = address.ip();
        let why = match reach_of(ip) {
            Reach::Public => continue,
            Reach::Private if allow_private => continue,
            Reach::Private => {
                "which lies in a private network or on this machine; set allow_private = true if that \
                 is meant"
            }
            Reach::Never => "where no endpoint may lie",
        };
        return Err(DialError::Address(format!(
            "{host} has the address {ip}, {why}"
        )));
    }
    Ok(())
}

// === impl DialError ===

impl DialError {
    /// What is to be done about it.
    pub(super) fn class(&self) -> ErrorClass {
        match self {
            Self::Address(_) => ErrorClass::Denied,
            Self::Name { .. } | Self::Connect { .. } | Self::Tls { .. } | Self::Late { .. } => {
                ErrorClass::Outage
            }
        }
    }
}

// === impl Dialer ===

impl Dialer {
    /// The way to `endpoint`.
    ///
    /// # Errors
    /// A sentence: TLS cannot be spoken from here, or not with this name.
    pub(super) fn new(endpoint: &Endpoint, allow_private: bool) -> Result<Self, String> {
        let tls = endpoint.tls.then(|| {
            let name = ServerName::try_from(endpoint.host.clone())
                .map_err(|error| format!("{} is no name for TLS: {error}", endpoint.host))?;
            Ok::<_, String>((connector()?, name))
        });
        Ok(Self {
            inner: Arc::new(Inner {
                host: endpoint.host.clone(),
                port: endpoint.port,
                allow_private,
                tls: tls.transpose()?,
            }),
        })
    }

    /// Connects.
    ///
    /// # Errors
    /// [`DialError`].
    pub(super) async fn dial(&self) -> Result<Stream, DialError> {
        let late = |_| DialError::Late {
            host: self.inner.host.clone(),
        };
        timeout(CONNECT, self.inner.dial()).await.map_err(late)?
    }
}

impl tower_service::Service<Uri> for Dialer {
    type Response = TokioIo<Stream>;
    type Error = DialError;
    type Future = BoxFuture<'static, Result<Self::Response, DialError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), DialError>> {
        Poll::Ready(Ok(()))
    }

    /// The URI is that of the endpoint: there is no other.
    fn call(&mut self, _: Uri) -> Self::Future {
        let dialer = self.clone();
        Box::pin(async move { dialer.dial().await.map(TokioIo::new) })
    }
}

// === impl Inner ===

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl Inner {
    async fn dial(&self) -> Result<Stream, DialError> {
        let stream = self.connect().await?;
        let Some((connector, name)) = &self.tls else {
            return Ok(Stream(Either::Left(stream)));
        };
        let shaken = connector.connect(name.clone(), stream).await;
        let stream = shaken.map_err(|source| DialError::Tls {
            host: self.host.clone(),
            source,
        })?;
        Ok(Stream(Either::Right(Box::new(stream))))
    }

    async fn connect(&self) -> Result<TcpStream, DialError> {
        let no_name = |source| DialError::Name {
            host: self.host.clone(),
            source,
        };
        let looked_up = lookup_host((self.host.as_str(), self.port)).await;
        let addresses: Vec<SocketAddr> = looked_up.map_err(no_name)?.collect();
        check(&self.host, &addresses, self.allow_private)?;
        let mut last = no_name(io::Error::new(io::ErrorKind::NotFound, "it has no address"));
        for address in addresses {
            let late = || io::Error::new(io::ErrorKind::TimedOut, "no answer");
            let connected = timeout(ONE_ADDRESS, TcpStream::connect(address)).await;
            match connected.unwrap_or_else(|_| Err(late())) {
                Ok(stream) => {
                    // A request is one piece; what is left unset only makes it late.
                    let _set = stream.set_nodelay(true).is_ok();
                    return Ok(stream);
                }
                Err(source) => last = DialError::Connect { address, source },
            }
        }
        Err(last)
    }
}

/// TLS as the system trusts it, with the cryptography that the rest of the process uses.
fn connector() -> Result<TlsConnector, String> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    let (taken, _) = roots.add_parsable_certificates(found.certs);
    if taken == 0 {
        return Err(
            "this system has no certificates to trust; install them (ca-certificates), or name a file \
             in SSL_CERT_FILE"
                .to_owned(),
        );
    }
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS cannot be set up: {error}"))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

// === impl Stream ===

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, into)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        from: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        from: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(context, from)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_that_is_not_taken_refuses_the_name() {
        let addresses = |all: &[&str]| -> Vec<SocketAddr> {
            let ips = all.iter().map(|ip| ip.parse().unwrap());
            ips.map(|ip| SocketAddr::new(ip, 443)).collect()
        };
        let said = |all: &[&str], allow_private| {
            let checked = check("h", &addresses(all), allow_private);
            checked.err().map(|error| error.to_string())
        };
        assert_eq!(said(&["1.1.1.1", "2606:4700::1"], false), None);
        let private = said(&["1.1.1.1", "10.0.0.7"], false).unwrap();
        assert!(private.contains("10.0.0.7") && private.contains("allow_private"));
        assert_eq!(said(&["1.1.1.1", "10.0.0.7"], true), None);
        let never = said(&["1.1.1.1", "::ffff:169.254.169.254"], true).unwrap();
        assert!(never.contains("169.254.169.254"), "{never}");
    }

    /// Numbers in any writing are checked as the address that they come to.
    #[tokio::test]
    async fn an_address_is_checked_whatever_it_is_written_like() {
        for host in [
            "127.0.0.1",
            "127.1",
            "2130706433",
            "0x7f000001",
            "0177.0.0.1",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "localhost",
        ] {
            let endpoint = Endpoint::parse(&format!("https://{host}:9009/x"), false);
            let endpoint = endpoint.unwrap();
            let inner = Inner {
                host: endpoint.host,
                port: endpoint.port,
                allow_private: false,
                tls: None,
            };
            let error = inner.connect().await.unwrap_err();
            // Some systems take fewer writings; then there is no address at all.
            let safe = matches!(error, DialError::Address(_) | DialError::Name { .. });
            assert!(safe, "{host}: {error:?}");
        }
        let inner = Inner {
            host: "169.254.169.254".into(),
            port: 80,
            allow_private: true,
            tls: None,
        };
        let error = inner.connect().await.unwrap_err();
        assert_eq!(error.class(), ErrorClass::Denied, "{error:?}");
    }
}
