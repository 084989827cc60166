//! What can be typed behind `cloudsync dedupe`.

use super::{Output, examples};
use clap::{Args, Subcommand};
use std::time::Duration;

/// `cloudsync dedupe`.
#[derive(Debug, Args)]
pub struct DedupeArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: DedupeCommand,
}

/// What can be done with dedupe stores.
#[derive(Debug, Subcommand)]
pub enum DedupeCommand {
    /// Tell what each destination's store holds.
    #[command(after_help = examples::DEDUPE_STATS)]
    Stats(DedupeStatsArgs),
    /// Tell what is known of an id, and under which name it lies in Redis.
    #[command(after_help = examples::DEDUPE_SHOW)]
    Show(DedupeIdArgs),
    /// Make an id unknown: when it is sent again, it counts as new.
    ///
    /// This does not reach the ids that a running gateway remembers (gateway.recent_ids): it
    /// answers a record that is sent again as a duplicate until it has forgotten it or is started
    /// anew. A destination that keeps each record under its own name (mode record) still finds it
    /// there.
    #[command(after_help = examples::DEDUPE_FORGET)]
    Forget(DedupeIdArgs),
    /// Tell how much memory each kind of store takes for a rate and a window.
    #[command(after_help = examples::DEDUPE_PLAN)]
    Plan(DedupePlanArgs),
}

/// `cloudsync dedupe stats`.
#[derive(Debug, Args)]
pub struct DedupeStatsArgs {
    /// A destination; may be repeated [default: all of the settings].
    #[arg(long, value_name = "NAME")]
    pub destination: Vec<String>,
    /// How it is printed.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// `cloudsync dedupe show` and `forget`.
#[derive(Debug, Args)]
pub struct DedupeIdArgs {
    /// The request id.
    #[arg(value_name = "ID")]
    pub id: String,
    /// The key that the record was sent with: the same id under another key is another record.
    #[arg(long, value_name = "KEY", default_value = "")]
    pub key: String,
    /// The tenant.
    #[arg(long, value_name = "TENANT", default_value = cloudsync::DEFAULT_TENANT)]
    pub tenant: String,
    /// A destination; may be repeated [default: all of the settings].
    #[arg(long, value_name = "NAME")]
    pub destination: Vec<String>,
    /// How it is printed.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// `cloudsync dedupe plan`.
#[derive(Debug, Args)]
pub struct DedupePlanArgs {
    /// New ids a second.
    #[arg(long, value_name = "N", value_parser = super::at_least_one)]
    pub rate: u64,
    /// How long they are to be remembered, such as 60min [default: dedupe.window].
    #[arg(long, value_name = "DURATION", value_parser = cloudsync_dedupe::units::parse_duration)]
    pub window: Option<Duration>,
    /// How it is printed.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}
