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
pub mod pointer;

// 4. or no bytes at all
pub mod generate;

mod error;

pub use error::InputError;

use bytes::Bytes;
use format::Format;
use pointer::Pointer;
use rows::Rows;
use serde::Serialize;
use source::{Meter, Source};
use splitter::{Splitter, Wanted};
use std::io::Read;
use std::path::Path;
use uuid::Uuid;

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

struct FromBytes {
    source: Source,
    format: Format,
    cutter: Cutter,
    pointers: Pointers,
    /// Pieces before this one are passed over.
    first: u64,
    /// The last piece that came, for messages.
    last: Option<(&'static str, u64)>,
}

enum Cutter {
    Pieces(Splitter),
    Rows(Rows),
}

/// A piece, or why there is none.
struct Cut {
    unit: &'static str,
    number: u64,
    bytes: Result<Bytes, String>,
}

// === impl Input ===

impl Input {
    /// Reads `file`, or standard input if it is `-`, as `format`.
    ///
    /// # Errors
    /// [`InputError::Open`].
    pub async fn open(file: &Path, format: Format, pointers: Pointers) -> Result<Self, InputError> {
        let source = Source::open(file).await?;
        Ok(Self::of(source, format.of(file), pointers))
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
        let limit = cloudsync::limits::MAX_RECORD_BYTES;
        let pieces = |wanted| Cutter::Pieces(Splitter::new(limit, wanted));
        let from = FromBytes {
            source,
            format,
            cutter: match format {
                Format::Auto => pieces(Wanted::Any),
                Format::Ndjson => pieces(Wanted::Lines),
                Format::Json => pieces(Wanted::Array),
                Format::Lines => pieces(Wanted::Text),
                Format::Csv => Cutter::Rows(Rows::new(limit)),
            },
            pointers,
            first: 1,
            last: None,
        };
        Self {
            kind: Kind::Bytes(Box::new(from)),
        }
    }

    /// Passes over what stands before line or element `first`, counted from 1. The header of CSV
    /// is read all the same.
    #[must_use]
    pub fn starting_at(mut self, first: u64) -> Self {
        if let Kind::Bytes(from) = &mut self.kind {
            from.first = first;
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
            Kind::Bytes(from) => from.source.meter(),
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
            Self::Bytes(from) => f.debug_tuple("Bytes").field(&from.source.name()).finish(),
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

fn too_long(bytes: u64) -> String {
    let limit = cloudsync::limits::MAX_RECORD_BYTES;
    format!("it has {bytes} bytes, and a record has at most {limit}; split it, or send a reference")
}

// === impl FromBytes ===

impl FromBytes {
    async fn next(&mut self) -> Result<Option<Item>, InputError> {
        loop {
            match self.cut()? {
                Some(cut) => {
                    self.last = Some((cut.unit, cut.number));
                    if cut.number >= self.first {
                        return Ok(Some(self.item(cut)));
                    }
                    continue;
                }
                None if self.cutter.is_finished() => return Ok(None),
                None => {}
            }
            let last = self.last;
            let after = move || {
                last.map_or_else(String::new, |(unit, number)| {
                    format!(", behind {unit} {number}")
                })
            };
            match self.source.next(after).await? {
                Some(chunk) => self.cutter.push(&chunk),
                None => self.cutter.finish(),
            }
        }
    }

    fn cut(&mut self) -> Result<Option<Cut>, InputError> {
        let name = || self.source.name().to_owned();
        match &mut self.cutter {
            Cutter::Pieces(splitter) => match splitter.next() {
                Ok(piece) => Ok(piece.map(|piece| Cut {
                    unit: piece.unit,
                    number: piece.number,
                    bytes: piece.bytes.map_err(too_long),
                })),
                Err(source) => Err(InputError::Split {
                    name: name(),
                    format: self.format.name(),
                    source,
                }),
            },
            Cutter::Rows(rows) => match rows.next() {
                Ok(row) => Ok(row.map(|row| Cut {
                    unit: "line",
                    number: row.line,
                    bytes: row.json,
                })),
                Err(source) => Err(InputError::Rows {
                    name: name(),
                    source,
                }),
            },
        }
    }

    fn item(&self, cut: Cut) -> Item {
        let (unit, number) = (cut.unit, cut.number);
        match cut.bytes.and_then(|bytes| self.record(unit, number, bytes)) {
            Ok(record) => Item::Record(record),
            Err(reason) => Item::Refused(Refused {
                unit,
                number,
                request_id: None,
                reason,
            }),
        }
    }

    /// The record, or why it is none.
    fn record(
        &self,
        unit: &'static str,
        number: u64,
        payload: Bytes,
    ) -> Result<InputRecord, String> {
        let text =
            std::str::from_utf8(&payload).map_err(|error| format!("is not UTF-8: {error}"))?;
        let found = |pointer: &Option<Pointer>| match pointer {
            Some(pointer) => pointer.scalar(text).map(Some),
            None => Ok(None),
        };
        let id = found(&self.pointers.id).map_err(|error| error.to_string())?;
        let key = found(&self.pointers.key).map_err(|error| error.to_string())?;
        if self.format != Format::Lines
            && (id.is_none() && key.is_none())
            && let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(text)
        {
            return Err(format!("is not JSON: {error}"));
        }
        Ok(InputRecord {
            unit,
            number,
            request_id: id.unwrap_or_else(|| Uuid::now_v7().to_string()),
            key: key.unwrap_or_default(),
            payload,
            content_type: self.format.content_type(),
        })
    }
}

// === impl Cutter ===

impl Cutter {
    fn push(&mut self, chunk: &[u8]) {
        match self {
            Self::Pieces(splitter) => splitter.push(chunk),
            Self::Rows(rows) => rows.push(chunk),
        }
    }

    fn finish(&mut self) {
        match self {
            Self::Pieces(splitter) => splitter.finish(),
            Self::Rows(rows) => rows.finish(),
        }
    }

    fn is_finished(&self) -> bool {
        match self {
            Self::Pieces(splitter) => splitter.is_finished(),
            Self::Rows(rows) => rows.is_finished(),
        }
    }
}

#[cfg(test)]
mod tests;
