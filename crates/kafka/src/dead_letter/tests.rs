use super::again::Redrive;
use super::entry::{DeadLetterEntry, EntryId, Fold, Line, Settled};
use super::headers::DeadLetterHeaders;
use super::*;
use crate::record::RecordHeaders;
use proptest::prelude::*;
use std::time::Duration;

type Named = Vec<(String, Option<Vec<u8>>)>;

fn record_headers(named: &Named) -> Option<Box<RecordHeaders>> {
    let mut headers = RecordHeaders::default();
    for (name, value) in named {
        headers.push(name, value.as_deref());
    }
    (!headers.is_empty()).then(|| Box::new(headers))
}

fn letter(key: Option<Vec<u8>>, value: Option<Vec<u8>>, offset: i64, named: &Named) -> DeadLetter {
    let original = PolledRecord {
        offset,
        timestamp_ms: 0,
        key: key.map(Bytes::from),
        value: value.map(Bytes::from),
        headers: record_headers(named),
    };
    DeadLetter {
        original,
        origin: Position {
            topic: "data-topic".into(),
            partition: 11,
            offset,
        },
        group: "aws-sync-group".to_owned(),
        destination: "aws".to_owned(),
        reason: Reason::Rejected,
        detail: "the endpoint answered 400".to_owned(),
        cause: Cause {
            class: Some("rejected"),
            code: Some("400".into()),
            attempts: 3,
            first_at: Some(SystemTime::UNIX_EPOCH),
        },
        fingerprint: Some(Fingerprint(7)),
        failed_at: SystemTime::UNIX_EPOCH + Duration::from_secs(5),
    }
}

/// As it is read when it lies at `at` of the dead-letter topic.
fn read(letter: &DeadLetter, at: (i32, i64)) -> DeadLetterEntry {
    let mut headers = RecordHeaders::default();
    for (name, value) in letter.clone().into_headers() {
        headers.push(&name, value.as_deref());
    }
    let record = PolledRecord {
        offset: at.1,
        headers: Some(Box::new(headers)),
        ..letter.original.clone()
    };
    match Line::read(at.0, record) {
        Line::Entry(entry) => *entry,
        other => panic!("{other:?}"),
    }
}

fn named() -> impl Strategy<Value = Named> {
    let ours = prop::sample::select(vec![
        "cloudsync.dlq.topic",
        "cloudsync.dlq.destination",
        "cloudsync.redrive.count",
        "traceparent",
    ]);
    let name = prop_oneof!["[a-z.]{1,8}".boxed(), ours.prop_map(str::to_owned).boxed()];
    let value = prop::option::of(prop::collection::vec(any::<u8>(), 0..8));
    prop::collection::vec((name, value), 0..5)
}

proptest! {
    #[test]
    fn what_is_read_is_what_was_set_aside(
        key in prop::option::of(prop::collection::vec(any::<u8>(), 0..20)),
        value in prop::option::of(prop::collection::vec(any::<u8>(), 0..20)),
        offset in 0i64..i64::MAX, detail in "\\PC{0,40}", named in named(),
    ) {
        let letter = DeadLetter { detail, ..letter(key, value, offset, &named) };
        let mut bytes = b"the letter before".to_vec();
        let entry = letter.entry(&mut bytes, 4);
        prop_assert!((0..4).contains(&entry.partition));
        let part = |place: Option<std::ops::Range<usize>>| place.map(|at| &bytes[at]);
        prop_assert_eq!(part(entry.key), letter.original.key.as_deref());
        prop_assert_eq!(part(entry.value), letter.original.value.as_deref());
        let read = read(&letter, (2, 9));
        // The record is what it was, with headers that may be called like ours.
        let original = PolledRecord { offset: 9, ..letter.original.clone() };
        prop_assert_eq!(&read.original, &original);
        prop_assert_eq!(&read.headers.origin, &letter.origin);
        prop_assert_eq!(&read.headers.message, &letter.detail);
        prop_assert_eq!(Reason::from_word(&read.headers.reason), Some(letter.reason));
        prop_assert_eq!(&*read.headers.group, "aws-sync-group");
        prop_assert_eq!(&*read.headers.destination, "aws");
        prop_assert_eq!(&*read.headers.failed_at, "1970-01-01T00:00:05Z");
        prop_assert_eq!(read.headers.first_at.as_deref(), Some("1970-01-01T00:00:00Z"));
        prop_assert_eq!(read.headers.class.as_deref(), Some("rejected"));
        prop_assert_eq!(read.headers.code.as_deref(), Some("400"));
        prop_assert_eq!(read.headers.attempts, Some(3));
        prop_assert_eq!(read.headers.fingerprint.as_deref(), Some("0000000000000007"));
    }

    /// Whatever order the partitions are read in, and however often an entry lies there.
    #[test]
    fn an_entry_is_one_and_open_until_it_is_marked(
        lines in prop::collection::vec((0i64..6, 0i32..3, 0u8..5), 0..40),
        turn in any::<prop::sample::Index>(),
    ) {
        let mut ends = [0i64; 3];
        let (mut all, mut entries, mut settled) = (Vec::new(), std::collections::BTreeSet::new(),
            std::collections::BTreeSet::new());
        for (origin, partition, what) in lines {
            let at = (partition, ends[partition as usize]);
            ends[partition as usize] += 1;
            let entry = read(&letter(None, Some(vec![1]), origin, &vec![]), at);
            let line = match what {
                0 => { settled.insert(entry.id); Line::Marker(entry.id, Settled::Dropped) }
                1 => { settled.insert(entry.id); Line::Marker(entry.id, Settled::Redriven) }
                2 => Line::Foreign,
                _ => { entries.insert(entry.id); Line::Entry(Box::new(entry)) }
            };
            all.push(line);
        }
        let at = if all.is_empty() { 0 } else { turn.index(all.len()) };
        all.rotate_left(at);
        let mut fold = Fold::default();
        all.iter().for_each(|line| fold.take(line));
        let ids: std::collections::BTreeSet<EntryId> = fold.ids().collect();
        prop_assert_eq!(&ids, &entries);
        for id in &ids {
            prop_assert_eq!(fold.settled(*id).is_some(), settled.contains(id));
            let firsts = all.iter().filter(|line| {
                matches!(line, Line::Entry(entry) if entry.id == *id && fold.is_first(entry))
            });
            prop_assert_eq!(firsts.count(), 1);
        }
    }

    #[test]
    fn a_long_sentence_is_cut_between_characters(text in "\\PC{0,30}", limit in 0usize..40) {
        let short = cut(text.clone(), limit);
        prop_assert!(short.len() <= limit && text.starts_with(&short));
        prop_assert!(text.len() > limit || short == text);
    }
}

