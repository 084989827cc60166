//! From an id to the place of what is known of it (here its mark in the ring; the gateway has such a
//! table too): 5 to 6 bytes an id.
//!
//! In: an id and the number of a place (24 bits). Out: that number again. Promises: exact, as long
//! as whoever asks compares the whole id (the index keeps 8 bits of it, to ask seldom in vain); room
//! for what [`Index::with_room_for`] was told.
//!
//! Buckets as large as a cache line: 15 places, and how many entries stand further on because this bucket
//! was full when they came. An entry is taken out without looking at its neighbours and without
//! leaving a gravestone. Each id has two homes and goes to the emptier one (balanced allocations:
//! Azar, Broder, Karlin, Upfal 1999), so hardly any has to go further: a look-up reads two buckets.
//! With one home entries that come and go, as ids do in a full table, make the ways longer and
//! longer, up to 16 buckets.

use cloudsync::identity::Id16;

/// Entries of a bucket; the first lane counts those that found no room.
const ENTRIES: usize = LANES - 1;
const LANES: usize = 16;
/// Largest share of the entries that is used: more makes long ways.
const FULL_PERCENT: usize = 85;
/// How much it grows: more wastes memory, less costs time.
const GROWTH_PERCENT: usize = 120;
const NUMBER_BITS: u32 = 24;

/// Numbers of places lie below this.
pub(super) const NUMBERS: u32 = 1 << NUMBER_BITS;
pub(super) const BUCKET_BYTES: usize = size_of::<Bucket>();

type Bucket = [u32; LANES];

/// An exact index from ids to numbers, for whoever keeps the ids themselves.
#[derive(Debug, Default)]
pub(crate) struct Index {
    buckets: Vec<Bucket>,
    used: usize,
}

/// Where an entry stands.
#[derive(Clone, Copy)]
struct At {
    bucket: usize,
    lane: usize,
}

// === impl Index ===

impl Index {
    /// Numbers lie below this.
    pub(crate) const NUMBERS: u32 = NUMBERS;

    /// An empty one for up to `entries` ids.
    #[must_use]
    pub(crate) fn with_room_for(entries: usize) -> Self {
        let buckets = (entries * 100).div_ceil(ENTRIES * FULL_PERCENT).max(1);
        Self {
            buckets: vec![[0; LANES]; buckets],
            used: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.used
    }

    /// What it takes, whatever is in it.
    #[must_use]
    pub(crate) fn bytes(&self) -> usize {
        self.buckets.capacity() * BUCKET_BYTES
    }

    /// Entries that it has room for.
    pub(super) fn room(&self) -> usize {
        self.buckets.len() * ENTRIES * FULL_PERCENT / 100
    }

    /// Entries that the next larger one should have room for.
    pub(super) fn next_room(&self) -> usize {
        self.room().max(ENTRIES / 2) * GROWTH_PERCENT / 100
    }

    /// The number under which `is_it` knows this very id.
    pub(crate) fn find(&self, id: &Id16, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let at = self.at(id, is_it)?;
        Some(self.buckets[at.bucket][at.lane] & (NUMBERS - 1))
    }

    /// Reads the buckets of all `ids`, none of which waits for another one: who asks for them next
    /// finds them in the processor's cache.
    pub(crate) fn touch<'a>(&self, ids: impl Iterator<Item = &'a Id16>) {
        let mut read = 0;
        for id in ids {
            for home in self.homes(id) {
                // It may lie across two lines.
                if let Some([first, .., last]) = self.buckets.get(home) {
                    read |= first | last;
                }
            }
        }
        std::hint::black_box(read);
    }

    /// To be called for an id that is not in it, while there is room.
    pub(crate) fn insert(&mut self, id: &Id16, number: u32) {
        let [first, second] = self.homes(id);
        let roomier = free(&self.buckets[second]) > free(&self.buckets[first]);
        let mut at = if roomier { second } else { first };
        loop {
            let bucket = &mut self.buckets[at];
            if let Some(lane) = (1..LANES).find(|lane| bucket[*lane] == 0) {
                bucket[lane] = tag(id) | number;
                self.used += 1;
                return;
            }
            // Both are full: it goes on behind the first.
            bucket[0] += 1;
            at = self.behind(at);
        }
    }

    /// Lets the id, which is in it under `number`, stand for `by`.
    pub(super) fn replace(&mut self, id: &Id16, number: u32, by: u32) {
        if let Some(at) = self.at(id, |it| it == number) {
            self.buckets[at.bucket][at.lane] = tag(id) | by;
        }
    }

    /// Takes the id out that is in it under `number`.
    pub(crate) fn remove(&mut self, id: &Id16, number: u32) {
        let Some(found) = self.at(id, |it| it == number) else {
            return;
        };
        self.buckets[found.bucket][found.lane] = 0;
        self.used -= 1;
        let [mut at, second] = self.homes(id);
        // Nobody comes to a second home from the first: that was full as well then.
        while at != found.bucket && found.bucket != second {
            self.buckets[at][0] -= 1;
            at = self.behind(at);
        }
    }

