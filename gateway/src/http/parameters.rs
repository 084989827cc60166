//! Step 1 of the walk, over HTTP: what a request says beside its body.
//!
//! In: the query and the headers. Out: where the request id and the key come from. Promises: what
//! is unknown, said twice or not readable is refused, never passed over.
//!
//! `Idempotency-Key: ID` or `?id-pointer=/pointer`; `?key=KEY` or `?key-pointer=/pointer`.

use super::json;
use axum::http::HeaderMap;
use cloudsync::ErrorReason;
use cloudsync::reason::Refusal;

/// Where the request id and the key of the record come from.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Parameters {
    pub(super) request_id: Source,
    pub(super) key: Source,
}

/// Where a text comes from.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum Source {
    #[default]
    Nowhere,
    Given(String),
    /// A JSON pointer into the body.
    Pointer(String),
}

// === impl Source ===

impl Source {
    /// The text, for a body of `payload`; empty if there is none.
    pub(super) fn of(self, payload: &[u8]) -> Result<String, Refusal> {
        match self {
            Self::Nowhere => Ok(String::new()),
            Self::Given(text) => Ok(text),
            Self::Pointer(pointer) => json::text_at(payload, &pointer),
        }
    }

    fn set(&mut self, source: Self, name: &str) -> Result<(), Refusal> {
        if *self != Self::Nowhere {
            return Err(refused(format!("{name} is said twice; say it once")));
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
        for value in headers.get_all("idempotency-key") {
            let id = std::str::from_utf8(value.as_bytes())
                .map_err(|_| refused("Idempotency-Key is not UTF-8".into()))?;
            let id = unquoted(id.trim());
            if id.is_empty() {
                return Err(refused(
                    "Idempotency-Key is empty; send an id or leave it out".into(),
                ));
            }
            parameters
                .request_id
                .set(Source::Given(id.to_owned()), "the request id")?;
        }
        for pair in query
            .unwrap_or_default()
            .split('&')
            .filter(|pair| !pair.is_empty())
        {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decoded(name)?, decoded(value)?);
            match name.as_str() {
                "id-pointer" => {
                    parameters
                        .request_id
                        .set(Source::Pointer(value), "the request id")?;
                }
                "key-pointer" => parameters.key.set(Source::Pointer(value), "the key")?,
                "key" => parameters.key.set(Source::Given(value), "the key")?,
                _ => {
                    return Err(refused(format!(
                        "the parameter {name:?} does not exist; there are: key, key-pointer, \
                         id-pointer"
                    )));
                }
            }
        }
        Ok(parameters)
    }
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
                number.ok_or_else(|| refused(format!("{text:?} is not percent-encoded")))?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).map_err(|_| refused(format!("{text:?} is not UTF-8")))
}

fn refused(message: String) -> Refusal {
    Refusal::permanent(ErrorReason::MalformedRecord, message)
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
        assert_eq!(pointers.request_id, Source::Pointer("/id".into()));
        assert_eq!(pointers.key, Source::Pointer("/properties/net".into()));
        assert_eq!(of("", &["\"7f\""]).unwrap(), of("", &["7f"]).unwrap());
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
        assert!(of("key=%2", &[]).unwrap_err().contains("percent"));
        assert!(of("key=%ff", &[]).unwrap_err().contains("UTF-8"));
    }
}
