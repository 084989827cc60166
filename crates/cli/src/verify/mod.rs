//! What `cloudsync verify` is made of, in the order of its work: [`between`] which destinations →
//! [`log`] what the log says → `cloudsync_consumers::verify` compares, while [`progress`] shows how
//! far it is → [`report`] what was found, for a person or a program.

pub mod between;

pub mod log;

pub mod progress;

pub mod report;
