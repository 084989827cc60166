//! What can be typed behind `cloudsync verify`.

use super::Output;
use clap::Args;
use jiff::Timestamp;
use std::path::PathBuf;

/// `cloudsync verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// The directory of `cloudsync up` or of a demo that was kept: its destinations, and its log
    /// unless --brokers says where that runs.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// A destination; twice, where the settings have more than two.
    #[arg(long, value_name = "NAME")]
    pub destination: Vec<String>,
    /// Where Kafka is, or the log of a running `cloudsync up` [default: 127.0.0.1:9092].
    #[arg(long, value_name = "HOST:PORT,…")]
    pub brokers: Option<String>,
    /// Ask no log: compare everything that lies there, also what is under way.
    #[arg(long, conflicts_with_all = ["brokers", "with_topic"])]
    pub no_log: bool,
    /// Compare with the topic as well, as far back as it goes: finds what is missing at both, and
    /// tells which of two contents was sent. --repair does, too, where there is a log.
    #[arg(long)]
    pub with_topic: bool,
    /// Compare records from this time on: RFC 3339, or so long ago, such as 1h.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub since: Option<Moment>,
    /// Compare records before this time, likewise.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub until: Option<Moment>,
    /// Make again what is missing or altered, each object under its own name, and compare once
    /// more; nothing is sent through the topic, and nothing is removed.
    #[arg(long, conflicts_with_all = ["since", "until"])]
    pub repair: bool,
    /// Keep what was read in DIR until the comparison is done: one that was interrupted goes on
    /// there [default: a temporary directory].
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// How the result is printed.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// A time, and how it was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    /// As it was typed: the same words later mean the same question.
    pub text: String,
    /// When that is.
    pub time: Timestamp,
}

impl VerifyArgs {
    /// Whether the topic is read: only it knows what is for one destination alone.
    #[must_use]
    pub fn reads_topic(&self) -> bool {
        self.with_topic || (self.repair && !self.no_log)
    }
}

fn moment(text: &str) -> Result<Moment, String> {
    let time = time(text)?;
    let text = text.to_owned();
    Ok(Moment { text, time })
}

fn time(text: &str) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    let wrong = "write a time such as 2026-11-23T10:00:00Z, or how long ago, such as 1h";
    let ago = cloudsync_dedupe::units::parse_duration(text).map_err(|_| wrong.to_owned())?;
    let ago = jiff::SignedDuration::try_from(ago).map_err(|_| wrong.to_owned())?;
    Timestamp::now()
        .checked_sub(ago)
        .map_err(|_| wrong.to_owned())
}
