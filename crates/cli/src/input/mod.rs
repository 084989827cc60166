//! Where the records come from that `send` and `demo` send.
//!
//! In: a file (NDJSON or one JSON array), standard input, the built-in events, or a number of
//! records to make. Out: one [`InputRecord`] after the other, in constant memory. What is not a
//! record is told with its line and passed over.

// 1. bytes to pieces of JSON
pub mod splitter;

// 2. a piece to its id and key
pub mod pointer;

// 3. or no bytes at all
pub mod generate;

use bytes::Bytes;
use pointer::Pointer;
use serde::Serialize;
use splitter::{SplitError, Splitter};
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncReadExt};
use uuid::Uuid;

/// Events that come with the program: `data/README.md` says what they are.
pub const EARTHQUAKES: &[u8] = include_bytes!("../../data/earthquakes.ndjson");
/// Where an event of [`EARTHQUAKES`] has its id.
pub const EARTHQUAKES_ID: &str = "/id";
/// Where an event of [`EARTHQUAKES`] has the name of its network, its key.
pub const EARTHQUAKES_KEY: &str = "/properties/net";

/// How many bytes are read at a time.
const CHUNK: usize = 64 * 1024;

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
    /// The data: JSON, byte for byte as it stood in the input.
    pub payload: Bytes,
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
    /// It is not NDJSON and not one JSON array.
    #[error("{name} is neither NDJSON nor one JSON array")]
    Split {
        /// The file.
        name: String,
        /// Why.
        #[source]
        source: SplitError,
    },
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
    name: String,
    reader: Box<dyn AsyncRead + Send + Unpin>,
    splitter: Splitter,
    chunk: Vec<u8>,
    pointers: Pointers,
    /// Pieces before this one are passed over.
    first: u64,
}

// === impl Input ===

impl Input {
    /// Reads `file`, or standard input if it is `-`.
    ///
    /// # Errors
    /// [`InputError::Open`].
    pub async fn open(file: &Path, pointers: Pointers) -> Result<Self, InputError> {
        let name = file.display().to_string();
        let opened = if file == Path::new("-") {
            stdin()
        } else {
            File::open(file).await
        };
        let reader = opened.map_err(|source| InputError::Open {
            name: name.clone(),
            source,
        })?;
        Ok(Self::from_reader(name, Box::new(reader), pointers))
    }

    /// Reads `reader`, called `name` in messages.
    #[must_use]
    pub fn from_reader(
        name: String,
        reader: Box<dyn AsyncRead + Send + Unpin>,
        pointers: Pointers,
    ) -> Self {
        let splitter = Splitter::new(cloudsync::limits::MAX_RECORD_BYTES);
        let from = FromBytes {
            name,
            reader,
            splitter,
            chunk: vec![0; CHUNK],
            pointers,
            first: 1,
        };
        Self {
            kind: Kind::Bytes(Box::new(from)),
        }
    }

    /// Passes over what stands before line or element `first`, counted from 1.
    #[must_use]
    pub fn starting_at(mut self, first: u64) -> Self {
        if let Kind::Bytes(from) = &mut self.kind {
            from.first = first;
        }
        self
    }

    /// The built-in events.
    #[must_use]
    pub fn earthquakes() -> Self {
        let pointers = Pointers {
            id: EARTHQUAKES_ID.parse().ok(),
            key: EARTHQUAKES_KEY.parse().ok(),
        };
        Self::from_reader(
            "the built-in events".to_owned(),
            Box::new(EARTHQUAKES),
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

    /// The next record; `None` at the end.
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
            Self::Bytes(from) => f.debug_tuple("Bytes").field(&from.name).finish(),
            Self::Generated(load) => f.debug_tuple("Generated").field(load).finish(),
        }
    }
}

