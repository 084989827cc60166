//! Logs: to stderr, for a person on a terminal and as JSON everywhere else.
//!
//! In: a level or filter from the command line, else `RUST_LOG`, else the role's default. Out: a
//! global subscriber. Called once, by the binary; libraries only use `tracing`.

use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::util::TryInitError;

/// Why logs could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TelemetryError {
    /// The filter is none.
    #[error("{origin} {filter:?} is not a log level or filter such as info or cloudsync=debug")]
    Filter {
        /// `--log` or `RUST_LOG`.
        origin: &'static str,
        /// What stood there.
        filter: String,
        /// Why it is none.
        #[source]
        source: ParseError,
    },
    /// Logs were set up before.
    #[error("the log subscriber is set already")]
    AlreadySet(#[source] TryInitError),
}

/// Sets up logs with `flag`, else `RUST_LOG`, else `default`.
///
/// # Errors
/// [`TelemetryError`], when the filter is none or logs were set up before.
pub fn init(flag: Option<&str>, default: &str) -> Result<(), TelemetryError> {
    let variable = std::env::var("RUST_LOG")
        .ok()
        .filter(|value| !value.is_empty());
    let (origin, filter) = match (flag, variable) {
        (Some(flag), _) => ("--log", flag.to_owned()),
        (None, Some(variable)) => ("RUST_LOG", variable),
        (None, None) => ("the default", default.to_owned()),
    };
    let parsed = EnvFilter::try_new(&filter).map_err(|source| TelemetryError::Filter {
        origin,
        filter,
        source,
    })?;
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(parsed)
        .with_writer(std::io::stderr);
    let result = if std::io::stderr().is_terminal() {
        tracing_subscriber::util::SubscriberInitExt::try_init(
            subscriber.compact().with_target(false).finish(),
        )
    } else {
        tracing_subscriber::util::SubscriberInitExt::try_init(
            subscriber
                .json()
                .flatten_event(true)
                .with_current_span(false)
                .finish(),
        )
    };
    result.map_err(TelemetryError::AlreadySet)
}
