//! The commands, one file each.

pub mod up;

pub mod demo;

pub mod gateway;

pub mod consumer;

pub mod send;

pub mod receipt;

pub mod topics;

pub mod lag;

pub mod scenarios;

pub mod verify;

pub mod dedupe;

pub mod dlq;

pub mod bench;

pub mod config;

pub mod doctor;

mod complaints;

mod serve;

use crate::args::{Cli, Command};
use crate::failure::Failure;
use crate::say;
use crate::settings::{Overrides, Settings};
use clap::CommandFactory;
use cloudsync_runtime::settings::{Fault, FlagValue, Loaded};
use cloudsync_runtime::{Checklist, kill, telemetry};
use std::fmt::Display;
use std::io;
use std::path::PathBuf;

/// What every command is told besides its own arguments.
#[derive(Clone, Debug, Default)]
struct Common {
    config: Option<PathBuf>,
    quiet: bool,
}

/// Runs what was typed.
///
/// # Errors
/// [`Failure`], with the exit code that belongs to it.
pub async fn run(cli: Cli) -> Result<(), Failure> {
    let Cli {
        config,
        log,
        quiet,
        command,
    } = cli;
    let level = match command {
        _ if quiet => "error",
        Command::Bench(_) | Command::BenchRole(_) => "error",
        Command::Demo(_)
        | Command::Send(_)
        | Command::Receipt(_)
        | Command::Scenarios(_)
        | Command::Dlq(_)
        | Command::Verify(_)
        | Command::Dedupe(_) => "warn",
        _ => "info",
    };
    telemetry::init(log.as_deref(), level).map_err(|error| Failure::Usage(error.into()))?;
    if let Some(announced) = kill::arm_from_environment().map_err(Failure::usage)? {
        say::note(announced);
    }
    let common = Common { config, quiet };
    match command {
        Command::Up(args) => up::run(&args, &common).await,
        Command::Demo(args) => demo::run(&args, &common).await,
        Command::Gateway(args) => gateway::run(&args, &common).await,
        Command::Consumer(args) => consumer::run(&args, &common).await,
        Command::Send(args) => send::run(&args, &common).await,
        Command::Receipt(args) => receipt::run(&args, &common).await,
        Command::Topics(args) => topics::run(&args, &common).await,
        Command::Lag(args) => lag::run(&args, &common).await,
        Command::Scenarios(args) => scenarios::run(&args, &common).await,
        Command::Dlq(args) => dlq::run(&args, &common).await,
        Command::Verify(args) => verify::run(&args, &common).await,
        Command::Dedupe(args) => dedupe::run(&args, &common).await,
        Command::Bench(args) => bench::run(&args, &common, log).await,
        Command::BenchRole(_) => crate::bench::role::run().await,
        Command::Config(args) => config::run(&args, &common),
        Command::Doctor(args) => doctor::run(&args, &common).await,
        Command::Completions { shell } => {
            let mut words = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "cloudsync", &mut words);
            say::data(String::from_utf8_lossy(&words));
            Ok(())
        }
    }
}

// === impl Common ===

impl Common {
    /// `defaults`, with everything that beats them.
    fn settings(&self, defaults: Settings, flags: Vec<FlagValue>) -> Result<Settings, Failure> {
        let file = self.config.as_deref();
        Ok(defaults.overridden(Overrides { file, flags })?)
    }

    /// As [`Common::settings`], with what is wrong beside what holds.
    fn found(
        &self,
        defaults: &Settings,
        flags: Vec<FlagValue>,
    ) -> Result<(Loaded<Settings>, Vec<Fault>), Failure> {
        let file = self.config.as_deref();
        Ok(defaults.found(Overrides { file, flags })?)
    }

    /// A line that nobody needs who asked for quiet.
    fn note(&self, text: impl Display) {
        if !self.quiet {
            say::note(text);
        }
    }

    /// The list printed while roles come up.
    fn checklist(&self) -> Checklist<io::Stderr> {
        Checklist::on_stderr().quiet(self.quiet)
    }
}
