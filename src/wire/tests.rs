use super::*;
use crate::v1::SyncRecord;
use proptest::collection::{hash_map, vec};
use proptest::prelude::*;
use prost::Message;

fn a_record() -> impl Strategy<Value = SyncRecord> {
    let time = (any::<i64>(), any::<i32>())
        .prop_map(|(seconds, nanos)| prost_types::Timestamp { seconds, nanos });
    let text = (".{0,20}", ".{0,20}", ".{0,20}", ".{0,9}");
    let parts = (
        vec(any::<u8>(), 0..64),
        proptest::option::of(time.clone()),
        hash_map("[a-z]{0,5}", ".{0,9}", 0..4),
        vec("[a-z]{0,5}", 0..4),
        proptest::option::of(time),
    );
    (text, parts).prop_map(
        |((request_id, key, content_type, tenant), parts)| SyncRecord {
            request_id,
            key,
            content_type,
            tenant,
            payload: parts.0.into(),
            create_time: parts.1,
            attributes: parts.2,
            destinations: parts.3,
            accept_time: parts.4,
        },
    )
}

fn time_of(time: Option<prost_types::Timestamp>) -> Option<Time> {
    time.map(|time| Time {
        seconds: time.seconds,
        nanos: time.nanos,
    })
}

fn assert_same(view: &RecordView<'_>, record: &SyncRecord) {
    assert_eq!(view.request_id, record.request_id);
    assert_eq!(view.key, record.key);
    assert_eq!(view.payload, record.payload);
    assert_eq!(view.content_type, record.content_type);
    assert_eq!(view.create_time, time_of(record.create_time));
    assert_eq!(view.tenant, record.tenant);
    assert_eq!(view.accept_time, time_of(record.accept_time));
    let names: Vec<_> = view.destinations().collect();
    assert_eq!(names, record.destinations);
    assert_eq!(view.destination_count, names.len());
    assert_eq!(view.attribute_count, view.attributes().count());
    let attributes = view
        .attributes()
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .collect();
    assert_eq!(record.attributes, attributes);
    let owned = !record.tenant.is_empty() || record.accept_time.is_some();
    assert_eq!(view.has_gateway_fields, owned);
}

proptest! {
    #[test]
    fn the_walk_sees_what_prost_sees(record in a_record()) {
        let encoded = record.encode_to_vec();
        assert_same(&RecordView::parse(&encoded).unwrap(), &record);
    }

    /// Whatever arrives: no panic, and nothing accepted that prost would refuse or read otherwise.
    #[test]
    fn mutated_bytes_are_refused_or_read_alike(
        record in a_record(),
        edits in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut encoded = record.encode_to_vec();
        if encoded.is_empty() { return Ok(()); }
        for (at, byte) in edits { let at = at.index(encoded.len()); encoded[at] = byte; }
        encoded.truncate(cut.index(encoded.len()) + 1);
        if let Ok(view) = RecordView::parse(&encoded) {
            assert_same(&view, &SyncRecord::decode(&encoded[..]).unwrap_or_else(|error| {
                panic!("accepted what prost refuses: {error}: {encoded:?}")
            }));
        }
    }

    #[test]
    fn what_the_gateway_adds_is_found_again(
        record in a_record(), id in "[a-z0-9-]{1,128}", seconds in 0..i64::MAX, nanos in 0..1_000_000_000,
    ) {
        let sent = SyncRecord {
            request_id: String::new(), tenant: String::new(), accept_time: None, ..record
        };
        let accepted = Time { seconds, nanos };
        let stored = with_gateway_fields(&sent.encode_to_vec(), Some(&id), "default", accepted);
        let expected = SyncRecord {
            request_id: id,
            tenant: "default".into(),
            accept_time: Some(prost_types::Timestamp { seconds, nanos }),
            ..sent
        };
        assert_same(&RecordView::parse(&stored).unwrap(), &expected);
    }
}

#[test]
fn a_single_field_sent_twice_is_refused() {
    let mut encoded = SyncRecord {
        key: "a".into(),
        ..SyncRecord::default()
    }
    .encode_to_vec();
    encoded.extend(
        SyncRecord {
            key: "b".into(),
            ..SyncRecord::default()
        }
        .encode_to_vec(),
    );
    let error = RecordView::parse(&encoded).unwrap_err();
    assert_eq!(
        error,
        WireError::Repeated {
            field: "key",
            at: 3
        }
    );
}

#[test]
fn a_field_of_a_later_version_is_passed_over() {
    let mut encoded = SyncRecord {
        key: "a".into(),
        ..SyncRecord::default()
    }
    .encode_to_vec();
    encoded.extend([0xa0, 0x06, 0x01]); // field 100, number 1
    assert_eq!(RecordView::parse(&encoded).unwrap().key, "a");
}

#[test]
fn an_empty_batch_and_a_batch_have_the_public_encoding() {
    let record = SyncRecord {
        request_id: "a".into(),
        ..SyncRecord::default()
    };
    let raw = SyncDataStreamRequest {
        records: vec![record.encode_to_vec().into(); 2],
    };
    // Field 1, length 3, then the record: what any protobuf library makes of the public message.
    assert_eq!(
        raw.encode_to_vec(),
        [10, 3, 10, 1, b'a', 10, 3, 10, 1, b'a']
    );
}
