//! Where the records come from that `send` and `demo` send.
//!
//! In: a file or standard input (NDJSON, one JSON array, lines of text or CSV, packed or not), the
//! built-in events, or a number of records to make. Out: one [`InputRecord`] after the other, in
//! constant memory. What is not a record is told with its line and passed over.

// 1. bytes, unpacked
pub mod source;

// 2. bytes to pieces
pub mod format;
pub mod rows;
pub mod splitter;

// 3. a piece to its id and key
mod columns;
mod from_bytes;
pub mod pointer;

// 4. or no bytes at all
pub mod generate;

mod error;

pub use error::InputError;

use bytes::Bytes;
use format::Format;
use from_bytes::FromBytes;
use pointer::Pointer;
use serde::Serialize;
use source::{Meter, Source};
use std::io::Read;
use std::path::Path;

/// Events that come with the program: `data/README.md` says what they are.
pub const EARTHQUAKES: &[u8] = include_bytes!("../../data/earthquakes.ndjson");
/// Where an event of [`EARTHQUAKES`] has its id.
pub const EARTHQUAKES_ID: &str = "/id";
/// Where an event of [`EARTHQUAKES`] has the name of its network, its key.
pub const EARTHQUAKES_KEY: &str = "/properties/net";

/// One record to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputRecord {
    /// What `number` counts: `line`, `element` or `record`.
    pub unit: &'static str,
    /// Which one of the input, from 1.
    pub number: u64,
    /// Its request id.
    pub request_id: String,
    /// Its key; may be empty.
    pub key: String,
    /// The data: JSON or text, byte for byte as it stood in the input, or the object of a row.
    pub payload: Bytes,
    /// What the payload is.
    pub content_type: &'static str,
}

/// What came out of the input.
#[derive(Debug)]
pub enum Item {
    /// A record.
    Record(InputRecord),
    /// Something that is none.
    Refused(Refused),
}

/// A piece of the input that is no record, or a record that the gateway refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// What `number` counts: `line`, `element` or `record`.
    pub unit: &'static str,
    /// Which one of the input, from 1.
    pub number: u64,
    /// The record's id, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Why.
    pub reason: String,
}

/// Which fields of a record are its id and its key.
#[derive(Clone, Debug, Default)]
pub struct Pointers {
    /// Its request id; without it, a UUIDv7 is made before the first attempt.
    pub id: Option<Pointer>,
    /// Its key; without it, the record has none.
    pub key: Option<Pointer>,
}

/// The records of one input.
#[derive(Debug)]
pub struct Input {
    kind: Kind,
}

enum Kind {
    Bytes(Box<FromBytes>),
    Generated(generate::Load),
}

// === impl Input ===

impl Input {
    /// Reads `file`, or standard input if it is `-`, as `format`.
    ///
    /// # Errors
    /// [`InputError::Open`]; [`InputError::NoColumn`], where the header of CSV has no column that
    /// `pointers` name.
    pub async fn open(file: &Path, format: Format, pointers: Pointers) -> Result<Self, InputError> {
        let source = Source::open(file).await?;
        let mut input = Self::of(source, format.of(file), pointers);
        if let Kind::Bytes(from) = &mut input.kind {
            from.check_columns().await?;
        }
        Ok(input)
    }

    /// Reads `reader`, called `name` in messages, as `format`.
    ///
    /// # Errors
    /// [`InputError::Read`], when there is no thread to read with.
    pub fn from_reader(
        name: String,
        reader: Box<dyn Read + Send>,
        format: Format,
        pointers: Pointers,
    ) -> Result<Self, InputError> {
        let source = Source::of(name, reader, None, None)?;
        Ok(Self::of(source, format, pointers))
    }

    fn of(source: Source, format: Format, pointers: Pointers) -> Self {
        let from = FromBytes::of(source, format, pointers);
        Self {
            kind: Kind::Bytes(Box::new(from)),
        }
    }

    /// Passes over what stands before line or element `first`, counted from 1. The header of CSV
    /// is read all the same.
    #[must_use]
    pub fn starting_at(mut self, first: u64) -> Self {
        if let Kind::Bytes(from) = &mut self.kind {
            from.start_at(first);
        }
        self
    }

    /// The built-in events.
    ///
    /// # Errors
    /// As [`Input::from_reader`].
    pub fn earthquakes() -> Result<Self, InputError> {
        let pointers = Pointers {
            id: EARTHQUAKES_ID.parse().ok(),
            key: EARTHQUAKES_KEY.parse().ok(),
        };
        Self::from_reader(
            "the built-in events".to_owned(),
            Box::new(EARTHQUAKES),
            Format::Ndjson,
            pointers,
        )
    }

    /// `count` made records.
    #[must_use]
    pub fn generated(count: u64) -> Self {
        Self {
            kind: Kind::Generated(generate::Load::new(count)),
        }
    }

    /// How far the reading is; made records are not read.
    #[must_use]
    pub fn meter(&self) -> Meter {
        match &self.kind {
            Kind::Bytes(from) => from.meter(),
            Kind::Generated(_) => Meter::default(),
        }
    }

    /// The next record; `None` at the end. Cancel-safe.
    ///
    /// # Errors
    /// [`InputError`]; nothing more comes after it.
    pub async fn next(&mut self) -> Result<Option<Item>, InputError> {
        match &mut self.kind {
            Kind::Bytes(from) => from.next().await,
            Kind::Generated(load) => Ok(load.next().map(Item::Record)),
        }
    }
}

impl std::fmt::Debug for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bytes(from) => f.debug_tuple("Bytes").field(&from.name()).finish(),
            Self::Generated(load) => f.debug_tuple("Generated").field(load).finish(),
        }
    }
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.unit, self.number)?;
        if let Some(id) = &self.request_id {
            write!(f, ", id {id}")?;
        }
        write!(f, ": {}", self.reason)
    }
}

#[cfg(test)]
mod tests;
