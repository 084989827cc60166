//! The command line of CloudSync: one binary, every role.
//!
//! [`args`] what was typed, [`settings`] what is set, [`stack`] the parts that run together,
//! [`commands`] one file a command. `demo` adds [`input`] (records from files, or made), [`demo`]
//! (sending them, some twice) and [`ledger`] (what became of them, read back); `scenarios`
//! (clients that repeat themselves) uses the same. `bench` measures, [`doctor`] looks at what it
//! all rests on.
//!
//! Data goes to stdout, everything else to stderr. Exit codes: 0 done, 1 failed, 2 wrong usage or
//! configuration, 130 interrupted (143 by SIGTERM) before it was done.

#![forbid(unsafe_code)]

// 1. what was asked for
pub mod args;
pub mod failure;
pub mod settings;

// 2. what runs
pub mod stack;

// 3. records in
pub mod input;

// 4. records through
pub mod demo;

// a cloud that is unwell
pub mod faults;

// 5. what became of them
pub mod ledger;

pub mod verify;

// 6. what becomes of clients that repeat themselves
mod scenarios;

// 7. what it carries and costs, and what it rests on
mod bench;
pub mod doctor;

// 8. each command
pub mod commands;

mod say;

pub use commands::run;
pub use failure::Failure;
