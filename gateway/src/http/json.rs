//! Step 1 of the walk, over HTTP: a body as JSON, looked at without being built.
//!
//! In: the bytes of a body or a line. Out: those of its one value, or of each element of a list.
//! Promises: the bytes of a value are not touched; what is no JSON is refused with the line and the
//! column; a list of more than [`MAX_ELEMENTS`] elements is refused without being held.

use super::media::NDJSON;
use bytes::Bytes;
use cloudsync::ErrorReason;
use cloudsync::reason::Refusal;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

/// Most elements of a list.
pub(super) const MAX_ELEMENTS: usize = 10_000;

/// What a body holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Document {
    /// One value that is no list.
    Value(Bytes),
    /// The elements of a list.
    List(Vec<Bytes>),
}

/// The first elements of a list, and how many it has.
#[derive(Default)]
struct Elements<'a> {
    first: Vec<&'a RawValue>,
    count: usize,
}

/// Whether the text that begins with `text` is a list; `None`: it has not begun.
pub(super) fn begins_list(text: &[u8]) -> Option<bool> {
    let first = text.iter().find(|byte| !byte.is_ascii_whitespace())?;
    Some(*first == b'[')
}

/// What `body` holds, each value without the white space around it.
pub(super) fn document(body: &Bytes) -> Result<Document, Refusal> {
    let Some(is_list) = begins_list(body) else {
        return Err(invalid(
            "the body is empty; send a JSON value or a list of them".into(),
        ));
    };
    let mut reader = serde_json::Deserializer::from_slice(body);
    let unreadable = |error| invalid(format!("the body is not JSON: {error}"));
    let document = if is_list {
        let elements = reader
            .deserialize_seq(ElementsVisitor)
            .map_err(unreadable)?;
        list(body, &elements)?
    } else {
        let value = <&RawValue>::deserialize(&mut reader).map_err(unreadable)?;
        Document::Value(body.slice_ref(value.get().as_bytes()))
    };
    match reader.end() {
        Ok(()) => Ok(document),
        Err(error) => Err(invalid(format!(
            "the body goes on behind its JSON value: {error}; send one value, a list, or a value a \
             line as {}",
            NDJSON[0]
        ))),
    }
}

fn list(body: &Bytes, elements: &Elements<'_>) -> Result<Document, Refusal> {
    let Elements { first, count } = elements;
    if !(1..=MAX_ELEMENTS).contains(count) {
        let text = format!(
            "the list has {count} elements, it must have 1 to {MAX_ELEMENTS}; send as many, or a \
             value a line as {}, which may be any number",
            NDJSON[0]
        );
        return Err(Refusal::permanent(ErrorReason::BatchSize, text));
    }
    let bytes = |element: &&RawValue| body.slice_ref(element.get().as_bytes());
    Ok(Document::List(first.iter().map(bytes).collect()))
}

/// The value in line `number` of an upload.
pub(super) fn line(text: &Bytes, number: u64) -> Result<Bytes, Refusal> {
    let value: &RawValue = serde_json::from_slice(text).map_err(|error| {
        let column = error.column();
        let text = error.to_string();
        // Its line is always the first.
        let what = text.split(" at line ").next().unwrap_or_default();
        invalid(format!(
            "line {number} is not JSON: {what} at column {column}"
        ))
    })?;
    Ok(text.slice_ref(value.get().as_bytes()))
}

/// Whether `value` is a string and nothing else.
pub(super) fn is_string(value: &[u8]) -> bool {
    value.first() == Some(&b'"')
}

fn invalid(message: String) -> Refusal {
    Refusal::permanent(ErrorReason::InvalidJson, message)
}

// === impl ElementsVisitor ===

struct ElementsVisitor;

impl<'de> Visitor<'de> for ElementsVisitor {
    type Value = Elements<'de>;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut elements = Elements::default();
        while elements.count < MAX_ELEMENTS {
            let Some(element) = list.next_element()? else {
                return Ok(elements);
            };
            elements.first.push(element);
            elements.count += 1;
        }
        while list.next_element::<IgnoredAny>()?.is_some() {
            elements.count += 1;
        }
        Ok(elements)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(body: &str) -> Result<Document, String> {
        document(&Bytes::copy_from_slice(body.as_bytes())).map_err(|refusal| refusal.message)
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
            let passed = read(&format!(" \r\n\t{value}\n")).unwrap();
            assert_eq!(passed, Document::Value(value.to_owned().into()));
        }
    }

    #[test]
    fn the_elements_of_a_list_pass_as_they_are() {
        let list = read(" [ 1 ,\"a\", [2, 3],{ \"b\":[ ]} ]\n").unwrap();
        let elements = ["1", "\"a\"", "[2, 3]", "{ \"b\":[ ]}"];
        assert_eq!(list, Document::List(elements.map(Bytes::from).to_vec()));
        let of = |count: usize| read(&format!("[{}]", vec!["1"; count].join(",")));
        let Ok(Document::List(most)) = of(MAX_ELEMENTS) else {
            panic!("refused")
        };
        assert_eq!(most.len(), MAX_ELEMENTS);
        let message = of(MAX_ELEMENTS + 2).unwrap_err();
        assert!(
            message.contains("10002 elements, it must have 1 to 10000"),
            "{message}"
        );
    }

    #[test]
    fn what_is_no_document_is_told_apart_with_its_place() {
        let cases = [
            ("", "the body is empty"),
            (" \n", "the body is empty"),
            (
                "{\"a\":1}\n{\"a\":2}\n",
                "trailing characters at line 2 column 1",
            ),
            ("{\"a\":", "EOF while parsing a value at line 1 column 5"),
            ("hello", "expected value at line 1 column 1"),
            ("\u{feff}{}", "expected value at line 1 column 1"),
            ("[]", "0 elements"),
            ("[1,\n 2", "EOF while parsing a list at line 2 column 2"),
            ("[1,\n 2,]", "at line 2 column"),
            ("[1] 2", "trailing characters at line 1 column 5"),
        ];
        for (body, text) in cases {
            let message = read(body).unwrap_err();
            assert!(message.contains(text), "{body:?}: {message}");
        }
        let not_utf8 = Bytes::from_static(b"\"\xff\"");
        assert!(document(&not_utf8).is_err());
        // Deep nesting costs nothing but its length.
        assert!(read(&format!("{{\"a\":{}", "[".repeat(900_000))).is_err());
        assert!(read(&"[".repeat(900_000)).is_err());
        let deep = format!("{}{}", "[".repeat(400_000), "]".repeat(400_000));
        assert!(matches!(read(&deep), Ok(Document::List(list)) if list.len() == 1));
    }

    #[test]
    fn a_line_is_one_value() {
        let read = |text: &'static str| line(&Bytes::from(text), 7);
        assert_eq!(read(" {\"a\": 1}\r").unwrap(), "{\"a\": 1}");
        let message = read("{\"a\": tru}").unwrap_err().message;
        assert_eq!(message, "line 7 is not JSON: expected ident at column 10");
        assert!(read("1 2").is_err());
    }

    proptest! {
        #[test]
        fn no_body_panics(body in proptest::collection::vec(any::<u8>(), 0..64)) {
            let body = Bytes::from(body);
            line(&body, 1).ok();
            document(&body).ok();
        }
    }
}
