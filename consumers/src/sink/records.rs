//! A destination as `record` mode sees it: it takes one record at a time, and says what it met.

use super::SinkError;
use crate::parse::{Named, Polled};
use async_trait::async_trait;
use cloudsync::wire::RecordView;
use cloudsync_kafka::Receipt;
use std::fmt::Debug;
use std::time::Duration;

/// What a destination makes of a record that it has had before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idempotence {
    /// It refuses the second create, and shows what lies there.
    Conditional,
    /// It knows the record's key again, has no second effect, and says so to nobody.
    Keyed,
    /// It does not know it again: a second write is a second effect.
    Plain,
}

/// A record on its way out.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// As the log has it.
    pub polled: &'a Polled,
    /// The same, in place.
    pub view: RecordView<'a>,
    /// Its identity and fingerprint.
    pub named: Named,
    /// The partition that it stands in.
    pub partition: i32,
}

/// What an attempt came to, as far as the destination tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Applied {
    /// The record is there. Only a conditional destination knows that nothing was before.
    Created(Receipt),
    /// The same record was there, written from this offset of its partition.
    AlreadyThere {
        /// The offset.
        offset: i64,
        /// What confirms it.
        receipt: Receipt,
    },
    /// The id is there with another content; a sentence.
    Conflict(String),
    /// What lies in its place was not written there as a record; a sentence. It says nothing
    /// against the record.
    Damaged(String),
}

/// A place that takes records.
///
/// # Laws
/// 1. `Created` and `AlreadyThere` are said only of a record whose effect is there, and stays.
/// 2. An error leaves open whether the record had its effect, unless its class is
///    [`Rejected`](super::ErrorClass::Rejected): then it had none, and never will as it is.
/// 3. A destination that is not [`Plain`](Idempotence::Plain) has one effect for each identity,
///    however often the record is applied.
#[async_trait]
pub trait RecordSink: Debug + Send + Sync {
    /// What it makes of a record that it has had before.
    fn idempotence(&self) -> Idempotence;

    /// One attempt to write `record`; whoever calls drops it after `limit`.
    ///
    /// # Errors
    /// [`SinkError`], with its class.
    async fn apply(&self, record: &Outgoing<'_>, limit: Duration) -> Result<Applied, SinkError>;
}

// === impl Idempotence ===

impl Idempotence {
    /// Whether a record written twice is there once.
    #[must_use]
    pub fn has_one_effect(self) -> bool {
        match self {
            Self::Conditional | Self::Keyed => true,
            Self::Plain => false,
        }
    }
}
