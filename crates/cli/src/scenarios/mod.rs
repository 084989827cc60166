//! Six ways in which clients repeat themselves, and what must come of each.
//!
//! In the order of a run: [`plan`] what is sent, when and by how many clients (data), [`deployment`]
//! what it is sent to, [`send`] sending it, [`run`] waiting and counting, [`table`] expected beside
//! found. What is counted is read back by the [`crate::ledger`], and only what the run sent.

pub(crate) mod plan;

pub(crate) mod deployment;

pub(crate) mod send;

pub(crate) mod run;

pub(crate) mod table;
