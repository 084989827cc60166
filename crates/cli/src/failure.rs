//! How a command fails: exit code 1, 2 where what was typed or set is at fault, or 128 and the
//! signal's number where somebody interrupted it.

use crate::say;
use cloudsync_runtime::settings::SettingsErrors;
use std::process::ExitCode;

/// Why a command did not do what it was asked to.
#[derive(Debug)]
pub enum Failure {
    /// It was asked in the wrong way, or the configuration is wrong: exit code 2.
    Usage(anyhow::Error),
    /// It tried and failed: exit code 1.
    Failed(anyhow::Error),
    /// It has said everything already: exit code 1.
    Told,
    /// What was typed or set is wrong, and it has said so already: exit code 2.
    ToldUsage,
    /// A signal, by its name, ended it before it was done, and it has said so: exit code 130 for
    /// SIGINT, 143 for SIGTERM, 129 for SIGHUP, as a shell has them.
    Interrupted(&'static str),
}

impl Failure {
    /// A wrong usage, said in `text`.
    pub fn usage(text: impl std::fmt::Display + std::fmt::Debug + Send + Sync + 'static) -> Self {
        Self::Usage(anyhow::Error::msg(text))
    }

    /// Prints why, and gives the exit code.
    #[must_use]
    pub fn report(&self) -> ExitCode {
        match self {
            Self::Usage(error) => {
                say::note(format_args!("error: {error:#}"));
                ExitCode::from(2)
            }
            Self::Failed(error) => {
                say::note(format_args!("error: {error:#}"));
                ExitCode::FAILURE
            }
            Self::Told => ExitCode::FAILURE,
            Self::ToldUsage => ExitCode::from(2),
            Self::Interrupted("SIGTERM") => ExitCode::from(128 + 15),
            Self::Interrupted("SIGHUP") => ExitCode::from(128 + 1),
            Self::Interrupted(_) => ExitCode::from(128 + 2),
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

impl From<SettingsErrors> for Failure {
    fn from(errors: SettingsErrors) -> Self {
        Self::usage(match errors.faults.len() {
            1 => format!("a setting is wrong: {errors}"),
            many => format!("{many} settings are wrong:\n{errors}"),
        })
    }
}
