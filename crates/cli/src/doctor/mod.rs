//! Looks at everything that an installation rests on.
//!
//! In: settings, and what is wrong with them. Out: a [`Finding`] for each fault and each thing that
//! was looked at, in the order of the walk: what is wrong, and what to do. Promises: it makes and
//! changes nothing but probes that come and go, and it works beside running roles.

// 1. this machine
mod machine;

// 2. the log
pub(crate) mod log;

// 3. where records end, and what is known of them
mod ends;

use crate::settings::Settings;
use cloudsync_runtime::settings::Fault;
use serde::Serialize;
use std::fmt::Display;
use std::path::Path;

/// What came of one look.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub check: String,
    /// How it is.
    pub state: State,
    /// What was found; where it is not well, also what to do.
    pub detail: String,
}

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As it should be.
    Ok,
    /// As it should be, and worth knowing.
    Note,
    /// It works, and could be better.
    Warn,
    /// It does not work.
    Fail,
}

/// Looks at everything. `faults` is what is wrong with `settings`, which are those that hold all
/// the same; `data_dir` is where `up` keeps its data, if the settings are `up`'s.
pub async fn examine(
    settings: &Settings,
    faults: &[Fault],
    data_dir: Option<&Path>,
) -> Vec<Finding> {
    let mut findings: Vec<_> = faults
        .iter()
        .map(|fault| Finding::fail("settings", fault))
        .collect();
    if faults.is_empty() {
        findings.push(Finding::ok("settings", "they hold"));
    }
    findings.extend(machine::examine(settings, data_dir));
    findings.extend(log::examine(settings, data_dir.is_some()).await);
    findings.extend(ends::examine(settings).await);
    findings
}

// === impl Finding, State ===

impl Finding {
    fn new(check: impl Into<String>, state: State, detail: impl Display) -> Self {
        Self {
            check: check.into(),
            state,
            detail: detail.to_string(),
        }
    }

    fn ok(check: impl Into<String>, detail: impl Display) -> Self {
        Self::new(check, State::Ok, detail)
    }

    fn note(check: impl Into<String>, detail: impl Display) -> Self {
        Self::new(check, State::Note, detail)
    }

    fn warn(check: impl Into<String>, detail: impl Display) -> Self {
        Self::new(check, State::Warn, detail)
    }

    fn fail(check: impl Into<String>, detail: impl Display) -> Self {
        Self::new(check, State::Fail, detail)
    }
}

impl State {
    /// As it is printed: what failed stands out.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Warn => "warn",
            Self::Fail => "FAIL",
        }
    }
}
