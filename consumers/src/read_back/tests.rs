use super::*;
use crate::chain::closed::{ClosedSegment, Entry, Verdict, What};
use crate::chain::line::{self, Stamp, TimeText};
use crate::chain::segment::seal;
use crate::parse::{Content, Polled};
use cloudsync::SyncRecord;
use cloudsync_kafka::PolledRecord;
use prost::Message;
use std::path::PathBuf;
use tempfile::TempDir;

fn chain_name() -> ChainName {
    ChainName {
        topic: "data-topic".into(),
        log: "log-1".into(),
        partition: 3,
    }
}

fn polled(offset: i64, payload: &str) -> Polled {
    let record = SyncRecord {
        request_id: format!("id-{offset}"),
        payload: payload.as_bytes().to_vec().into(),
        tenant: "default".into(),
        ..SyncRecord::default()
    };
    let value = Some(record.encode_to_vec().into());
    Polled::parse(
        PolledRecord {
            offset,
            timestamp_ms: 0,
            key: None,
            value,
            headers: None,
        },
        "aws",
        12,
    )
}

/// Writes the segment `start..end`, with a duplicate at its end.
async fn write(sink: &dyn SegmentSink, start: i64, end: i64) -> String {
    let (mut entries, mut lines) = (Vec::new(), Vec::new());
    for offset in start..end {
        let polled = polled(offset, &format!("{{\"n\":{offset}}}"));
        let Content::Record { named, .. } = polled.content else {
            panic!()
        };
        let written = offset + 1 < end;
        let verdict = if written {
            Verdict::Written
        } else {
            Verdict::Duplicate
        };
        if written {
            let stamp = Stamp {
                offset,
                timestamp_ms: 0,
                fingerprint: named.fingerprint,
            };
            line::append(
                &mut lines,
                &mut TimeText::default(),
                &polled.view().unwrap(),
                stamp,
            );
        }
        entries.push(Entry {
            offset,
            what: What::Named(named),
            verdict,
            bytes: 0,
            line: 0,
        });
    }
    let segment = ClosedSegment {
        name: chain_name().segment(start),
        end,
        entries,
        faults: Vec::new(),
    };
    let name = segment.name.to_string();
    let object = seal(&segment.header(), &lines).unwrap();
    sink.create_if_absent(&name, object).await.unwrap();
    name
}

struct Destination {
    _temp: TempDir,
    root: PathBuf,
    settings: DestinationSettings,
    names: Vec<String>,
}

async fn a_destination() -> Destination {
    let temp = TempDir::new().unwrap();
    let root = temp.path().to_owned();
    let settings = DestinationSettings::new(format!("file://{}", root.display()), "g");
    let sink = sink::open_objects(&settings, "aws").await.unwrap();
    let mut names = Vec::new();
    for (start, end) in [(0, 4), (4, 5), (5, 9)] {
        names.push(write(sink.as_ref(), start, end).await);
    }
    Destination {
        _temp: temp,
        root,
        settings,
        names,
    }
}

async fn read(settings: &DestinationSettings) -> (ReadBack, Vec<i64>) {
    let mut offsets = Vec::new();
    let mut visit = |line: DeliveredLine<'_>| {
        assert_eq!(
            line.payload,
            format!("{{\"n\":{}}}", line.offset).as_bytes()
        );
        assert_eq!(
            line.id16,
            Id16::of("default", "", &format!("id-{}", line.offset))
        );
        assert_eq!(
            (line.topic, line.log, line.partition),
            ("data-topic", "log-1", 3)
        );
        offsets.push(line.offset);
    };
    let read = read_back(settings, &mut visit).await.unwrap();
    (read, offsets)
}

fn file(destination: &Destination, index: usize) -> PathBuf {
    destination.root.join(&destination.names[index])
}

fn is_named(read: &ReadBack, name: &str, why: &str) -> bool {
    read.damaged
        .iter()
        .any(|damage| damage.name == name && damage.why.contains(why))
}

