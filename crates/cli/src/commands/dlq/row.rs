//! An entry as it is printed.

use super::which::{Found, State};
use cloudsync::wire::RecordView;
use cloudsync_kafka::DeadLetterEntry;
use serde_json::{Value, json};

/// The names of the record of an entry, as far as it has any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Names {
    pub(super) id: String,
    pub(super) key: String,
    tenant: String,
}

// === impl Names ===

impl Names {
    pub(super) fn of(entry: &DeadLetterEntry) -> Self {
        let value = entry.original.value.as_deref().unwrap_or_default();
        if let Ok(view) = RecordView::parse(value) {
            return Self {
                id: view.request_id.to_owned(),
                key: view.key.to_owned(),
                tenant: view.tenant.to_owned(),
            };
        }
        let key = entry.original.key.as_deref().unwrap_or_default();
        Self {
            key: String::from_utf8_lossy(key).into_owned(),
            ..Self::default()
        }
    }
}

/// What an entry says of itself, without its payload.
pub(super) fn json_of(found: &Found) -> Value {
    let (entry, headers) = (&found.entry, &found.entry.headers);
    let names = Names::of(entry);
    let origin = &headers.origin;
    json!({
        "entry": entry.id.to_string(),
        "state": found.state.as_str(),
        "destination": headers.destination,
        "group": headers.group,
        "origin": { "topic": &*origin.topic, "partition": origin.partition, "offset": origin.offset },
        "id": names.id,
        "key": names.key,
        "tenant": names.tenant,
        "reason": headers.reason,
        "class": headers.class,
        "code": headers.code,
        "message": headers.message,
        "attempts": headers.attempts,
        "first_at": headers.first_at,
        "failed_at": headers.failed_at,
        "redrives": entry.redrives,
        "trace_id": headers.trace_id,
        "fingerprint": headers.fingerprint,
        "at": { "partition": entry.at.0, "offset": entry.at.1 },
        "bytes": entry.original.size(),
    })
}

/// The same with headers and payload.
pub(super) fn whole_of(found: &Found) -> Value {
    let mut json = json_of(found);
    let original = &found.entry.original;
    let headers = original.headers.as_deref();
    let headers = headers.into_iter().flat_map(|it| it.iter());
    let headers: Vec<Value> = headers
        .map(|(name, value)| json!({ "name": name, "value": value.map(|it| text_or_hex(it)) }))
        .collect();
    json["headers"] = headers.into();
    let value = original.value.as_deref().unwrap_or_default();
    match RecordView::parse(value) {
        Ok(view) => {
            json["content_type"] = view.content_type.into();
            json["payload"] = text_or_hex(view.payload).into();
        }
        Err(_) => json["value"] = text_or_hex(value).into(),
    }
    json
}

/// `bytes` as the text that they are, else `0x` and their digits.
fn text_or_hex(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().fold("0x".to_owned(), |mut hex, byte| {
            use std::fmt::Write;
            let _infallible = write!(hex, "{byte:02x}");
            hex
        }),
    }
}

/// The head of [`line_of`].
pub(super) fn head() -> String {
    line([
        "entry",
        "state",
        "destination",
        "origin",
        "failed at",
        "reason",
        "code",
        "tries",
        "id",
    ])
}

/// A line of the table, with the first sentence of why.
pub(super) fn line_of(found: &Found) -> String {
    let headers = &found.entry.headers;
    let origin = format!("{}/{}", headers.origin.partition, headers.origin.offset);
    let entry = found.entry.id.to_string();
    let tries = headers
        .attempts
        .map_or_else(String::new, |it| it.to_string());
    let failed_at = headers.failed_at.split('.').next().unwrap_or_default();
    let failed_at = failed_at.trim_end_matches('Z');
    line([
        entry.get(..12).unwrap_or_default(),
        &match found.state {
            State::Open if found.entry.redrives > 0 => format!("open ({})", found.entry.redrives),
            state => state.as_str().to_owned(),
        },
        &headers.destination,
        &origin,
        failed_at,
        &headers.reason,
        headers.code.as_deref().unwrap_or_default(),
        &tries,
        &Names::of(&found.entry).id,
    ])
}

fn line(cells: [&str; 9]) -> String {
    let [
        entry,
        state,
        destination,
        origin,
        at,
        reason,
        code,
        tries,
        id,
    ] = cells.map(shown);
    format!(
        "{entry:<12}  {state:<8}  {destination:<11}  {origin:>14}  {at:<19}  {reason:<11}  \
         {code:<8}  {tries:>5}  {id}\n"
    )
}

/// `text` as a terminal may have it: somebody else wrote it.
pub(super) fn shown(text: &str) -> String {
    let safe = |letter: char| {
        if letter.is_control() {
            '\u{fffd}'
        } else {
            letter
        }
    };
    text.chars().map(safe).collect()
}
