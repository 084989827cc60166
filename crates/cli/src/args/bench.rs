//! What can be typed behind `cloudsync bench`.

use super::{Output, examples, share};
use clap::{Args, Subcommand, ValueEnum, value_parser};
use cloudsync_dedupe::settings::Layout;
use std::path::PathBuf;

/// Most ids that memory is measured with.
const MOST_IDS: u64 = 100_000_000;

/// `cloudsync bench`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, disable_help_subcommand = true)]
pub struct BenchArgs {
    /// What is measured without records.
    #[command(subcommand)]
    pub part: Option<BenchPart>,
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
    /// Records a second, on a schedule that does not wait for answers [default: as fast as it
    /// goes].
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
    /// bench's own (redis-server on PATH), whose processor time is shown as well; `off` is none.
    /// `all`: of `pipeline` each of them in turns, with what it costs; each has the seconds.
    #[arg(long, value_enum, default_value_t = BenchStore::Memory)]
    pub dedupe: BenchStore,
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

/// What is measured without records.
#[derive(Debug, Subcommand)]
pub enum BenchPart {
    /// The dedupe stores, called as consumers call them: what an id costs, and its memory.
    #[command(after_help = examples::BENCH_DEDUPE)]
    Dedupe(BenchDedupeArgs),
}

/// `cloudsync bench dedupe`.
#[derive(Debug, Args)]
pub struct BenchDedupeArgs {
    /// Stores [default: all of them; without a Redis those that need none].
    #[arg(long, value_name = "STORE,…", value_enum, value_delimiter = ',')]
    pub stores: Vec<BenchDedupe>,
    /// Ids of a call.
    #[arg(
        long,
        value_name = "N,…",
        value_delimiter = ',',
        default_values_t = [1, 16, 128, 512],
        value_parser = value_parser!(u32).range(1..=4_096),
    )]
    pub batch: Vec<u32>,
    /// Seconds of load in all, which stores and floors share; making and tidying come on top.
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = value_parser!(u32).range(1..=3_600))]
    pub seconds: u32,
    /// How often each store and its floor take their turns; figures are medians.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = value_parser!(u32).range(1..=20))]
    pub rounds: u32,
    /// Ids that memory is measured with.
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "1m", value_parser = count)]
    pub ids: Vec<u64>,
    /// A Redis to measure, one server, which keeps nothing of it [default: one of the bench's own;
    /// redis-server on PATH]. For a password set CLOUDSYNC_DEDUPE__REDIS_PASSWORD.
    #[arg(long, value_name = "URL")]
    pub redis: Option<String>,
    /// How the figures are printed.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
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

/// What stands for a dedupe store in a pipeline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum BenchStore {
    /// None: what is sent again is delivered again.
    Off,
    /// A table in each consumer.
    #[default]
    Memory,
    /// The same with a log on disk behind it, as `up` has it.
    Embedded,
    /// Redis, hashes per time window.
    Buckets,
    /// Redis, a key for each id.
    Keys,
    /// One after the other, in turns.
    All,
}

/// Which dedupe store is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BenchDedupe {
    /// A table in each consumer.
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

// === impl BenchDedupe ===

impl BenchDedupe {
    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Embedded => "embedded",
            Self::Buckets => "buckets",
            Self::Keys => "keys",
        }
    }

    /// The layout of a Redis, where it is one.
    #[must_use]
    pub fn layout(self) -> Option<Layout> {
        match self {
            Self::Memory | Self::Embedded => None,
            Self::Buckets => Some(Layout::Buckets),
            Self::Keys => Some(Layout::Keys),
        }
    }
}

/// A number such as 2000, 500k or 10m.
fn count(text: &str) -> Result<u64, String> {
    let (digits, times) = match text.strip_suffix('k') {
        Some(digits) => (digits, 1_000),
        None => text
            .strip_suffix('m')
            .map_or((text, 1), |it| (it, 1_000_000)),
    };
    let count = digits.parse::<u64>().ok();
    let count = count.and_then(|count| count.checked_mul(times));
    let count = count.filter(|count| (1..=MOST_IDS).contains(count));
    count.ok_or_else(|| "it must be a number from 1 to 100m, such as 2000, 500k or 10m".to_owned())
}
