use super::*;
use crate::chain::line::{self, Stamp, TimeText};
use crate::chain::segment::{Digest, seal};
use cloudsync::SyncRecord;
use cloudsync::identity::Fingerprint;
use cloudsync::wire::RecordView;
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message;

/// A segment of records with these payloads, from offset 100 on; its header, and its lines.
fn a_segment(payloads: &[Vec<u8>]) -> (Header, Vec<u8>) {
    let (mut lines, mut digest) = (Vec::new(), Digest::default());
    let mut times = TimeText::default();
    let mut end = 100;
    for (payload, offset) in payloads.iter().zip(100i64..) {
        let record = SyncRecord {
            request_id: format!("id-{offset}"),
            key: "k".into(),
            payload: payload.clone().into(),
            tenant: "default".into(),
            ..SyncRecord::default()
        };
        let encoded = record.encode_to_vec();
        let view = RecordView::parse(&encoded).unwrap();
        let fingerprint = Fingerprint::of(view.payload, "");
        digest.record(
            offset,
            Id16::of("default", "k", view.request_id),
            fingerprint,
        );
        let stamp = Stamp {
            offset,
            timestamp_ms: 1_795_329_601_007,
            fingerprint,
        };
        line::append(&mut lines, &mut times, &view, stamp);
        end = offset + 1;
    }
    let header = Header {
        cloudsync: "segment".into(),
        version: 1,
        log: "5L6g3nShT-eMCtK--X86sw".into(),
        topic: "data-topic".into(),
        partition: 7,
        start: 100,
        end,
        lines: payloads.len() as u64,
        records: payloads.len() as u64,
        digest: digest.text(),
    };
    (header, lines)
}

fn read(object: &[u8]) -> Result<Vec<(i64, Vec<u8>)>, SegmentError> {
    let mut read = Vec::new();
    SegmentReader::open(object)?.for_each(|identified| {
        let payload = identified.line.payload().unwrap().into_owned();
        read.push((identified.line.offset, payload));
    })?;
    Ok(read)
}

/// These bytes lie at destinations: a change of them is a change of the format.
#[test]
fn header_and_lines_never_change() {
    let (header, lines) = a_segment(&[b"{\"mag\":2.1}".to_vec(), b"hello".to_vec()]);
    let object = seal(&header, &lines).unwrap();
    let golden = concat!(
        r#"{"cloudsync":"segment","version":1,"log":"5L6g3nShT-eMCtK--X86sw","#,
        r#""topic":"data-topic","partition":7,"start":100,"end":102,"lines":2,"records":2,"#,
        r#""digest":"34d0d2c95dd02ec6d0bb87cc0e093256","sum":""#,
    );
    let length = golden.len() + 16 + "\"}\n".len();
    assert_eq!(object[..4], 0x184D_2A50u32.to_le_bytes());
    assert_eq!(object[4..8], u32::try_from(length).unwrap().to_le_bytes());
    // The sum itself depends on what zstd makes of the lines.
    assert_eq!(
        String::from_utf8_lossy(&object[8..8 + golden.len()]),
        golden
    );
    assert_eq!(object[8 + length - 3..8 + length], *b"\"}\n");
    let lines = String::from_utf8(zstd::stream::decode_all(&object[..]).unwrap()).unwrap();
    let golden = concat!(
        r#"{"offset":100,"time":"2026-11-22T06:40:01.007Z","tenant":"default","id":"id-100","#,
        r#""key":"k","fp":"52a76a236775aa13","payload":{"mag":2.1}}"#,
        "\n",
        r#"{"offset":101,"time":"2026-11-22T06:40:01.007Z","tenant":"default","id":"id-101","#,
        r#""key":"k","fp":"6ff4b9280ff0ab20","text":"hello"}"#,
        "\n",
    );
    assert_eq!(lines, golden, "zstd itself passes over the header");
}

#[test]
fn what_is_wrong_with_a_segment_is_said() {
    let (header, lines) = a_segment(&[b"1".to_vec(), b"2".to_vec()]);
    let error = |header: &Header, lines: &[u8]| read(&seal(header, lines).unwrap()).unwrap_err();
    let with = |change: &dyn Fn(&mut Header)| {
        let mut changed = header.clone();
        change(&mut changed);
        changed
    };
    let cut = lines.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    assert!(matches!(
        error(&header, &lines[..cut]),
        SegmentError::Count { found: 1, .. }
    ));
    assert!(matches!(
        error(&header, &lines[..cut - 1]),
        SegmentError::LongLine { number: 1 }
    ));
    let twice = [&lines[..], &lines[..cut]].concat();
    assert!(matches!(
        error(&header, &twice),
        SegmentError::Offset { number: 3, .. }
    ));
    let later = with(&|header| header.start = 101);
    assert!(matches!(
        error(&later, &lines),
        SegmentError::Offset { offset: 100, .. }
    ));
    let other = with(&|header| header.digest = "0".repeat(32));
    assert!(matches!(error(&other, &lines), SegmentError::Digest { .. }));
    let later = with(&|header| header.version = 2);
    assert!(matches!(error(&later, &lines), SegmentError::Version(2)));
    assert!(matches!(
        error(&header, b"{}\n"),
        SegmentError::Line { number: 1, .. }
    ));
    assert!(matches!(
        read(&lines).unwrap_err(),
        SegmentError::NotASegment { .. }
    ));
}

proptest! {
    #[test]
    fn a_segment_comes_back(payloads in vec(vec(any::<u8>(), 0..50), 0..20)) {
        let (header, lines) = a_segment(&payloads);
        let object = seal(&header, &lines).unwrap();
        prop_assert_eq!(&object, &seal(&header, &lines).unwrap());
        prop_assert_eq!(raw_lines(&object).unwrap(), lines);
        prop_assert_eq!(read(&object).unwrap(), (100..).zip(payloads).collect::<Vec<_>>());
    }

    /// Whatever happens to the bytes: no panic, and no altered byte goes unnoticed.
    #[test]
    fn a_damaged_segment_is_an_error(
        payloads in vec(vec(any::<u8>(), 1..50), 1..9),
        (at, bit) in (any::<prop::sample::Index>(), 0u8..8),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let (header, lines) = a_segment(&payloads);
        let mut object = seal(&header, &lines).unwrap().to_vec();
        match cut {
            Some(cut) => object.truncate(cut.index(object.len())),
            None => { let at = at.index(object.len()); object[at] ^= 1 << bit; }
        }
        prop_assert!(read(&object).is_err());
    }
}
