//! What can be typed behind `cloudsync bench`.

use super::{Output, share};
use clap::{Args, ValueEnum, value_parser};
use std::path::PathBuf;

/// `cloudsync bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// What is measured.
    #[arg(value_enum, default_value_t = BenchKind::Pipeline)]
    pub kind: BenchKind,
    /// Seconds of load in all; `consumer`: about so many seconds' worth of records.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = value_parser!(u32).range(1..=3_600))]
    pub seconds: u32,
    /// Parts that the seconds are cut into, each followed by the floor; the ratio is their median.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = value_parser!(u32).range(1..=20))]
    pub rounds: u32,
    /// Bytes of each record's payload, which is JSON.
    #[arg(long, value_name = "BYTES", default_value_t = 200, value_parser = value_parser!(u32).range(64..=100_000))]
    pub payload_bytes: u32,
    /// Most records of a batch; `http`: records of each body, as NDJSON [default: 256; unary and http: 1].
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..=1_000))]
    pub batch: Option<u32>,
    /// Records a second, on a schedule that does not wait for answers [default: as fast as it goes].
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..=10_000_000))]
    pub rate: Option<u32>,
    /// Connections to the gateway [default: 4; unary: 8, with 64 calls open on each; http: 64, with --batch 16].
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..=256))]
    pub connections: Option<u32>,
    /// Where `pipeline` delivers to; `null` keeps a count and a sum of the ids, and that is part of
    /// what a consumer costs.
    #[arg(long, value_enum, default_value_t = BenchDestinations::Null)]
    pub destinations: BenchDestinations,
    /// The dedupe store of `pipeline` and `consumer`; `buckets` and `keys` are a Redis of the
    /// bench's own (redis-server on PATH), whose processor time is shown as well.
    #[arg(long, value_enum, default_value_t = BenchDedupe::Memory)]
    pub dedupe: BenchDedupe,
    /// Share of the records that `pipeline` sends again under the same ids, 0 to 1.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share)]
    pub resend: f64,
    /// Draw throughput and latency over time as an SVG.
    #[arg(long, value_name = "FILE.svg")]
    pub plot: Option<PathBuf>,
    /// How the figures are printed.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
    /// Test hook: one acknowledged record is left out of what arrived, so that the bench fails.
    #[arg(long, hide = true)]
    pub lose_one: bool,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BenchKind {
    /// Clients, gateway, log and two consumers.
    Pipeline,
    /// Streamed batches through the gateway into the log.
    Gateway,
    /// Single gRPC calls through the gateway into the log.
    Unary,
    /// HTTP POSTs, single or of --batch lines, through the gateway into the log.
    Http,
    /// One consumer that drains a full log.
    Consumer,
}

/// Which dedupe store is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum BenchDedupe {
    /// A table in each consumer.
    #[default]
    Memory,
    /// The same with a log on disk behind it, as `up` has it.
    Embedded,
    /// Redis, hashes per time window.
    Buckets,
    /// Redis, a key for each id.
    Keys,
}

/// Where `bench pipeline` delivers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BenchDestinations {
    /// Two that take everything and keep nothing but a count and a 128-bit sum of the ids.
    Null,
    /// Two directories, read back at the end.
    File,
}

/// `cloudsync bench-role`: one process of a bench, told on stdin what to be.
#[derive(Debug, Args)]
pub struct BenchRoleArgs {
    /// Its name, for those who list processes.
    pub name: String,
}

// === impl BenchKind ===

impl BenchKind {
    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pipeline => "pipeline",
            Self::Gateway => "gateway",
            Self::Unary => "unary",
            Self::Http => "http",
            Self::Consumer => "consumer",
        }
    }
}