#[test]
fn what_the_first_version_wrote_is_read() {
    let headers = [
        ("cloudsync.dlq.topic", "data-topic"),
        ("cloudsync.dlq.partition", "11"),
        ("cloudsync.dlq.offset", "42"),
        ("cloudsync.dlq.group", "aws-sync-group"),
        ("cloudsync.dlq.destination", "aws"),
        ("cloudsync.dlq.reason", "rejected"),
        ("cloudsync.dlq.message", "no"),
        ("cloudsync.dlq.failed_at", "2026-11-20T10:00:00Z"),
    ];
    let owned = |(name, value): &(&str, &'static str)| {
        ((*name).to_owned(), Bytes::from_static(value.as_bytes()))
    };
    let all: Vec<_> = headers.iter().map(owned).collect();
    let read = DeadLetterHeaders::parse(&all).unwrap();
    assert_eq!((read.origin.partition, read.origin.offset), (11, 42));
    assert_eq!(
        (read.class, read.attempts, read.trace_id),
        (None, None, None)
    );
    for without in 0..all.len() {
        let mut fewer = all.clone();
        fewer.remove(without);
        assert_eq!(DeadLetterHeaders::parse(&fewer), None, "{without}");
    }
}

#[test]
fn a_redrive_names_its_destination_counts_on_and_keeps_the_rest() {
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let named = vec![
        ("mine".to_owned(), None),
        (
            "cloudsync.redrive.destination".to_owned(),
            Some(b"aws".to_vec()),
        ),
        ("cloudsync.redrive.count".to_owned(), Some(b"2".to_vec())),
        ("traceparent".to_owned(), Some(trace.into())),
    ];
    let entry = read(
        &letter(Some(b"k".to_vec()), Some(b"v".to_vec()), 8, &named),
        (0, 1),
    );
    assert_eq!((entry.redrives, entry.is_parked()), (2, false));
    let id = "4bf92f3577b34da6a3ce929d0e0e4736";
    assert_eq!(entry.headers.trace_id.as_deref(), Some(id));
    let mut again = RecordHeaders::default();
    for (name, value) in entry.redriven_headers() {
        again.push(&name, value.as_deref());
    }
    let names: Vec<_> = again.iter().map(|(name, _)| name.to_owned()).collect();
    assert_eq!(names[..2], ["mine", "traceparent"]);
    let redrive = Redrive::of(&again).unwrap();
    assert_eq!((&*redrive.destination, redrive.count), ("aws", 3));
    assert_eq!(redrive.origin, Some(entry.headers.origin.clone()));
    // Undecodable: back to where it was.
    assert_eq!(entry.partition(12), 11);
}

#[test]
fn the_longest_headers_fit_beside_the_largest_record() {
    let long = "ä".repeat(100_000);
    let letter = DeadLetter {
        detail: long.clone(),
        origin: Position {
            topic: "t".repeat(249).into(),
            partition: i32::MAX,
            offset: i64::MAX,
        },
        group: "g".repeat(249),
        destination: "d".repeat(64),
        cause: Cause {
            class: Some("throttled"),
            code: Some(long.into()),
            attempts: u32::MAX,
            first_at: Some(SystemTime::now()),
        },
        ..letter(None, None, 1, &vec![])
    };
    let headers = letter.into_headers();
    let size = |(name, value): &(Cow<'static, str>, Option<Bytes>)| {
        name.len() + value.as_ref().map_or(0, Bytes::len) + 8
    };
    assert!(headers.iter().map(size).sum::<usize>() < 16 * 1024);
}
