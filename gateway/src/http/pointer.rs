//! Step 1 of the walk, over HTTP: what a JSON pointer finds in a value.
//!
//! In: a pointer (RFC 6901), then values. Out: the text that it finds in each. Promises: a value
//! is read once, nothing of it is built, and only what lies on the pointer's way is looked at; of
//! a name that an object has twice the last one counts.

use cloudsync::ErrorReason;
use cloudsync::reason::Refusal;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

/// A pointer, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Pointer {
    text: String,
    steps: Vec<Step>,
}

/// A name in an object, or a place in a list.
#[derive(Debug, PartialEq, Eq)]
struct Step {
    name: String,
    place: Option<usize>,
}

// === impl Pointer, Step ===

impl Pointer {
    /// `text` as a pointer; `None`: it is none.
    pub(super) fn of(text: String) -> Option<Self> {
        let steps = match text.strip_prefix('/') {
            Some(rest) => rest.split('/').map(Step::of).collect(),
            None if text.is_empty() => Vec::new(),
            None => return None,
        };
        Some(Self { text, steps })
    }

    /// The text that it finds in `value`: of a string its characters, of a number its digits.
    /// `field`: what it is looked up for.
    pub(super) fn text_in(&self, value: &[u8], field: &'static str) -> Result<String, Refusal> {
        let mut reader = serde_json::Deserializer::from_slice(value);
        let found = Walk(&self.steps).deserialize(&mut reader).ok().flatten();
        let text = found.and_then(|found| match found.get().as_bytes().first() {
            Some(b'"') => serde_json::from_str(found.get()).ok(),
            Some(b'-' | b'0'..=b'9') => Some(found.get().to_owned()),
            _ => None,
        });
        text.ok_or_else(|| {
            let text = format!(
                "the pointer {:?} points at no text and no number in the value; send one there, or \
                 another pointer",
                self.text
            );
            Refusal::of_field(ErrorReason::InvalidJson, field, text)
        })
    }
}

impl Step {
    fn of(token: &str) -> Self {
        let name = token.replace("~1", "/").replace("~0", "~");
        // Digits without a leading zero.
        let plain = name == "0" || !name.starts_with(['0', '+']);
        let place = if plain { name.parse().ok() } else { None };
        Self { name, place }
    }
}

// === the walk ===

/// Follows the steps through the value that is read; `None`: they lead nowhere.
struct Walk<'p>(&'p [Step]);

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = Option<&'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<Self::Value, D::Error> {
        match self.0.split_first() {
            None => <&RawValue>::deserialize(value).map(Some),
            Some((step, rest)) => value.deserialize_any(Inside { step, rest }),
        }
    }
}

/// One step, from inside an object or a list; a value of another kind has nothing inside.
struct Inside<'p> {
    step: &'p Step,
    rest: &'p [Step],
}

impl<'de> Visitor<'de> for Inside<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("a value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(is_it) = object.next_key_seed(Name(&self.step.name))? {
            if is_it {
                found = object.next_value_seed(Walk(self.rest))?;
            } else {
                object.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let before = self.step.place.unwrap_or(usize::MAX);
        for _ in 0..before {
            if list.next_element::<IgnoredAny>()?.is_none() {
                return Ok(None);
            }
        }
        let found = list.next_element_seed(Walk(self.rest))?.flatten();
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(found)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

/// Whether a name is the one that is looked for.
struct Name<'p>(&'p str);

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, name: D) -> Result<bool, D::Error> {
        name.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = bool;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("a name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<bool, E> {
        Ok(name == self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn text_at(value: &[u8], pointer: &str) -> Result<String, Refusal> {
        Pointer::of(pointer.to_owned())
            .unwrap()
            .text_in(value, "record.key")
    }

    #[test]
    fn a_pointer_finds_text_and_numbers() {
        let body = br#"{"id":"a\"b","n":-12,"o":{"x/y":{"~":[1,"two"]}},"z":null,"\u0061":1.50}"#;
        let found = [
            ("/id", "a\"b"),
            ("/n", "-12"),
            ("/o/x~1y/~0/1", "two"),
            ("/o/x~1y/~0/0", "1"),
            ("/a", "1.50"),
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
            "/n/0",
            "/z/0",
            "/o/x~1y/~0/2",
            "/o/x~1y/~0/01",
            "/o/x~1y/~0/+1",
            "/o/x~1y/~0/x",
        ] {
            let refusal = text_at(body, pointer).unwrap_err();
            assert_eq!(refusal.reason, ErrorReason::InvalidJson, "{pointer}");
        }
        assert_eq!(text_at(b"\"me\"", "").unwrap(), "me");
        assert_eq!(Pointer::of("id".to_owned()), None);
        // The last one counts, as wherever JSON is read into a map.
        assert_eq!(text_at(br#"{"a":1,"a":2,"b":3}"#, "/a").unwrap(), "2");
        assert!(text_at(br#"{"a":{"b":1},"a":2}"#, "/a/b").is_err());
        // What lies beside the way may be as deep as it likes.
        let deep = format!(
            "{{\"d\":{}{},\"id\":7}}",
            "[".repeat(100_000),
            "]".repeat(100_000)
        );
        assert_eq!(text_at(deep.as_bytes(), "/id").unwrap(), "7");
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            "[a-c~/\"\u{e9}]{0,3}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::hash_map("[a-c0-2~/]{0,2}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn it_finds_what_a_built_value_has(
            value in json(), steps in proptest::collection::vec("[a-c0-2~/]{0,2}", 0..4)
        ) {
            let steps = steps.iter().map(|it| format!("/{}", it.replace('~', "~0").replace('/', "~1")));
            let pointer = steps.collect::<String>();
            let expected = match value.pointer(&pointer) {
                Some(Value::String(text)) => Some(text.clone()),
                Some(Value::Number(number)) => Some(number.to_string()),
                _ => None,
            };
            prop_assert_eq!(text_at(value.to_string().as_bytes(), &pointer).ok(), expected);
        }

        #[test]
        fn no_value_panics(value in proptest::collection::vec(any::<u8>(), 0..64), rest in ".{0,9}") {
            text_at(&value, &format!("/{rest}")).ok();
        }
    }
}
