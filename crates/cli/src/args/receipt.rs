//! What can be typed behind `cloudsync receipt`.

use super::{Output, gateway_url};
use clap::Args;

/// `cloudsync receipt`.
#[derive(Debug, Args)]
pub struct ReceiptArgs {
    /// The request id.
    #[arg(value_name = "ID")]
    pub id: String,
    /// The key that the record was sent with: the same id under another key is another record.
    #[arg(long, value_name = "KEY", default_value = "")]
    pub key: String,
    /// Tell what changes, until every destination is done with it.
    #[arg(long)]
    pub watch: bool,
    /// The gateway.
    #[arg(
        long,
        value_name = "URL",
        default_value = "http://127.0.0.1:50051",
        value_parser = gateway_url,
    )]
    pub endpoint: String,
    /// How it is printed; with --watch one object a line.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}
