//! Object stores of our own: versitygw, which speaks Amazon's protocol, and Azurite, which speaks
//! Azure's, started on free ports in a directory of their own.
//!
//! Start and end are `scripts/services/clouds`', which people use as well.

use anyhow::{Context, ensure};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Both stores, with an empty bucket and container `cloudsync`.
#[derive(Debug)]
pub struct Clouds {
    directory: PathBuf,
    /// What the script says to export.
    variables: Vec<(String, String)>,
}

/// What to do where they are missing.
pub const MISSING: &str = "no versitygw or no azurite-blob on PATH: scripts/services/clouds fetch";

/// Whether both programs are on PATH.
#[must_use]
pub fn at_hand() -> bool {
    let there = |program: &str| {
        let paths = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&paths).any(|path| path.join(program).is_file())
    };
    there("versitygw") && there("azurite-blob")
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/services/clouds")
}

// === impl Clouds ===

impl Clouds {
    /// Starts both on `directory`, which is made.
    ///
    /// # Errors
    /// When one of them does not start.
    pub fn start(directory: &Path) -> anyhow::Result<Self> {
        let output = Command::new(script())
            .arg("start")
            .arg(directory)
            .stdin(Stdio::null())
            .output()
            .context("cannot run scripts/services/clouds")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "the clouds do not start: {said}");
        let text = String::from_utf8(output.stdout)?;
        let variables = text.lines().filter_map(|line| {
            let (name, value) = line.strip_prefix("export ")?.split_once('=')?;
            Some((name.to_owned(), value.trim_matches('\'').to_owned()))
        });
        Ok(Self {
            directory: directory.to_owned(),
            variables: variables.collect(),
        })
    }

    /// The variables that lead a program there.
    #[must_use]
    pub fn variables(&self) -> &[(String, String)] {
        &self.variables
    }

    /// The value of the variable `name`.
    ///
    /// # Panics
    /// When the script names no such variable.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a test fails with it")]
    pub fn variable(&self, name: &str) -> &str {
        let found = self.variables.iter().find(|(found, _)| found == name);
        &found.expect("a variable of the script").1
    }
}

impl Drop for Clouds {
    fn drop(&mut self) {
        // Nobody is left to be told.
        let _ended = Command::new(script())
            .arg("stop")
            .arg(&self.directory)
            .status();
    }
}
