//! What can be typed behind `cloudsync doctor`.

use super::{DATA_DIR, Output};
use clap::Args;
use std::path::PathBuf;

/// `cloudsync doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// As `cloudsync up` has it: everything embedded, running or not.
    #[arg(long)]
    pub up: bool,
    /// Where `up` has its data.
    #[arg(long, value_name = "DIR", default_value = DATA_DIR)]
    pub data_dir: PathBuf,
    /// Where Kafka is [default: 127.0.0.1:9092].
    #[arg(long, value_name = "HOST:PORT,…", conflicts_with = "up")]
    pub brokers: Option<String>,
    /// Where the gateway listens [default: 127.0.0.1:50051].
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
    /// Where health is told [default: 127.0.0.1:9464].
    #[arg(long, value_name = "ADDRESS")]
    pub admin_listen: Option<String>,
    /// Where the embedded log listens [default: 127.0.0.1:9092].
    #[arg(long, value_name = "ADDRESS", requires = "up")]
    pub log_listen: Option<String>,
    /// How it is printed.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}