#[tokio::test]
async fn everything_that_lies_there_is_visited_and_nothing_is_wrong() {
    let destination = a_destination().await;
    let (read, offsets) = read(&destination.settings).await;
    assert_eq!(offsets, [0, 1, 2, 5, 6, 7]);
    assert_eq!((read.objects, read.lines, read.records), (3, 6, 9));
    assert_eq!((read.damage_count, read.gaps), (0, vec![]));
    // The segment that covers the moment, and those behind it; elsewhere everything.
    let settings = &destination.settings;
    for (topic, end, first) in [
        ("data-topic", 3, 0),
        ("data-topic", 4, 4),
        ("data-topic", 6, 5),
        ("data-topic", 900, 5),
        ("other-topic", 900, 0),
    ] {
        let mut offsets = Vec::new();
        let since = BTreeMap::from([(3, end), (4, 900)]);
        let mut visit = |line: DeliveredLine<'_>| offsets.push(line.offset);
        let read = read_back_since(settings, topic, &since, &mut visit)
            .await
            .unwrap();
        let all = [0, 1, 2, 5, 6, 7].into_iter();
        let wanted: Vec<i64> = all.filter(|offset| *offset >= first).collect();
        assert_eq!((offsets, read.gaps), (wanted, vec![]), "{topic} {end}");
    }
}

#[tokio::test]
async fn a_deleted_object_is_a_gap_with_its_place() {
    let destination = a_destination().await;
    std::fs::remove_file(file(&destination, 1)).unwrap();
    let (read, _) = read(&destination.settings).await;
    assert_eq!(
        read.gaps,
        [Gap {
            chain: chain_name(),
            start: 4,
            end: 5
        }]
    );
}

#[tokio::test]
async fn an_altered_byte_is_named() {
    let destination = a_destination().await;
    let whole = std::fs::read(file(&destination, 2)).unwrap();
    // In the magic, in the length, in the header, in the frame.
    for at in [0, 5, 100, whole.len() - 30, whole.len() - 1] {
        let mut altered = whole.clone();
        altered[at] ^= 1;
        std::fs::write(file(&destination, 2), &altered).unwrap();
        let read = read_back(&destination.settings, &mut |_| {}).await.unwrap();
        assert!(is_named(&read, &destination.names[2], ""), "{at}: {read:?}");
    }
}

#[tokio::test]
async fn a_copied_object_is_named_wherever_it_lies() {
    let destination = a_destination().await;
    let copy_to = |name: &str| {
        let to = destination.root.join(name);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(file(&destination, 0), to).unwrap();
    };
    let elsewhere = chain_name().segment(9).to_string();
    copy_to(&elsewhere);
    let stray = "data-topic/log-1/p03/copy";
    copy_to(stray);
    let (read, offsets) = read(&destination.settings).await;
    assert!(is_named(
        &read,
        &elsewhere,
        "it says that it is data-topic/log-1/p03/0000"
    ));
    assert!(is_named(&read, stray, "no object"));
    assert_eq!(
        offsets,
        [0, 1, 2, 5, 6, 7, 0, 1, 2],
        "a ledger sees the ids twice"
    );
}

#[tokio::test]
async fn a_forged_line_states_another_fingerprint_than_it_has() {
    let destination = a_destination().await;
    let object = std::fs::read(file(&destination, 0)).unwrap();
    let header = SegmentReader::open(&object).unwrap().header;
    let lines = String::from_utf8(crate::chain::reader::raw_lines(&object).unwrap()).unwrap();
    let forged = lines.replace("{\"n\":1}", "{\"n\":7}");
    let object = seal(&header, forged.as_bytes()).unwrap();
    std::fs::write(file(&destination, 0), object).unwrap();
    let mut altered = Vec::new();
    let mut visit = |line: DeliveredLine<'_>| {
        if line.stated != line.fingerprint {
            altered.push(line.id.to_owned());
        }
    };
    let read = read_back(&destination.settings, &mut visit).await.unwrap();
    assert!(is_named(
        &read,
        &destination.names[0],
        "offset 1 (id id-1) states fingerprint"
    ));
    assert_eq!(altered, ["id-1"]);
}

#[tokio::test]
async fn a_place_that_is_not_there_is_an_error_and_not_an_empty_one() {
    let temp = TempDir::new().unwrap();
    let at = |url: String| DestinationSettings::new(url, "g");
    let typo = at(format!("file://{}/typo", temp.path().display()));
    assert!(matches!(
        read_back(&typo, &mut |_| {}).await,
        Err(ReadBackError::Sink(_))
    ));
    let none = read_back(&at("null://".to_owned()), &mut |_| {}).await;
    assert!(matches!(none, Err(ReadBackError::KeepsNothing(_))));
}
