//! What can go wrong at a destination, sorted by what is to be done about it.

use cloudsync_runtime::chain;
use std::error::Error;
use std::fmt;
use std::time::Duration;

/// What is to be done about a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorClass {
    /// Try again, with backoff.
    Transient,
    /// Try again, not before this time has passed.
    Throttled(Duration),
    /// The destination is away: wait for it.
    Outage,
    /// Credentials or configuration: wait for somebody to put them right.
    Denied,
    /// This object will never be taken as it is.
    Rejected,
}

/// A failed attempt.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} ({class})")]
pub struct SinkError {
    /// What is to be done about it.
    pub class: ErrorClass,
    /// What was tried, and on which object.
    pub action: String,
    /// The destination's own word for it, if it said one: a status, or a name such as
    /// `AccessDenied`.
    pub code: Option<Box<str>>,
    /// What the destination said.
    #[source]
    pub source: Box<dyn Error + Send + Sync>,
}

/// Why a destination was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No destination of this build has such a URL.
    #[error(
        "destination url {url} is none that this build knows; there are: {known}{}",
        .meant.as_ref().map(|meant| format!("; a directory is {meant}")).unwrap_or_default(),
        known = super::SCHEMES
    )]
    Url {
        /// The URL.
        url: String,
        /// The URL that was meant, where it looks like a path.
        meant: Option<String>,
    },
    /// It belongs to somebody else, or cannot keep what is promised. The sentence says the way out.
    #[error("{0}")]
    Refused(String),
    /// It is away, or will not let us in.
    #[error(transparent)]
    Unavailable(#[from] SinkError),
}

// === impl ErrorClass ===

impl fmt::Display for ErrorClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl ErrorClass {
    /// Its word, as it stands in dead letters.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Throttled(_) => "throttled",
            Self::Outage => "outage",
            Self::Denied => "denied",
            Self::Rejected => "rejected",
        }
    }
}

// === impl SinkError ===

impl SinkError {
    /// A failed attempt of `action`.
    pub fn new(
        class: ErrorClass,
        action: impl Into<String>,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self {
            class,
            action: action.into(),
            code: None,
            source: source.into(),
        }
    }

    /// The same, with the destination's own word for it.
    #[must_use]
    pub fn with_code(mut self, code: impl Into<Box<str>>) -> Self {
        self.code = Some(code.into());
        self
    }

    /// The error and everything below it, in one line.
    #[must_use]
    pub fn chain(&self) -> String {
        chain(self)
    }
}
