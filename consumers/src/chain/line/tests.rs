use super::*;
use cloudsync::SyncRecord;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use prost::Message;
use std::collections::{BTreeMap, HashMap};

fn line_of(record: &SyncRecord, offset: i64, timestamp_ms: i64) -> String {
    let encoded = record.encode_to_vec();
    let view = RecordView::parse(&encoded).unwrap();
    let fingerprint = Fingerprint::of(view.payload, view.content_type);
    let mut out = Vec::new();
    let stamp = Stamp {
        offset,
        timestamp_ms,
        fingerprint,
    };
    append(&mut out, &mut TimeText::default(), &view, stamp);
    String::from_utf8(out).unwrap()
}

fn a_payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(any::<u8>(), 0..40),
        ".{0,40}".prop_map(String::into_bytes),
        r#"[ \n]?(null|true|-?[0-9]{1,4}(\.5)?|"[a-z\\"]{0,4}"|\{"a":\[1,\{"b":null\}\]\})[ \n]?"#
            .prop_map(String::into_bytes),
    ]
}

/// These bytes lie at destinations: a change of them is a change of the format.
#[test]
fn a_line_never_changes() {
    let record = SyncRecord {
        request_id: "ci37868143".into(),
        key: "ci".into(),
        payload: br#"{"mag": 2.1}"#.to_vec().into(),
        content_type: "application/json".into(),
        create_time: None,
        attributes: HashMap::from([("source".into(), "usgs \"live\"".into())]),
        destinations: vec!["aws".into(), "azure".into()],
        tenant: "default".into(),
        accept_time: Some(prost_types::Timestamp {
            seconds: 1_795_329_601,
            nanos: 7_999_999,
        }),
    };
    let line = line_of(&record, 32_768, 0);
    let expected = concat!(
        r#"{"offset":32768,"time":"2026-11-22T06:40:01.007Z","tenant":"default","#,
        r#""id":"ci37868143","key":"ci","fp":"3b541e87e683d0b3","content_type":"application/json","#,
        r#""attributes":{"source":"usgs \"live\""},"destinations":["aws","azure"],"#,
        r#""payload":{"mag": 2.1}}"#,
        "\n",
    );
    assert_eq!(line, expected);
}

#[test]
fn payloads_stand_as_json_as_text_or_as_base64() {
    let cases: [(&[u8], &str); 9] = [
        (b"null", r#""payload":null}"#),
        (b"\"Test message\"", r#""payload":"Test message"}"#),
        (b" 1", r#""text":" 1"}"#),
        (b"{\"a\":\n1}", r#""text":"{\"a\":\n1}"}"#),
        (b"", r#""text":""}"#),
        (b"{\"a\":1", r#""text":"{\"a\":1"}"#),
        (b"1 2", r#""text":"1 2"}"#),
        (b"a\x01\x7f", r#""text":"a\u0001"#),
        (b"\xff\xfe", r#""base64":"//4="}"#),
    ];
    for (payload, expected) in cases {
        let record = SyncRecord {
            payload: payload.to_vec().into(),
            ..SyncRecord::default()
        };
        let line = line_of(&record, 0, 0);
        assert!(line.contains(expected), "{line} has {expected}");
    }
    let deep = format!("{}{}", "[".repeat(101), "]".repeat(101));
    assert!(!is_one_line_of_json(&deep));
    assert!(is_one_line_of_json(&format!(
        "{}{}",
        "[".repeat(100),
        "]".repeat(100)
    )));
    assert!(is_one_line_of_json(&format!("\"{}\"", "[".repeat(500))));
}

proptest! {
    #[test]
    fn a_line_is_one_line_of_json_and_comes_back(
        payload in a_payload(),
        (id, key, tenant, content_type) in (".{0,9}", ".{0,9}", ".{1,9}", ".{0,9}"),
        attributes in btree_map(".{0,5}", ".{0,5}", 0..3),
        destinations in vec(".{0,5}", 0..3),
        (offset, timestamp_ms) in (any::<i64>(), any::<i64>()),
        accepted in proptest::option::of((any::<i64>(), any::<i32>())),
    ) {
        let record = SyncRecord {
            request_id: id.clone(), key: key.clone(), tenant: tenant.clone(),
            content_type: content_type.clone(), payload: payload.clone().into(),
            create_time: None,
            attributes: attributes.clone().into_iter().collect(),
            destinations: destinations.clone(),
            accept_time: accepted.map(|(seconds, nanos)| prost_types::Timestamp { seconds, nanos }),
        };
        let text = line_of(&record, offset, timestamp_ms);
        prop_assert_eq!(text.find('\n'), Some(text.len() - 1));
        let line: Line<'_> = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(line.payload().unwrap().into_owned(), payload.as_slice());
        prop_assert_eq!(line.fingerprint(), Some(Fingerprint::of(&payload, &content_type)));
        prop_assert_eq!(line.offset, offset);
        prop_assert_eq!((&*line.id, &*line.key, &*line.tenant), (&*id, &*key, &*tenant));
        prop_assert_eq!(&*line.content_type, &*content_type);
        let read: BTreeMap<String, String> =
            line.attributes.map(|raw| serde_json::from_str(raw.get()).unwrap()).unwrap_or_default();
        prop_assert_eq!(read, attributes);
        let read: Vec<String> =
            line.destinations.map(|raw| serde_json::from_str(raw.get()).unwrap()).unwrap_or_default();
        prop_assert_eq!(read, destinations);
        prop_assert_eq!(line.time.len(), 24);
        prop_assert!(line.time.parse::<Timestamp>().is_ok(), "{}", line.time);
    }
}
