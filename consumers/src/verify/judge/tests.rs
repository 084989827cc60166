use super::*;
use crate::verify::entry::{ABOVE, OUTSIDE, TO_BOTH, addressed};
use cloudsync::identity::Id16;
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

fn entry(voice: Voice, content: u8, offset: i64, flags: u32) -> Entry {
    let entry = Entry::new(voice, Id16([7; 16]), Fingerprint(u64::from(content)), flags);
    entry.at(0, 0, offset)
}

fn judged(mut entries: Vec<Entry>) -> Vec<Finding> {
    let mut found = Vec::new();
    judge(&mut entries, &mut |finding| found.push(finding));
    found
}

fn kinds(entries: Vec<Entry>) -> Vec<(Kind, u8)> {
    let found = judged(entries);
    found.iter().map(|it| (it.kind, it.side)).collect()
}

/// What the two multisets of contents say by themselves.
fn model(sides: [&[u8]; 2]) -> BTreeMap<(Kind, u8), usize> {
    let mut wanted = BTreeMap::new();
    for side in [0, 1u8] {
        let (here, other) = (sides[usize::from(side)], sides[usize::from(1 - side)]);
        let set = |of: &[u8]| of.iter().copied().collect::<BTreeSet<_>>();
        let alike = !set(here).is_disjoint(&set(other));
        let counts = [
            (Kind::Doubled, here.len().saturating_sub(1)),
            (
                Kind::Missing,
                usize::from(here.is_empty() && !other.is_empty()),
            ),
            (
                Kind::Altered,
                usize::from(!here.is_empty() && !other.is_empty() && !alike),
            ),
        ];
        let counts = counts.into_iter().filter(|(_, count)| *count > 0);
        wanted.extend(counts.map(|(kind, count)| ((kind, side), count)));
    }
    wanted
}

proptest! {
    #[test]
    fn two_multisets_are_compared_as_the_model_says(
        first in vec(0u8..3, 0..4), second in vec(0u8..3, 0..4), seed in any::<u64>(),
    ) {
        let lies = |side, contents: &[u8]| -> Vec<Entry> {
            let all = (0..).zip(contents.to_vec());
            all.map(|(at, content)| entry(Voice::Side(side), content, at, TO_BOTH)).collect()
        };
        let mut entries = [lies(0, &first), lies(1, &second)].concat();
        let mut found = BTreeMap::new();
        for it in judged(entries.clone()) {
            *found.entry((it.kind, it.side)).or_insert(0) += 1;
        }
        prop_assert_eq!(&found, &model([&first, &second]));
        // In whatever order they were read.
        let again = judged(entries.clone());
        let rotated = usize::try_from(seed % 7).unwrap();
        let rotated = rotated.min(entries.len());
        entries.rotate_left(rotated);
        entries.reverse();
        prop_assert_eq!(judged(entries.clone()), again);
        // What is not compared accuses nobody.
        for flag in [ABOVE, OUTSIDE] {
            let quiet = entries.iter().map(|it| it.with(flag)).collect();
            prop_assert_eq!(judged(quiet), vec![]);
        }
    }

    /// Whatever stands where: nothing panics, and an id is missing at a destination once at most,
    /// and never where it lies with that very content.
    #[test]
    fn an_id_is_missing_once_at_most_and_never_where_it_lies(
        raw in vec((0u8..4, 0u8..3, 0i64..6, 0u32..512), 0..8)
    ) {
        let voice = |number| match number {
            0 | 1 => Voice::Side(number),
            2 => Voice::Log,
            _ => Voice::DeadLetter,
        };
        let entries: Vec<_> = raw.iter()
            .map(|(of, content, offset, flags)| entry(voice(*of), *content, *offset, *flags))
            .collect();
        let found = judged(entries.clone());
        for side in [0, 1] {
            let missing: Vec<_> = found.iter()
                .filter(|it| it.side == side)
                .filter(|it| matches!(it.kind, Kind::Missing | Kind::DeadLettered))
                .collect();
            prop_assert!(missing.len() <= 1);
            let Some(missing) = missing.first() else { continue };
            let lies = entries.iter().any(|it| {
                it.voice() == Voice::Side(side) && it.fingerprint == missing.entry.fingerprint
            });
            prop_assert!(!lies && missing.entry.counts());
            prop_assert!(missing.entry.is_addressed_to(side));
        }
    }
}

