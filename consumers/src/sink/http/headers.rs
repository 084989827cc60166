//! What an endpoint is told of a record beside its payload.
//!
//! In: a record. Out: headers. Promises: whatever a client put into ids, keys and content types,
//! nothing of it ends a header or begins another; a key is the same for every attempt.
//!
//! `Idempotency-Key` is the request id as it is if all of it is visible ASCII, else the record's
//! identity, 32 hex digits. In the other headers everything but visible ASCII, and `%` itself,
//! stands as `%XX`, so they can be read back.

use crate::parse::tenant_of;
use crate::settings::IdempotencyKey;
use crate::sink::Outgoing;
use http::header::{CONTENT_TYPE, HeaderName, USER_AGENT};
use http::{HeaderValue, header};

/// What a body is whose record does not say, or not in a way that a header can hold.
const BYTES: HeaderValue = HeaderValue::from_static("application/octet-stream");
const KEY: HeaderName = HeaderName::from_static("idempotency-key");
const AGENT: HeaderValue =
    HeaderValue::from_static(concat!("cloudsync/", env!("CARGO_PKG_VERSION")));

/// The headers of `record`.
pub(super) fn of(
    record: &Outgoing<'_>,
    key: IdempotencyKey,
) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
    let Outgoing {
        polled,
        view,
        named,
        partition,
    } = record;
    let sequence = format!("{partition}/{}", polled.offset());
    let record_key = (!view.key.is_empty()).then(|| readable(view.key));
    let ours = [
        ("x-cloudsync-id", Some(readable(view.request_id))),
        ("x-cloudsync-key", record_key),
        ("x-cloudsync-tenant", Some(readable(tenant_of(view)))),
        ("x-cloudsync-identity", Some(named.id.to_string())),
        (
            "x-cloudsync-fingerprint",
            Some(named.fingerprint.to_string()),
        ),
        ("x-cloudsync-sequence", Some(sequence)),
    ];
    let ours = ours.into_iter().filter_map(|(name, value)| {
        // Visible ASCII each of them, so none is refused.
        let value = HeaderValue::try_from(value?).ok()?;
        Some((HeaderName::from_static(name), value))
    });
    let identity = named.id.to_string();
    let idempotency_key = match key {
        IdempotencyKey::RequestId => visible(view.request_id),
        IdempotencyKey::Identity => None,
    };
    let idempotency_key = idempotency_key.or_else(|| visible(&identity));
    let content_type = Some(view.content_type).filter(|it| !it.is_empty());
    let content_type = content_type.and_then(|it| HeaderValue::from_str(it).ok());
    let first = [
        (CONTENT_TYPE, content_type.unwrap_or(BYTES)),
        (USER_AGENT, AGENT),
        (header::ACCEPT, HeaderValue::from_static("*/*")),
    ];
    let key = idempotency_key.map(|value| (KEY, value));
    first.into_iter().chain(key).chain(ours)
}

/// `text` as it is, if it is nothing but visible ASCII.
fn visible(text: &str) -> Option<HeaderValue> {
    let visible = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    visible.then(|| HeaderValue::from_str(text).ok()).flatten()
}

/// `text` in visible ASCII, so that it can be read back.
fn readable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_graphic() && byte != b'%' {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::{Named, Polled};
    use bytes::Bytes;
    use cloudsync::SyncRecord;
    use cloudsync_kafka::PolledRecord;
    use http::HeaderMap;
    use proptest::prelude::*;
    use prost::Message;

    fn headers(record: &SyncRecord, key: IdempotencyKey) -> HeaderMap {
        let polled = PolledRecord {
            offset: 17,
            timestamp_ms: 0,
            key: None,
            value: Some(Bytes::from(record.encode_to_vec())),
            headers: None,
        };
        let polled = Polled::parse(polled, "aws", 12);
        let view = polled.view().unwrap();
        let named = Named::of(&view, 12);
        let outgoing = Outgoing {
            polled: &polled,
            view,
            named,
            partition: 3,
        };
        of(&outgoing, key).collect()
    }

    fn record(id: &str, key: &str, content_type: &str) -> SyncRecord {
        SyncRecord {
            request_id: id.into(),
            key: key.into(),
            content_type: content_type.into(),
            ..SyncRecord::default()
        }
    }

    #[test]
    fn an_endpoint_is_told_what_the_record_is() {
        let quake = record("ci37868143", "ci 1%", "application/json");
        let found = headers(&quake, IdempotencyKey::RequestId);
        for (name, value) in [
            ("idempotency-key", "ci37868143"),
            ("content-type", "application/json"),
            ("x-cloudsync-id", "ci37868143"),
            ("x-cloudsync-key", "ci%201%25"),
            ("x-cloudsync-tenant", "default"),
            ("x-cloudsync-sequence", "3/17"),
        ] {
            assert_eq!(found[name], value, "{name}");
        }
        assert_eq!(found["x-cloudsync-fingerprint"].len(), 16);
        let by_identity = headers(&quake, IdempotencyKey::Identity);
        assert_eq!(
            by_identity["idempotency-key"],
            found["x-cloudsync-identity"]
        );
        assert!(
            !headers(&record("a", "", ""), IdempotencyKey::RequestId)
                .contains_key("x-cloudsync-key")
        );
    }

    #[test]
    fn what_a_header_cannot_hold_is_told_in_another_way() {
        for id in ["a b", "a\r\nx-evil: 1", "naïve", "\u{7f}", "a\0b"] {
            let found = headers(&record(id, "", "text/\r\nx: y"), IdempotencyKey::RequestId);
            let identity = found["x-cloudsync-identity"].clone();
            assert_eq!(found["idempotency-key"], identity, "{id:?}");
            assert_eq!(found["content-type"], "application/octet-stream");
        }
    }

    proptest! {
        #[test]
        fn nothing_that_a_client_sends_ends_a_header(id in ".{1,40}", key in ".{0,40}", kind in ".{0,20}") {
            let record = record(&id, &key, &kind);
            let found = headers(&record, IdempotencyKey::RequestId);
            prop_assert_eq!(found.len(), if key.is_empty() { 9 } else { 10 });
            for (name, value) in &found {
                let plain = |byte: &u8| *byte == b'\t' || *byte == b' ' || *byte >= 0x20;
                prop_assert!(value.as_bytes().iter().all(plain), "{}", name);
            }
        }
    }
}
