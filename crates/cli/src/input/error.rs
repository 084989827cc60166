//! Why an input ends before its end, in sentences that name it and the place.

use super::rows::RowError;
use super::splitter::SplitError;
use std::io;

/// Why the input ended before its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InputError {
    /// It cannot be opened.
    #[error("cannot open {name}")]
    Open {
        /// The file.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It cannot be read further.
    #[error("cannot read {name}")]
    Read {
        /// The file.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is packed, and cannot be unpacked to its end.
    #[error("{name} is cut off or damaged: it cannot be unpacked as {packing}{after}")]
    Unpack {
        /// The file.
        name: String,
        /// What it is packed with.
        packing: &'static str,
        /// Where that was, in the words of the message.
        after: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Its name says that it is packed.
    #[error("{name} is no {packing}, although it is called so; give it another name")]
    Misnamed {
        /// The file.
        name: String,
        /// What it is not.
        packing: &'static str,
    },
    /// It cannot be cut into pieces.
    #[error("{name} cannot be read as {format}")]
    Split {
        /// The file.
        name: String,
        /// What it was taken for.
        format: &'static str,
        /// Why.
        #[source]
        source: SplitError,
    },
    /// It cannot be cut into rows.
    #[error("{name} cannot be read as CSV")]
    Rows {
        /// The file.
        name: String,
        /// Why.
        #[source]
        source: RowError,
    },
    /// The header of CSV has no column that was pointed at.
    #[error("{name} has no column at {pointer}; {hint}")]
    NoColumn {
        /// The file.
        name: String,
        /// Where it was looked for.
        pointer: String,
        /// What may have been meant.
        hint: String,
    },
}
