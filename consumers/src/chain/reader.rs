//! Reading a segment.
//!
//! In: the bytes of an object. Out: its [`Header`], then each [`Line`] in place. Promises: bytes
//! that are no whole segment are an error that says why, never a panic; memory stays constant,
//! whatever the size.

use super::line::Line;
use super::segment::{Digest, Header, KIND, MAGIC, VERSION, has_its_sum};
use cloudsync::identity::Id16;
use std::io::{self, BufRead, BufReader, Read};
use zstd::stream::read::Decoder;

/// Longest line, in bytes: a record of the largest size, escaped six to one, and room beside it.
const MAX_LINE_BYTES: u64 = 16 * 1024 * 1024;
/// Longest header, in bytes.
const MAX_HEADER_BYTES: usize = 64 * 1024;

/// A segment whose header has been read.
pub struct SegmentReader<'a> {
    /// What the segment says of itself.
    pub header: Header,
    lines: BufReader<Decoder<'static, &'a [u8]>>,
}

/// A line, with the identity that follows from what it says.
#[derive(Debug)]
pub struct IdentifiedLine<'a> {
    /// The line.
    pub line: Line<'a>,
    /// The identity of its tenant, key and id.
    pub id: Id16,
}

/// Why bytes are not a whole segment.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SegmentError {
    /// They do not begin as a segment does.
    #[error("not a segment: {why}")]
    NotASegment {
        /// What is wrong.
        why: &'static str,
    },
    /// A byte of the object was altered, or its end is missing.
    #[error("altered or cut off: the sum in the header is not that of the object")]
    Altered,
    /// The header is not what the format says.
    #[error("broken header")]
    Header(#[source] serde_json::Error),
    /// Another version of the format.
    #[error("version {0} of the format; this build reads version {VERSION}")]
    Version(u32),
    /// The compressed part is damaged or cut off.
    #[error("broken zstd frame")]
    Frame(#[source] io::Error),
    /// A line is not what the format says.
    #[error("broken line {number}")]
    Line {
        /// Which, from 1.
        number: u64,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// A line is too long to be one.
    #[error("line {number} is longer than {MAX_LINE_BYTES} bytes or has no end")]
    LongLine {
        /// Which, from 1.
        number: u64,
    },
    /// A line lies outside the range or not behind the one before it.
    #[error("line {number} has offset {offset}, out of order or outside {start}..{end}")]
    Offset {
        /// Which, from 1.
        number: u64,
        /// Its offset.
        offset: i64,
        /// First offset covered.
        start: i64,
        /// First offset behind.
        end: i64,
    },
    /// The header's numbers do not agree with each other or with the lines.
    #[error("header states {lines} lines of {records} records; {found} lines found")]
    Count {
        /// Lines stated.
        lines: u64,
        /// Records stated.
        records: u64,
        /// Lines there are.
        found: u64,
    },
    /// Every covered record is there, but they are not those that the header speaks of.
    #[error("digest {found} of the lines is not {stated} as stated")]
    Digest {
        /// As stated.
        stated: String,
        /// As computed.
        found: String,
    },
}

// === impl SegmentReader ===

impl<'a> SegmentReader<'a> {
    /// Reads the header of the segment in `object`.
    ///
    /// # Errors
    /// [`SegmentError`], when `object` does not begin as a segment does.
    pub fn open(object: &'a [u8]) -> Result<Self, SegmentError> {
        let not = |why| SegmentError::NotASegment { why };
        let (magic, rest) = split_u32(object).ok_or_else(|| not("shorter than its frame"))?;
        let (length, rest) = split_u32(rest).ok_or_else(|| not("shorter than its frame"))?;
        if magic != MAGIC {
            return Err(not("no skippable frame at its beginning"));
        }
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > MAX_HEADER_BYTES || length > rest.len() {
            return Err(not(
                "its header is longer than the object or than any header",
            ));
        }
        let (head, packed) = rest.split_at(length);
        if !has_its_sum(head, packed) {
            return Err(SegmentError::Altered);
        }
        let header: Header = serde_json::from_slice(head).map_err(SegmentError::Header)?;
        if header.cloudsync != KIND {
            return Err(not("its header speaks of something else"));
        }
        if header.version != VERSION {
            return Err(SegmentError::Version(header.version));
        }
        let decoder = Decoder::with_buffer(packed).map_err(SegmentError::Frame)?;
        Ok(Self {
            header,
            lines: BufReader::with_capacity(64 * 1024, decoder),
        })
    }

    /// Visits every line and checks the whole. What was visited before an error was in the object.
    ///
    /// # Errors
    /// [`SegmentError`], at the first thing that is not as it should be.
    pub fn for_each(
        mut self,
        mut visit: impl FnMut(IdentifiedLine<'_>),
    ) -> Result<Header, SegmentError> {
        let Header {
            start,
            end,
            lines,
            records,
            ..
        } = self.header;
        let mut digest = Digest::default();
        let (mut number, mut last) = (0u64, start.saturating_sub(1));
        let mut buffer = Vec::new();
        while self.next_line(&mut buffer, number + 1)? {
            number += 1;
            let line: Line<'_> = serde_json::from_slice(&buffer)
                .map_err(|source| SegmentError::Line { number, source })?;
            let offset = line.offset;
            if offset <= last || offset >= end {
                return Err(SegmentError::Offset {
                    number,
                    offset,
                    start,
                    end,
                });
            }
            last = offset;
            let id = Id16::of(&line.tenant, &line.key, &line.id);
            if let Some(fingerprint) = line.fingerprint() {
                digest.record(offset, id, fingerprint);
            }
            visit(IdentifiedLine { line, id });
        }
        if number != lines || lines > records {
            return Err(SegmentError::Count {
                lines,
                records,
                found: number,
            });
        }
        // With records that were not written the digest cannot be made from the lines alone.
        if lines == records && digest.text() != self.header.digest {
            let stated = self.header.digest;
            return Err(SegmentError::Digest {
                stated,
                found: digest.text(),
            });
        }
        Ok(self.header)
    }

    fn next_line(&mut self, buffer: &mut Vec<u8>, number: u64) -> Result<bool, SegmentError> {
        buffer.clear();
        let mut limited = self.lines.by_ref().take(MAX_LINE_BYTES);
        let read = limited
            .read_until(b'\n', buffer)
            .map_err(SegmentError::Frame)?;
        if read > 0 && buffer.pop() != Some(b'\n') {
            return Err(SegmentError::LongLine { number });
        }
        Ok(read > 0)
    }
}

impl std::fmt::Debug for SegmentReader<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SegmentReader")
            .field("header", &self.header)
            .finish_non_exhaustive()
    }
}

fn split_u32(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (number, rest) = bytes.split_first_chunk::<4>()?;
    Some((u32::from_le_bytes(*number), rest))
}

/// The lines of the segment in `object`, as one piece: for a segment that we made ourselves.
///
/// # Errors
/// [`SegmentError`], when it is no whole segment.
pub fn raw_lines(object: &[u8]) -> Result<Vec<u8>, SegmentError> {
    let mut reader = SegmentReader::open(object)?;
    let mut lines = Vec::new();
    reader
        .lines
        .read_to_end(&mut lines)
        .map_err(SegmentError::Frame)?;
    Ok(lines)
}

#[cfg(test)]
mod tests;
