//! Bytes of CSV to JSON objects (pure, no I/O).
//!
//! In: chunks of any size: a header, then rows, as RFC 4180 has them; rows may end in LF alone.
//! Out: each row as an object whose values are all strings, in the header's order, with the line
//! on which the row begins. Promises: the rows do not depend on how the bytes were cut; it holds
//! one row and one chunk, no more. Empty lines are passed over.

use bytes::{Buf, Bytes, BytesMut};
use csv_core::{ReadRecordResult, Reader};
use std::collections::BTreeSet;
use std::ops::Range;

/// Most columns.
const MAX_COLUMNS: usize = 10_000;

/// A row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The line on which it begins, from 1.
    pub line: u64,
    /// The object, or why the row is none.
    pub json: Result<Bytes, String>,
}

/// Why the input cannot be cut into rows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RowError {
    /// A row is longer than any record may be.
    #[error(
        "the row that begins on line {line} is longer than {limit} bytes; perhaps a quote is not \
         closed"
    )]
    TooLong {
        /// Where it begins.
        line: u64,
        /// The limit.
        limit: usize,
    },
    /// A row has more columns than any file should.
    #[error("the row that begins on line {line} has more than {MAX_COLUMNS} columns")]
    TooWide {
        /// Where it begins.
        line: u64,
    },
    /// The header names no columns that a row could be told by.
    #[error("the header on line {line} is of no use: {why}")]
    Header {
        /// Where it stands.
        line: u64,
        /// What is wrong with it.
        why: String,
    },
}

/// Cuts chunks into rows.
#[derive(Debug)]
pub struct Rows {
    core: Box<Reader>,
    limit: usize,
    buffer: BytesMut,
    /// No more chunks come.
    finished: bool,
    /// Whether what stands in front of the header has been looked at.
    begun: bool,
    /// The line of the first byte of the buffer.
    line: u64,
    open: Open,
    /// `"name":` for each column, and the plain names.
    header: Option<Vec<(String, String)>>,
}

/// The row that is being read.
#[derive(Debug)]
struct Open {
    /// Some of it has been read.
    begun: bool,
    line: u64,
    text: Vec<u8>,
    length: usize,
    ends: Vec<usize>,
    columns: usize,
    quotes: usize,
}

const UTF8_BOM: &[u8] = b"\xef\xbb\xbf";

// === impl Rows ===

impl Rows {
    /// For rows of at most `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        let mut core = Box::new(Reader::new());
        // It would pass over a mark in front by itself, but only where it comes in one piece.
        core.read_record(b"\n", &mut [0], &mut [0]);
        Self {
            core,
            limit,
            buffer: BytesMut::new(),
            finished: false,
            begun: false,
            line: 1,
            open: Open {
                begun: false,
                line: 1,
                text: vec![0; 4_096],
                length: 0,
                ends: vec![0; 64],
                columns: 0,
                quotes: 0,
            },
            header: None,
        }
    }

    /// Gives it the next chunk. [`Rows::next`] must have returned `None` before, or memory is not
    /// bounded.
    pub fn push(&mut self, chunk: &[u8]) {
        self.buffer.extend_from_slice(chunk);
    }

    /// Tells it that no more chunks come.
    pub fn finish(&mut self) {
        self.finished = true;
    }

    /// The names of the columns, in their order; none before the header has been read.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        let columns = self.header.iter().flatten();
        columns.map(|(_, name)| name.as_str())
    }

    /// Whether everything has come out.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.finished && self.buffer.is_empty() && !self.open.begun
    }

    /// The next row; `None` if it needs another chunk, or at the end.
    ///
    /// # Errors
    /// [`RowError`]; the input is of no further use.
    #[expect(
        clippy::should_implement_trait,
        reason = "it can fail and can go on after None"
    )]
    pub fn next(&mut self) -> Result<Option<Row>, RowError> {
        loop {
            if !self.open.begun && !self.begin() {
                return Ok(None);
            }
            if self.buffer.is_empty() && !self.finished {
                return Ok(None);
            }
            let (result, read) = self.open.read(&mut self.core, &self.buffer);
            let lines = self.buffer.iter().take(read).filter(|byte| **byte == b'\n');
            self.line += lines.count() as u64;
            self.buffer.advance(read);
            match result {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull | ReadRecordResult::OutputEndsFull => {
                    self.open.grow(self.limit)?;
                }
                ReadRecordResult::Record => {
                    if let Some(row) = self.end_row()? {
                        return Ok(Some(row));
                    }
                }
                ReadRecordResult::End => {
                    self.open.clear();
                    return Ok(None);
                }
            }
            self.open.check(self.limit)?;
        }
    }

    /// Passes over empty lines; whether a row begins behind them.
    fn begin(&mut self) -> bool {
        if !self.begun {
            let may_be_mark =
                self.buffer.len() < UTF8_BOM.len() && UTF8_BOM.starts_with(&self.buffer);
            if may_be_mark && !self.finished {
                return false;
            }
            self.begun = true;
            if self.buffer.starts_with(UTF8_BOM) {
                self.buffer.advance(UTF8_BOM.len());
            }
        }
        while let Some(end @ (b'\n' | b'\r')) = self.buffer.first().copied() {
            self.line += u64::from(end == b'\n');
            self.buffer.advance(1);
        }
        self.open.line = self.line;
        self.open.begun = !self.buffer.is_empty();
        self.open.begun
    }

    fn end_row(&mut self) -> Result<Option<Row>, RowError> {
        let line = self.open.line;
        // The end of the input closes whatever is open, and so would hide that it was cut off.
        let torn = self.finished && self.buffer.is_empty() && self.open.quotes % 2 == 1;
        let row = match &self.header {
            None => {
                let names = header(&self.open.fields(), torn);
                let names = names.map_err(|why| RowError::Header { line, why })?;
                self.header = Some(names);
                None
            }
            Some(_) if torn => Some(Err("a quote is not closed".to_owned())),
            Some(names) => Some(object(names, &self.open.fields())),
        };
        self.open.clear();
        Ok(row.map(|json| Row { line, json }))
    }
}

