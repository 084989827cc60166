//! Step 1 of the walk, over HTTP: what a body is, how it is packed, and what the answer may be.
//!
//! In: the headers of a request. Out: whether it is a JSON document or lines, its packing, and
//! whether the client named a media type. Promises: what is not taken is refused in one sentence
//! that names what is.

use axum::http::{HeaderMap, HeaderName, header};
use cloudsync::ErrorReason;
use cloudsync::reason::Refusal;

/// What a document is called.
pub(super) const JSON: &str = "application/json";
/// What lines are called, the usual name first.
pub(super) const NDJSON: [&str; 2] = ["application/x-ndjson", "application/jsonl"];
/// The packings that are taken, as an `Accept-Encoding` says it.
pub(super) const ENCODINGS: &str = "gzip, zstd";

/// What a body holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// One JSON value, or a list of them.
    Document,
    /// A JSON value a line.
    Lines,
}

/// How a body is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Plain,
    Gzip,
    Zstd,
}

/// What the body holds, as its content type says it: JSON also where clients say what they do when
/// nobody told them what they send (`curl -d` says that it is a form).
pub(super) fn kind(headers: &HeaderMap) -> Result<Kind, Refusal> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return Ok(Kind::Document);
    };
    let text = value.to_str().unwrap_or_default();
    let name = text.split(';').next().unwrap_or_default();
    let name = name.trim().to_ascii_lowercase();
    match name.as_str() {
        JSON | "application/x-www-form-urlencoded" | "text/plain" => Ok(Kind::Document),
        lines if NDJSON.contains(&lines) => Ok(Kind::Lines),
        _ => Err(Refusal::of_field(
            ErrorReason::UnsupportedMediaType,
            "Content-Type",
            format!(
                "content type {name:?} is not taken; send {JSON}, or {} for a value a line",
                NDJSON.join(" or ")
            ),
        )),
    }
}

/// How the body is packed.
pub(super) fn encoding(headers: &HeaderMap) -> Result<Encoding, Refusal> {
    let mut found = Encoding::Plain;
    for name in list(headers, header::CONTENT_ENCODING) {
        let encoding = match name.as_str() {
            "identity" => continue,
            "gzip" | "x-gzip" => Encoding::Gzip,
            "zstd" => Encoding::Zstd,
            _ => return Err(unknown_encoding(format!("content encoding {name:?}"))),
        };
        if found != Encoding::Plain {
            return Err(unknown_encoding("a body that is packed twice".to_owned()));
        }
        found = encoding;
    }
    Ok(found)
}

fn unknown_encoding(what: String) -> Refusal {
    Refusal::of_field(
        ErrorReason::UnsupportedMediaType,
        "Content-Encoding",
        format!("{what} is not taken; pack it once, with one of {ENCODINGS}, or not at all"),
    )
}

/// Whether an Accept header names one of `kinds` and does not rule it out.
pub(super) fn asks_for(headers: &HeaderMap, kinds: &[&str]) -> bool {
    list(headers, header::ACCEPT).any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let named = parts.next().is_some_and(|kind| kinds.contains(&kind));
        let weight = parts.find_map(|part| part.strip_prefix("q=")?.parse::<f32>().ok());
        named && weight != Some(0.0)
    })
}

/// The members of a header that is a list, in lower case.
fn list(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = String> {
    let values = headers.get_all(name).into_iter();
    let members = values.flat_map(|value| value.to_str().unwrap_or("?").split(','));
    let members = members.map(|member| member.trim().to_ascii_lowercase());
    members.filter(|member| !member.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: HeaderName, values: &[&str]) -> HeaderMap {
        let entry = |value: &&str| (name.clone(), value.parse().unwrap());
        values.iter().map(entry).collect()
    }

    #[test]
    fn json_is_given_to_those_who_name_it() {
        let asks = |accept: &str| asks_for(&headers(header::ACCEPT, &[accept]), &[JSON]);
        assert!(asks("application/json"));
        assert!(asks("text/html, Application/JSON;q=0.8"));
        assert!(!asks("*/*"));
        assert!(!asks("application/json;q=0, */*"));
        assert!(!asks_for(&HeaderMap::new(), &[JSON]));
    }

    #[test]
    fn a_body_is_packed_once_or_not_at_all() {
        let packed = |values: &[&str]| encoding(&headers(header::CONTENT_ENCODING, values));
        assert_eq!(packed(&[]), Ok(Encoding::Plain));
        assert_eq!(packed(&["identity", " GZIP "]), Ok(Encoding::Gzip));
        assert_eq!(packed(&["zstd"]), Ok(Encoding::Zstd));
        for wrong in [
            &["br"][..],
            &["gzip, zstd"],
            &["gzip", "gzip"],
            &["gzip;q=1"],
        ] {
            let refusal = packed(wrong).unwrap_err();
            assert_eq!(
                refusal.reason,
                ErrorReason::UnsupportedMediaType,
                "{wrong:?}"
            );
        }
    }

    #[test]
    fn a_content_type_is_a_document_lines_or_refused() {
        let named = |value: &str| kind(&headers(header::CONTENT_TYPE, &[value]));
        assert_eq!(named("Application/JSON; charset=utf-8"), Ok(Kind::Document));
        assert_eq!(named("application/jsonl"), Ok(Kind::Lines));
        assert_eq!(named("application/x-ndjson;charset=utf-8"), Ok(Kind::Lines));
        assert_eq!(kind(&HeaderMap::new()), Ok(Kind::Document));
        let text = named("application/xml").unwrap_err().message;
        assert!(
            text.contains("\"application/xml\"") && text.contains(NDJSON[0]),
            "{text}"
        );
    }
}
