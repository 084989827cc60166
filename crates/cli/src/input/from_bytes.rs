//! The bytes of an input to its records: cut into pieces, each with its id and key.
//!
//! In: chunks. Out: a record, or why a piece is none, with its line or element. The header of CSV is
//! read before the first record is wanted: a column that is not there is told at once, and not of
//! every row.

use super::format::Format;
use super::pointer::Pointer;
use super::rows::Rows;
use super::source::{Meter, Source};
use super::splitter::{Splitter, Wanted};
use super::{InputError, InputRecord, Item, Pointers, Refused, columns};
use bytes::Bytes;
use uuid::Uuid;

/// The records that an input's bytes are.
pub(super) struct FromBytes {
    source: Source,
    format: Format,
    cutter: Cutter,
    pointers: Pointers,
    /// Pieces before this one are passed over.
    first: u64,
    /// The last piece that came, for messages.
    last: Option<(&'static str, u64)>,
    /// A piece that came before somebody wanted it, or the end, or why there is none.
    held: Option<Result<Option<Cut>, InputError>>,
}

/// What cuts the bytes.
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

impl Item {
    fn refused(unit: &'static str, number: u64, reason: String) -> Self {
        Self::Refused(Refused {
            unit,
            number,
            request_id: None,
            reason,
        })
    }
}

fn too_long(bytes: u64) -> String {
    let limit = cloudsync::limits::MAX_RECORD_BYTES;
    format!("it has {bytes} bytes, and a record has at most {limit}; split it, or send a reference")
}

// === impl FromBytes ===

impl FromBytes {
    pub(super) fn of(source: Source, format: Format, pointers: Pointers) -> Self {
        let limit = cloudsync::limits::MAX_RECORD_BYTES;
        let pieces = |wanted| Cutter::Pieces(Splitter::new(limit, wanted));
        Self {
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
            held: None,
        }
    }

    /// Passes over what stands before piece `first`.
    pub(super) fn start_at(&mut self, first: u64) {
        self.first = first;
    }

    pub(super) fn meter(&self) -> Meter {
        self.source.meter()
    }

    pub(super) fn name(&self) -> &str {
        self.source.name()
    }

    /// Reads the header of CSV, and looks whether it has what the pointers name.
    ///
    /// # Errors
    /// [`InputError::NoColumn`]. Whatever else is wrong is told by [`FromBytes::next`].
    pub(super) async fn check_columns(&mut self) -> Result<(), InputError> {
        let points = self.pointers.id.is_some() || self.pointers.key.is_some();
        if !points || self.format != Format::Csv {
            return Ok(());
        }
        self.held = Some(self.piece().await);
        let Cutter::Rows(rows) = &self.cutter else {
            return Ok(());
        };
        let columns: Vec<&str> = rows.columns().collect();
        let mut pointers = [&self.pointers.id, &self.pointers.key]
            .into_iter()
            .flatten();
        let has = |pointer: &&Pointer| {
            let column = pointer.column();
            column.is_some_and(|column| columns.contains(&column))
        };
        // Without a header there is nothing at all, and that is told elsewhere.
        match pointers.find(|pointer| !has(pointer)) {
            Some(pointer) if !columns.is_empty() => Err(InputError::NoColumn {
                name: self.source.name().to_owned(),
                pointer: pointer.to_string(),
                hint: columns::hint(pointer, &columns),
            }),
            _ => Ok(()),
        }
    }

    /// The next record; `None` at the end. Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<Option<Item>, InputError> {
        loop {
            let piece = match self.held.take() {
                Some(held) => held?,
                None => self.piece().await?,
            };
            match piece {
                Some(cut) if cut.number < self.first => {}
                Some(cut) => return Ok(Some(self.item(cut))),
                None => return Ok(None),
            }
        }
    }

    /// The next piece; `None` at the end. Cancel-safe.
    async fn piece(&mut self) -> Result<Option<Cut>, InputError> {
        loop {
            match self.cut()? {
                Some(cut) => {
                    self.last = Some((cut.unit, cut.number));
                    return Ok(Some(cut));
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
        let bytes = match cut.bytes {
            Ok(bytes) => bytes,
            Err(reason) => return Item::refused(unit, number, reason),
        };
        let hint = match self.format {
            Format::Auto | Format::Ndjson if number == 1 => columns::if_csv(&bytes),
            _ => "",
        };
        match self.record(unit, number, bytes) {
            Ok(record) => Item::Record(record),
            Err(reason) => Item::refused(unit, number, format!("{reason}{hint}")),
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
