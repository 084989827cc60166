//! Step 1 of the walk, over HTTP: what a request says beside its body.
//!
//! In: the query and the headers; then the values of the body. Out: where the request id and the
//! key come from, and each value as an encoded record. Promises: what is unknown, said twice or
//! not readable is refused, never passed over.
//!
//! `Idempotency-Key: ID` or `?id-pointer=/pointer`; `?key=KEY` or `?key-pointer=/pointer`. Of many
//! records in one request, the ids are `ID/0`, `ID/1` and so on.

use super::media;
use super::pointer::Pointer;
use crate::validate::longest;
use axum::http::HeaderMap;
use bytes::Bytes;
use cloudsync::limits::{MAX_KEY_BYTES, MAX_REQUEST_ID_BYTES};
use cloudsync::reason::Refusal;
use cloudsync::{ErrorReason, SyncRecord};
use prost::Message;

/// The names of the parameters, for people.
const KNOWN: &str = "key, key-pointer, id-pointer";

/// Most steps of a pointer: each one is a level deeper in the reader.
const MAX_STEPS: usize = 32;
/// Longest pointer, in bytes: refusals name it, each.
const MAX_POINTER_BYTES: usize = 512;
/// What `/` and any number take behind an id, in bytes.
const PLACE_BYTES: usize = 21;
/// The header that carries the request id.
pub(super) const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// Where the request id and the key of the record come from.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Parameters {
    request_id: Source,
    key: Source,
}

/// Where a text comes from.
#[derive(Debug, Default, PartialEq, Eq)]
enum Source {
    #[default]
    Nowhere,
    Given(String),
    /// A JSON pointer into the body.
    Pointer(Pointer),
}

// === impl Source ===

impl Source {
    /// The text, for `value`; empty if there is none.
    fn of(&self, value: &[u8], field: &'static str) -> Result<String, Refusal> {
        match self {
            Self::Nowhere => Ok(String::new()),
            Self::Given(text) => Ok(text.clone()),
            Self::Pointer(pointer) => pointer.text_in(value, field),
        }
    }

    fn pointer(name: &'static str, pointer: String) -> Result<Self, Refusal> {
        longest(name, pointer.len(), MAX_POINTER_BYTES)?;
        if pointer.matches('/').count() > MAX_STEPS {
            let text = format!("the pointer has more than {MAX_STEPS} steps; point less deep");
            return Err(refused(name, text));
        }
        let text = format!("{pointer:?} is no JSON pointer; begin it with /, as in /id");
        let pointer = Pointer::of(pointer).ok_or_else(|| refused(name, text))?;
        Ok(Self::Pointer(pointer))
    }

    fn set(&mut self, source: Self, name: &'static str, what: &str) -> Result<(), Refusal> {
        if *self != Self::Nowhere {
            return Err(refused(name, format!("{what} is said twice; say it once")));
        }
        *self = source;
        Ok(())
    }
}

// === impl Parameters ===

impl Parameters {
    /// Reads the query and the headers of a request.
    pub(super) fn of(query: Option<&str>, headers: &HeaderMap) -> Result<Self, Refusal> {
        let mut parameters = Self::default();
        for value in headers.get_all(IDEMPOTENCY_KEY) {
            let id = std::str::from_utf8(value.as_bytes());
            let id = id.map_err(|_| {
                refused(IDEMPOTENCY_KEY, "the id is not UTF-8; send text".to_owned())
            })?;
            let id = unquoted(id.trim());
            if id.is_empty() {
                let text = "the id is empty; send one or leave the header out".to_owned();
                return Err(refused(IDEMPOTENCY_KEY, text));
            }
            longest("record.request_id", id.len(), MAX_REQUEST_ID_BYTES)?;
            let given = Source::Given(id.to_owned());
            let id = &mut parameters.request_id;
            id.set(given, IDEMPOTENCY_KEY, "the request id")?;
        }
        let pairs = query.unwrap_or_default().split('&');
        for pair in pairs.filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            parameters.take(&decoded(name)?, decoded(value)?)?;
        }
        Ok(parameters)
    }

    fn take(&mut self, name: &str, value: String) -> Result<(), Refusal> {
        let Self { request_id, key } = self;
        match name {
            "id-pointer" => {
                let id = Source::pointer("id-pointer", value)?;
                request_id.set(id, "id-pointer", "the request id")
            }
            "key-pointer" => key.set(
                Source::pointer("key-pointer", value)?,
                "key-pointer",
                "the key",
            ),
            "key" => {
                longest("record.key", value.len(), MAX_KEY_BYTES)?;
                key.set(Source::Given(value), "key", "the key")
            }
            _ => {
                let text = format!("the parameter {name:?} does not exist; there are: {KNOWN}");
                Err(Refusal::permanent(ErrorReason::MalformedRecord, text))
            }
        }
    }

    /// Whether the id leaves room for the number of each of many records: none is to be refused for
    /// its place, when those before it are durable already.
    pub(super) fn are_for_many(&self) -> Result<(), Refusal> {
        match &self.request_id {
            Source::Given(id) => longest(
                IDEMPOTENCY_KEY,
                id.len(),
                MAX_REQUEST_ID_BYTES - PLACE_BYTES,
            ),
            Source::Nowhere | Source::Pointer(_) => Ok(()),
        }
    }

    /// `value` as an encoded record; `place`: which of many, from 0.
    pub(super) fn record(&self, value: Bytes, place: Option<u64>) -> Result<Bytes, Refusal> {
        let request_id = match (&self.request_id, place) {
            (Source::Given(id), Some(place)) => format!("{id}/{place}"),
            (source @ Source::Pointer(_), _) => {
                let id = source.of(&value, "record.request_id")?;
                if id.is_empty() {
                    // An id would be made, and another one when the same is sent again.
                    let text = "the text that id-pointer points at is empty; send an id there";
                    let reason = ErrorReason::RequestIdMissing;
                    return Err(Refusal::of_field(reason, "record.request_id", text));
                }
                id
            }
            (source, _) => source.of(&value, "record.request_id")?,
        };
        let record = SyncRecord {
            request_id,
            key: self.key.of(&value, "record.key")?,
            payload: value,
            content_type: media::JSON.to_owned(),
            ..SyncRecord::default()
        };
        Ok(record.encode_to_vec().into())
    }
}

