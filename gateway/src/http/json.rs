//! Step 1 of the walk, over HTTP: a body as one JSON value, looked at without being built.
//!
//! In: the bytes of a body. Out: those of its one value, and the texts that pointers find in it.
//! Promises: the value's bytes are not touched; what is no single value, or a list, is refused.

use bytes::Bytes;
use cloudsync::ErrorReason;
use cloudsync::reason::Refusal;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::HashMap;

/// The one JSON value that `body` holds, without the white space around it.
///
/// A list is refused: it would be taken as many records.
pub(super) fn one_value(body: &Bytes) -> Result<Bytes, Refusal> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let value = <&RawValue>::deserialize(&mut reader).map_err(|error| {
        if body.iter().all(u8::is_ascii_whitespace) {
            invalid("the body is empty; send one JSON value".into())
        } else {
            invalid(format!("the body is not JSON: {error}"))
        }
    })?;
    if reader.end().is_err() {
        return Err(invalid(
            "the body goes on behind its JSON value; send one value with each request".into(),
        ));
    }
    if value.get().starts_with('[') {
        return Err(invalid(
            "the body is a list, which is not taken yet; send its elements one by one".into(),
        ));
    }
    Ok(body.slice_ref(value.get().as_bytes()))
}

/// Whether `value` is a string and nothing else.
pub(super) fn is_string(value: &[u8]) -> bool {
    value.first() == Some(&b'"')
}

/// The text at `pointer` (RFC 6901) in `value`: of a string its characters, of a number its
/// digits.
pub(super) fn text_at(value: &[u8], pointer: &str) -> Result<String, Refusal> {
    let found = find(value, pointer);
    let text = found.and_then(|found| match found.get().as_bytes().first() {
        Some(b'"') => serde_json::from_str(found.get()).ok(),
        Some(b'-' | b'0'..=b'9') => Some(found.get().to_owned()),
        _ => None,
    });
    text.ok_or_else(|| {
        invalid(format!(
            "the pointer {pointer:?} points at no text and no number in the body"
        ))
    })
}

fn find<'a>(value: &'a [u8], pointer: &str) -> Option<&'a RawValue> {
    let mut value: &RawValue = serde_json::from_slice(value).ok()?;
    if pointer.is_empty() {
        return Some(value);
    }
    for token in pointer.strip_prefix('/')?.split('/') {
        let token = token.replace("~1", "/").replace("~0", "~");
        value = match value.get().as_bytes().first()? {
            b'{' => {
                let object: HashMap<String, &RawValue> = serde_json::from_str(value.get()).ok()?;
                object.get(&token).copied()?
            }
            b'[' => {
                let list: Vec<&RawValue> = serde_json::from_str(value.get()).ok()?;
                list.get(index(&token)?).copied()?
            }
            _ => return None,
        };
    }
    Some(value)
}

/// An index as RFC 6901 writes it: digits without a leading zero.
fn index(token: &str) -> Option<usize> {
    let plain = token == "0" || !token.starts_with(['0', '+']);
    if plain { token.parse().ok() } else { None }
}

fn invalid(message: String) -> Refusal {
    Refusal::permanent(ErrorReason::InvalidJson, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one(body: &str) -> Result<Bytes, String> {
        one_value(&Bytes::copy_from_slice(body.as_bytes())).map_err(|refusal| refusal.message)
    }

    #[test]
    fn one_value_passes_as_it_is() {
        for value in [
            "\"a b\"",
            "{ \"a\" : [1, 2] }",
            "1e5",
            "null",
            "\"\\ud83d\\ude00\"",
        ] {
            assert_eq!(one(&format!(" \r\n\t{value}\n")).unwrap(), value);
        }
    }

    #[test]
    fn what_is_not_one_value_is_told_apart() {
        let cases = [
            ("", "the body is empty"),
            (" \n", "the body is empty"),
            ("{\"a\":1}\n{\"a\":2}\n", "goes on behind"),
            ("[1]", "a list"),
            ("{\"a\":", "is not JSON: EOF"),
            ("hello", "is not JSON"),
            ("\u{feff}{}", "is not JSON"),
        ];
        for (body, text) in cases {
            let message = one(body).unwrap_err();
            assert!(message.contains(text), "{body:?}: {message}");
        }
        let not_utf8 = Bytes::from_static(b"\"\xff\"");
        assert!(one_value(&not_utf8).is_err());
        // Deep nesting costs nothing but its length.
        assert!(one(&format!("{{\"a\":{}", "[".repeat(900_000))).is_err());
    }

    #[test]
    fn a_pointer_finds_text_and_numbers() {
        let body = br#"{"id":"a\"b","n":-12,"o":{"x/y":{"~":[1,"two"]}},"z":null}"#;
        let found = [
            ("/id", "a\"b"),
            ("/n", "-12"),
            ("/o/x~1y/~0/1", "two"),
            ("/o/x~1y/~0/0", "1"),
        ];
        for (pointer, text) in found {
            assert_eq!(text_at(body, pointer).unwrap(), text, "{pointer}");
        }
        for pointer in [
            "",
            "/",
            "/z",
            "/o",
            "/id/0",
            "id",
            "/o/x~1y/~0/01",
            "/o/x~1y/~0/+1",
        ] {
            let refusal = text_at(body, pointer).unwrap_err();
            assert_eq!(refusal.reason, ErrorReason::InvalidJson, "{pointer}");
        }
        assert_eq!(text_at(b"\"me\"", "").unwrap(), "me");
    }

    proptest! {
        #[test]
        fn no_body_panics(body in proptest::collection::vec(any::<u8>(), 0..64), pointer in ".{0,9}") {
            if let Ok(value) = one_value(&Bytes::from(body)) {
                text_at(&value, &pointer).ok();
            }
        }
    }
}
