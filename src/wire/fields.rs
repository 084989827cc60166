//! The protobuf encoding, as far as a record needs it: tags, lengths, numbers.
//!
//! Source: the protobuf encoding guide, <https://protobuf.dev/programming-guides/encoding/>.

use super::{Time, WireError, tag};
use prost::encoding::{WireType, encode_key, encode_varint};
use std::str;

/// Walks over the fields of one message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// The value of one field.
#[derive(Debug, Clone, Copy)]
pub(super) enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Fixed,
}

/// Name and value of each attribute, in the order of the encoding.
#[derive(Debug, Clone)]
pub struct Attributes<'a>(Cursor<'a>);

/// Each destination that a record names.
#[derive(Debug, Clone)]
pub struct Destinations<'a>(Cursor<'a>);

// === impl Cursor ===

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The next field: its number, its value, and the offset at which it begins.
    pub(super) fn next_field(&mut self) -> Result<Option<(u32, Value<'a>, usize)>, WireError> {
        if self.at == self.bytes.len() {
            return Ok(None);
        }
        let at = self.at;
        let broken = WireError::Broken { at };
        let key = self.varint()?;
        let number = u32::try_from(key >> 3).map_err(|_| broken.clone())?;
        // Field numbers are 1 to 2^29 - 1.
        if number == 0 || number > 0x1fff_ffff {
            return Err(broken);
        }
        let value = match key & 7 {
            0 => Value::Number(self.varint()?),
            1 => self.skip(8).map(|_| Value::Fixed)?,
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| broken)?;
                Value::Bytes(self.skip(length)?)
            }
            5 => self.skip(4).map(|_| Value::Fixed)?,
            // Groups (3, 4) are not part of proto3.
            _ => return Err(broken),
        };
        Ok(Some((number, value, at)))
    }

    fn skip(&mut self, length: usize) -> Result<&'a [u8], WireError> {
        let broken = WireError::Broken { at: self.at };
        let end = self.at.checked_add(length).ok_or_else(|| broken.clone())?;
        let slice = self.bytes.get(self.at..end).ok_or(broken)?;
        self.at = end;
        Ok(slice)
    }

    fn varint(&mut self) -> Result<u64, WireError> {
        let mut number = 0u64;
        for (index, byte) in self.bytes.iter().skip(self.at).take(10).enumerate() {
            // The tenth byte has room for one bit only.
            if index == 9 && *byte > 1 {
                break;
            }
            number |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                self.at += index + 1;
                return Ok(number);
            }
        }
        Err(WireError::Broken { at: self.at })
    }
}

// === impl Value ===

impl<'a> Value<'a> {
    pub(super) fn bytes(self, field: &'static str, at: usize) -> Result<&'a [u8], WireError> {
        match self {
            Value::Bytes(bytes) => Ok(bytes),
            Value::Number(_) | Value::Fixed => Err(WireError::WrongType { field, at }),
        }
    }

    pub(super) fn text(self, field: &'static str, at: usize) -> Result<&'a str, WireError> {
        str::from_utf8(self.bytes(field, at)?).map_err(|_| WireError::NotUtf8 { field, at })
    }

    fn number(self, field: &'static str, at: usize) -> Result<u64, WireError> {
        match self {
            Value::Number(number) => Ok(number),
            Value::Bytes(_) | Value::Fixed => Err(WireError::WrongType { field, at }),
        }
    }
}

// === embedded messages ===

/// One entry of the attributes map: name and value, either of which may be missing (empty).
pub(super) fn attribute(entry: &[u8], at: usize) -> Result<(&str, &str), WireError> {
    let (mut name, mut value) = ("", "");
    let mut cursor = Cursor::new(entry);
    while let Some((number, field, _)) = cursor.next_field().map_err(|error| shift(error, at))? {
        match number {
            1 => name = field.text("attributes.key", at)?,
            2 => value = field.text("attributes.value", at)?,
            _ => {}
        }
    }
    Ok((name, value))
}

/// A `google.protobuf.Timestamp`.
pub(super) fn time(bytes: &[u8], field: &'static str, at: usize) -> Result<Time, WireError> {
    let mut time = Time::default();
    let mut cursor = Cursor::new(bytes);
    while let Some((number, value, _)) = cursor.next_field().map_err(|error| shift(error, at))? {
        match number {
            1 => time.seconds = value.number(field, at)?.cast_signed(),
            // An int32 is sent as a sign-extended 64-bit number; its low half is the value.
            2 => {
                let low = value.number(field, at)? & 0xffff_ffff;
                time.nanos = u32::try_from(low).unwrap_or(0).cast_signed();
            }
            _ => {}
        }
    }
    Ok(time)
}

/// The fault of an embedded message, told at the place of the field that carries it.
fn shift(error: WireError, at: usize) -> WireError {
    match error {
        WireError::Broken { .. } => WireError::Broken { at },
        other => other,
    }
}

// === iterators ===

impl<'a> Attributes<'a> {
    pub(super) fn new(encoded: &'a [u8]) -> Self {
        Self(Cursor::new(encoded))
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let entry = next_bytes(&mut self.0, tag::ATTRIBUTES)?;
        attribute(entry, 0).ok()
    }
}

impl<'a> Destinations<'a> {
    pub(super) fn new(encoded: &'a [u8]) -> Self {
        Self(Cursor::new(encoded))
    }
}

impl<'a> Iterator for Destinations<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<Self::Item> {
        str::from_utf8(next_bytes(&mut self.0, tag::DESTINATIONS)?).ok()
    }
}

/// The next value of field `wanted`; the record has been walked over before, so a fault is the
/// end.
fn next_bytes<'a>(cursor: &mut Cursor<'a>, wanted: u32) -> Option<&'a [u8]> {
    while let Ok(Some((number, value, _))) = cursor.next_field() {
        if let (true, Value::Bytes(bytes)) = (number == wanted, value) {
            return Some(bytes);
        }
    }
    None
}

// === writing ===

pub(super) fn put_bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    encode_key(number, WireType::LengthDelimited, out);
    encode_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

pub(super) fn put_time(out: &mut Vec<u8>, number: u32, time: Time) {
    let mut inner = Vec::with_capacity(24);
    if time.seconds != 0 {
        encode_key(1, WireType::Varint, &mut inner);
        encode_varint(time.seconds.cast_unsigned(), &mut inner);
    }
    if time.nanos != 0 {
        encode_key(2, WireType::Varint, &mut inner);
        encode_varint(i64::from(time.nanos).cast_unsigned(), &mut inner);
    }
    put_bytes(out, number, &inner);
}