/// The key that a query names, `?key=KEY`; empty without one.
pub(super) fn key_of(query: Option<&str>) -> Result<String, Refusal> {
    let mut key = None;
    let pairs = query.unwrap_or_default().split('&');
    for pair in pairs.filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        match decoded(name)?.as_str() {
            "key" if key.is_none() => key = Some(decoded(value)?),
            "key" => {
                let text = "the key is said twice; say it once".to_owned();
                return Err(refused("key", text));
            }
            name => {
                let text = format!("the parameter {name:?} does not exist; there is: key");
                return Err(Refusal::permanent(ErrorReason::MalformedRecord, text));
            }
        }
    }
    Ok(key.unwrap_or_default())
}

/// An id in quotation marks, as the header's draft writes it, is the id without them.
fn unquoted(id: &str) -> &str {
    let inner = id.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    inner
        .filter(|inner| !inner.contains(['"', '\\']))
        .unwrap_or(id)
}

/// Undoes the percent encoding of a query (`+` is a space there).
fn decoded(text: &str) -> Result<String, Refusal> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
                let (high, low) = (digit(), digit());
                let number = high
                    .zip(low)
                    .and_then(|(high, low)| u8::try_from(high << 4 | low).ok());
                number.ok_or_else(|| unreadable(text, "not percent-encoded"))?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).map_err(|_| unreadable(text, "not UTF-8"))
}

fn unreadable(text: &str, why: &str) -> Refusal {
    let text = format!("{text:?} in the query is {why}; write %XX for each byte of a character");
    Refusal::permanent(ErrorReason::MalformedRecord, text)
}

fn refused(name: &'static str, message: String) -> Refusal {
    Refusal::of_field(ErrorReason::MalformedRecord, name, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(query: &str, ids: &[&str]) -> Result<Parameters, String> {
        let mut headers = HeaderMap::new();
        for id in ids {
            headers.append("idempotency-key", id.parse().unwrap());
        }
        Parameters::of(Some(query), &headers).map_err(|refusal| refusal.message)
    }

    #[test]
    fn id_and_key_are_found() {
        let plain = of("key=a%2Fb+c", &["7f"]).unwrap();
        assert_eq!(plain.request_id, Source::Given("7f".into()));
        assert_eq!(plain.key, Source::Given("a/b c".into()));
        let pointers = of("id-pointer=/id&key-pointer=%2Fproperties%2fnet", &[]).unwrap();
        let pointer = |text: &str| Source::Pointer(Pointer::of(text.into()).unwrap());
        assert_eq!(pointers.request_id, pointer("/id"));
        assert_eq!(pointers.key, pointer("/properties/net"));
        assert_eq!(of("", &["\"7f\""]).unwrap(), of("", &["7f"]).unwrap());
    }

    #[test]
    fn each_of_many_has_an_id_of_its_own() {
        let id = |parameters: &Parameters, place| {
            let record = parameters.record(Bytes::from_static(b"{\"id\":7}"), place);
            let record = SyncRecord::decode(record.unwrap()).unwrap();
            assert_eq!(record.payload, "{\"id\":7}");
            record.request_id
        };
        let given = of("", &["order"]).unwrap();
        assert_eq!(id(&given, None), "order");
        assert_eq!(id(&given, Some(12)), "order/12");
        let pointer = of("id-pointer=/id", &[]).unwrap();
        assert_eq!(id(&pointer, Some(12)), "7");
    }

    #[test]
    fn what_is_said_twice_or_unknown_is_refused() {
        assert!(
            of("id-pointer=/id", &["7f"])
                .unwrap_err()
                .contains("said twice")
        );
        assert!(of("", &["7f", "8a"]).unwrap_err().contains("said twice"));
        assert!(
            of(&format!("id-pointer={}", "/a".repeat(33)), &[])
                .unwrap_err()
                .contains("32 steps")
        );
        assert!(
            of("key=a&key-pointer=/b", &[])
                .unwrap_err()
                .contains("said twice")
        );
        assert!(
            of("keypointer=/b", &[])
                .unwrap_err()
                .contains("there are: key")
        );
        assert!(of("", &["\"\""]).unwrap_err().contains("empty"));
        let long = format!("id-pointer=/{}", "a".repeat(512));
        assert!(of(&long, &[]).unwrap_err().contains("the limit is 512"));
        assert!(
            of("", &[&"a".repeat(129)])
                .unwrap_err()
                .contains("the limit is 128")
        );
        assert!(of("", &[&"a".repeat(128)]).unwrap().are_for_many().is_err());
        assert!(of("", &[&"a".repeat(107)]).unwrap().are_for_many().is_ok());
        let empty = of("id-pointer=/id", &[]).unwrap();
        let refused = empty
            .record(Bytes::from_static(b"{\"id\":\"\"}"), None)
            .unwrap_err();
        assert_eq!(refused.reason, ErrorReason::RequestIdMissing);
        assert!(
            of("id-pointer=id", &[])
                .unwrap_err()
                .contains("begin it with /")
        );
        assert!(of("key=%2", &[]).unwrap_err().contains("percent"));
        assert!(of("key=%ff", &[]).unwrap_err().contains("UTF-8"));
    }
}
