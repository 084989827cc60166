//! The consumers: what the log holds reaches every destination that it names.
//!
//! A record's way, one file a step: [`parse`] what it is → [`dedupe`] what is known of its id →
//! [`chain`] judged, into its partition's open segment ([`mod@record`] mode: a lane by key) →
//! [`deliver`] an attempt at the destination's [`sink`], until it succeeds → [`settle`] marked,
//! settled, committed; or [`dead_letter`] set aside. `worker` drives it for a partition, `group`
//! gives each partition its worker, [`consumer`] keeps one destination running. [`mod@read_back`]
//! reads what lies there, for ledgers; [`verify`] compares two destinations, and mends them.

#![forbid(unsafe_code)]

// what is set, counted and waited for
pub mod counters;
mod decisions;
mod health;
mod id_hash;
mod instruments;
pub mod settings;
mod store;

// 1. what a record is
pub mod parse;

// 2. what is known of its id
pub mod dedupe;

// 3. judged, and into its partition's open segment; in `record` mode claimed, in its key's lane
pub mod chain;

pub mod record;

// 4. at the destination
pub mod deliver;
pub mod sink;

// 5. settled, or set aside
pub mod settle;

pub mod dead_letter;

// who walks it
mod worker;

mod group;

pub mod consumer;

// what lies there
pub mod read_back;

pub mod verify;

pub use consumer::{ConsumerDeps, DestinationConsumer, RunError, StartError};
pub use counters::{Counters, IdTally};
pub use read_back::{
    DeliveredLine, ReadBack, ReadBackError, can_be_read_back, read_back, read_back_since,
};
pub use settings::{DestinationSettings, IdempotencyKey, Repeats, WriteMode};
