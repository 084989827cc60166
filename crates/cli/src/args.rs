//! What can be typed.

mod bench;
mod dedupe;
mod dlq;
mod doctor;
pub mod examples;
mod flags;
mod receipt;
mod scenarios;
mod send;
mod verify;

pub use dedupe::{DedupeArgs, DedupeCommand, DedupeIdArgs, DedupePlanArgs, DedupeStatsArgs};
pub use dlq::{
    DlqArgs, DlqChange, DlqCommand, DlqDropArgs, DlqLsArgs, DlqReason, DlqRedriveArgs, DlqShowArgs,
    DlqWhich,
};
pub use doctor::DoctorArgs;
pub use receipt::ReceiptArgs;
pub use scenarios::ScenariosArgs;
pub use send::SendArgs;
pub use verify::{Moment, VerifyArgs};

pub use bench::{
    BenchArgs, BenchDedupe, BenchDedupeArgs, BenchDestinations, BenchKind, BenchPart,
    BenchRoleArgs, BenchStore,
};

use crate::demo::places::Given;
use crate::faults::Asked;
use crate::input::pointer::Pointer;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Where `up` keeps its data, if nothing is said.
pub const DATA_DIR: &str = "./cloudsync-data";

/// Keeps two clouds in sync: a gateway, a log, and a consumer group for each cloud.
#[derive(Debug, Parser)]
#[command(
    name = "cloudsync",
    version,
    propagate_version = true,
    after_help = examples::TOP,
)]
pub struct Cli {
    /// A TOML file with settings; the environment (CLOUDSYNC_SECTION__KEY) and flags beat it.
    #[arg(long, value_name = "FILE", global = true, env = "CLOUDSYNC_CONFIG")]
    pub config: Option<PathBuf>,
    /// What is logged to stderr: a level, or a filter such as cloudsync_kafka=debug [default:
    /// RUST_LOG, else info; warn for demo, send, receipt, dlq, dedupe, scenarios, verify; error for bench
    /// and with --quiet].
    #[arg(long, value_name = "FILTER", global = true)]
    pub log: Option<String>,
    /// Show no progress and no notes, and log errors only; what is asked for, and what went
    /// wrong, is told all the same.
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run everything on this machine: log, gateway, both consumers, two "clouds" on local disk.
    #[command(after_help = examples::UP)]
    Up(UpArgs),
    /// Run everything on records, some of them sent twice, and count what became of them.
    #[command(after_help = examples::DEMO)]
    Demo(DemoArgs),
    /// Run the gateway: takes records over gRPC and HTTP and makes them durable in Kafka.
    #[command(after_help = examples::GATEWAY)]
    Gateway(GatewayArgs),
    /// Run the consumer of one destination.
    #[command(after_help = examples::CONSUMER)]
    Consumer(ConsumerArgs),
    /// Send records to a gateway, again and again until they are acknowledged.
    #[command(after_help = examples::SEND)]
    Send(SendArgs),
    /// Tell where a record is: its place in the log, and what became of it at each destination.
    #[command(after_help = examples::RECEIPT)]
    Receipt(ReceiptArgs),
    /// Make and check the topics.
    #[command(after_help = examples::TOPICS)]
    Topics(TopicsArgs),
    /// Tell how far each group is behind.
    #[command(after_help = examples::LAG)]
    Lag(LagArgs),
    /// Repeat records in six ways, here or against what runs, and hold what is found against what
    /// is expected.
    #[command(after_help = examples::SCENARIOS)]
    Scenarios(ScenariosArgs),
    /// List what was set aside, and bring it back or drop it.
    #[command(after_help = examples::DLQ)]
    Dlq(DlqArgs),
    /// Compare the two destinations record by record, and mend what is missing or altered.
    #[command(after_help = examples::VERIFY)]
    Verify(VerifyArgs),
    /// Look at what the dedupe stores hold, and plan their memory.
    #[command(after_help = examples::DEDUPE)]
    Dedupe(DedupeArgs),
    /// Measure what the parts carry and cost, beside a floor in the same run.
    #[command(after_help = examples::BENCH)]
    Bench(BenchArgs),
    /// One process of a bench.
    #[command(hide = true)]
    BenchRole(BenchRoleArgs),
    /// Check the settings, or print those in force.
    #[command(after_help = examples::CONFIG)]
    Config(ConfigArgs),
    /// Look at everything that an installation rests on, and say what is wrong.
    #[command(after_help = examples::DOCTOR)]
    Doctor(DoctorArgs),
    /// Print what a shell needs to complete this program's words.
    #[command(after_help = examples::COMPLETIONS)]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// `cloudsync up`.
#[derive(Debug, Args)]
pub struct UpArgs {
    /// Where the log and both "clouds" lie.
    #[arg(long, value_name = "DIR", default_value = DATA_DIR)]
    pub data_dir: PathBuf,
    /// Where the gateway listens, gRPC and HTTP on one port [default: 127.0.0.1:50051].
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
    /// Where health is told [default: 127.0.0.1:9464].
    #[arg(long, value_name = "ADDRESS")]
    pub admin_listen: Option<String>,
    /// Where the embedded log listens [default: 127.0.0.1:9092].
    #[arg(long, value_name = "ADDRESS")]
    pub log_listen: Option<String>,
    /// Allow other machines to reach the gateway without TLS.
    #[arg(long)]
    pub insecure: bool,
}

/// `cloudsync demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// NDJSON, one JSON array or CSV (.csv), also packed with gzip or zstd; - is standard input
    /// [default: 1,707 earthquakes that come with the program].
    #[arg(value_name = "FILE", conflicts_with = "records")]
    pub file: Option<PathBuf>,
    /// Make N records of about 250 bytes instead of reading some.
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub records: Option<u64>,
    /// Where a record of FILE has its id, as a JSON pointer such as /id [default: an id is made].
    #[arg(long, value_name = "POINTER", requires = "file")]
    pub id_pointer: Option<Pointer>,
    /// Where a record of FILE has its key, likewise [default: none].
    #[arg(long, value_name = "POINTER", requires = "file")]
    pub key_pointer: Option<Pointer>,
    /// Share of the records that is sent again under the same ids, 0 to 1.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share)]
    pub resend: f64,
    /// Deliver to URL, below a prefix of this run's own, and not into the directory; may be repeated.
    #[arg(long = "destination", value_name = "NAME=URL")]
    pub destinations: Vec<Given>,
    /// Let requests to destinations that speak HTTP go wrong: NAME=SHARE for a mix, or
    /// NAME=FAULT:SHARE+… with broken, throttle, hang, cut-request, lost-reply, cut-reply, denied,
    /// outage:20s@5s and unconditional.
    #[arg(long, value_name = "NAME=FAULTS,…", value_delimiter = ',')]
    pub faults: Vec<Asked>,
    /// Which requests they befall.
    #[arg(long, value_name = "N", default_value_t = 1, requires = "faults")]
    pub faults_seed: u64,
    /// Keep everything in DIR [default: a temporary directory, removed at the end].
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Send nothing: make the ledger of DIR again, from what lies there now.
    #[arg(
        long,
        requires = "data_dir",
        conflicts_with_all = ["file", "records", "resend", "destinations", "faults"],
    )]
    pub recount: bool,
    /// How the ledger is printed.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// `cloudsync gateway`.
