//! The consumers against a real log in this process and destinations on disk.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a helper of a test fails the test, as the test itself does, and says what it left out"
)]

mod batch;
mod door;
mod endpoint;
mod measure;
mod objects;
mod outages;
mod places;
mod record;
mod support;
