//! A record as an object of its own, and what an object that lies there already means.
//!
//! In: a record. Out: its name and its body, the one line that describes it; or, from a body
//! found under that name, whether it is this record. Promises: a body found is compared by what
//! it holds, not only by what it states.

use super::name::ObjectName;
use crate::chain::line::{Line, Stamp, TimeText, append};
use crate::parse::{Named, tenant_of};
use crate::sink::Outgoing;
use bytes::Bytes;
use cloudsync::identity::{Fingerprint, Id16};

/// What an object under a record's name is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// The same effect, written from this offset.
    Same {
        /// The offset that the object states.
        offset: i64,
    },
    /// The same id, sound in itself, with another content; a sentence.
    Conflict(String),
    /// Nothing that was written as a record of this name: damaged, or put there by somebody else;
    /// a sentence. It says nothing against the record.
    Damaged(String),
}

/// An object, read.
#[derive(Debug)]
pub struct Read<'a> {
    /// Its line.
    pub line: Line<'a>,
    /// Its identity, computed from what lies there.
    pub id: Id16,
    /// Its fingerprint, computed from what lies there.
    pub fingerprint: Fingerprint,
}

/// Name and body of a record.
#[must_use]
pub fn of(record: &Outgoing<'_>) -> (ObjectName, Bytes) {
    let Outgoing {
        polled,
        view,
        named,
        ..
    } = record;
    let stamp = Stamp {
        offset: polled.offset(),
        timestamp_ms: polled.record.timestamp_ms,
        fingerprint: named.fingerprint,
    };
    let mut body = Vec::with_capacity(view.encoded.len() + 256);
    append(&mut body, &mut TimeText::default(), view, stamp);
    (
        ObjectName::new(tenant_of(view), named.id),
        Bytes::from(body),
    )
}

/// Reads the body of an object.
///
/// # Errors
/// A sentence that says why it is no record.
pub fn read(body: &[u8]) -> Result<Read<'_>, String> {
    let line: Line<'_> =
        serde_json::from_slice(body).map_err(|error| format!("it is no record: {error}"))?;
    let Some(payload) = line.payload() else {
        return Err("it is no record: it has no one payload".to_owned());
    };
    let id = Id16::of(&line.tenant, &line.key, &line.id);
    let fingerprint = Fingerprint::of(&payload, &line.content_type);
    drop(payload);
    Ok(Read {
        line,
        id,
        fingerprint,
    })
}

/// What `body` is to the record that `named` names.
#[must_use]
pub fn compare(named: Named, body: &[u8]) -> Found {
    let there = match read(body) {
        Ok(there) => there,
        Err(why) => return Found::Damaged(why),
    };
    if there.id != named.id {
        return Found::Damaged(format!("it is the record {}, not {}", there.id, named.id));
    }
    if there.line.fp != there.fingerprint.to_string() {
        return Found::Damaged(format!(
            "it states the fingerprint {}, its content has {}",
            there.line.fp, there.fingerprint
        ));
    }
    if there.fingerprint != named.fingerprint {
        return Found::Conflict(format!(
            "id {} was used before with fingerprint {}; this record has {}",
            named.id, there.fingerprint, named.fingerprint
        ));
    }
    Found::Same {
        offset: there.line.offset,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::{Content, Polled};
    use cloudsync::SyncRecord;
    use cloudsync_kafka::PolledRecord;
    use prost::Message;

    fn polled(payload: &[u8], offset: i64) -> (Polled, Named) {
        let record = SyncRecord {
            request_id: "ci37868143".into(),
            key: "ci".into(),
            payload: payload.to_vec().into(),
            content_type: "application/json".into(),
            ..SyncRecord::default()
        };
        let value = Some(Bytes::from(record.encode_to_vec()));
        let record = PolledRecord {
            offset,
            timestamp_ms: 1_700_000_000_123,
            key: None,
            value,
            headers: None,
        };
        let polled = Polled::parse(record, "aws", 12);
        let Content::Record { named, .. } = polled.content else {
            panic!("undecodable")
        };
        (polled, named)
    }

    fn written(polled: &Polled, named: Named) -> (ObjectName, Bytes) {
        let view = polled.view().unwrap();
        of(&Outgoing {
            polled,
            view,
            named,
            partition: 0,
        })
    }

    /// This body lies at destinations.
    #[test]
    fn a_body_is_one_line_that_describes_its_record() {
        let (record, named) = polled(br#"{"mag":2}"#, 7);
        let (name, body) = written(&record, named);
        assert_eq!(
            name.to_string(),
            "t=default/ee/ee73b5d206ea8ebfbfdb2189a0a115eb.json"
        );
        let expected = format!(
            "{{\"offset\":7,\"time\":\"2023-11-14T22:13:20.123Z\",\"tenant\":\"default\",\
             \"id\":\"ci37868143\",\"key\":\"ci\",\"fp\":\"{}\",\
             \"content_type\":\"application/json\",\"payload\":{{\"mag\":2}}}}\n",
            named.fingerprint
        );
        assert_eq!(String::from_utf8_lossy(&body), expected);
    }

    #[test]
    fn a_body_found_is_compared_by_what_it_holds() {
        let (first, named) = polled(br#"{"mag":2}"#, 7);
        let (_, body) = written(&first, named);
        let (_, again) = polled(br#"{"mag":2}"#, 9);
        assert_eq!(compare(again, &body), Found::Same { offset: 7 });
        let (_, changed) = polled(br#"{"mag":3}"#, 9);
        assert!(
            matches!(compare(changed, &body), Found::Conflict(why) if why.contains("used before"))
        );
        // A payload altered under an honest statement, and no record at all.
        let altered = String::from_utf8_lossy(&body).replace("\"mag\":2", "\"mag\":4");
        assert!(matches!(
            compare(named, altered.as_bytes()),
            Found::Damaged(_)
        ));
        let renamed = String::from_utf8_lossy(&body).replace("ci37868143", "ci37868144");
        assert!(matches!(
            compare(named, renamed.as_bytes()),
            Found::Damaged(_)
        ));
        assert!(matches!(compare(named, b"{}"), Found::Damaged(_)));
        assert!(matches!(compare(named, b""), Found::Damaged(_)));
    }
}
