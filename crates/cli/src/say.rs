//! Printing: data to stdout, everything else to stderr. A reader that has gone away is no fault.

use std::fmt::Display;
use std::io::{self, Write};

/// A line for the person, on stderr.
pub(crate) fn note(text: impl Display) {
    let _written = writeln!(io::stderr(), "{text}").is_ok();
}

/// Data, on stdout, as it is. Whether somebody still reads.
pub(crate) fn data(text: impl Display) -> bool {
    let mut out = io::stdout().lock();
    match write!(out, "{text}").and_then(|()| out.flush()) {
        Ok(()) => true,
        Err(error) => {
            if error.kind() != io::ErrorKind::BrokenPipe {
                note(format_args!("cannot write to standard output: {error}"));
            }
            false
        }
    }
}
