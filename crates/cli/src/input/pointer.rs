//! A JSON pointer (RFC 6901) into a record that stays as it is.
//!
//! In: the text of a record. Out: the text or number at the pointer. One pass over the record,
//! which also shows that it is JSON; nothing of it is built in memory.

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;
use std::str::FromStr;

/// A pointer such as `/properties/net`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer {
    text: String,
    tokens: Vec<String>,
}

/// Why there is nothing to be had at a pointer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PointerError {
    /// It is no pointer.
    #[error("{0:?} is not a JSON pointer: it must be empty or begin with /")]
    NotAPointer(String),
    /// The record is not JSON.
    #[error("is not JSON: {0}")]
    NotJson(#[source] serde_json::Error),
    /// Nothing is there, or null, or empty text.
    #[error("there is nothing at {0}")]
    Nothing(String),
    /// An object or an array is there.
    #[error("{pointer} is {found}; it must be text or a number")]
    NotScalar {
        /// The pointer.
        pointer: String,
        /// What is there.
        found: &'static str,
    },
}

// === impl Pointer ===

impl FromStr for Pointer {
    type Err = PointerError;

    fn from_str(text: &str) -> Result<Self, PointerError> {
        if !text.is_empty() && !text.starts_with('/') {
            return Err(PointerError::NotAPointer(text.to_owned()));
        }
        let token = |token: &str| token.replace("~1", "/").replace("~0", "~");
        let tokens = text.split('/').skip(1).map(token).collect();
        Ok(Self {
            text: text.to_owned(),
            tokens,
        })
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Pointer {
    /// The field at the top that this points to, if it goes no deeper: a column.
    #[must_use]
    pub fn column(&self) -> Option<&str> {
        match self.tokens.as_slice() {
            [column] => Some(column),
            _ => None,
        }
    }

    /// The text, number or boolean at this pointer in `json`, as text.
    ///
    /// # Errors
    /// [`PointerError`], when `json` is no JSON or no such thing is there.
    pub fn scalar(&self, json: &str) -> Result<String, PointerError> {
        let mut deserializer = serde_json::Deserializer::from_str(json);
        let walk = Walk {
            tokens: &self.tokens,
        };
        let found = walk
            .deserialize(&mut deserializer)
            .map_err(PointerError::NotJson)?;
        deserializer.end().map_err(PointerError::NotJson)?;
        let nothing = || PointerError::Nothing(self.text.clone());
        let raw = found.ok_or_else(nothing)?.get();
        let not_scalar = |found| PointerError::NotScalar {
            pointer: self.text.clone(),
            found,
        };
        match raw.as_bytes().first() {
            Some(b'"') => {
                let text: String = serde_json::from_str(raw).map_err(PointerError::NotJson)?;
                if text.is_empty() {
                    Err(nothing())
                } else {
                    Ok(text)
                }
            }
            Some(b'{') => Err(not_scalar("an object")),
            Some(b'[') => Err(not_scalar("an array")),
            Some(b'n') | None => Err(nothing()),
            Some(_) => Ok(raw.to_owned()),
        }
    }
}

/// The way that is left.
#[derive(Clone, Copy)]
struct Walk<'p> {
    tokens: &'p [String],
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = Option<&'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        if self.tokens.is_empty() {
            return serde::Deserialize::deserialize(from).map(Some);
        }
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let Some((token, rest)) = self.tokens.split_first() else {
            return Ok(None);
        };
        let mut found = None;
        while let Some(is_it) = map.next_key_seed(KeyIs(token))? {
            // A key that stands twice: the last one counts, as with other readers.
            if is_it {
                found = map.next_value_seed(Walk { tokens: rest })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let Some((token, rest)) = self.tokens.split_first() else {
            return Ok(None);
        };
        // RFC 6901: digits without leading zeros.
        let plain = token == "0" || !token.starts_with(['0', '+']);
        let wanted = token.parse::<usize>().ok().filter(|_| plain);
        let mut found = None;
        for index in 0.. {
            let more = if Some(index) == wanted {
                let element = list.next_element_seed(Walk { tokens: rest })?;
                found = element.flatten();
                element.is_some()
            } else {
                list.next_element::<IgnoredAny>()?.is_some()
            };
            if !more {
                break;
            }
        }
        Ok(found)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

/// Whether a key is the one that is looked for; nothing is allocated.
struct KeyIs<'p>(&'p str);

impl<'de> DeserializeSeed<'de> for KeyIs<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<bool, D::Error> {
        from.deserialize_str(self)
    }
}

impl Visitor<'_> for KeyIs<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<bool, E> {
        Ok(key == self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(pointer: &str, json: &str) -> Result<String, String> {
        let pointer: Pointer = pointer
            .parse()
            .map_err(|error: PointerError| error.to_string())?;
        pointer.scalar(json).map_err(|error| error.to_string())
    }

    #[test]
    fn text_and_numbers_are_found_as_they_stand() {
        let json = r#"{"a":{"b/c":[1,{"~":"x\ny"},1e3]},"n":null,"t":true,"e":"","id":7,"id":8}"#;
        assert_eq!(at("/a/b~1c/0", json).unwrap(), "1");
        assert_eq!(at("/a/b~1c/1/~0", json).unwrap(), "x\ny");
        assert_eq!(at("/a/b~1c/2", json).unwrap(), "1e3");
        assert_eq!(at("/t", json).unwrap(), "true");
        assert_eq!(at("/id", json).unwrap(), "8");
        assert_eq!(at("", "\"whole\"").unwrap(), "whole");
        for missing in ["/x", "/n", "/e", "/a/b~1c/3", "/a/b~1c/01", "/t/x", "/id/0"] {
            assert_eq!(
                at(missing, json).unwrap_err(),
                format!("there is nothing at {missing}")
            );
        }
        let refusal = "/a/b~1c is an array; it must be text or a number";
        assert_eq!(at("/a/b~1c", json).unwrap_err(), refusal);
        assert!(
            at("id", json)
                .unwrap_err()
                .contains("is not a JSON pointer")
        );
        for broken in ["{\"id\":1", "{\"id\":1} x", "nonsense", ""] {
            assert!(
                at("/id", broken).unwrap_err().starts_with("is not JSON: "),
                "{broken}"
            );
        }
    }

    proptest! {
        /// The same as `serde_json::Value::pointer` says.
        #[test]
        fn agrees_with_the_library(
            keys in proptest::collection::vec("[a-c~/0-2]{0,2}", 1..4),
            json in "[\\[\\]{}\":,a-c012 ]{0,40}",
            text in "[a-z]{1,3}",
        ) {
            let token = |key: &String| format!("/{}", key.replace('~', "~0").replace('/', "~1"));
            let pointer: String = keys.iter().map(token).collect();
            let mut nested = serde_json::Value::String(text);
            for key in keys.iter().rev() {
                nested = serde_json::json!([0, { key: nested }])[1].take();
            }
            for json in [nested.to_string(), json] {
                let expected = serde_json::from_str::<serde_json::Value>(&json).ok().and_then(|v| {
                    match v.pointer(&pointer)? {
                        serde_json::Value::String(text) if !text.is_empty() => Some(text.clone()),
                        serde_json::Value::Number(number) => Some(number.to_string()),
                        _ => None,
                    }
                });
                prop_assert_eq!(at(&pointer, &json).ok(), expected);
            }
        }
    }
}
