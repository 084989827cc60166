//! What is remembered of the last so many ids: a structure without a lock and without a clock.
//!
//! In: an id and a value. Out: the value, while it is remembered. Promises: exact; keeps the last
//! `limit` ids, and forgets first the one that came first, however often it was looked at or
//! changed; takes its entries and at most 8 bytes an id beside them.

use crate::table::Index;
use cloudsync::identity::Id16;

/// The last so many ids, each with a value.
#[derive(Debug)]
pub struct Newest<V> {
    /// Grows to `limit`; from then on each new one takes the place of the oldest.
    entries: Vec<(Id16, V)>,
    /// The place of the next new one.
    next: u32,
    limit: u32,
    /// From an id to its place in `entries`.
    index: Index,
}

// === impl Newest ===

impl<V> Newest<V> {
    /// Room for the last `limit` ids, at least one and at most 16,777,216. The memory is
    /// asked for at once, and touched as it fills.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        let most = Index::NUMBERS;
        let limit = u32::try_from(limit).unwrap_or(most).clamp(1, most);
        Self {
            entries: Vec::with_capacity(limit as usize),
            next: 0,
            limit,
            index: Index::with_room_for(limit as usize),
        }
    }

    /// Number of ids in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes that it takes when it is full.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.entries.capacity() * size_of::<(Id16, V)>() + self.index.bytes()
    }

    /// Reads where `ids` would stand, before they are looked up one after the other: none of these
    /// reads waits for another one. It is a hint, and changes nothing.
    pub fn touch<'a>(&self, ids: impl Iterator<Item = &'a Id16>) {
        self.index.touch(ids);
    }

    /// The same for ids that are about to be remembered, and the ones that have to go for them.
    pub fn touch_for<'a>(&self, ids: impl ExactSizeIterator<Item = &'a Id16>) {
        let next = self.next as usize;
        let oldest = self.entries.iter().skip(next).take(ids.len());
        self.index.touch(oldest.map(|(id, _)| id));
        self.index.touch(ids);
    }

    /// What is remembered of `id`.
    #[must_use]
    pub fn get(&self, id: &Id16) -> Option<&V> {
        let place = self.place(id)?;
        self.entries.get(place).map(|(_, value)| value)
    }

    /// Remembers `value` of an id that is new; of one that is known, what `change` makes of what
    /// is remembered. The id keeps its age.
    pub fn remember(&mut self, id: Id16, value: V, change: impl FnOnce(&mut V, V)) {
        let known = self.place(&id);
        if let Some((_, known)) = known.and_then(|place| self.entries.get_mut(place)) {
            change(known, value);
            return;
        }
        let place = self.next;
        match self.entries.get_mut(place as usize) {
            Some(oldest) => {
                self.index.remove(&oldest.0, place);
                *oldest = (id, value);
            }
            None => self.entries.push((id, value)),
        }
        self.index.insert(&id, place);
        self.next = if place + 1 == self.limit {
            0
        } else {
            place + 1
        };
    }

    fn place(&self, id: &Id16) -> Option<usize> {
        let is_it = |place: u32| {
            let entry = self.entries.get(place as usize);
            entry.is_some_and(|(known, _)| known == id)
        };
        self.index.find(id, is_it).map(|place| place as usize)
    }
}
