//! The dedupe store: one trait with laws, and its stores.
//!
//! [`claim`] what is asked and answered, [`store`] the trait and its laws, [`settings`] which
//! store is opened and with which limits, [`sizing`] what one would need, [`memory`] the store that
//! lives in one process, [`embedded`] the same with a log on this machine's disk behind it; the
//! module `redis` has the ones that replicas share. [`receipts`] is no dedupe: which place in the
//! log an id got, for those who ask where their record is. [`floor`] is what `cloudsync bench` holds
//! the stores against.

#![forbid(unsafe_code)]

// 1. what is asked and answered
pub mod claim;
pub mod store;

// 2. which store, with which limits
pub mod settings;
pub mod sizing;
pub mod units;

// 3. the stores
mod table;
mod tables;

pub mod embedded;
pub mod memory;
mod redis;

// 4. what was accepted, and where it lies
pub mod newest;
pub mod receipts;

// 5. what the stores are held against
pub mod floor;

pub use claim::{Claim, Found, FoundState, Lease, LogPosition, Lookup, Subject, Token, shard_of};
pub use embedded::EmbeddedStore;
pub use memory::MemoryStore;
pub use newest::Newest;
pub use receipts::{Accepted, Receipts, SharedReceipts};
pub use settings::{DedupeSettings, OnUnavailable, OpenError, open};
pub use store::{DedupeStore, Health, Stats, StoreError};
