//! What of an input is no record, or was refused: to a file, or to stderr, as far as a person reads.

use crate::failure::Failure;
use crate::input::Refused;
use crate::ledger::grouped;
use crate::say;
use anyhow::Context;
use indicatif::ProgressBar;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// Most complaints that are printed.
const COMPLAINTS: u64 = 100;

/// Takes complaints.
pub(super) struct Complaints {
    count: u64,
    file: Option<BufWriter<File>>,
    /// The file cannot be written.
    failed: Option<io::Error>,
    /// Stands aside while one is printed.
    bar: ProgressBar,
}

// === impl Complaints ===

impl Complaints {
    /// To `file`, or to stderr beside `bar`.
    pub(super) fn to(file: Option<&Path>, bar: ProgressBar) -> Result<Self, Failure> {
        let file = file.map(|path| {
            let made = File::create(path);
            made.with_context(|| format!("cannot write {}", path.display()))
        });
        Ok(Self {
            count: 0,
            file: file
                .transpose()
                .map_err(Failure::Usage)?
                .map(BufWriter::new),
            failed: None,
            bar,
        })
    }

    /// Takes one.
    pub(super) fn take(&mut self, refused: &Refused) {
        self.count += 1;
        if let Some(file) = &mut self.file {
            let line = serde_json::to_string(refused).map_err(io::Error::other);
            let written = line.and_then(|line| writeln!(file, "{line}"));
            self.failed = self.failed.take().or_else(|| written.err());
        } else if self.count <= COMPLAINTS {
            self.bar.suspend(|| say::note(refused));
        }
    }

    /// Writes what is left, or says how many were not printed, and `way_out`: how to have them all.
    pub(super) fn end(mut self, way_out: &str) -> Result<(), Failure> {
        if let Some(file) = &mut self.file {
            let flushed = file.flush();
            let failed = self.failed.take().or_else(|| flushed.err());
            failed
                .map_or(Ok(()), Err)
                .context("cannot write the rejects")?;
        } else if self.count > COMPLAINTS {
            let more = grouped(self.count - COMPLAINTS);
            say::note(format_args!("… and {more} more; {way_out}"));
        }
        Ok(())
    }
}
