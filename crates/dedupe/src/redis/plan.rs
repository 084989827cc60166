//! How a call's subjects are cut into commands.
//!
//! In: subjects. Out: [`Part`]s: at most [`MAX_IDS`] subjects of one shard each, sorted by the
//! part of the shard they lie in. Promises: every subject stands in one part; subjects of one id
//! keep their order, so a later one is told later.

use crate::claim::Subject;
use cloudsync::identity::Id16;
use std::collections::HashMap;

/// Most ids of one command: the knee of cost, and short enough not to hold Redis up.
pub(super) const MAX_IDS: usize = 256;

/// Subjects of one shard, in commands of their own.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) shard: u32,
    /// Places of the subjects in the call, group after group.
    pub(super) places: Vec<usize>,
    pub(super) groups: Vec<Group>,
}

/// Subjects of one sub-hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) sub: u8,
    /// How many of the part's places are of this group, from where the one before ends.
    pub(super) len: usize,
}

/// Which of `parts` sub-hashes an id lies in.
pub(super) fn sub_of(id: Id16, parts: u16) -> u8 {
    // Not the byte that the memory store cuts by, nor one that decides anything else.
    let sub = u16::from(id.0[14]) % parts.max(1);
    u8::try_from(sub).unwrap_or(0)
}

/// Cuts the subjects at `places` of `subjects`, of a store with `parts` sub-hashes a shard.
pub(super) fn plan(
    subjects: &[Subject],
    places: impl Iterator<Item = usize>,
    parts: u16,
) -> Vec<Part> {
    let spot = |place: usize| {
        let subject = subjects.get(place);
        subject.map_or((0, 0), |s| (s.shard, sub_of(s.id, parts)))
    };
    let mut sorted: Vec<((u32, u8), usize)> = places.map(|place| (spot(place), place)).collect();
    // Most calls are of one shard and one hash, and then nothing is to be sorted.
    if !sorted.is_sorted_by_key(|(spot, _)| *spot) {
        sorted.sort_by_key(|(spot, _)| *spot);
    }
    let mut cut: Vec<Part> = Vec::new();
    for ((shard, sub), place) in sorted {
        let fits = |part: &&mut Part| part.shard == shard && part.places.len() < MAX_IDS;
        let part = match cut.last_mut().filter(fits) {
            Some(part) => part,
            None => {
                cut.push(Part {
                    shard,
                    places: Vec::with_capacity(MAX_IDS.min(subjects.len())),
                    groups: Vec::new(),
                });
                let Some(part) = cut.last_mut() else { continue };
                part
            }
        };
        part.places.push(place);
        match part.groups.last_mut().filter(|group| group.sub == sub) {
            Some(group) => group.len += 1,
            None => part.groups.push(Group { sub, len: 1 }),
        }
    }
    cut
}

/// Splits `places` into the first of each id, and the others with the place of their first.
pub(super) fn firsts(subjects: &[Subject], places: &[usize]) -> (Vec<usize>, Vec<(usize, usize)>) {
    let mut seen: HashMap<Id16, usize> = HashMap::with_capacity(places.len());
    let (mut first, mut later) = (Vec::with_capacity(places.len()), Vec::new());
    for place in places {
        let Some(subject) = subjects.get(*place) else {
            continue;
        };
        match seen.insert(subject.id, *place) {
            None => first.push(*place),
            Some(before) => {
                later.push((*place, before));
                seen.insert(subject.id, before);
            }
        }
    }
    (first, later)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claim::LogPosition;
    use cloudsync::identity::Fingerprint;
    use proptest::prelude::*;

    fn subjects() -> impl Strategy<Value = Vec<Subject>> {
        let subject = (0u32..4, 0u8..40).prop_map(|(shard, n)| Subject {
            id: Id16([n; 16]),
            fingerprint: Fingerprint(0),
            shard: if n < 20 { u32::from(n % 4) } else { shard },
            position: LogPosition {
                partition: 0,
                offset: 0,
            },
        });
        prop::collection::vec(subject, 0..900)
    }

    proptest! {
        #[test]
        fn every_subject_stands_in_one_part_and_ids_keep_their_order(
            subjects in subjects(), parts in prop::sample::select(vec![1u16, 2, 7, 256])
        ) {
            let cut = plan(&subjects, 0..subjects.len(), parts);
            let mut places: Vec<usize> = cut.iter().flat_map(|p| p.places.clone()).collect();
            let mut last: HashMap<(u32, Id16), usize> = HashMap::new();
            for place in &places {
                let subject = &subjects[*place];
                if let Some(before) = last.insert((subject.shard, subject.id), *place) {
                    prop_assert!(before < *place);
                }
            }
            places.sort_unstable();
            prop_assert_eq!(places, (0..subjects.len()).collect::<Vec<_>>());
            for part in &cut {
                prop_assert!((1..=MAX_IDS).contains(&part.places.len()));
                let mut rest = part.places.as_slice();
                for group in &part.groups {
                    let (of_group, after) = rest.split_at(group.len);
                    let fits = of_group.iter().all(|place| {
                        let subject = &subjects[*place];
                        subject.shard == part.shard && sub_of(subject.id, parts) == group.sub
                    });
                    prop_assert!(fits);
                    rest = after;
                }
                prop_assert!(rest.is_empty());
            }
        }

        #[test]
        fn the_first_of_each_id_is_found(subjects in subjects()) {
            let all: Vec<usize> = (0..subjects.len()).collect();
            let (first, later) = firsts(&subjects, &all);
            prop_assert_eq!(first.len() + later.len(), subjects.len());
            for (place, before) in later {
                prop_assert_eq!(subjects[place].id, subjects[before].id);
                prop_assert!(before < place && first.contains(&before));
            }
        }
    }
}
