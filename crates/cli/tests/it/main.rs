//! The command line from outside: a demo, and a ledger that finds what a stranger has broken.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a helper of a test fails the test, as the test itself does, and says what it left out"
)]

mod support;

mod bad_input;
mod bench;
mod bench_dedupe;
mod clouds;
mod dedupe;
mod demo;
mod doctor;
mod scenarios;
mod send;
mod tampering;
mod terminal;
mod up;
mod usage;
mod verify;
