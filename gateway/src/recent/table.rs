//! The effects of the recent past, and where their records lie in the log: a structure without a
//! lock and without a clock.
//!
//! In: an effect that the log has acknowledged, with its offset; later an effect that came in. Out:
//! whether it is that very one, and its offset. Promises: exact: only what was remembered is known,
//! and only with the same content for the same destinations; keeps the last `limit` ids, and forgets
//! first the one that came first; takes at most 48 bytes an id.

use cloudsync::identity::{Fingerprint, Id16};
use cloudsync_dedupe::Newest;

/// What a record asks for: which effect, with which content, where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Effect {
    /// Which effect.
    pub(crate) id: Id16,
    /// With which content.
    pub(crate) fingerprint: Fingerprint,
    /// Where: a bit for each destination that the record names, none when it names none.
    pub(crate) destinations: u32,
}

/// The last so many effects.
#[derive(Debug)]
pub(super) struct Table {
    entries: Newest<Entry>,
}

/// An [`Effect`] without its id.
#[derive(Clone, Copy, Debug)]
struct Entry {
    fingerprint: Fingerprint,
    destinations: u32,
    /// [`UNPLACED`] if the log has not said where.
    offset: i64,
}

/// Behind every offset.
const UNPLACED: i64 = i64::MAX;

// === impl Table ===

impl Table {
    /// Room for the last `limit` ids, as [`Newest::new`] has it.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            entries: Newest::new(limit),
        }
    }

    /// To be called before [`Table::find`] for each of `effects`.
    pub(super) fn touch<'a>(&self, effects: impl Iterator<Item = &'a Effect>) {
        self.entries.touch(effects.map(|effect| &effect.id));
    }

    /// To be called before [`Table::remember`] for each of `effects`.
    pub(super) fn touch_for<'a>(&self, effects: impl ExactSizeIterator<Item = &'a Effect>) {
        self.entries.touch_for(effects.map(|effect| &effect.id));
    }

    /// Number of ids in it.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Where the record with this very effect lies: `Some(None)` if the log has not said where, `None`
    /// if no such record is known.
    pub(super) fn find(&self, effect: &Effect) -> Option<Option<i64>> {
        let entry = self.entries.get(&effect.id)?;
        entry.is_of(effect).then(|| entry.offset())
    }

    /// The log has acknowledged a record with `effect`, at `offset` if it said so.
    ///
    /// Of two records with one effect (both were on their way at once) the first in the log counts,
    /// as it does for the consumers. Another content or other destinations take the place of those
    /// before; the id keeps its age.
    pub(super) fn remember(&mut self, effect: Effect, offset: Option<i64>) {
        let new = Entry {
            fingerprint: effect.fingerprint,
            destinations: effect.destinations,
            offset: offset.unwrap_or(UNPLACED),
        };
        self.entries.remember(effect.id, new, |known, new| {
            if known.is_of(&effect) {
                known.offset = known.offset.min(new.offset);
            } else {
                *known = new;
            }
        });
    }
}

impl Entry {
    /// Whether it is what `effect`, whose id it has, asks for.
    fn is_of(&self, effect: &Effect) -> bool {
        (self.fingerprint, self.destinations) == (effect.fingerprint, effect.destinations)
    }

    fn offset(&self) -> Option<i64> {
        (self.offset != UNPLACED).then_some(self.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The same, as simple as can be: the ids in the order in which they came.
    struct Model {
        limit: usize,
        entries: Vec<(Effect, Option<i64>)>,
    }

    impl Model {
        fn find(&self, effect: &Effect) -> Option<Option<i64>> {
            let mut all = self.entries.iter();
            all.find(|(known, _)| known == effect).map(|(_, at)| *at)
        }

        fn remember(&mut self, effect: Effect, offset: Option<i64>) {
            let known = self.entries.iter_mut().find(|(it, _)| it.id == effect.id);
            match known {
                Some((it, at)) if *it == effect => {
                    let first = [*at, offset].into_iter().flatten().min();
                    *at = first;
                }
                Some(known) => *known = (effect, offset),
                None => {
                    self.entries.push((effect, offset));
                    if self.entries.len() > self.limit {
                        self.entries.remove(0);
                    }
                }
            }
        }
    }

    /// Few ids, of which many share a bucket and a tag of the index.
    fn effect(id: u8, content: u8, destinations: u8) -> Effect {
        let mut bytes = [0; 16];
        bytes[7] = id % 4 * 64;
        bytes[8] = id % 3;
        bytes[15] = id;
        Effect {
            id: Id16(bytes),
            fingerprint: Fingerprint(content.into()),
            destinations: destinations.into(),
        }
    }

    proptest! {
        #[test]
        fn it_knows_what_a_list_knows(
            limit in 1..40usize,
            steps in prop::collection::vec(
                (0..60u8, 0..3u8, 0..2u8, prop::option::of(0..100i64)), 0..300
            ),
        ) {
            let mut table = Table::new(limit);
            let mut model = Model { limit, entries: Vec::new() };
            for (id, content, destinations, offset) in steps {
                table.remember(effect(id, content, destinations), offset);
                model.remember(effect(id, content, destinations), offset);
                prop_assert_eq!(table.len(), model.entries.len());
                for id in 0..60 {
                    for content in 0..3 {
                        for destinations in 0..2 {
                            let it = effect(id, content, destinations);
                            prop_assert_eq!(table.find(&it), model.find(&it));
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn an_id_takes_no_more_than_it_may() {
        for limit in [1_000, 500_000, 1_000_000] {
            let bytes = Table::new(limit).entries.bytes();
            assert!(bytes <= limit * 48, "{}", bytes / limit);
        }
    }
}
