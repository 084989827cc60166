//! The Kafka client against a real log in this process.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a helper of a test fails the test, as the test itself does"
)]

mod admin;
mod consume;
mod outage;
mod produce;
mod support;
