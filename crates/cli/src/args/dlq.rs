//! What can be typed behind `cloudsync dlq`.

use super::{Output, examples};
use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

/// `cloudsync dlq`.
#[derive(Debug, Args)]
pub struct DlqArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: DlqCommand,
}

/// What can be done with dead letters.
#[derive(Debug, Subcommand)]
pub enum DlqCommand {
    /// List the entries that are open, and why each was set aside.
    #[command(after_help = examples::DLQ_LS)]
    Ls(DlqLsArgs),
    /// Show everything that is known of some entries, with their payloads.
    #[command(after_help = examples::DLQ_SHOW)]
    Show(DlqShowArgs),
    /// Bring entries back into the log, each for the one destination that did not get it.
    ///
    /// A record that has failed after three redrives is parked and left alone without --force.
    /// Interrupted, it goes on where it was when it is run again.
    #[command(after_help = examples::DLQ_REDRIVE)]
    Redrive(DlqRedriveArgs),
    /// Settle entries that nobody needs any more. They stay in the topic, and `ls --all` shows
    /// them.
    #[command(after_help = examples::DLQ_DROP)]
    Drop(DlqDropArgs),
}

/// Which entries: all that fit everything that is said here.
#[derive(Clone, Debug, Default, Args)]
pub struct DlqWhich {
    /// Entries, by the first 8 or more digits of their ids [default: all that fit the rest].
    #[arg(value_name = "ENTRY", value_parser = entry)]
    pub entry: Vec<String>,
    /// Of this destination; may be repeated.
    #[arg(long, value_name = "NAME")]
    pub destination: Vec<String>,
    /// Set aside for this reason; may be repeated.
    #[arg(long, value_enum, value_name = "REASON")]
    pub reason: Vec<DlqReason>,
    /// Whose last attempt was classed so, such as rejected or transient; may be repeated.
    #[arg(long, value_name = "CLASS")]
    pub class: Vec<String>,
    /// Of which the destination said this, such as 400 or AccessDenied; may be repeated.
    #[arg(long, value_name = "CODE")]
    pub code: Vec<String>,
    /// Set aside longer ago than this, such as 2h.
    #[arg(long, value_name = "DURATION", value_parser = cloudsync_dedupe::units::parse_duration)]
    pub older_than: Option<Duration>,
    /// Set aside within this time.
    #[arg(long, value_name = "DURATION", value_parser = cloudsync_dedupe::units::parse_duration)]
    pub newer_than: Option<Duration>,
    /// Whose record has this key.
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,
    /// Whose record has this request id.
    #[arg(long, value_name = "ID")]
    pub id: Option<String>,
    /// Where Kafka is, or the log of `cloudsync up` [default: 127.0.0.1:9092].
    #[arg(long, value_name = "HOST:PORT,…")]
    pub brokers: Option<String>,
}

/// Why a record was set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DlqReason {
    /// The bytes are no record.
    Undecodable,
    /// The id was used before, with another payload.
    #[value(name = "id_conflict")]
    IdConflict,
    /// The destination never takes it as it is.
    Rejected,
    /// All attempts were used.
    Exhausted,
}

/// `cloudsync dlq ls`.
#[derive(Debug, Args)]
pub struct DlqLsArgs {
    /// Which entries.
    #[command(flatten)]
    pub which: DlqWhich,
    /// Also those that were redriven or dropped.
    #[arg(long)]
    pub all: bool,
    /// Count them by destination, reason, class and code, and list none.
    #[arg(long)]
    pub histogram: bool,
    /// How it is printed.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// `cloudsync dlq show`.
#[derive(Debug, Args)]
pub struct DlqShowArgs {
    /// Which entries.
    #[command(flatten)]
    pub which: DlqWhich,
    /// How it is printed.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// What `redrive` and `drop` have in common.
#[derive(Debug, Args)]
pub struct DlqChange {
    /// Change nothing, and list what would be changed.
    #[arg(long)]
    pub dry_run: bool,
    /// At most so many a second.
    #[arg(long, value_name = "N", value_parser = super::at_least_one)]
    pub rate: Option<u64>,
    /// Append a line of JSON for each change to FILE.
    #[arg(long, value_name = "FILE")]
    pub audit: Option<PathBuf>,
    /// How the result is printed.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// `cloudsync dlq redrive`.
#[derive(Debug, Args)]
pub struct DlqRedriveArgs {
    /// Which entries.
    #[command(flatten)]
    pub which: DlqWhich,
    /// How it is done.
    #[command(flatten)]
    pub change: DlqChange,
    /// Also what is parked, or for a destination that the settings do not have, or of a key that has
    /// another partition now.
    #[arg(long)]
    pub force: bool,
}

/// `cloudsync dlq drop`.
#[derive(Debug, Args)]
pub struct DlqDropArgs {
    /// Which entries.
    #[command(flatten)]
    pub which: DlqWhich,
    /// How it is done.
    #[command(flatten)]
    pub change: DlqChange,
    /// Every open entry, where nothing else says which.
    #[arg(long)]
    pub everything: bool,
}

// === impl DlqWhich ===

impl DlqWhich {
    /// Whether nothing was said: every entry fits.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        let lists = [&self.entry, &self.destination, &self.class, &self.code];
        let ages = self.older_than.or(self.newer_than);
        lists.iter().all(|list| list.is_empty())
            && self.reason.is_empty()
            && ages.is_none()
            && self.key.is_none()
            && self.id.is_none()
    }
}

// === impl DlqReason ===

impl DlqReason {
    /// The word in the headers of a dead letter.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Undecodable => "undecodable",
            Self::IdConflict => "id_conflict",
            Self::Rejected => "rejected",
            Self::Exhausted => "exhausted",
        }
    }
}

fn entry(text: &str) -> Result<String, String> {
    let is_one = (8..=32).contains(&text.len()) && text.bytes().all(|it| it.is_ascii_hexdigit());
    let text = text.to_ascii_lowercase();
    is_one.then_some(text).ok_or_else(|| {
        "an entry is 8 to 32 hex digits, as `cloudsync dlq ls` shows them".to_owned()
    })
}
