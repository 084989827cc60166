//! A single-node Kafka-protocol log for development and tests.
//!
//! In: Kafka clients on a loopback port. Out: the same answers a one-node Kafka gives them, for
//! plain and idempotent producers and for classic consumer groups. It promises: what it
//! acknowledged survives the end of the process (with [`Fsync::Always`] also a power cut), and no
//! offset is ever given twice. It has no TLS, no transactions, no replication.
//!
//! The way of a request: `server` (frame, connection) → `api` (one file a request) → `log`
//! (a partition: segments, recovery, reservation), `groups`, `offsets`, `topics`. Beside it,
//! `retention` drops what is no longer to be kept.
//! `store` owns the directory all of these live in.

#![forbid(unsafe_code)]

mod broker;
mod config;
mod descriptors;
mod error;

mod budget;
mod hands;
mod node;
mod server;

mod api;

mod groups;
mod log;
mod offsets;
mod producer_ids;
mod retention;
mod stats;
mod topic_names;
mod topic_settings;
mod topics;

mod files;
mod store;

#[cfg(test)]
mod decoder_tests;

pub use broker::Broker;
pub use config::{BrokerConfig, Fsync, Storage};
pub use error::{BrokerError, Damage};
pub use hands::{Act, Api, Hands, Moment};
pub use stats::{BrokerStats, HeldBack, PartitionStats};
