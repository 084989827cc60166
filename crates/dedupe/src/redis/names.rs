//! The names of everything that a store keeps in Redis.
//!
//! In: namespace, destination, shard. Out: key names. Promises: all keys of a shard carry one
//! hash tag, so they lie in one slot of a Cluster; names of two namespaces or destinations never
//! meet, since a namespace holds no dot and a shard is a number.
//!
//! ```text
//! cs1:{<namespace>.<destination>.<shard>}:<generation>          buckets: a hash of ids
//! cs1:{<namespace>.<destination>.<shard>}:<generation>:<part>   the same, cut by a byte of the id
//! cs1:{<namespace>.<destination>.<shard>}:<id, 32 hex digits>   keys: one id
//! cs1:{<namespace>.<destination>.<shard>}:marker                gone when Redis lost its memory
//! <namespace>:meta                                              how the namespace is laid out
//! ```

use cloudsync::identity::Id16;

/// The version of the format, in front of every key but the meta.
const FORMAT: &str = "cs1";
/// Slots of a Redis Cluster.
const SLOTS: u16 = 16_384;

/// Names of the keys of one destination.
#[derive(Clone, Debug)]
pub(super) struct Names {
    /// `cs1:{<namespace>.<destination>.`
    stem: String,
    meta: String,
    /// The slot of each shard.
    slots: Box<[u16]>,
}

/// Whether `namespace` can stand in front of keys.
pub(crate) fn is_namespace(namespace: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    (1..=64).contains(&namespace.len()) && namespace.chars().all(plain)
}

/// The slot of `key` in a Cluster: CRC16 of what stands between the first braces, if anything.
pub(super) fn slot_of(key: &[u8]) -> u16 {
    let open = key.iter().position(|b| *b == b'{').map(|at| at + 1);
    let tag = open.and_then(|start| {
        let rest = key.get(start..)?;
        let end = rest.iter().position(|b| *b == b'}')?;
        rest.get(..end).filter(|tag| !tag.is_empty())
    });
    crc16(tag.unwrap_or(key)) % SLOTS
}

/// CRC-16/XMODEM, as Redis Cluster computes it.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc: u16, _| {
            let shifted = crc << 1;
            if crc & 0x8000 == 0 {
                shifted
            } else {
                shifted ^ 0x1021
            }
        })
    })
}

// === impl Names ===

impl Names {
    pub(super) fn new(namespace: &str, destination: &str, shards: u32) -> Self {
        let stem = format!("{FORMAT}:{{{namespace}.{destination}.");
        let slot = |shard: u32| slot_of(format!("{stem}{shard}}}").as_bytes());
        Self {
            slots: (0..shards.max(1)).map(slot).collect(),
            meta: format!("{namespace}:meta"),
            stem,
        }
    }

    /// The slot of a shard.
    pub(super) fn slot(&self, shard: u32) -> u16 {
        let known = usize::try_from(shard).ok().and_then(|n| self.slots.get(n));
        let slot = known.copied();
        slot.unwrap_or_else(|| slot_of(self.shard(shard).as_bytes()))
    }

    pub(super) fn shards(&self) -> u32 {
        u32::try_from(self.slots.len()).unwrap_or(u32::MAX)
    }

    /// What SCAN finds all keys of the destination by, the meta aside. The destination must be of
    /// letters, digits and dashes.
    pub(super) fn pattern(&self) -> String {
        format!("{}*", self.stem)
    }

    pub(super) fn meta(&self) -> &str {
        &self.meta
    }

    fn shard(&self, shard: u32) -> String {
        // Room for what follows: at most `:` and 32 digits.
        let mut key = String::with_capacity(self.stem.len() + 48);
        key.push_str(&self.stem);
        key.push_str(&format!("{shard}}}"));
        key
    }

    /// The hash of a generation, or its part `part` of `parts`.
    pub(super) fn bucket(&self, shard: u32, generation: u64, part: u8, parts: u16) -> String {
        let mut key = self.shard(shard);
        key.push_str(&format!(":{generation}"));
        if parts > 1 {
            key.push_str(&format!(":{part}"));
        }
        key
    }

    /// The key of one id.
    pub(super) fn id(&self, shard: u32, id: Id16) -> String {
        let mut key = self.shard(shard);
        key.push_str(&format!(":{:032x}", u128::from_be_bytes(id.0)));
        key
    }

    pub(super) fn marker(&self, shard: u32) -> String {
        let mut key = self.shard(shard);
        key.push_str(":marker");
        key
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(crc16(b"123456789"), 0x31C3);
        assert_eq!(
            slot_of(b"{user1000}.following"),
            slot_of(b"{user1000}.followers")
        );
        assert_eq!(slot_of(b"foo{}{bar}"), crc16(b"foo{}{bar}") % SLOTS);
        assert_eq!(slot_of(b"foo{{bar}}zap"), crc16(b"{bar") % SLOTS);
    }

    #[test]
    fn names_are_as_the_documentation_has_them() {
        let names = Names::new("prod", "aws", 12);
        assert_eq!(names.meta(), "prod:meta");
        assert_eq!(names.bucket(7, 489_123, 0, 1), "cs1:{prod.aws.7}:489123");
        assert_eq!(names.bucket(7, 489_123, 3, 4), "cs1:{prod.aws.7}:489123:3");
        assert_eq!(names.marker(0), "cs1:{prod.aws.0}:marker");
        let id = "cs1:{prod.aws.11}:000000000000000000000000000000ff";
        assert_eq!(names.id(11, Id16(255u128.to_be_bytes())), id);
    }

    proptest! {
        #[test]
        fn a_shard_lies_in_one_slot(shard in 0u32..12, generation: u64, part: u8, id: [u8; 16]) {
            let names = Names::new("cs1", "a.b", 12);
            let slot = names.slot(shard);
            for key in [names.bucket(shard, generation, part, 16), names.id(shard, Id16(id)), names.marker(shard)] {
                prop_assert_eq!(slot_of(key.as_bytes()), slot);
            }
        }
    }
}