const A: Voice = Voice::Side(0);
const B: Voice = Voice::Side(1);

#[test]
fn what_was_delivered_above_the_bound_is_not_missing() {
    let below = entry(A, 1, 5, TO_BOTH);
    assert_eq!(kinds(vec![below]), [(Kind::Missing, 1)]);
    let later = entry(B, 1, 900, TO_BOTH | ABOVE);
    assert_eq!(kinds(vec![below, later]), []);
}

#[test]
fn a_record_goes_where_it_is_addressed_to() {
    assert_eq!(kinds(vec![entry(A, 1, 5, addressed(0))]), []);
    let astray = entry(B, 1, 5, addressed(0));
    assert_eq!(kinds(vec![astray]), [(Kind::Missing, 0), (Kind::Extra, 1)]);
}

#[test]
fn what_was_set_aside_is_told_apart() {
    let (here, letter) = (
        entry(A, 1, 5, TO_BOTH),
        entry(Voice::DeadLetter, 1, 5, addressed(1)),
    );
    assert_eq!(kinds(vec![here, letter]), [(Kind::DeadLettered, 1)]);
    // A letter of another content, or for another destination, excuses nothing.
    for letter in [
        entry(Voice::DeadLetter, 2, 5, addressed(1)),
        entry(Voice::DeadLetter, 1, 5, addressed(0)),
    ] {
        assert_eq!(kinds(vec![here, letter]), [(Kind::Missing, 1)]);
    }
}

#[test]
fn the_log_tells_what_was_sent() {
    let log = entry(Voice::Log, 1, 5, TO_BOTH);
    assert_eq!(kinds(vec![log]), [(Kind::Missing, 0), (Kind::Missing, 1)]);
    let (right, wrong) = (entry(A, 1, 5, TO_BOTH), entry(B, 2, 5, TO_BOTH));
    let found = judged(vec![log, right, wrong]);
    assert_eq!(found.len(), 1);
    assert_eq!(
        (found[0].kind, found[0].side, found[0].right),
        (Kind::Altered, 1, Some(right))
    );
    // A place that the log has, with nothing of the kind in the log.
    let made_up = entry(A, 1, 5, TO_BOTH | IN_LOG_RANGE);
    assert_eq!(kinds(vec![made_up]), [(Kind::Extra, 0)]);
    // A re-used id whose second content was neither delivered nor set aside.
    let again = entry(Voice::Log, 3, 8, addressed(0));
    let (first, same) = (entry(A, 1, 5, TO_BOTH), entry(B, 1, 5, TO_BOTH));
    assert_eq!(kinds(vec![log, again, first, same]), [(Kind::Missing, 0)]);
    let letter = entry(Voice::DeadLetter, 3, 8, addressed(0));
    let told = kinds(vec![log, again, first, same, letter]);
    assert_eq!(told, [(Kind::DeadLettered, 0)]);
}

#[test]
fn what_contradicts_itself_is_the_altered_one() {
    let (here, there) = (entry(A, 1, 5, TO_BOTH | ALTERED), entry(B, 2, 5, TO_BOTH));
    let found = judged(vec![here, there]);
    assert_eq!(found.len(), 1);
    assert_eq!(
        (found[0].kind, found[0].side, found[0].right),
        (Kind::Altered, 0, Some(there))
    );
    let here = entry(A, 1, 5, TO_BOTH | SUSPECT);
    let found = judged(vec![here, there]);
    assert_eq!(found.len(), 1);
    assert_eq!(
        (found[0].kind, found[0].side, found[0].right),
        (Kind::Altered, 0, Some(there))
    );
}
