//! What can be typed behind `cloudsync send`.

use super::{Output, at_least_one};
use crate::input::format::Format;
use crate::input::pointer::Pointer;
use clap::Args;
use std::path::PathBuf;

/// `cloudsync send`.
#[derive(Debug, Args)]
pub struct SendArgs {
    /// NDJSON, one JSON array, lines of text or CSV; also packed with gzip or zstd, which its first
    /// bytes tell; - is standard input.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The gateway.
    #[arg(
        long,
        value_name = "URL",
        default_value = "http://127.0.0.1:50051",
        value_parser = endpoint,
    )]
    pub endpoint: String,
    /// What FILE is made of.
    #[arg(long, value_enum, default_value_t = Format::Auto)]
    pub format: Format,
    /// Where a record has its id, as a JSON pointer such as /id (of CSV: / and a column) [default:
    /// a UUIDv7 is made before the first attempt].
    #[arg(long, value_name = "POINTER")]
    pub id_pointer: Option<Pointer>,
    /// Where a record has its key, likewise [default: none].
    #[arg(long, value_name = "POINTER")]
    pub key_pointer: Option<Pointer>,
    /// Pass over what stands before this line (of an array: element), counted from 1.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = at_least_one)]
    pub from_line: u64,
    /// Write everything that is no record, or was refused, to FILE, an object a line [default: the
    /// first 100 are told on stderr].
    #[arg(long, value_name = "FILE")]
    pub rejects: Option<PathBuf>,
    /// How the counts are printed.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// What a client would take for an address, and never reach.
pub(super) fn endpoint(text: &str) -> Result<String, String> {
    let rest = text
        .strip_prefix("http://")
        .or_else(|| text.strip_prefix("https://"));
    match rest {
        Some(rest) if !rest.is_empty() => Ok(text.to_owned()),
        _ => Err("an endpoint is a URL such as http://127.0.0.1:50051".to_owned()),
    }
}
