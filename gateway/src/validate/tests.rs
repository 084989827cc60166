use super::*;
use cloudsync::SyncRecord;
use prost::Message;

const AT: Time = Time {
    seconds: 1_700_000_000,
    nanos: 5,
};

fn validator(missing_id: MissingId) -> Validator {
    let settings = GatewaySettings {
        missing_id,
        ..GatewaySettings::default()
    };
    Validator::new(&settings, vec!["aws".into(), "azure".into()], 12)
}

/// A record that passed, with its parts.
#[derive(Debug)]
struct Passed {
    effect: Option<Effect>,
    record: Record,
    key: Vec<u8>,
    value: Vec<u8>,
}

fn judge(record: &SyncRecord) -> Result<Passed, Refused> {
    judge_with(MissingId::Generate, &record.encode_to_vec())
}

fn judge_with(missing_id: MissingId, encoded: &[u8]) -> Result<Passed, Refused> {
    let mut bytes = b"the record before".to_vec();
    let added = GatewayFields::new("default", AT);
    let (record, effect) = validator(missing_id).record(3, encoded, &added, &mut bytes)?;
    Ok(Passed {
        effect,
        key: bytes[record.key.clone()].to_vec(),
        value: bytes[record.value.clone()].to_vec(),
        record,
    })
}

fn valid() -> SyncRecord {
    SyncRecord {
        request_id: "id-1".into(),
        key: "account-7".into(),
        payload: "{}".into(),
        content_type: "application/json".into(),
        ..SyncRecord::default()
    }
}

#[test]
fn a_record_goes_into_the_log_as_it_was_sent() {
    let passed = judge(&valid()).unwrap();
    assert_eq!((passed.record.index, passed.record.assigned_id), (3, None));
    assert_eq!(passed.key, b"account-7");
    assert_eq!(passed.record.partition, partition_of(b"account-7", 12));
    let stored = SyncRecord::decode(&passed.value[..]).unwrap();
    let time = prost_types::Timestamp {
        seconds: AT.seconds,
        nanos: AT.nanos,
    };
    let added = SyncRecord {
        tenant: "default".into(),
        accept_time: Some(time),
        ..valid()
    };
    assert_eq!(stored, added);
}

#[test]
fn without_a_key_the_id_decides_the_partition() {
    let sent = judge(&SyncRecord {
        key: String::new(),
        ..valid()
    })
    .unwrap();
    assert_eq!(sent.key, b"id-1");
    let none = SyncRecord {
        key: String::new(),
        request_id: String::new(),
        ..valid()
    };
    let made = judge(&none).unwrap();
    let id = made.record.assigned_id.unwrap();
    assert_eq!(made.key, id.as_bytes());
    let stored = SyncRecord::decode(&made.value[..]).unwrap();
    assert_eq!(stored.request_id, id);
    assert_eq!(Uuid::parse_str(&id).unwrap().get_version_num(), 7);
}

#[test]
fn a_missing_id_is_made_derived_or_refused() {
    let none = SyncRecord {
        request_id: String::new(),
        ..valid()
    };
    let id_of = |record: &SyncRecord, mode| {
        judge_with(mode, &record.encode_to_vec()).map(|passed| passed.record.assigned_id)
    };
    let made = [(); 2].map(|()| id_of(&none, MissingId::Generate).unwrap().unwrap());
    assert_ne!(made[0], made[1]);

    let derived = id_of(&none, MissingId::Content).unwrap().unwrap();
    assert_eq!(
        id_of(&none, MissingId::Content).unwrap().as_ref(),
        Some(&derived)
    );
    assert_eq!((derived.len(), derived.get(..2)), (34, Some("c-")));
    let others = [
        SyncRecord {
            key: "account-8".into(),
            ..none.clone()
        },
        SyncRecord {
            payload: "{ }".into(),
            ..none.clone()
        },
        SyncRecord {
            content_type: String::new(),
            ..none.clone()
        },
    ];
    for other in others {
        assert_ne!(id_of(&other, MissingId::Content).unwrap().unwrap(), derived);
    }

    let refused = id_of(&none, MissingId::Reject).unwrap_err().refusal;
    assert_eq!(refused.reason, ErrorReason::RequestIdMissing);
    assert_eq!(refused.field, Some("record.request_id"));
}

/// This id lies in logs and destinations: another one would make equal records two effects.
#[test]
fn derived_ids_never_change() {
    let encoded = SyncRecord {
        payload: "\"a\"".into(),
        ..SyncRecord::default()
    }
    .encode_to_vec();
    let id = content_id(&RecordView::parse(&encoded).unwrap());
    assert_eq!(id, "c-05ae57e279c1b9eb2cdc6ac21f9a3097");
}

fn text(bytes: usize) -> String {
    "x".repeat(bytes)
}

fn with_attributes(count: usize, name: usize, value: usize) -> SyncRecord {
    let pairs = (0..count).map(|n| (format!("{n:0>name$}"), text(value)));
    SyncRecord {
        attributes: pairs.collect(),
        ..valid()
    }
}