#[derive(Debug, Args)]
pub struct GatewayArgs {
    /// Where to listen, gRPC and HTTP on one port [default: 127.0.0.1:50051].
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
    /// Where health is told [default: 127.0.0.1:9464].
    #[arg(long, value_name = "ADDRESS")]
    pub admin_listen: Option<String>,
    /// Where Kafka is [default: 127.0.0.1:9092].
    #[arg(long, value_name = "HOST:PORT,…")]
    pub brokers: Option<String>,
    /// Allow other machines to reach the gateway without TLS.
    #[arg(long)]
    pub insecure: bool,
}

/// `cloudsync consumer`.
#[derive(Debug, Args)]
pub struct ConsumerArgs {
    /// The destination, as it is called in the settings.
    #[arg(long, value_name = "NAME")]
    pub destination: String,
    /// Where health is told [default: 127.0.0.1:9464].
    #[arg(long, value_name = "ADDRESS")]
    pub admin_listen: Option<String>,
    /// Where Kafka is [default: 127.0.0.1:9092].
    #[arg(long, value_name = "HOST:PORT,…")]
    pub brokers: Option<String>,
}

/// `cloudsync topics`.
#[derive(Debug, Args)]
pub struct TopicsArgs {
    /// What to do with them.
    #[command(subcommand)]
    pub command: TopicsCommand,
}

