//! The commands, one file each.

pub mod up;

pub mod demo;

pub mod gateway;

pub mod consumer;

pub mod send;

pub mod topics;

pub mod lag;

pub mod bench;

pub mod config;

mod serve;

use crate::args::{Cli, Command};
use crate::failure::Failure;
use crate::say;
use crate::settings::{Overrides, Settings};
use clap::CommandFactory;
use cloudsync_runtime::settings::FlagValue;
use cloudsync_runtime::{kill, telemetry};
use std::path::PathBuf;

/// Runs what was typed.
///
/// # Errors
/// [`Failure`], with the exit code that belongs to it.
pub async fn run(cli: Cli) -> Result<(), Failure> {
    let Cli {
        config,
        log,
        command,
    } = cli;
    let level = match command {
        Command::Bench(_) | Command::BenchRole(_) => "error",
        Command::Demo(_) | Command::Send(_) => "warn",
        _ => "info",
    };
    telemetry::init(log.as_deref(), level).map_err(|error| Failure::Usage(error.into()))?;
    if let Some(announced) = kill::arm_from_environment().map_err(Failure::usage)? {
        say::note(announced);
    }
    match command {
        Command::Up(args) => up::run(&args, config).await,
        Command::Demo(args) => demo::run(&args, config).await,
        Command::Gateway(args) => gateway::run(&args, config).await,
        Command::Consumer(args) => consumer::run(&args, config).await,
        Command::Send(args) => send::run(&args, config).await,
        Command::Topics(args) => topics::run(&args, config).await,
        Command::Lag(args) => lag::run(&args, config).await,
        Command::Bench(args) => bench::run(&args, config, log).await,
        Command::BenchRole(_) => crate::bench::role::run().await,
        Command::Config(args) => config::run(&args, config.as_ref()),
        Command::Completions { shell } => {
            let mut words = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "cloudsync", &mut words);
            say::data(String::from_utf8_lossy(&words));
            Ok(())
        }
    }
}

/// `defaults`, with everything that beats them.
fn settings(
    defaults: Settings,
    config: Option<&PathBuf>,
    flags: Vec<FlagValue>,
) -> Result<Settings, Failure> {
    let file = config.map(PathBuf::as_path);
    Ok(defaults.overridden(Overrides { file, flags })?)
}
