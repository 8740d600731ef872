//! The hash by which Java's producers choose a partition: murmur2, as `Utils.murmur2` and
//! `Utils.toPositive` of Kafka's clients compute it.
//!
//! librdkafka chooses by the same hash where a record has a key; here it is for programs that
//! choose by something else than the whole key.

const SEED: u32 = 0x9747_b28c;
const M: u32 = 0x5bd1_e995;
const R: u32 = 24;

fn murmur2(data: &[u8]) -> u32 {
    let mut hash = SEED ^ data.len() as u32;
    let mut words = data.chunks_exact(4);
    for word in words.by_ref() {
        let mut k = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
        k = k.wrapping_mul(M);
        k ^= k >> R;
        k = k.wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ k;
    }
    let rest = words.remainder();
    for (place, byte) in rest.iter().enumerate() {
        hash ^= u32::from(*byte) << (8 * place);
    }
    if !rest.is_empty() {
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

/// The partition that Java's producers choose for a key, of so many. For
/// [`KafkaSink::partition`](super::KafkaSink::partition), where the key that chooses is not the
/// record's.
///
/// ```
/// use millstream_dataflow::connector::kafka::partition_of_key;
/// assert_eq!(partition_of_key(b"foobar", 10), 6);
/// ```
pub fn partition_of_key(key: &[u8], partitions: u32) -> i32 {
    let positive = murmur2(key) & 0x7fff_ffff;
    (positive % partitions.max(1)) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Those of Kafka's own test, `UtilsTest.testMurmur2`.
    const PUBLISHED: [(&str, i32); 6] = [
        ("21", -973_932_308),
        ("foobar", -790_332_482),
        ("a-little-bit-long-string", -985_981_536),
        ("a-little-bit-longer-string", -1_486_304_829),
        ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
        ("abc", 479_470_107),
    ];

    /// What Java's clients 4.1.1 make of other lengths.
    const COMPUTED: [(&str, i32); 4] =
        [("", 275_646_681), ("a", -1_563_381_124), ("ab", 316_155_434), ("key-0", 29_210_041)];

    #[test]
    fn the_hash_is_that_of_javas_clients() {
        for (key, hash) in PUBLISHED.into_iter().chain(COMPUTED) {
            assert_eq!(murmur2(key.as_bytes()).cast_signed(), hash, "{key}");
        }
    }

    #[test]
    fn a_negative_hash_loses_its_sign_and_not_its_bits() {
        // Utils.toPositive(-790332482) is 1357151166.
        assert_eq!(partition_of_key(b"foobar", u32::MAX), 1_357_151_166);
        assert_eq!(partition_of_key(b"foobar", 0), 0);
    }
}
