//! The two destinations compared with each other, with the log, and mended by name.
//!
//! In: two places for objects, and what the log says of them. Out: what is missing, extra, altered
//! or doubled, each with its place. In the order of the calls: [`scope`] what is compared → [`work`]
//! a comparison under way, kept in a directory → [`scan`] a destination becomes [`mod@entry`]s of 48
//! bytes → [`spill`] on disk, sorted by id → [`mod@judge`] what is wrong with an id → [`found`] all of
//! it → [`source`] the lines themselves → [`repair`] what is missing or altered, made anew.
//! Promises: memory stays constant, whatever lies there; nothing but [`repair`] writes.

use crate::sink::SinkError;
use cloudsync_kafka::KafkaError;
use std::io;
use std::path::{Path, PathBuf};

// 1. what is compared
pub mod scope;

pub mod work;

// 2. what lies there
pub mod entry;

mod patient;

mod follow;

pub mod scan;

pub mod spill;

// 3. what is wrong with it
pub mod judge;

pub mod found;

// 4. the lines, and mending
pub mod source;

mod pieces;

pub mod repair;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// A destination cannot be read.
    #[error("cannot read the destination")]
    Sink(#[from] SinkError),
    /// The log cannot be read.
    #[error("cannot read the log")]
    Log(#[from] KafkaError),
    /// The directory for what was read cannot be used.
    #[error("cannot keep what was read in {}", .directory.display())]
    State {
        /// The directory.
        directory: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The directory holds another comparison.
    #[error(
        "{} holds an interrupted comparison of something else ({before}): finish that one, or \
         name another directory",
        .directory.display()
    )]
    OtherQuestion {
        /// The directory.
        directory: PathBuf,
        /// What was asked for then.
        before: String,
    },
    /// It was cut off by the end of the program.
    #[error("the program ends")]
    Ended,
}

impl VerifyError {
    fn state(directory: &Path, source: io::Error) -> Self {
        Self::State {
            directory: directory.to_owned(),
            source,
        }
    }
}
