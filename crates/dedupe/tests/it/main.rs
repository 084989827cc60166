//! The dedupe stores from outside: the laws of the trait for every store, and what a store adds.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test says so by failing"
)]

mod conformance;
mod memory;
mod model;
mod redis;
mod settings;
