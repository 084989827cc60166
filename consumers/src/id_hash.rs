//! Where an id lies in a table of this process.
//!
//! In: an [`Id16`](cloudsync::identity::Id16). Out: its hash. An id is a hash already, so one
//! multiplication by secrets of this process is enough to keep anybody from choosing ids that meet
//! in one place.

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::{BuildHasher, Hasher};

/// Makes a hasher for each id.
#[derive(Clone, Copy)]
pub(crate) struct IdHash {
    secrets: [u64; 2],
}

/// Takes one id, and nothing else.
#[derive(Clone, Copy)]
pub(crate) struct IdHasher {
    secrets: [u64; 2],
    hash: u64,
}

// === impl IdHash ===

impl Default for IdHash {
    fn default() -> Self {
        let secret = RandomState::new();
        Self {
            secrets: [secret.hash_one(0u8), secret.hash_one(1u8)],
        }
    }
}

impl BuildHasher for IdHash {
    type Hasher = IdHasher;

    fn build_hasher(&self) -> IdHasher {
        IdHasher {
            secrets: self.secrets,
            hash: 0,
        }
    }
}

impl fmt::Debug for IdHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdHash")
    }
}

// === impl IdHasher ===

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        let half = |bytes: Option<&[u8]>| {
            let bytes = bytes.and_then(|half| half.try_into().ok());
            u64::from_le_bytes(bytes.unwrap_or_default())
        };
        let [first, second] = self.secrets;
        let low = u128::from(half(bytes.get(..8)) ^ first);
        let product = low * u128::from(half(bytes.get(8..16)) ^ second);
        // Both halves of the product: either one alone has weak bits.
        self.hash = (product as u64) ^ ((product >> 64) as u64);
    }

    fn write_usize(&mut self, _length: usize) {
        // Every id is as long as any other.
    }

    fn finish(&self) -> u64 {
        self.hash
    }
}

impl fmt::Debug for IdHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdHasher")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cloudsync::identity::Id16;

    #[test]
    fn ids_spread_over_a_table() {
        let hash = IdHash::default();
        let mut taken = [0u32; 256];
        for n in 0..25_600u32 {
            let id = Id16::of("t", "k", &n.to_string());
            taken[usize::try_from(hash.hash_one(id) >> 56).unwrap()] += 1;
            assert_ne!(hash.hash_one(id), IdHash::default().hash_one(id));
        }
        // 100 each, give or take six standard deviations.
        assert!(
            taken.iter().all(|count| (40..160).contains(count)),
            "{taken:?}"
        );
    }
}
