//! One record as one line of JSON: what lies in a segment, and in an object of `record` mode.
//!
//! In: a record in place. Out: its line, appended to a buffer, and back. Promises: the payload
//! comes back byte for byte; the same record makes the same line on every destination; no
//! allocation but the buffer's own growth (and base64 for payloads that are no text).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cloudsync::identity::Fingerprint;
use cloudsync::wire::{RecordView, Time};
use jiff::Timestamp;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::borrow::Cow;

use crate::parse::tenant_of;

/// What a line says beside the record itself.
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    /// Offset of the record in its partition.
    pub offset: i64,
    /// The log's own time of the record, in ms; stands in where no gateway set one.
    pub timestamp_ms: i64,
    /// The record's fingerprint.
    pub fingerprint: Fingerprint,
}

/// Writes times; keeps the text of the second before, since records come in order of time.
#[derive(Clone, Debug)]
pub struct TimeText {
    second: i64,
    text: [u8; 19],
}

/// A line, read in place.
#[derive(Debug, Deserialize)]
pub struct Line<'a> {
    /// Offset of the record in its partition.
    pub offset: i64,
    /// When it was accepted: RFC 3339, UTC, milliseconds.
    #[serde(borrow)]
    pub time: Cow<'a, str>,
    /// Its tenant.
    #[serde(borrow)]
    pub tenant: Cow<'a, str>,
    /// Its request id.
    #[serde(borrow)]
    pub id: Cow<'a, str>,
    /// Its key; may be empty.
    #[serde(borrow)]
    pub key: Cow<'a, str>,
    /// Its fingerprint as stated: 16 hex digits.
    #[serde(borrow)]
    pub fp: Cow<'a, str>,
    /// Its content type; may be empty.
    #[serde(borrow, default)]
    pub content_type: Cow<'a, str>,
    /// Its attributes: a JSON object, where it has any.
    #[serde(borrow, default)]
    pub attributes: Option<&'a RawValue>,
    /// The destinations that it names: a JSON array, where it names any.
    #[serde(borrow, default)]
    pub destinations: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    payload: Option<&'a RawValue>,
    #[serde(borrow, default)]
    text: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    base64: Option<Cow<'a, str>>,
}

/// A payload of `null` is a payload.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

// === impl Line ===

impl Line<'_> {
    /// The payload as it was sent; `None` if the line has none or more than one.
    #[must_use]
    pub fn payload(&self) -> Option<Cow<'_, [u8]>> {
        match (self.payload, &self.text, &self.base64) {
            (Some(json), None, None) => Some(Cow::Borrowed(json.get().as_bytes())),
            (None, Some(text), None) => Some(Cow::Borrowed(text.as_bytes())),
            (None, None, Some(base64)) => STANDARD.decode(base64.as_bytes()).ok().map(Cow::Owned),
            _ => None,
        }
    }

    /// The fingerprint that it states; `None` if that is none.
    #[must_use]
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        let plain = self.fp.len() == 16 && self.fp.bytes().all(|digit| digit.is_ascii_hexdigit());
        plain
            .then(|| u64::from_str_radix(&self.fp, 16).ok().map(Fingerprint))
            .flatten()
    }
}

/// Appends the line of `record` to `out`, with its line feed.
pub fn append(out: &mut Vec<u8>, times: &mut TimeText, record: &RecordView<'_>, stamp: Stamp) {
    out.extend_from_slice(b"{\"offset\":");
    push_number(out, stamp.offset);
    out.extend_from_slice(b",\"time\":\"");
    times.push(out, record.accept_time, stamp.timestamp_ms);
    out.extend_from_slice(b"\",\"tenant\":");
    push_string(out, tenant_of(record));
    out.extend_from_slice(b",\"id\":");
    push_string(out, record.request_id);
    out.extend_from_slice(b",\"key\":");
    push_string(out, record.key);
    out.extend_from_slice(b",\"fp\":\"");
    push_hex(out, &stamp.fingerprint.0.to_be_bytes());
    out.push(b'"');
    if !record.content_type.is_empty() {
        out.extend_from_slice(b",\"content_type\":");
        push_string(out, record.content_type);
    }
    push_attributes(out, record);
    push_destinations(out, record);
    push_payload(out, record.payload);
    out.extend_from_slice(b"}\n");
}

fn push_attributes(out: &mut Vec<u8>, record: &RecordView<'_>) {
    if record.attribute_count == 0 {
        return;
    }
    out.extend_from_slice(b",\"attributes\":{");
    for (index, (name, value)) in record.attributes().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        push_string(out, name);
        out.push(b':');
        push_string(out, value);
    }
    out.push(b'}');
}

