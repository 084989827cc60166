//! `cloudsync`: parses the arguments, runs the command, says why it failed.

#![forbid(unsafe_code)]

use clap::Parser;
use cloudsync_cli::args::Cli;
use std::process::ExitCode;
use std::time::Duration;

/// How long blocking calls may still take when the command has ended; a read from a terminal
/// never ends by itself.
const LAST_CALLS: Duration = Duration::from_millis(200);

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("cloudsync")
        .build();
    let result = match runtime {
        Ok(runtime) => {
            let result = runtime.block_on(cloudsync_cli::run(cli));
            runtime.shutdown_timeout(LAST_CALLS);
            result
        }
        Err(error) => Err(anyhow::Error::new(error)
            .context("cannot start the runtime")
            .into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
