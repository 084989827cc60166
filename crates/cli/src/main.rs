//! `cloudsync`: parses the arguments, runs the command, says why it failed.

#![forbid(unsafe_code)]

use clap::Parser;
use cloudsync_cli::args::Cli;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::process::ExitCode;
use std::time::Duration;

/// How long blocking calls may still take when the command has ended; a read from a terminal
/// never ends by itself.
const LAST_CALLS: Duration = Duration::from_millis(200);

/// Most files and connections that the process asks to have open: many systems begin with 1,024,
/// and let a process raise it by itself.
const OPEN_FILES: u64 = 65_536;

fn main() -> ExitCode {
    let cli = Cli::parse();
    raise_open_files();
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

/// As many open files as may be, up to [`OPEN_FILES`]. Where the system refuses, `doctor` tells.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit
        .maximum
        .map_or(OPEN_FILES, |most| most.min(OPEN_FILES));
    if limit.current.is_some_and(|now| now < wanted) {
        let raised = Rlimit {
            current: Some(wanted),
            maximum: limit.maximum,
        };
        let _raised = setrlimit(Resource::Nofile, raised).is_ok();
    }
}
