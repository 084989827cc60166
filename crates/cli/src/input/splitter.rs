//! Bytes of NDJSON, of one JSON array, or of lines of text to the pieces in them (pure, no I/O).
//!
//! In: chunks of any size. Out: each line, or each element, as it stands, without the white space
//! around it (of text, without the line's end only). Promises: the pieces do not depend on how
//! the bytes were cut; it holds one piece and one chunk, no more; a piece is not looked into
//! further than its end needs. Empty lines are passed over, and counted.
//!
//! Unless it is said what the input is, one whose first byte is `[` is an array.

use bytes::{Buf, Bytes, BytesMut};

/// A line or an element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Which one, from 1; empty lines count.
    pub number: u64,
    /// `line` or `element`.
    pub unit: &'static str,
    /// As it stands; of a line that is longer than any record may be, its length.
    pub bytes: Result<Bytes, u64>,
}

/// Why the input cannot be cut into pieces.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SplitError {
    /// An element is longer than any record may be; its end is not looked for.
    #[error("element {number} is longer than {limit} bytes; take it out, or send one a line")]
    TooLong {
        /// Which one, from 1.
        number: u64,
        /// The limit.
        limit: usize,
    },
    /// Two separators without an element between them.
    #[error("element {number} is empty")]
    Empty {
        /// Which one, from 1.
        number: u64,
    },
    /// A bracket closes what it did not open.
    #[error("element {number} has an unexpected {found:?}")]
    Unexpected {
        /// Which element, from 1.
        number: u64,
        /// What stands there.
        found: char,
    },
    /// The array has no end.
    #[error("the array is not closed; it ends inside or behind element {number}")]
    NotClosed {
        /// The element, from 1.
        number: u64,
    },
    /// Something stands behind the array.
    #[error("there is something behind the array; for lines that are arrays: --format ndjson")]
    AfterArray,
    /// The input is to be an array, and is none.
    #[error(
        "it begins with {found:?} on line {line}, and not with [; lines of JSON are --format \
         ndjson, and columns --format csv"
    )]
    NoArray {
        /// What it begins with.
        found: char,
        /// Where, from 1.
        line: u64,
    },
}

/// Cuts chunks into pieces.
#[derive(Debug)]
pub struct Splitter {
    limit: usize,
    wanted: Wanted,
    shape: Shape,
    buffer: BytesMut,
    /// How much of the buffer has been looked at.
    scanned: usize,
    /// Bytes of an overlong line that were let go.
    dropped: usize,
    /// Pieces begun so far.
    number: u64,
    /// No more chunks come.
    finished: bool,
}

/// What the input is said to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Nothing is said: an array, or else JSON a line.
    Any,
    /// JSON a line.
    Lines,
    /// One array.
    Array,
    /// Text a line.
    Text,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// Only white space so far.
    Unknown,
    Lines,
    Text,
    Array(Scan),
    /// Behind the end of the array.
    Closed,
}

/// Where the scan stands inside an array.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Scan {
    /// Brackets and braces open inside the element.
    depth: usize,
    in_string: bool,
    escaped: bool,
    /// A comma was met, so another element must come.
    after_comma: bool,
}

/// What ends an element.
#[derive(Clone, Copy)]
enum End {
    Comma,
    Bracket,
}

/// White space that may stand around a line of the longest length.
const SLACK: usize = 1_024;

const UTF8_BOM: &[u8] = b"\xef\xbb\xbf";

// === impl Splitter ===

impl Splitter {
    /// A splitter for pieces of at most `limit` bytes of what is `wanted`.
    #[must_use]
    pub fn new(limit: usize, wanted: Wanted) -> Self {
        let buffer = BytesMut::new();
        let shape = Shape::Unknown;
        Self {
            limit,
            wanted,
            shape,
            buffer,
            scanned: 0,
            dropped: 0,
            number: 0,
            finished: false,
        }
    }

    /// Gives it the next chunk. [`Splitter::next`] must have returned `None` before, or memory is
    /// not bounded.
    pub fn push(&mut self, chunk: &[u8]) {
        self.buffer.extend_from_slice(chunk);
    }

    /// Tells it that no more chunks come.
    pub fn finish(&mut self) {
        self.finished = true;
    }

