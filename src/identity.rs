//! Which effect a record names, and whether two records that name it say the same.
//!
//! In: tenant, key, request id, payload, content type. Out: [`Id16`], the identity, and
//! [`Fingerprint`]. Both are computed anew wherever they are needed and never carried along, so
//! nobody can send one that does not belong to the record. The offset is no part of either: a
//! record sent again is the same effect at another place in the log.

use std::fmt;
use xxhash_rust::xxh3::{Xxh3Default, xxh3_64};

/// Identity of an effect: the first 16 bytes of BLAKE3 over tenant, key and request id, each
/// after its length as 4 bytes little-endian.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id16(pub [u8; 16]);

/// XXH3-64 over payload, the byte `0x1F`, and content type. The same identity under another
/// fingerprint is a conflict: one id, two contents.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint(pub u64);

// === impl Id16 ===

impl Id16 {
    /// The identity of (`tenant`, `key`, `request_id`).
    #[must_use]
    pub fn of(tenant: &str, key: &str, request_id: &str) -> Self {
        let lengths = [tenant, key, request_id].map(length);
        let parts = [
            &lengths[0][..],
            tenant.as_bytes(),
            &lengths[1],
            key.as_bytes(),
            &lengths[2],
            request_id.as_bytes(),
        ];
        let hash = side_by_side(&parts, blake3::hash).unwrap_or_else(|| {
            let mut hasher = blake3::Hasher::new();
            for part in parts {
                hasher.update(part);
            }
            hasher.finalize()
        });
        let mut id = [0; 16];
        id.copy_from_slice(&hash.as_bytes()[..16]);
        Self(id)
    }
}

impl fmt::Display for Id16 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Id16 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Id16({self})")
    }
}

// === impl Fingerprint ===

impl Fingerprint {
    /// The fingerprint of `payload` sent as `content_type`.
    #[must_use]
    pub fn of(payload: &[u8], content_type: &str) -> Self {
        let parts = [payload, &[0x1f], content_type.as_bytes()];
        Self(side_by_side(&parts, xxh3_64).unwrap_or_else(|| {
            let mut hasher = Xxh3Default::new();
            for part in parts {
                hasher.update(part);
            }
            hasher.digest()
        }))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

fn length(part: &str) -> [u8; 4] {
    u32::try_from(part.len()).unwrap_or(u32::MAX).to_le_bytes()
}

/// `hash` of `parts` in one piece: half the price of a streaming hasher. `None`: they are too large.
fn side_by_side<T>(parts: &[&[u8]], hash: impl FnOnce(&[u8]) -> T) -> Option<T> {
    let mut piece = [0; 512];
    let mut end = 0;
    for part in parts {
        let start = end;
        end += part.len();
        piece.get_mut(start..end)?.copy_from_slice(part);
    }
    Some(hash(&piece[..end]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// These values lie in objects and stores: another one would make old data unknown. Made with
    /// the Python packages `blake3` and `xxhash`.
    #[test]
    fn identities_never_change() {
        let id = Id16::of("default", "ci", "ci37868143");
        assert_eq!(id.to_string(), "ee73b5d206ea8ebfbfdb2189a0a115eb");
        let fingerprint = Fingerprint::of(br#"{"mag":2}"#, "application/json");
        assert_eq!(fingerprint.to_string(), "2bcaefc13e82c389");
    }

    proptest! {
        #[test]
        fn large_parts_hash_as_small_ones_do(
            payload in proptest::collection::vec(any::<u8>(), 400..700), id in "[a-z]{400,600}"
        ) {
            let mut streamed = Xxh3Default::new();
            streamed.update(&payload);
            streamed.update(b"\x1ft");
            prop_assert_eq!(Fingerprint::of(&payload, "t").0, streamed.digest());
            let mut streamed = blake3::Hasher::new();
            for part in ["a", "b", &id] {
                streamed.update(&length(part));
                streamed.update(part.as_bytes());
            }
            let streamed = streamed.finalize();
            prop_assert_eq!(&Id16::of("a", "b", &id).0[..], &streamed.as_bytes()[..16]);
        }

        #[test]
        fn moving_a_byte_between_the_parts_makes_another_identity(
            tenant in "[a-z]{1,8}", key in "[a-z]{1,8}", id in "[a-z]{1,8}"
        ) {
            let here = Id16::of(&tenant, &key, &id);
            let (first, rest) = key.split_at(1);
            prop_assert_ne!(here, Id16::of(&format!("{tenant}{first}"), rest, &id));
            prop_assert_ne!(here, Id16::of(&tenant, &format!("{key}{id}"), ""));
        }

        #[test]
        fn moving_a_byte_between_payload_and_type_makes_another_fingerprint(
            payload in "[a-z]{1,8}", kind in "[a-z]{1,8}"
        ) {
            let here = Fingerprint::of(payload.as_bytes(), &kind);
            prop_assert_ne!(here, Fingerprint::of(format!("{payload}{kind}").as_bytes(), ""));
        }
    }
}