/// The columns, or why they cannot be told apart.
fn header(fields: &[&[u8]], torn: bool) -> Result<Vec<(String, String)>, String> {
    if torn {
        return Err("a quote is not closed".to_owned());
    }
    let (mut columns, mut known) = (Vec::new(), BTreeSet::new());
    for (index, field) in fields.iter().enumerate() {
        let number = index + 1;
        let name = std::str::from_utf8(field)
            .map_err(|_| format!("the name of column {number} is not UTF-8"))?;
        if name.is_empty() {
            return Err(format!("column {number} has no name"));
        }
        if !known.insert(name) {
            return Err(format!("two columns are called {name}"));
        }
        let quoted = serde_json::to_string(name).map_err(|error| error.to_string())?;
        columns.push((format!("{quoted}:"), name.to_owned()));
    }
    Ok(columns)
}

fn object(names: &[(String, String)], fields: &[&[u8]]) -> Result<Bytes, String> {
    if names.len() != fields.len() {
        return Err(format!(
            "the row has {} fields, and the header {}",
            fields.len(),
            names.len()
        ));
    }
    let mut json = vec![b'{'];
    for (index, ((quoted, name), field)) in names.iter().zip(fields).enumerate() {
        if index > 0 {
            json.push(b',');
        }
        json.extend_from_slice(quoted.as_bytes());
        let text = std::str::from_utf8(field);
        let text = text.map_err(|error| format!("{name} is not UTF-8: {error}"))?;
        serde_json::to_writer(&mut json, text).map_err(|error| error.to_string())?;
    }
    json.push(b'}');
    Ok(json.into())
}

// === impl Open ===

impl Open {
    /// Reads on; also says how many bytes of `input` that took. No input is its end.
    fn read(&mut self, core: &mut Reader, input: &[u8]) -> (ReadRecordResult, usize) {
        let text = self.text.get_mut(self.length..).unwrap_or_default();
        let ends = self.ends.get_mut(self.columns..).unwrap_or_default();
        let (result, read, written, columns) = core.read_record(input, text, ends);
        self.length += written;
        self.columns += columns;
        self.quotes += input.iter().take(read).filter(|it| **it == b'"').count();
        (result, read)
    }

    fn grow(&mut self, limit: usize) -> Result<(), RowError> {
        if self.length == self.text.len() {
            self.check(limit)?;
            // One more than the limit, so that what is too long is seen to be.
            self.text.resize((self.length * 2).min(limit + 1), 0);
        }
        if self.columns == self.ends.len() {
            if self.columns >= MAX_COLUMNS {
                return Err(RowError::TooWide { line: self.line });
            }
            self.ends.resize(self.columns * 2, 0);
        }
        Ok(())
    }

    fn check(&self, limit: usize) -> Result<(), RowError> {
        let line = self.line;
        if self.length > limit {
            Err(RowError::TooLong { line, limit })
        } else {
            Ok(())
        }
    }