    /// Whether everything has come out.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.finished && self.buffer.is_empty() && self.dropped == 0
    }

    /// The next piece; `None` if it needs another chunk, or at the end.
    ///
    /// # Errors
    /// [`SplitError`]; the input is of no further use.
    #[expect(
        clippy::should_implement_trait,
        reason = "it can fail and can go on after None"
    )]
    pub fn next(&mut self) -> Result<Option<Piece>, SplitError> {
        loop {
            match self.shape {
                Shape::Unknown => {
                    if !self.find_shape()? {
                        return Ok(None);
                    }
                }
                Shape::Lines | Shape::Text => return self.next_line(),
                Shape::Array(scan) => return self.next_element(scan),
                Shape::Closed => {
                    self.skip_space();
                    let done = self.buffer.is_empty();
                    return if done {
                        Ok(None)
                    } else {
                        Err(SplitError::AfterArray)
                    };
                }
            }
        }
    }

    /// Whether the first byte that counts has come.
    fn find_shape(&mut self) -> Result<bool, SplitError> {
        if UTF8_BOM.starts_with(&self.buffer) && !self.finished {
            return Ok(false);
        }
        if self.buffer.starts_with(UTF8_BOM) {
            self.buffer.advance(UTF8_BOM.len());
        }
        if self.wanted == Wanted::Text {
            self.shape = Shape::Text;
            return Ok(true);
        }
        // Empty lines in front are counted, should these be lines.
        while let Some(byte) = self.buffer.first().copied().filter(u8::is_ascii_whitespace) {
            self.number += u64::from(byte == b'\n');
            self.buffer.advance(1);
        }
        let Some(first) = self.buffer.first().copied() else {
            return Ok(false);
        };
        match (first, self.wanted) {
            (b'[', Wanted::Any | Wanted::Array) => {
                self.buffer.advance(1);
                self.number = 0;
                self.shape = Shape::Array(Scan::default());
            }
            (_, Wanted::Array) => {
                return Err(SplitError::NoArray {
                    found: char::from(first),
                    line: self.number + 1,
                });
            }
            _ => self.shape = Shape::Lines,
        }
        Ok(true)
    }

    fn next_line(&mut self) -> Result<Option<Piece>, SplitError> {
        loop {
            let unseen = self.buffer.get(self.scanned..).unwrap_or_default();
            let line = match unseen.iter().position(|byte| *byte == b'\n') {
                Some(at) => {
                    let line = self.buffer.split_to(self.scanned + at);
                    self.buffer.advance(1);
                    line
                }
                None if self.finished && !self.is_finished() => self.buffer.split(),
                None => {
                    self.scanned = self.buffer.len();
                    self.let_go();
                    return Ok(None);
                }
            };
            self.scanned = 0;
            self.number += 1;
            let length = std::mem::take(&mut self.dropped) + line.len();
            let bytes = match self.shape {
                Shape::Text => without_return(line.freeze()),
                _ => trimmed(line.freeze()),
            };
            let too_long = length > self.limit + SLACK || bytes.len() > self.limit;
            if too_long || !bytes.is_empty() {
                let bytes = if too_long {
                    Err(length as u64)
                } else {
                    Ok(bytes)
                };
                return Ok(Some(Piece {
                    number: self.number,
                    unit: "line",
                    bytes,
                }));
            }
        }
    }

    /// Lets the beginning of a line go that is too long whatever comes.
    fn let_go(&mut self) {
        if self.dropped > 0 || self.scanned > self.limit + SLACK {
            self.dropped += self.scanned;
            self.buffer.clear();
            self.scanned = 0;
        }
    }

    fn next_element(&mut self, mut scan: Scan) -> Result<Option<Piece>, SplitError> {
        let unseen = self.buffer.get(self.scanned..).unwrap_or_default();
        for (at, byte) in unseen.iter().copied().enumerate() {
            match scan.step(byte, self.number + 1)? {
                Some(end) => return self.end_element(self.scanned + at, end, scan),
                None => continue,
            }
        }
        self.scanned = self.buffer.len();
        self.shape = Shape::Array(scan);
        let number = self.number + 1;
        self.check_length(number, self.scanned)?;
        if self.finished {
            Err(SplitError::NotClosed { number })
        } else {
            Ok(None)
        }
    }

    fn end_element(
        &mut self,
        at: usize,
        end: End,
        scan: Scan,
    ) -> Result<Option<Piece>, SplitError> {
        let bytes = trimmed(self.buffer.split_to(at).freeze());
        self.buffer.advance(1);
        self.scanned = 0;
        self.number += 1;
        let number = self.number;
        self.check_length(number, bytes.len())?;
        self.shape = match end {
            End::Comma => Shape::Array(Scan {
                after_comma: true,
                ..Scan::default()
            }),
            End::Bracket => Shape::Closed,
        };
        match (bytes.is_empty(), end) {
            (false, _) => Ok(Some(Piece {
                number,
                unit: "element",
                bytes: Ok(bytes),
            })),
            // `[]` has no element; `[1,]` lacks one.
            (true, End::Bracket) if !scan.after_comma => self.next(),
            (true, _) => Err(SplitError::Empty { number }),
        }
    }

    fn skip_space(&mut self) {
        let space = self
            .buffer
            .iter()
            .take_while(|byte| byte.is_ascii_whitespace())
            .count();
        self.buffer.advance(space);
    }

    fn check_length(&self, number: u64, length: usize) -> Result<(), SplitError> {
        let limit = self.limit;
        if length > limit {
            Err(SplitError::TooLong { number, limit })
        } else {
            Ok(())
        }
    }
}