/// What can be done with topics.
#[derive(Debug, Subcommand)]
pub enum TopicsCommand {
    /// Make the topics that are missing and check those that are there.
    #[command(after_help = examples::TOPICS)]
    Ensure(EnsureArgs),
}

/// `cloudsync topics ensure`.
#[derive(Debug, Args)]
pub struct EnsureArgs {
    /// Where Kafka is [default: 127.0.0.1:9092].
    #[arg(long, value_name = "HOST:PORT,…")]
    pub brokers: Option<String>,
    /// Copies of each partition of a topic that is made [default: 3].
    #[arg(long, value_name = "N")]
    pub replication: Option<u16>,
}

/// `cloudsync lag`.
#[derive(Debug, Args)]
pub struct LagArgs {
    /// Where Kafka is, or the log of `cloudsync up` [default: 127.0.0.1:9092].
    #[arg(long, value_name = "HOST:PORT,…")]
    pub brokers: Option<String>,
    /// A group; may be repeated [default: the groups of all destinations].
    #[arg(long, value_name = "NAME")]
    pub group: Vec<String>,
    /// Show each partition as well.
    #[arg(long)]
    pub partitions: bool,
    /// Look again every so many seconds, until Ctrl-C.
    #[arg(
        long,
        value_name = "SECONDS",
        num_args = 0..=1,
        default_missing_value = "2",
        value_parser = at_least_one,
    )]
    pub watch: Option<u64>,
    /// How each look is printed.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// `cloudsync config`.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// As `cloudsync up` has them: everything embedded.
    #[arg(long, global = true)]
    pub up: bool,
    /// What to do with them.
    #[command(subcommand)]
    pub command: ConfigCommand,
}

/// What can be done with settings.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum ConfigCommand {
    /// Say everything that is wrong with file and environment.
    #[command(after_help = examples::CONFIG_CHECK)]
    Check,
    /// Print the settings in force as a TOML file, without secrets.
    #[command(after_help = examples::CONFIG_PRINT)]
    Print,
    /// Print what can be set: a JSON Schema, or a settings file that explains every key.
    #[command(after_help = examples::CONFIG_SCHEMA)]
    Schema {
        /// As a TOML file that says what each setting means and changes none.
        #[arg(long)]
        toml: bool,
    },
}

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For a person.
    Table,
    /// One JSON object.
    Json,
}

fn at_least_one(text: &str) -> Result<u64, String> {
    let count = text.parse().ok().filter(|count| *count > 0);
    count.ok_or_else(|| "it must be a whole number of at least 1".to_owned())
}

/// What a client would take for an address, and never reach.
fn gateway_url(text: &str) -> Result<String, String> {
    let rest = text
        .strip_prefix("http://")
        .or_else(|| text.strip_prefix("https://"));
    match rest {
        Some(rest) if !rest.is_empty() => Ok(text.to_owned()),
        _ => Err("an endpoint is a URL such as http://127.0.0.1:50051".to_owned()),
    }
}

fn share(text: &str) -> Result<f64, String> {
    let share = text
        .parse::<f64>()
        .ok()
        .filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "it must be a number from 0 to 1".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_name_the_setting_that_they_override() {
        let cli = Cli::parse_from(["cloudsync", "up", "--listen", "127.0.0.1:0", "--insecure"]);
        let Command::Up(up) = cli.command else {
            panic!("{cli:?}")
        };
        let flags: Vec<_> = up
            .flags()
            .into_iter()
            .map(|f| (f.flag, f.key, f.value))
            .collect();
        assert_eq!(
            flags[0],
            ("--listen", "gateway.listen", "127.0.0.1:0".to_owned())
        );
        assert_eq!(
            flags[1],
            ("--insecure", "gateway.insecure", "true".to_owned())
        );
        assert_eq!(flags.len(), 2);
    }

    #[test]
    fn a_share_is_a_number_from_0_to_1() {
        let parse = |value| Cli::try_parse_from(["cloudsync", "demo", "--resend", value]);
        assert!(parse("0.2").is_ok() && parse("1").is_ok());
        for wrong in ["-1", "1.5", "NaN", "x"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