    fn fields(&self) -> Vec<&[u8]> {
        let ends = self.ends.iter().take(self.columns).copied();
        let mut start = 0;
        let ranges = ends.map(|end| std::mem::replace(&mut start, end)..end);
        let field = |range: Range<usize>| self.text.get(range).unwrap_or_default();
        ranges.map(field).collect()
    }

    fn clear(&mut self) {
        self.begun = false;
        self.length = 0;
        self.columns = 0;
        self.quotes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMIT: usize = 20_000;

    fn rows(input: &[u8], cuts: &[usize]) -> Result<Vec<Row>, RowError> {
        let mut rows = Rows::new(LIMIT);
        let mut found = Vec::new();
        let mut bounds: Vec<usize> = cuts.iter().map(|cut| cut % (input.len() + 1)).collect();
        bounds.extend([0, input.len()]);
        bounds.sort_unstable();
        for bound in bounds.windows(2) {
            rows.push(&input[bound[0]..bound[1]]);
            while let Some(row) = rows.next()? {
                found.push(row);
            }
            assert!(rows.buffer.len() < 3, "only what may be a mark is kept");
        }
        rows.finish();
        while let Some(row) = rows.next()? {
            found.push(row);
        }
        assert!(rows.is_finished());
        Ok(found)
    }

    fn plain(input: &str) -> Vec<(u64, String)> {
        let text = |json: Result<Bytes, String>| match json {
            Ok(json) => String::from_utf8(json.to_vec()).unwrap(),
            Err(why) => format!("! {why}"),
        };
        let rows = rows(input.as_bytes(), &[]).unwrap().into_iter();
        rows.map(|row| (row.line, text(row.json))).collect()
    }

    #[test]
    fn rows_are_objects_of_strings_with_the_line_they_begin_on() {
        let input =
            "\u{feff}id,\"a \"\"b\"\"\",c\r\n1,,x\r\n\r\n2,\"two\nlines, and \"\"\",é\n3,y,z";
        assert_eq!(
            plain(input),
            [
                (2, r#"{"id":"1","a \"b\"":"","c":"x"}"#.to_owned()),
                (
                    4,
                    r#"{"id":"2","a \"b\"":"two\nlines, and \"","c":"é"}"#.to_owned()
                ),
                (6, r#"{"id":"3","a \"b\"":"y","c":"z"}"#.to_owned()),
            ]
        );
        assert_eq!(plain(""), []);
        assert_eq!(plain("\u{feff}"), []);
        assert_eq!(plain("a,b\n"), []);
    }

    #[test]
    fn what_is_no_row_is_told_and_passed_over() {
        let why = |input: &str| plain(input)[0].1.clone();
        assert_eq!(
            why("a,b\n1\n2,3\n"),
            "! the row has 1 fields, and the header 2"
        );
        assert_eq!(plain("a,b\n1\n2,3\n")[1].1, r#"{"a":"2","b":"3"}"#);
        assert_eq!(why("a,b\n1,\"x"), "! a quote is not closed");
        let found = rows(b"a,b\n1,\xff\n", &[]).unwrap();
        let reason = found[0].json.clone().unwrap_err();
        assert!(reason.starts_with("b is not UTF-8"), "{reason}");
    }

    #[test]
    fn what_cannot_be_gone_on_with_is_an_error_with_its_line() {
        let fault = |input: &str| rows(input.as_bytes(), &[]).unwrap_err().to_string();
        assert_eq!(
            fault("a,a\n"),
            "the header on line 1 is of no use: two columns are called a"
        );
        assert_eq!(
            fault("\na,\n"),
            "the header on line 2 is of no use: column 2 has no name"
        );
        let open = format!("a\n1\n\"{}", "x\n".repeat(LIMIT));
        assert!(fault(&open).starts_with("the row that begins on line 3 is longer than"));
        assert!(fault(&",".repeat(MAX_COLUMNS * 2)).contains("more than 10000 columns"));
        let long = format!("a\n{}\n", "x".repeat(LIMIT));
        assert!(
            rows(long.as_bytes(), &[]).is_ok(),
            "exactly as long as may be"
        );
    }

    proptest! {
        #[test]
        fn anything_at_all_gives_the_same_however_it_is_cut(
            input in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..200),
                "[,\"\r\n a1\u{feff}]{0,80}".prop_map(String::into_bytes),
                "a,b\n([ab\"\r]{0,4},[ab\" ]{0,4}\r?\n){0,8}".prop_map(String::into_bytes),
            ],
            cuts in proptest::collection::vec(any::<usize>(), 0..8),
        ) {
            prop_assert_eq!(rows(&input, &cuts), rows(&input, &[]));
        }
    }
}
