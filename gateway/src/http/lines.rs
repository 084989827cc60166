//! Step 1 of the walk, over HTTP: bytes as lines.
//!
//! In: an upload, piece by piece. Out: its lines, with their numbers, without the line breaks and
//! without empty ones. Promises: holds at most one line of the limit and one piece; of a line that
//! is longer only the length is kept.

use bytes::{Bytes, BytesMut};

/// The lines of one upload.
#[derive(Debug)]
pub(super) struct Lines {
    /// What came and was not given out.
    buffer: BytesMut,
    /// So many of its first bytes hold no line break.
    searched: usize,
    /// Bytes of the line at hand that were dropped because it is too long.
    dropped: u64,
    /// Lines given out or passed over.
    count: u64,
    limit: usize,
}

/// A line that is not empty.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Its number in the upload, from 1, empty ones counted.
    pub(super) number: u64,
    /// What it says, or how many bytes it has if those are too many.
    pub(super) text: Result<Bytes, u64>,
}

// === impl Lines ===

impl Lines {
    /// Of an upload whose lines have at most `limit` bytes each.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            searched: 0,
            dropped: 0,
            count: 0,
            limit,
        }
    }

    /// Lines that were met so far, empty ones counted.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// `piece` has come. To be called when there is no whole line left.
    pub(super) fn push(&mut self, piece: &[u8]) {
        self.buffer.extend_from_slice(piece);
    }

    /// The next whole line.
    pub(super) fn next(&mut self) -> Option<Line> {
        loop {
            let unseen = self.buffer.get(self.searched..).unwrap_or_default();
            let Some(found) = unseen.iter().position(|byte| *byte == b'\n') else {
                self.searched = self.buffer.len();
                self.drop_too_long();
                return None;
            };
            let mut line = self.buffer.split_to(self.searched + found + 1);
            line.truncate(line.len() - 1);
            self.searched = 0;
            let line = self.line(line.freeze());
            if line.is_some() {
                return line;
            }
        }
    }

    /// The last line, if the upload did not end with a line break.
    pub(super) fn finish(&mut self) -> Option<Line> {
        let line = self.buffer.split().freeze();
        self.searched = 0;
        if line.is_empty() && self.dropped == 0 {
            return None;
        }
        self.line(line)
    }

    fn line(&mut self, text: Bytes) -> Option<Line> {
        self.count += 1;
        let number = self.count;
        let bytes = std::mem::take(&mut self.dropped) + text.len() as u64;
        if bytes > self.limit as u64 {
            let text = Err(bytes);
            return Some(Line { number, text });
        }
        let empty = text.trim_ascii().is_empty();
        let text = Ok(text);
        (!empty).then_some(Line { number, text })
    }

    fn drop_too_long(&mut self) {
        if self.dropped > 0 || self.buffer.len() > self.limit {
            self.dropped += self.buffer.len() as u64;
            self.buffer.clear();
            self.searched = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines(upload: &[u8], piece: usize, limit: usize) -> Vec<Line> {
        let mut lines = Lines::new(limit);
        let mut found = Vec::new();
        for piece in upload.chunks(piece) {
            lines.push(piece);
            found.extend(std::iter::from_fn(|| lines.next()));
            assert!(lines.buffer.len() <= limit + piece.len());
        }
        found.extend(lines.finish());
        found
    }

    #[test]
    fn numbers_count_empty_lines_and_long_ones_are_measured() {
        let upload = b"{}\n\n \t\r\n12345\r\n1234567\n[1]";
        for piece in 1..30 {
            let found = lines(upload, piece, 6);
            let told: Vec<_> = found
                .iter()
                .map(|line| (line.number, line.text.as_deref().map_err(|bytes| *bytes)))
                .collect();
            let expected: [(u64, Result<&[u8], u64>); 4] = [
                (1, Ok(b"{}")),
                (4, Ok(b"12345\r")),
                (5, Err(7)),
                (6, Ok(b"[1]")),
            ];
            assert_eq!(told, expected, "{piece}");
        }
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(
            upload in "[ab\n ]{0,60}", piece in 1..20usize, limit in 1..10usize
        ) {
            let whole = lines(upload.as_bytes(), upload.len().max(1), limit);
            prop_assert_eq!(lines(upload.as_bytes(), piece, limit), whole);
        }
    }
}
