//! Why the parts do not run, in sentences for the operator.

use cloudsync_consumers::StartError;
use cloudsync_dedupe::OpenError;
use cloudsync_devbroker::BrokerError;
use cloudsync_gateway::BindError;
use cloudsync_kafka::KafkaError;
use cloudsync_runtime::metrics::MetricsError;
use cloudsync_runtime::{PortOwner, port_owner};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// A part that ended without having been told to.
#[derive(Debug, thiserror::Error)]
#[error("{part} ended by itself{}", .why.as_ref().map(|why| format!(": {why}")).unwrap_or_default())]
pub struct Ended {
    /// Which one.
    pub part: String,
    /// Why, if it said so.
    pub why: Option<String>,
}

/// Why the parts do not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StackError {
    /// A port has another owner.
    #[error(
        "{part} cannot listen on {address}: the port is taken{}; end it, or choose another port \
         with {flag}",
        .owner.as_ref().map(|owner| format!(" by {owner}")).unwrap_or_default()
    )]
    PortTaken {
        /// What wanted it.
        part: &'static str,
        /// The address.
        address: SocketAddr,
        /// Who has it, where the system tells.
        owner: Option<PortOwner>,
        /// The flag that changes it.
        flag: &'static str,
    },
    /// There are no metrics.
    #[error("/metrics cannot be set up")]
    Metrics(#[source] MetricsError),
    /// The embedded log does not start.
    #[error("the embedded log does not start")]
    Log(#[source] BrokerError),
    /// The topics cannot be made.
    #[error("the topics are not ready")]
    Topics(#[source] KafkaError),
    /// The log's client cannot be made.
    #[error("the gateway has no way to the log")]
    Producer(#[source] KafkaError),
    /// The gateway does not start.
    #[error("the gateway does not start")]
    Gateway(#[source] BindError),
    /// The dedupe store does not open.
    #[error("the dedupe store of {destination} does not open")]
    Dedupe {
        /// The destination.
        destination: String,
        /// Why.
        #[source]
        source: OpenError,
    },
    /// Receipts cannot be kept where the settings say.
    #[error("the gateway cannot keep receipts")]
    Receipts(#[source] OpenError),
    /// A consumer does not start.
    #[error("the consumer of {destination} does not start")]
    Consumer {
        /// The destination.
        destination: String,
        /// Why.
        #[source]
        source: Box<StartError>,
    },
    /// A destination that the settings do not have.
    #[error("there is no destination {name}; the settings have {known}")]
    NoDestination {
        /// The name.
        name: String,
        /// Those that there are.
        known: String,
    },
    /// A destination without a URL.
    #[error("destinations.{name}.url is not set")]
    NoUrl {
        /// The destination.
        name: String,
    },
    /// The admin endpoint does not start.
    #[error("the admin endpoint cannot listen on {address}")]
    Admin {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A part ended while the others came up.
    #[error(transparent)]
    Ended(#[from] Ended),
    /// Something did not become ready in time.
    #[error("not ready after {after:?}: {waiting}")]
    NotReady {
        /// The time.
        after: Duration,
        /// What is waited for.
        waiting: Waiting,
    },
}

/// What is waited for, as (name, what for).
#[derive(Debug)]
pub struct Waiting(pub Vec<(String, String)>);

// === impl StackError, Waiting ===

impl StackError {
    /// Whether the settings are at fault.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        match self {
            Self::NoDestination { .. } | Self::NoUrl { .. } => true,
            Self::Dedupe { source, .. } | Self::Receipts(source) => source.is_usage(),
            Self::Gateway(error) => {
                matches!(
                    error,
                    BindError::Settings(_) | BindError::NotLoopback { .. }
                )
            }
            Self::Producer(error) | Self::Topics(error) => {
                matches!(
                    error,
                    KafkaError::Settings(_) | KafkaError::TooFewPartitions { .. }
                )
            }
            Self::Log(error) => {
                matches!(
                    error,
                    BrokerError::NotLoopback { .. } | BrokerError::Setting { .. }
                )
            }
            Self::Consumer { source, .. } => matches!(**source, StartError::Settings { .. }),
            Self::PortTaken { .. }
            | Self::Admin { .. }
            | Self::Metrics(_)
            | Self::Ended(_)
            | Self::NotReady { .. } => false,
        }
    }
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("nothing is waited for");
        }
        for (index, (name, what)) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{name} waits for {what}")?;
        }
        Ok(())
    }
}

pub(super) fn taken(part: &'static str, address: SocketAddr, flag: &'static str) -> StackError {
    StackError::PortTaken {
        part,
        address,
        owner: port_owner(address),
        flag,
    }
}