    fn at(&self, id: &Id16, is_it: impl Fn(u32) -> bool) -> Option<At> {
        let tag = tag(id);
        let [first, second] = self.homes(id);
        let in_bucket = |bucket: usize| {
            // Of an index without room there is none.
            let lane = lane_of(self.buckets.get(bucket)?, tag, &is_it)?;
            Some(At { bucket, lane })
        };
        if let Some(found) = in_bucket(second) {
            return Some(found);
        }
        let mut at = first;
        for _ in 0..self.buckets.len() {
            if let Some(found) = in_bucket(at) {
                return Some(found);
            }
            if self.buckets[at][0] == 0 {
                return None;
            }
            at = self.behind(at);
        }
        None
    }

    /// Both places for the id, which may be one.
    fn homes(&self, id: &Id16) -> [usize; 2] {
        let [a, b, c, d, e, f, g, h, second @ ..] = id.0;
        [[a, b, c, d, e, f, g, h], second].map(|half| {
            let hash = u64::from_le_bytes(half);
            // Ids are hashes: the upper half of the product is as evenly spread as they are.
            let home = (u128::from(hash) * self.buckets.len() as u128) >> 64;
            usize::try_from(home).unwrap_or_default()
        })
    }

    fn behind(&self, bucket: usize) -> usize {
        if bucket + 1 == self.buckets.len() {
            0
        } else {
            bucket + 1
        }
    }
}

/// Where in `bucket` an entry has this tag and is the one.
fn lane_of(bucket: &Bucket, tag: u32, is_it: impl Fn(u32) -> bool) -> Option<usize> {
    // Without a branch for each lane, so that the compiler compares several at once.
    let mut hits = 0_u32;
    for (lane, entry) in bucket.iter().enumerate() {
        hits |= u32::from(entry & !(NUMBERS - 1) == tag) << lane;
    }
    hits &= !1;
    while hits != 0 {
        let lane = hits.trailing_zeros() as usize;
        if is_it(bucket[lane] & (NUMBERS - 1)) {
            return Some(lane);
        }
        hits &= hits - 1;
    }
    None
}

/// How many entries there is room for.
fn free(bucket: &Bucket) -> usize {
    let [_counter, entries @ ..] = bucket;
    entries.iter().filter(|entry| **entry == 0).count()
}

/// Eight bits of the id that hardly decide its buckets, above the number; never 0, so that an entry
/// is never 0.
fn tag(id: &Id16) -> u32 {
    u32::from(id.0[8].max(1)) << NUMBER_BITS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::{TABLES, place};
    use proptest::prelude::*;
    use std::collections::{HashMap, VecDeque};

    /// Few ids, of which many share buckets and tag.
    fn id_of(n: u8) -> Id16 {
        let mut bytes = [0; 16];
        bytes[7] = n % 4 * 64;
        bytes[8] = n % 3;
        bytes[9] = n;
        bytes[15] = n % 5 * 51;
        Id16(bytes)
    }

    #[test]
    fn one_without_room_knows_nothing() {
        let index = Index::default();
        index.touch(std::iter::once(&id_of(1)));
        assert_eq!(index.find(&id_of(1), |_| true), None);
    }

    /// The oldest always goes for the newest, twenty times over, among ids of one of many tables.
    #[test]
    fn ways_stay_short_however_many_come_and_go() {
        const ROOM: u32 = 10_000;
        let tables = usize::try_from(TABLES).unwrap();
        let ids = (0_u32..).map(|n| Id16::of("", "", &n.to_string()));
        let mut ids = ids.filter(|id| place(id, tables) == 3);
        let mut index = Index::with_room_for(ROOM as usize);
        let mut known = VecDeque::new();
        for n in 0..20 * ROOM {
            if n >= ROOM {
                let oldest = known.pop_front().unwrap();
                index.remove(&oldest, n % ROOM);
            }
            let id = ids.next().unwrap();
            index.insert(&id, n % ROOM);
            known.push_back(id);
        }
        let further: u32 = index.buckets.iter().map(|bucket| bucket[0]).sum();
        assert!(
            further < ROOM / 50,
            "{further} buckets passed by {ROOM} entries"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn it_knows_what_a_map_knows(
            steps in prop::collection::vec((any::<u8>(), 0..NUMBERS, 0..3_u8), 0..600)
        ) {
            let mut index = Index::with_room_for(256);
            let mut map: HashMap<u8, u32> = HashMap::new();
            for (n, number, step) in steps {
                // Numbers are places: no two ids have the same.
                let number = number & !0xff | u32::from(n);
                let id = id_of(n);
                match (step, map.get(&n).copied()) {
                    (0, Some(old)) => {
                        index.remove(&id, old);
                        map.remove(&n);
                    }
                    (_, Some(old)) => {
                        index.replace(&id, old, number);
                        map.insert(n, number);
                    }
                    (_, None) => {
                        index.insert(&id, number);
                        map.insert(n, number);
                    }
                }
                prop_assert_eq!(index.len(), map.len());
                for n in 0..=255 {
                    let is_it = |number: u32| number & 0xff == u32::from(n);
                    prop_assert_eq!(index.find(&id_of(n), is_it), map.get(&n).copied());
                }
            }
            for (n, number) in map {
                index.remove(&id_of(n), number);
            }
            let left = index.buckets.iter().flatten().filter(|entry| **entry != 0);
            prop_assert_eq!(left.count(), 0);
        }
    }
}
