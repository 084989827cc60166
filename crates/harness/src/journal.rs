//! What a client sent, and what it was told: the only truth that the checker knows.

use std::collections::HashMap;
use xxhash_rust::xxh3::xxh3_128;

/// Tenant, key and request id: what names an effect. Not hashed here, so that a fault of the
/// program's own hash cannot hide from the checker.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name {
    /// The tenant.
    pub tenant: String,
    /// The record key.
    pub key: String,
    /// The request id.
    pub id: String,
}

/// One record as the client knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// XXH3-128 of each payload that was sent under the name.
    pub payloads: Vec<u128>,
    /// How often it was given to a stream.
    pub given: u32,
    /// How often it was acknowledged.
    pub acked: u32,
    /// Destinations that shall have it; empty means all.
    pub destinations: Vec<String>,
}

/// The journal of one run.
#[derive(Clone, Debug, Default)]
pub struct Journal {
    entries: HashMap<Name, Entry>,
}

// === impl Journal ===

impl Journal {
    /// An empty journal.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The record is about to be given to a stream.
    pub fn given(&mut self, name: Name, payload: &[u8], destinations: &[String]) {
        let entry = self.entries.entry(name).or_default();
        let hash = xxh3_128(payload);
        if !entry.payloads.contains(&hash) {
            entry.payloads.push(hash);
        }
        entry.given += 1;
        entry.destinations = destinations.to_vec();
    }

    /// The client was told that the record is durable.
    pub fn acked(&mut self, name: &Name) {
        if let Some(entry) = self.entries.get_mut(name) {
            entry.acked += 1;
        }
    }

    /// What is known of a name.
    #[must_use]
    pub fn get(&self, name: &Name) -> Option<&Entry> {
        self.entries.get(name)
    }

    /// Everything that was sent.
    pub fn entries(&self) -> impl Iterator<Item = (&Name, &Entry)> {
        self.entries.iter()
    }

    /// Number of different names.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing was sent.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Number of acknowledged names.
    #[must_use]
    pub fn acked_names(&self) -> usize {
        self.entries
            .values()
            .filter(|entry| entry.acked > 0)
            .count()
    }

    /// Adds what another client's journal has.
    pub fn merge(&mut self, other: Self) {
        for (name, theirs) in other.entries {
            let ours = self.entries.entry(name).or_default();
            for hash in theirs.payloads {
                if !ours.payloads.contains(&hash) {
                    ours.payloads.push(hash);
                }
            }
            ours.given += theirs.given;
            ours.acked += theirs.acked;
            ours.destinations = theirs.destinations;
        }
    }
}
