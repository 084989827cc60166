//! Why a broker does not start or stop cleanly.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why a broker did not start, or did not stop cleanly.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BrokerError {
    /// The listen address is not a loopback address.
    #[error(
        "log listen address {address} is not a loopback address; the embedded log has no authentication"
    )]
    NotLoopback {
        /// The refused address.
        address: SocketAddr,
    },
    /// The port is taken by another process.
    #[error("log listen address {address} is already in use")]
    AddressInUse {
        /// The taken address.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The address could not be bound for another reason.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Another broker has the directory open.
    #[error(
        "log directory {} is in use by another process: end that one, or choose another directory",
        .path.display()
    )]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// The directory was written by another version of the format.
    #[error(
        "log directory {} has format {found}, this version reads format {expected}: run the version \
         that wrote it, or choose another directory",
        .path.display()
    )]
    Format {
        /// The directory.
        path: PathBuf,
        /// The version found in it.
        found: u32,
        /// The version this build reads.
        expected: u32,
    },
    /// A file of the directory does not read back as it was written.
    #[error("{} is damaged: {detail}", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// A file operation failed.
    #[error("cannot {action} {}", .path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The broker's thread could not be started or its runtime not built.
    #[error("cannot start the log's thread")]
    Thread {
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A setting is out of range.
    #[error("log setting {name} = {value} is out of range")]
    Setting {
        /// Field of [`crate::BrokerConfig`].
        name: &'static str,
        /// The refused value.
        value: String,
    },
    /// The broker's thread ended by itself, before it was asked to.
    #[error("the log's thread ended unexpectedly")]
    Ended,
}

/// A part of a log that does not read back as it was written, and was passed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The file or folder.
    pub path: PathBuf,
    /// What is wrong with it.
    pub detail: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is damaged: {}", self.path.display(), self.detail)
    }
}

impl BrokerError {
    pub(crate) fn file(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File {
            action,
            path,
            source,
        }
    }

    pub(crate) fn damaged(path: impl Into<PathBuf>, detail: impl Into<String>) -> Self {
        Self::Damaged {
            path: path.into(),
            detail: detail.into(),
        }
    }
}
