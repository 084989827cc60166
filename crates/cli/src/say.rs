//! Printing: data to stdout, everything else to stderr. A reader that has gone away is no fault.

use std::fmt::Display;
use std::io::{self, Write};

/// A line for the person, on stderr.
pub(crate) fn note(text: impl Display) {
    let _written = writeln!(io::stderr(), "{text}").is_ok();
}

/// Data, on stdout, as it is.
pub(crate) fn data(text: impl Display) {
    let mut out = io::stdout().lock();
    let _written = write!(out, "{text}").and_then(|()| out.flush()).is_ok();
}
