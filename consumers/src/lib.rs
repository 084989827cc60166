//! The consumers: what the log holds reaches every destination that it names.
//!
//! A record's way, one file a step: [`poll`] what it is → [`dedupe`] what is known of its id →
//! [`chain`] judged, into its partition's open segment (`record` mode: a lane by key) →
//! [`deliver`] an attempt at the destination's [`sink`], until it succeeds → [`settle`] marked,
//! settled, committed; or [`dead_letter`] set aside. `worker` drives it for a partition, `group`
//! gives each partition its worker, [`consumer`] keeps one destination running. [`read_back`]
//! reads what lies there, for ledgers.

// 1. what is set, and what is counted
pub mod counters;
mod health;
pub mod settings;

// 2. the walk
pub mod chain;
pub mod dead_letter;
pub mod dedupe;
pub mod deliver;
pub mod poll;
pub mod settle;

// 3. where it ends
pub mod sink;

// 4. who walks it
pub mod consumer;
mod group;
mod worker;

// 5. what lies there
pub mod read_back;

pub use consumer::{ConsumerDeps, DestinationConsumer, RunError, StartError};
pub use counters::{Counters, IdTally};
pub use read_back::{DeliveredLine, ReadBack, ReadBackError, read_back};
pub use settings::{DestinationSettings, WriteMode};
