//! How a record ended at one destination: what settles its offset.
//!
//! In: an answer of the destination, or of the dead-letter topic. Out: an [`Outcome`] for one
//! record, or a [`Receipt`] for all that a segment covers. Promises: there is no third thing that
//! settles an offset.

use std::fmt;
use std::sync::Arc;

/// The end of a record at one destination. Anything else (a failed attempt, an unanswered look-up)
/// is no outcome, so its offset cannot be settled and hence not committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The destination confirmed the write.
    Delivered(Receipt),
    /// The same effect had been applied before.
    Duplicate,
    /// Set aside; the dead-letter topic acknowledged it.
    DeadLettered(Reason),
    /// The record names other destinations.
    NotAddressed,
}

/// What the destination confirmed: the name of the object that holds the record.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Receipt(Arc<str>);

/// Why a record was set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The bytes are no record.
    Undecodable,
    /// The id was used before, with another payload.
    IdConflict,
    /// The destination will never take it as it is.
    Rejected,
    /// All attempts were used.
    Exhausted,
}

// === impl Receipt ===

impl Receipt {
    /// The receipt of the object `name`.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self(name.into())
    }

    /// The object's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0
    }
}

// === impl Reason ===

impl Reason {
    /// The word that stands in the headers of a dead letter.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Undecodable => "undecodable",
            Self::IdConflict => "id_conflict",
            Self::Rejected => "rejected",
            Self::Exhausted => "exhausted",
        }
    }

    /// The reason of that word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        let all = [
            Self::Undecodable,
            Self::IdConflict,
            Self::Rejected,
            Self::Exhausted,
        ];
        all.into_iter().find(|reason| reason.as_str() == word)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
