//! Why a store cannot be opened.

use super::SCHEMES;
use std::path::PathBuf;

/// Why no store was opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// No store of this build goes by that scheme. The rest of the URL may hold a password and is
    /// not repeated.
    #[error("dedupe.url has the scheme {scheme:?}; this build has {SCHEMES}")]
    UnknownScheme {
        /// What stands before the first colon.
        scheme: String,
    },
    /// A store that only its own process can see.
    #[error(
        "dedupe.url is memory: such a store lives in its consumer, whose /metrics \
         (cloudsync_dedupe_…) tells what it holds; set dedupe.url as the consumers have it"
    )]
    Elsewhere,
    /// A `file:` URL without a directory.
    #[error("dedupe.url = {url} names no directory; it is file:///dir, from the root on")]
    NoDirectory {
        /// What was given.
        url: String,
    },
    /// A destination whose name cannot be that of a directory.
    #[error("the destination {name:?} cannot have a directory of its name: letters, digits, - _ .")]
    Destination {
        /// Its name.
        name: String,
    },
    /// A store that is open already.
    #[error("{} is in use by {owner}: end it, or set another dedupe.url", .directory.display())]
    InUse {
        /// The directory of the destination.
        directory: PathBuf,
        /// Who has it.
        owner: String,
    },
    /// A file that another version wrote.
    #[error(
        "{} is of format {found}, and this program reads format {expected}: use the program that \
         wrote it, or another dedupe.url",
        .path.display()
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// Ours.
        expected: u32,
    },
    /// The disk refuses.
    #[error("cannot {action} {}: {reason}", .path.display())]
    Files {
        /// What was tried.
        action: &'static str,
        /// With which file or directory.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// The URL, or what belongs to it, is not right. The URL is not repeated.
    #[error("dedupe.url: {reason}")]
    Url {
        /// What is wrong.
        reason: String,
    },
    /// A setting is out of its range.
    #[error("dedupe.{name} = {value} is out of range: {rule}")]
    OutOfRange {
        /// The setting.
        name: &'static str,
        /// What it says.
        value: String,
        /// What it may say.
        rule: &'static str,
    },
}

// === impl OpenError ===

impl OpenError {
    /// Whether the settings are at fault, and not the machine.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        match self {
            Self::UnknownScheme { .. }
            | Self::Elsewhere
            | Self::Url { .. }
            | Self::NoDirectory { .. }
            | Self::Destination { .. }
            | Self::OutOfRange { .. } => true,
            Self::InUse { .. } | Self::Version { .. } | Self::Files { .. } => false,
        }
    }
}