/// Standard input as a file, so that it is read like one.
fn stdin() -> io::Result<File> {
    let descriptor = io::stdin().as_fd().try_clone_to_owned()?;
    Ok(File::from_std(std::fs::File::from(descriptor)))
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

// === impl FromBytes ===

impl FromBytes {
    async fn next(&mut self) -> Result<Option<Item>, InputError> {
        loop {
            let name = || self.name.clone();
            let next = self.splitter.next();
            match next.map_err(|source| InputError::Split {
                name: name(),
                source,
            })? {
                Some(piece) if piece.number < self.first => continue,
                Some(piece) => return Ok(Some(self.item(piece))),
                None if self.splitter.is_finished() => return Ok(None),
                None => {}
            }
            let read = self.reader.read(&mut self.chunk).await;
            match read.map_err(|source| InputError::Read {
                name: name(),
                source,
            })? {
                0 => self.splitter.finish(),
                length => self.splitter.push(&self.chunk[..length]),
            }
        }
    }

    fn item(&self, piece: splitter::Piece) -> Item {
        let place = |reason: String| {
            Item::Refused(Refused {
                unit: piece.unit,
                number: piece.number,
                request_id: None,
                reason,
            })
        };
        let json = match std::str::from_utf8(&piece.bytes) {
            Ok(json) => json,
            Err(error) => return place(format!("is not UTF-8: {error}")),
        };
        let found = |pointer: &Option<Pointer>| {
            pointer
                .as_ref()
                .map(|pointer| pointer.scalar(json))
                .transpose()
        };
        let (id, key) = match (found(&self.pointers.id), found(&self.pointers.key)) {
            (Ok(id), Ok(key)) => (id, key),
            (Err(error), _) | (_, Err(error)) => return place(error.to_string()),
        };
        if (id.is_none() && key.is_none())
            && let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(json)
        {
            return place(format!("is not JSON: {error}"));
        }
        Item::Record(InputRecord {
            unit: piece.unit,
            number: piece.number,
            request_id: id.unwrap_or_else(|| Uuid::now_v7().to_string()),
            key: key.unwrap_or_default(),
            payload: piece.bytes.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn all(mut input: Input) -> (Vec<InputRecord>, Vec<String>) {
        let (mut records, mut refused) = (Vec::new(), Vec::new());
        while let Some(item) = input.next().await.unwrap() {
            match item {
                Item::Record(record) => records.push(record),
                Item::Refused(why) => refused.push(why.to_string()),
            }
        }
        (records, refused)
    }

    #[tokio::test]
    async fn the_built_in_events_all_have_an_id_of_their_own() {
        let (records, refused) = all(Input::earthquakes()).await;
        assert!(refused.is_empty(), "{refused:?}");
        assert_eq!(records.len(), 1_707);
        let ids: std::collections::HashSet<_> = records.iter().map(|r| &r.request_id).collect();
        let keys: std::collections::HashSet<_> = records.iter().map(|r| &r.key).collect();
        assert_eq!((ids.len(), keys.len()), (1_707, 12));
        assert_eq!(
            (records[0].request_id.as_str(), records[0].key.as_str()),
            ("ci37868143", "ci")
        );
    }

    #[tokio::test]
    async fn what_is_no_record_is_told_with_its_line_and_passed_over() {
        let text: &[u8] = b"{\"id\":1}\nnonsense\n\n{\"name\":2}\n{\"id\":{}}\n{\"id\":\"b\"}";
        let pointers = Pointers {
            id: "/id".parse().ok(),
            key: None,
        };
        let input = Input::from_reader("x.ndjson".to_owned(), Box::new(text), pointers);
        let (records, refused) = all(input).await;
        let ids: Vec<_> = records
            .iter()
            .map(|record| record.request_id.as_str())
            .collect();
        assert_eq!(ids, ["1", "b"]);
        assert_eq!(refused.len(), 3, "{refused:?}");
        assert!(
            refused[0].starts_with("line 2: is not JSON"),
            "{}",
            refused[0]
        );
        assert_eq!(refused[1], "line 4: there is nothing at /id");
        assert_eq!(
            refused[2],
            "line 5: /id is an object; it must be text or a number"
        );
    }

    #[tokio::test]
    async fn without_an_id_pointer_every_record_gets_an_id() {
        let text: &[u8] = b"[1, {\"a\": [2]},\n \"x\"]";
        let input = Input::from_reader("x".to_owned(), Box::new(text), Pointers::default());
        let (records, refused) = all(input).await;
        assert!(refused.is_empty());
        let payloads: Vec<_> = records.iter().map(|record| &record.payload[..]).collect();
        assert_eq!(payloads, [&b"1"[..], b"{\"a\": [2]}", b"\"x\""]);
        assert!(records.iter().all(|record| record.request_id.len() == 36));
        assert_ne!(records[0].request_id, records[1].request_id);
    }

    #[tokio::test]
    async fn what_stands_in_front_is_passed_over() {
        for (text, unit) in [
            (&b"{\"id\":1}\n{\"id\":2}\n\n{\"id\":3}\n"[..], "line"),
            (b"[{\"id\":1}, {\"id\":2},\n\n0, {\"id\":3}]", "element"),
        ] {
            for (first, expected) in [(1, 3), (2, 2), (3, 1), (4, 1), (5, 0)] {
                let reader = Box::new(text);
                let pointers = Pointers {
                    id: "/id".parse().ok(),
                    key: None,
                };
                let input = Input::from_reader("x".to_owned(), reader, pointers);
                let (records, _) = all(input.starting_at(first)).await;
                assert_eq!(records.len(), expected, "{first}");
                assert!(
                    records
                        .iter()
                        .all(|it| it.unit == unit && it.number >= first)
                );
            }
        }
    }
}
