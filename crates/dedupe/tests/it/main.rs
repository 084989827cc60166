//! The dedupe stores from outside: the laws of the trait for every store, and what a store adds.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test says so by failing, or that it is skipped"
)]

mod child;
mod conformance;
mod embedded;
mod memory;
mod model;
mod redis;
mod settings;