#[test]
fn every_limit_is_held_at_the_byte() {
    let (long, many) = (ErrorReason::FieldTooLong, ErrorReason::TooManyItems);
    // What is said, why, and a record that passes the limit by so much.
    type Case = (&'static str, ErrorReason, fn(usize) -> SyncRecord);
    let cases: [Case; 6] = [
        ("request_id has 129 bytes, the limit is 128", long, |over| {
            SyncRecord {
                request_id: text(128 + over),
                ..valid()
            }
        }),
        ("key has 257 bytes, the limit is 256", long, |over| {
            SyncRecord {
                key: text(256 + over),
                ..valid()
            }
        }),
        (
            "content_type has 129 bytes, the limit is 128",
            long,
            |over| SyncRecord {
                content_type: text(128 + over),
                ..valid()
            },
        ),
        ("attributes has 33 entries, the limit is 32", many, |over| {
            with_attributes(32 + over, 64, 1_024)
        }),
        (
            "attributes.key has 65 bytes, the limit is 64",
            long,
            |over| with_attributes(1, 64 + over, 1),
        ),
        (
            "attributes.value has 1025 bytes, the limit is 1024",
            long,
            |over| with_attributes(1, 1, 1_024 + over),
        ),
    ];
    for (message, reason, record) in cases {
        assert!(judge(&record(0)).is_ok(), "at the limit: {message}");
        let refused = judge(&record(1)).unwrap_err();
        assert!(
            refused.refusal.message.starts_with(message),
            "{}",
            refused.refusal.message
        );
        assert_eq!((refused.index, refused.refusal.reason), (3, reason));
        assert!(refused.request_id.len() <= 128);
    }
}

#[test]
fn a_record_is_as_large_as_the_setting_says_and_no_larger() {
    let frame = SyncRecord {
        payload: vec![0; 900_000].into(),
        ..valid()
    }
    .encoded_len()
        - 900_000;
    let sized = |bytes: usize| SyncRecord {
        payload: vec![0; bytes - frame].into(),
        ..valid()
    };
    assert!(judge(&sized(1_000_000)).is_ok());
    let refused = judge(&sized(1_000_001)).unwrap_err().refusal;
    assert_eq!(refused.reason, ErrorReason::RecordTooLarge);
    assert!(
        refused.message.contains("1000001 bytes"),
        "{}",
        refused.message
    );
}

#[test]
fn destinations_must_exist() {
    let to = |names: &[&str]| {
        let destinations = names.iter().map(|name| (*name).to_owned()).collect();
        judge(&SyncRecord {
            destinations,
            ..valid()
        })
        .map_err(|refused| refused.refusal)
    };
    assert!(to(&["azure"]).is_ok());
    let refusal = to(&["aws", "gcp"]).unwrap_err();
    assert_eq!(refusal.reason, ErrorReason::UnknownDestination);
    assert_eq!(
        refusal.message,
        "destination \"gcp\" does not exist here; there are: aws, azure"
    );
    assert_eq!(
        to(&["aws"; 17]).unwrap_err().reason,
        ErrorReason::TooManyItems
    );
}

#[test]
fn what_a_record_asks_for_is_its_effect_its_content_and_its_destinations() {
    let asked = |record: &SyncRecord| judge(record).unwrap().effect.unwrap();
    let to = |names: &[&str]| SyncRecord {
        destinations: names.iter().map(|name| (*name).to_owned()).collect(),
        ..valid()
    };
    let plain = asked(&valid());
    assert_eq!(plain.id, Id16::of("default", "account-7", "id-1"));
    assert_eq!(plain.destinations, 0);
    // In any order, once or twice; and all of them by name is not the same as none.
    let both = asked(&to(&["aws", "azure"]));
    assert_eq!(both, asked(&to(&["azure", "aws", "azure"])));
    let some = [plain, both, asked(&to(&["aws"])), asked(&to(&["azure"]))];
    for (at, one) in some.iter().enumerate() {
        assert!(some.iter().skip(at + 1).all(|other| one != other));
        assert_eq!((one.id, one.fingerprint), (plain.id, plain.fingerprint));
    }
    let other = SyncRecord {
        content_type: "text/plain".into(),
        ..valid()
    };
    assert_ne!(asked(&other).fingerprint, plain.fingerprint);
}

#[test]
fn a_destination_without_a_bit_is_not_remembered() {
    let names: Vec<_> = (0..40).map(|n| format!("d{n}")).collect();
    let all = Validator::new(&GatewaySettings::default(), names, 12);
    let added = GatewayFields::new("default", AT);
    let asked = |name: &str| {
        let record = SyncRecord {
            destinations: vec![name.into()],
            ..valid()
        };
        let judged = all.record(0, &record.encode_to_vec(), &added, &mut Vec::new());
        judged.unwrap().1.map(|effect| effect.destinations)
    };
    assert_eq!((asked("d0"), asked("d31")), (Some(1), Some(1 << 31)));
    assert_eq!((asked("d32"), asked("d39")), (None, None));
}

#[test]
fn an_id_made_by_the_gateway_comes_again_only_if_it_is_derived() {
    let none = SyncRecord {
        request_id: String::new(),
        ..valid()
    };
    let asked = |mode| judge_with(mode, &none.encode_to_vec()).unwrap().effect;
    let made = asked(MissingId::Generate);
    assert!(made.is_some() && made != asked(MissingId::Generate));
    let derived = asked(MissingId::Content);
    assert!(derived.is_some() && derived == asked(MissingId::Content));
}

#[test]
fn what_the_gateway_sets_a_client_may_not() {
    let refused = judge(&SyncRecord {
        tenant: "default".into(),
        ..valid()
    })
    .unwrap_err();
    assert_eq!(refused.refusal.reason, ErrorReason::GatewayOwnedField);
    assert_eq!(refused.request_id, "id-1");
}

#[test]
fn broken_bytes_are_refused_with_their_place() {
    let refused = judge_with(MissingId::Generate, &[10, 200]).unwrap_err();
    assert_eq!(refused.refusal.reason, ErrorReason::MalformedRecord);
    assert_eq!(
        refused.refusal.message,
        "not a SyncRecord: broken encoding at byte 1"
    );
}
