//! Walks a request before it is decoded.
//!
//! In: a frame and its version. Out: nothing, if every string, byte run and array in it lies
//! inside the frame. The decoder makes room for as many elements as an array claims to have; it
//! only gets to see claims that hold, and not too many of them.
//! Layouts: <https://kafka.apache.org/protocol#protocol_messages>.

use kafka_protocol::messages::ApiKey;

use super::layout::{self, Field, Kind};

/// Array elements and tagged fields in one request: several times what names every partition there
/// may be. Decoded, each takes some 100 bytes.
const MAX_ELEMENTS: u32 = 20_000;

/// Why a frame is not a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum ShapeError {
    #[error("a field reaches beyond the end of the frame")]
    Short,
    #[error("a length is negative or not a number")]
    Length,
    #[error("more than {MAX_ELEMENTS} elements")]
    TooMany,
    #[error("no layout for this api")]
    Unknown,
}

/// Walks header and body; returns the bytes behind the request, which are nobody's.
pub(super) fn check(
    api: ApiKey,
    version: i16,
    header_version: i16,
    frame: &[u8],
) -> Result<usize, ShapeError> {
    const KEY_VERSION_CORRELATION: usize = 8;
    let (flexible_from, fields) = layout::of(api).ok_or(ShapeError::Unknown)?;
    let mut header = Walk {
        rest: frame,
        version,
        compact: false,
        elements: 0,
    };
    header.skip(KEY_VERSION_CORRELATION)?;
    header.field(&Kind::Text)?;
    if header_version >= 2 {
        header.tags()?;
    }
    let mut body = Walk {
        compact: version >= flexible_from,
        ..header
    };
    body.fields(fields)?;
    Ok(body.rest.len())
}

struct Walk<'a> {
    rest: &'a [u8],
    version: i16,
    compact: bool,
    elements: u32,
}

impl<'a> Walk<'a> {
    fn skip(&mut self, length: usize) -> Result<&'a [u8], ShapeError> {
        let (skipped, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or(ShapeError::Short)?;
        self.rest = rest;
        Ok(skipped)
    }

    fn fields(&mut self, fields: &[Field]) -> Result<(), ShapeError> {
        for (from, to, kind) in fields {
            if (*from..=*to).contains(&self.version) {
                self.field(kind)?;
            }
        }
        if self.compact { self.tags() } else { Ok(()) }
    }

    fn field(&mut self, kind: &Kind) -> Result<(), ShapeError> {
        match kind {
            Kind::Fixed(length) => self.skip(*length).map(|_| ()),
            Kind::Text => {
                let length = if self.compact {
                    self.compact_length()?
                } else {
                    self.int16()?
                };
                self.skip(length.unwrap_or(0)).map(|_| ())
            }
            Kind::Blob => {
                let length = self.length()?;
                self.skip(length.unwrap_or(0)).map(|_| ())
            }
            Kind::Values(kind) => self.each(|walk| walk.field(kind)),
            Kind::Structs(fields) => self.each(|walk| walk.fields(fields)),
            Kind::Maybe(fields) => {
                let marker = self.skip(1)?.first().copied().unwrap_or(0);
                // The sign says whether there is one: -1 or 1.
                if marker.cast_signed() < 0 {
                    Ok(())
                } else {
                    self.fields(fields)
                }
            }
        }
    }

    fn each(
        &mut self,
        element: impl Fn(&mut Self) -> Result<(), ShapeError>,
    ) -> Result<(), ShapeError> {
        for _ in 0..self.length()?.unwrap_or(0) {
            self.count()?;
            element(self)?;
        }
        Ok(())
    }

    fn count(&mut self) -> Result<(), ShapeError> {
        self.elements += 1;
        if self.elements > MAX_ELEMENTS {
            Err(ShapeError::TooMany)
        } else {
            Ok(())
        }
    }

    fn tags(&mut self) -> Result<(), ShapeError> {
        for _ in 0..self.varint()? {
            self.count()?;
            self.varint()?;
            let length = self.varint()?;
            self.skip(length as usize)?;
        }
        Ok(())
    }

    /// Length of an array or a run of bytes; `None` for null.
    fn length(&mut self) -> Result<Option<usize>, ShapeError> {
        if self.compact {
            return self.compact_length();
        }
        let bytes = self.skip(4)?.first_chunk().ok_or(ShapeError::Short)?;
        length_of(i64::from(i32::from_be_bytes(*bytes)))
    }

    fn int16(&mut self) -> Result<Option<usize>, ShapeError> {
        let bytes = self.skip(2)?.first_chunk().ok_or(ShapeError::Short)?;
        length_of(i64::from(i16::from_be_bytes(*bytes)))
    }

    fn compact_length(&mut self) -> Result<Option<usize>, ShapeError> {
        length_of(i64::from(self.varint()?) - 1)
    }

    fn varint(&mut self) -> Result<u32, ShapeError> {
        let mut value = 0_u32;
        for shift in (0..35).step_by(7) {
            let byte = self.skip(1)?.first().copied().ok_or(ShapeError::Short)?;
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(ShapeError::Length)
    }
}

fn length_of(length: i64) -> Result<Option<usize>, ShapeError> {
    match length {
        -1 => Ok(None),
        _ => usize::try_from(length)
            .map(Some)
            .map_err(|_| ShapeError::Length),
    }
}

#[cfg(test)]
pub(in crate::server) mod tests;
