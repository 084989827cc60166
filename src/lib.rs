//! The CloudSync contract, and its Rust client.
//!
//! A record's way through the contract, one file a step:
//! [`v1`] what is said on the wire (generated from `proto/`), [`wire`] a record as undecoded
//! bytes and the one walk over them, [`limits`] how large things may be, [`identity`] which
//! effect a record names, [`partition`] where in the log it goes, [`reason`] why something is
//! refused, [`client`] sending without losing.

#![forbid(unsafe_code)]

// 1. what is said on the wire
pub mod v1;
pub mod wire;

// 2. what it means
pub mod identity;
pub mod limits;
pub mod partition;
pub mod reason;

// 3. sending it
pub mod client;

pub use client::{Client, ClientError, ClientSettings};
pub use v1::{ErrorReason, SyncRecord};

/// The tenant of every record until authentication names one.
pub const DEFAULT_TENANT: &str = "default";