// === impl Scan ===

impl Scan {
    /// Takes one byte; `Some` if it ends the element.
    fn step(&mut self, byte: u8, number: u64) -> Result<Option<End>, SplitError> {
        if self.in_string {
            self.in_string = self.escaped || byte != b'"';
            self.escaped = !self.escaped && byte == b'\\';
            return Ok(None);
        }
        match byte {
            b'"' => self.in_string = true,
            b'{' | b'[' => self.depth += 1,
            b',' if self.depth == 0 => return Ok(Some(End::Comma)),
            b']' if self.depth == 0 => return Ok(Some(End::Bracket)),
            b'}' if self.depth == 0 => {
                return Err(SplitError::Unexpected { number, found: '}' });
            }
            b'}' | b']' => self.depth -= 1,
            _ => {}
        }
        Ok(None)
    }
}

fn trimmed(bytes: Bytes) -> Bytes {
    let inside = bytes.trim_ascii();
    bytes.slice_ref(inside)
}

fn without_return(bytes: Bytes) -> Bytes {
    let inside = bytes.strip_suffix(b"\r").unwrap_or(&bytes);
    bytes.slice_ref(inside)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMIT: usize = 4_096;

    /// Splits `input` cut at `cuts`, holding the splitter to its bound on memory.
    fn split(input: &[u8], cuts: &[usize]) -> Result<Vec<Bytes>, SplitError> {
        split_as(Wanted::Any, input, cuts)
    }

    fn split_as(wanted: Wanted, input: &[u8], cuts: &[usize]) -> Result<Vec<Bytes>, SplitError> {
        let mut splitter = Splitter::new(LIMIT, wanted);
        let mut pieces = Vec::new();
        let mut bounds: Vec<usize> = cuts.iter().map(|cut| cut % (input.len() + 1)).collect();
        bounds.extend([0, input.len()]);
        bounds.sort_unstable();
        for bound in bounds.windows(2) {
            let chunk = &input[bound[0]..bound[1]];
            splitter.push(chunk);
            while let Some(piece) = splitter.next()? {
                pieces.push(text(piece));
            }
            assert!(splitter.buffer.len() <= LIMIT + SLACK + chunk.len());
        }
        splitter.finish();
        while let Some(piece) = splitter.next()? {
            pieces.push(text(piece));
        }
        assert!(splitter.is_finished());
        Ok(pieces)
    }

    fn text(piece: Piece) -> Bytes {
        let too_long = |length| format!("{} bytes", length).into();
        piece.bytes.unwrap_or_else(too_long)
    }

    /// Some JSON value, printed with or without white space.
    fn json() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            any::<i32>().prop_map(|number| number.to_string()),
            "[ -~\\u{e4}\\u{1f600}]{0,12}".prop_map(|text| serde_json::to_string(&text).unwrap()),
            Just("null".to_owned()),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            let list = proptest::collection::vec(inner, 0..4);
            prop_oneof![
                list.clone()
                    .prop_map(|items| format!("[{}]", items.join(", "))),
                list.prop_map(|items| {
                    let field = |(n, item): (usize, &String)| format!("\"k\\\"{n}]\":{item}");
                    let fields: Vec<_> = items.iter().enumerate().map(field).collect();
                    format!("{{{}}}", fields.join(","))
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn lines_do_not_depend_on_the_cuts(
            values in proptest::collection::vec(json(), 1..12),
            gap in prop_oneof![Just("\n"), Just("\r\n"), Just("\n\n  \n"), Just(" \n")],
            cuts in proptest::collection::vec(any::<usize>(), 0..12),
            ends in any::<bool>(),
        ) {
            // A first line that is an array is taken for the one array.
            let mut lines = vec!["{}".to_owned()];
            lines.extend(values);
            let mut input = lines.join(gap);
            if ends { input.push_str(gap); }
            prop_assert_eq!(split(input.as_bytes(), &cuts).unwrap(), lines);
        }

        #[test]
        fn elements_do_not_depend_on_the_cuts(
            values in proptest::collection::vec(json(), 0..12),
            gap in prop_oneof![Just(","), Just(" ,\n  "), Just(",\r\n")],
            cuts in proptest::collection::vec(any::<usize>(), 0..12),
            around in prop_oneof![Just(""), Just("\n"), Just("\u{feff}"), Just("\u{feff} \n ")],
        ) {
            let input = format!("{around}[ {} ]\n", values.join(gap));
            prop_assert_eq!(split(input.as_bytes(), &cuts).unwrap(), values);
        }

        #[test]
        fn anything_at_all_gives_pieces_or_an_error_and_the_same_one_however_it_is_cut(
            input in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..200),
                "[\\[\\]{},\"\\\\\n a1]{0,60}".prop_map(String::into_bytes),
            ],
            cuts in proptest::collection::vec(any::<usize>(), 0..8),
        ) {
            for wanted in [Wanted::Any, Wanted::Lines, Wanted::Array, Wanted::Text] {
                let whole = split_as(wanted, &input, &[]);
                prop_assert_eq!(split_as(wanted, &input, &cuts), whole);
            }
        }
    }

    #[test]
    fn what_is_said_to_be_something_is_taken_for_it() {
        let pieces = |wanted, input: &str| split_as(wanted, input.as_bytes(), &[]);
        let arrays = pieces(Wanted::Lines, "[1]\n[2]\n").unwrap();
        assert_eq!(arrays, [&b"[1]"[..], b"[2]"]);
        let text = pieces(Wanted::Text, "\u{feff} a \r\n\n[\r\r\nend").unwrap();
        assert_eq!(text, [&b" a "[..], b"[\r", b"end"]);
        assert_eq!(pieces(Wanted::Array, " [1, 2]").unwrap(), ["1", "2"]);
        let none = pieces(Wanted::Array, "\n{}").unwrap_err();
        assert_eq!(
            none.to_string(),
            "it begins with '{' on line 2, and not with [; lines of JSON are --format ndjson, and \
             columns --format csv"
        );
    }

    #[test]
    fn faults_are_told_with_their_place() {
        let fault = |input: &str| split(input.as_bytes(), &[]).unwrap_err();
        assert_eq!(fault("[1,,2]"), SplitError::Empty { number: 2 });
        assert_eq!(fault("[1,]"), SplitError::Empty { number: 2 });
        assert_eq!(fault("[1,2"), SplitError::NotClosed { number: 2 });
        assert_eq!(
            fault("[1}"),
            SplitError::Unexpected {
                number: 1,
                found: '}'
            }
        );
        assert_eq!(fault("[1]\n[2]"), SplitError::AfterArray);
        let long = format!("[1,\"{}\"]", "x".repeat(LIMIT));
        let (number, limit) = (2, LIMIT);
        assert_eq!(fault(&long), SplitError::TooLong { number, limit });
        assert_eq!(split(b"", &[]), Ok(vec![]));
        assert_eq!(split(b"[]", &[]), Ok(vec![]));
    }

    #[test]
    fn an_overlong_line_is_passed_over_without_being_held() {
        for length in [LIMIT + 1, LIMIT + SLACK, 10 * LIMIT] {
            let long = "x".repeat(length);
            for input in [format!("1\n{long}\n2\n"), format!("1\n{long}")] {
                for cuts in [&[][..], &[2], &[LIMIT], &[3, LIMIT, 2 * LIMIT, 3 * LIMIT]] {
                    let pieces = split(input.as_bytes(), cuts).unwrap();
                    let dropped = Bytes::from(format!("{length} bytes"));
                    assert_eq!(pieces[..2], [Bytes::from("1"), dropped], "{cuts:?}");
                    assert_eq!(
                        pieces.get(2),
                        input.ends_with('\n').then_some(&Bytes::from("2"))
                    );
                }
            }
        }
        let fits = format!("{}\r\n", "x".repeat(LIMIT));
        assert_eq!(split(fits.as_bytes(), &[]).unwrap()[0].len(), LIMIT);
    }
}
