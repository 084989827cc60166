//! Which partition a record goes to.
//!
//! In: the record key (else the request id). Out: murmur2 of it modulo the configured number of
//! partitions, exactly as Kafka's own clients place a record with that key, so that a record with
//! a given key is found where any Kafka tool looks for it.

/// The partition for `key` among `partitions` of them (at least 1; 0 counts as 1).
#[must_use]
pub fn partition_of(key: &[u8], partitions: u32) -> i32 {
    let positive = murmur2(key) & 0x7fff_ffff;
    let partition = positive % partitions.max(1);
    i32::try_from(partition).unwrap_or(0)
}

/// Kafka's murmur2: 32 bits, seed `0x9747b28c`
/// (`org.apache.kafka.common.utils.Utils.murmur2`).
#[must_use]
pub fn murmur2(data: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    const R: u32 = 24;
    // Kafka's lengths are 32-bit; keys here are far shorter (`limits::MAX_KEY_BYTES`).
    let mut hash = SEED ^ u32::try_from(data.len()).unwrap_or(u32::MAX);
    let mut words = data.chunks_exact(4);
    for word in &mut words {
        let mut k = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
        k = k.wrapping_mul(M);
        k ^= k >> R;
        k = k.wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ k;
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        for (at, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * at);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors of Apache Kafka's `UtilsTest.testMurmur2`.
    #[test]
    fn murmur2_is_kafkas() {
        let vectors: [(&[u8], i32); 7] = [
            (b"21", -973_932_308),
            (b"foobar", -790_332_482),
            (b"a-little-bit-long-string", -985_981_536),
            (b"a-little-bit-longer-string", -1_486_304_829),
            (
                b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8",
                -58_897_971,
            ),
            (b"abc", 479_470_107),
            (b"", 275_646_681),
        ];
        for (key, hash) in vectors {
            assert_eq!(
                murmur2(key).cast_signed(),
                hash,
                "{}",
                String::from_utf8_lossy(key)
            );
        }
    }

    #[test]
    fn a_partition_is_in_range_and_stable() {
        for partitions in [0, 1, 3, 12] {
            for n in 0..1_000u32 {
                let key = n.to_be_bytes();
                let partition = partition_of(&key, partitions);
                assert!(partition >= 0 && partition.cast_unsigned() < partitions.max(1));
                assert_eq!(partition, partition_of(&key, partitions));
            }
        }
    }
}