fn push_destinations(out: &mut Vec<u8>, record: &RecordView<'_>) {
    if record.destination_count == 0 {
        return;
    }
    out.extend_from_slice(b",\"destinations\":[");
    for (index, name) in record.destinations().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        push_string(out, name);
    }
    out.push(b']');
}

fn push_payload(out: &mut Vec<u8>, payload: &[u8]) {
    match std::str::from_utf8(payload) {
        Ok(text) if is_one_line_of_json(text) => {
            out.extend_from_slice(b",\"payload\":");
            out.extend_from_slice(payload);
        }
        Ok(text) => {
            out.extend_from_slice(b",\"text\":");
            push_string(out, text);
        }
        Err(_) => {
            out.extend_from_slice(b",\"base64\":\"");
            out.extend_from_slice(STANDARD.encode(payload).as_bytes());
            out.push(b'"');
        }
    }
}

/// Nesting beyond this goes as text, because common JSON readers give up at 128 to 256 levels.
const MAX_DEPTH: usize = 100;

/// Whether `text` can stand in a line as it is and come back as it was: one JSON value, no line
/// break, no white space around it.
fn is_one_line_of_json(text: &str) -> bool {
    let bytes = text.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    if first.is_ascii_whitespace() || last.is_ascii_whitespace() {
        return false;
    }
    let (mut opened, mut breaks) = (0usize, 0usize);
    for byte in bytes {
        opened += usize::from(matches!(byte, b'{' | b'['));
        breaks += usize::from(matches!(byte, b'\n' | b'\r'));
    }
    breaks == 0
        && (opened <= MAX_DEPTH || depth(bytes) <= MAX_DEPTH)
        && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}

/// Deepest nesting, counted without regard to strings: never less than the true one.
fn depth(bytes: &[u8]) -> usize {
    let (mut deepest, mut now) = (0usize, 0usize);
    let mut in_string = false;
    let mut escaped = false;
    for byte in bytes {
        if in_string {
            in_string = escaped || *byte != b'"';
            escaped = !escaped && *byte == b'\\';
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' => now += 1,
            b'}' | b']' => now = now.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(now);
    }
    deepest
}

/// Appends `text` as a JSON string.
fn push_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(at) = rest
        .iter()
        .position(|byte| matches!(byte, 0..0x20 | b'"' | b'\\'))
    {
        let (plain, special) = rest.split_at(at);
        out.extend_from_slice(plain);
        match special[0] {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            control => {
                out.extend_from_slice(b"\\u00");
                push_hex(out, &[control]);
            }
        }
        rest = &special[1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

/// Appends `bytes` as lower-case hex digits.
pub(crate) fn push_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        out.push(DIGITS[usize::from(byte >> 4)]);
        out.push(DIGITS[usize::from(byte & 15)]);
    }
}

fn push_number(out: &mut Vec<u8>, number: i64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    let mut left = number.unsigned_abs();
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(left % 10).unwrap_or_default();
        left /= 10;
        if left == 0 {
            break;
        }
    }
    if number < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(&digits[at..]);
}

// === impl TimeText ===

impl Default for TimeText {
    fn default() -> Self {
        Self {
            second: 0,
            text: *b"1970-01-01T00:00:00",
        }
    }
}

impl TimeText {
    /// Appends `time`, else `else_ms`: whichever lies in the years 0 to 9999, else 1970.
    fn push(&mut self, out: &mut Vec<u8>, time: Option<Time>, else_ms: i64) {
        let accepted =
            time.map(|time| (time.seconds, time.nanos.clamp(0, 999_999_999) / 1_000_000));
        let logged = (
            else_ms.div_euclid(1_000),
            i32::try_from(else_ms.rem_euclid(1_000)).unwrap_or_default(),
        );
        let millis = match accepted
            .into_iter()
            .chain([logged])
            .find(|(s, _)| self.go_to(*s))
        {
            Some((_, millis)) => millis,
            None => {
                *self = Self::default();
                0
            }
        };
        out.extend_from_slice(&self.text);
        out.push(b'.');
        for unit in [100, 10, 1] {
            out.push(b'0' + u8::try_from(millis / unit % 10).unwrap_or_default());
        }
        out.push(b'Z');
    }

    /// Makes the text that of `second`; `false` if it cannot be written with four digits a year.
    fn go_to(&mut self, second: i64) -> bool {
        if second == self.second {
            return true;
        }
        let Ok(timestamp) = Timestamp::from_second(second) else {
            return false;
        };
        let text = timestamp.to_string();
        let Some(Ok(plain)) = text
            .strip_suffix('Z')
            .map(|text| text.as_bytes().try_into())
        else {
            return false;
        };
        *self = Self {
            second,
            text: plain,
        };
        true
    }
}

#[cfg(test)]
mod tests;
