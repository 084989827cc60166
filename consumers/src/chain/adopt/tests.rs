use super::*;
use crate::chain::closed::{ClosedSegment, Verdict};
use crate::chain::name::ChainName;
use cloudsync::identity::{Fingerprint, Id16};
use proptest::collection::vec;
use proptest::prelude::*;

fn named(id: u8, content: u64) -> What {
    let (id, fingerprint) = (Id16([id; 16]), Fingerprint(content));
    What::Named(Named {
        id,
        fingerprint,
        shard: 0,
    })
}

fn entry(offset: i64, what: What, written: bool) -> Entry {
    let verdict = if written {
        Verdict::Written
    } else {
        Verdict::Duplicate
    };
    Entry {
        offset,
        what,
        verdict,
        bytes: 1,
        line: 1,
    }
}

/// The segment 10..`end` that some log made of `entries`.
fn found(end: i64, entries: &[Entry]) -> Found {
    let chain = ChainName {
        topic: "t".into(),
        log: "l".into(),
        partition: 0,
    };
    let segment = ClosedSegment {
        name: chain.segment(10),
        end,
        entries: entries.to_vec(),
        faults: Vec::new(),
    };
    let lines = entries
        .iter()
        .filter_map(|entry| match (entry.verdict, entry.what) {
            (Verdict::Written, What::Named(named)) => Some(FoundLine {
                offset: entry.offset,
                named,
            }),
            _ => None,
        });
    Found {
        header: segment.header(),
        lines: lines.collect(),
    }
}

fn verdict(found: &Found, log: &[Entry], high_watermark: Option<i64>) -> Whose {
    Adoption::begin(found.clone(), log.iter()).verdict(high_watermark)
}

fn is_foreign(whose: &Whose) -> bool {
    matches!(whose, Whose::Foreign(_))
}

#[test]
fn a_log_that_ends_before_the_segment_is_another_log() {
    let log = [entry(10, named(1, 1), true), entry(11, named(2, 2), true)];
    let segment = found(13, &log);
    assert!(is_foreign(&verdict(&segment, &log, Some(12))));
    assert_eq!(
        verdict(&segment, &log, Some(13)),
        Whose::Ours,
        "it reaches there, sparsely"
    );
    let beyond = [log[0], log[1], entry(20, named(9, 9), true)];
    assert_eq!(verdict(&segment, &beyond, None), Whose::Ours);
}

#[test]
fn as_many_records_with_another_content_are_another_log() {
    let log = [entry(10, named(1, 1), true), entry(11, named(2, 2), false)];
    let segment = found(12, &log);
    assert_eq!(verdict(&segment, &log, None), Whose::Ours);
    let other_line = [entry(10, named(1, 7), true), log[1]];
    assert!(is_foreign(&verdict(&segment, &other_line, None)));
    let other_duplicate = [log[0], entry(11, named(2, 7), false)];
    assert!(is_foreign(&verdict(&segment, &other_duplicate, None)));
    let more = [log[0], log[1], entry(12, named(3, 3), true)];
    assert_eq!(
        verdict(&segment, &more, None),
        Whose::Ours,
        "what lies behind does not count"
    );
}

#[test]
fn a_log_that_has_lost_records_is_ours_while_the_rest_agrees() {
    let log = [
        entry(10, named(1, 1), true),
        entry(11, named(2, 2), true),
        entry(12, What::Undecodable([3; 16]), false),
        entry(13, named(4, 4), true),
    ];
    let segment = found(14, &log);
    assert_eq!(verdict(&segment, &log[1..], None), Whose::Ours, "retention");
    assert_eq!(
        verdict(&segment, &[log[0], log[3]], None),
        Whose::Ours,
        "compaction"
    );
    assert_eq!(
        verdict(&segment, &[], Some(14)),
        Whose::Ours,
        "nothing left"
    );
    let altered = [log[0], entry(13, named(4, 5), true)];
    assert!(is_foreign(&verdict(&segment, &altered, None)));
    let broken = [log[0], entry(13, What::Undecodable([4; 16]), false)];
    assert!(is_foreign(&verdict(&segment, &broken, None)));
}

proptest! {
    #[test]
    fn ours_exactly_when_the_log_says_the_same(
        held in vec((0u8..4, 0u64..2, any::<bool>()), 1..8),
        altered in proptest::option::of((any::<prop::sample::Index>(), 0u8..4, 0u64..2)),
        lost in vec(any::<bool>(), 8),
    ) {
        let entries: Vec<_> = (10..).zip(&held)
            .map(|(offset, (id, content, written))| entry(offset, named(*id, *content), *written))
            .collect();
        let end = 10 + i64::try_from(entries.len()).unwrap();
        let segment = found(end, &entries);
        let mut log = entries.clone();
        if let Some((at, id, content)) = altered {
            let at = at.index(log.len());
            log[at].what = named(id, content);
        }
        let differs: Vec<_> = (0..log.len()).filter(|at| log[*at].what != entries[*at].what).collect();
        let kept: Vec<_> = (0..log.len()).filter(|at| !lost[*at]).collect();
        let log: Vec<_> = kept.iter().map(|at| log[*at]).collect();
        let seen_difference = if kept.len() == entries.len() {
            !differs.is_empty()
        } else {
            // Of what was not written the segment says nothing that could be compared.
            differs.iter().any(|at| kept.contains(at) && entries[*at].verdict == Verdict::Written)
        };
        prop_assert_eq!(is_foreign(&verdict(&segment, &log, Some(end))), seen_difference);
    }
}
