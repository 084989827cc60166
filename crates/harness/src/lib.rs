//! Scenario tests, fault injection and the checker.
//!
//! Nothing here is shared with the program under test but the contract: [`journal`] remembers
//! what a client sent and was told, [`program`] runs the real binary as processes and kills them,
//! [`client`] streams through the public client, [`checker`] reads the destinations with a reader of
//! its own and holds them against the journal, and [`endpoint`] is a destination over HTTP that
//! misbehaves and counts. [`fleet`] is many processes around one log, [`redis`] the server that they
//! share ([`deployment`]: or several), and [`ledger`] counts what became of what was sent.

#![forbid(unsafe_code)]

pub mod checker;
pub mod client;
pub mod clouds;
pub mod deployment;
pub mod endpoint;
pub mod fleet;
pub mod journal;
pub mod ledger;
pub mod metrics;
pub mod ports;
pub mod program;
pub mod redis;
pub mod side;
