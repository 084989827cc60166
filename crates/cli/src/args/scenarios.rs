//! What can be typed behind `cloudsync scenarios`.

use super::{DATA_DIR, Output, at_least_one, gateway_url};
use clap::Args;
use std::path::PathBuf;

/// `cloudsync scenarios`.
#[derive(Debug, Args)]
pub struct ScenariosArgs {
    /// The gateway of what runs already; the settings say where its log and its destinations are
    /// [default: everything is started here, in a temporary directory].
    #[arg(long, value_name = "URL", value_parser = gateway_url)]
    pub target: Option<String>,
    /// What runs there is `cloudsync up` on this machine: its log and its destinations.
    #[arg(long, requires = "target")]
    pub up: bool,
    /// Where that `up` has its data.
    #[arg(long, value_name = "DIR", default_value = DATA_DIR)]
    pub data_dir: PathBuf,
    /// Where Kafka is [default: 127.0.0.1:9092].
    #[arg(long, value_name = "HOST:PORT,…", requires = "target")]
    pub brokers: Option<String>,
    /// Run this one of the six only; may be repeated.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=6))]
    pub only: Vec<u8>,
    /// What the sixth one sends, repetitions included.
    #[arg(
        long,
        value_name = "N",
        default_value_t = crate::scenarios::plan::MANY,
        value_parser = clap::value_parser!(u32).range(1..=1_000_000),
    )]
    pub records: u32,
    /// The longest that one scenario may take.
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = at_least_one)]
    pub timeout: u64,
    /// How the result is printed.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}
