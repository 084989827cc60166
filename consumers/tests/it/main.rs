//! The consumers against a real log in this process and destinations on disk.

#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails the test, as the test itself does"
)]

mod batch;
mod door;
mod endpoint;
mod measure;
mod outages;
mod places;
mod record;
mod support;
