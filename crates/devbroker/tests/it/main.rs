//! The embedded log as its clients see it: librdkafka, raw frames, and a killed process.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test ends at whatever it does not expect, in its helpers as well"
)]

mod attack;
mod bounds;
mod ceiling;
mod child;
mod client;
mod conformance;
mod delete_records;
mod flow;
mod foreign;
mod full_disk;
mod groups;
mod hands;
mod measure;
mod read_only;
mod restart;
mod retention;
mod robustness;
mod topics;
mod wire;
