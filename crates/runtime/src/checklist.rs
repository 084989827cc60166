//! The list printed while a role comes up: one line a thing, ✔ or ✖, to stderr.

use std::io::{self, Write};

/// Prints what is ready and what is not.
#[derive(Debug)]
pub struct Checklist<W> {
    out: W,
    failed: bool,
    quiet: bool,
}

impl Checklist<io::Stderr> {
    /// A list on stderr.
    #[must_use]
    pub fn on_stderr() -> Self {
        Self::new(io::stderr())
    }
}

impl<W: Write> Checklist<W> {
    /// A list on `out`.
    pub fn new(out: W) -> Self {
        Self {
            out,
            failed: false,
            quiet: false,
        }
    }

    /// Prints what failed only, if so.
    #[must_use]
    pub fn quiet(self, quiet: bool) -> Self {
        Self { quiet, ..self }
    }

    /// `what` is there; `detail` says where, or how much of it.
    pub fn pass(&mut self, what: &str, detail: impl std::fmt::Display) {
        if !self.quiet {
            self.line('✔', what, &detail);
        }
    }

    /// `what` is not there; `reason` says why.
    pub fn fail(&mut self, what: &str, reason: impl std::fmt::Display) {
        self.failed = true;
        self.line('✖', what, &reason);
    }

    /// A line without a mark, such as one to paste.
    pub fn note(&mut self, text: impl std::fmt::Display) {
        if !self.quiet {
            self.print(&text);
        }
    }

    /// Whether anything failed.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.failed
    }

    fn line(&mut self, mark: char, what: &str, detail: &dyn std::fmt::Display) {
        self.print(&format_args!("{mark} {what:<14} {detail}"));
    }

    fn print(&mut self, text: &dyn std::fmt::Display) {
        // Nobody to tell when stderr is gone, and nothing depends on the list.
        let _written = writeln!(self.out, "{text}").is_ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_marked_and_remembered() {
        let mut list = Checklist::new(Vec::new());
        list.pass("log", "127.0.0.1:9092");
        assert!(!list.has_failed());
        list.fail("gateway", "the port is taken");
        assert!(list.has_failed());
        let text = String::from_utf8(list.out).unwrap();
        assert_eq!(
            text,
            "✔ log            127.0.0.1:9092\n✖ gateway        the port is taken\n"
        );
    }

    #[test]
    fn a_quiet_list_has_failures_only() {
        let mut list = Checklist::new(Vec::new()).quiet(true);
        list.pass("log", "127.0.0.1:9092");
        list.note("Ready.");
        list.fail("gateway", "the port is taken");
        let text = String::from_utf8(list.out).unwrap();
        assert_eq!(text, "✖ gateway        the port is taken\n");
    }
}
