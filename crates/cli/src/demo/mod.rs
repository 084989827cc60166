//! The demo: everything on this machine, fed with real or made records, some of them twice, and
//! a ledger at the end.
//!
//! In the order of its run: [`places`] where it delivers to, [`resend`] which records go again and when, [`journal`] what was sent
//! and acknowledged, [`feed`] sending it, [`progress`] showing it, [`settle`] waiting until both
//! groups have committed everything, [`kept`] the log of an earlier demo, to be counted again.

pub mod places;

pub mod resend;

pub mod journal;

pub mod feed;

pub mod progress;

pub mod settle;

pub mod kept;
