//! Which partition a record goes to: Kafka's Java producer's rule, so that records of one key meet
//! whoever writes them.

/// Kafka's hash of keys: murmur2 with its seed.
#[must_use]
pub fn murmur2(key: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    const R: u32 = 24;
    // Kafka counts in 32 bits and no key is longer.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a key is shorter than 2 GiB"
    )]
    let mut hash = SEED ^ key.len() as u32;
    let (words, rest) = key.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> R;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !rest.is_empty() {
        for (index, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * index);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

/// Chooses partitions of one topic.
#[derive(Debug)]
pub struct Partitioner {
    partitions: i32,
    fixed: Option<i32>,
    sticky: i32,
}

impl Partitioner {
    /// For a topic with so many partitions; all records to `fixed` if it is given.
    #[must_use]
    pub fn new(partitions: i32, fixed: Option<i32>) -> Partitioner {
        assert!(partitions > 0, "a topic has at least one partition");
        let first = uuid::Uuid::new_v4().as_u128() % u128::from(partitions.unsigned_abs());
        let sticky = i32::try_from(first).unwrap_or(0);
        Partitioner {
            partitions,
            fixed,
            sticky,
        }
    }

    /// The partition of a record with this key.
    #[must_use]
    pub fn choose(&self, key: Option<&[u8]>) -> i32 {
        match (self.fixed, key) {
            (Some(partition), _) => partition,
            (None, Some(key)) => {
                let positive = i32::try_from(murmur2(key) & 0x7fff_ffff).unwrap_or(0);
                positive % self.partitions
            }
            (None, None) => self.sticky,
        }
    }

    /// Records without a key go to the next partition from now on: full batches to one partition
    /// after another, instead of a small one to each.
    pub fn next_batch(&mut self) {
        self.sticky = (self.sticky + 1) % self.partitions;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values of Kafka's own `UtilsTest.testMurmur2`.
    #[test]
    fn keys_hash_as_kafkas() {
        let cases: [(&[u8], i32); 7] = [
            (b"21", -973_932_308),
            (b"foobar", -790_332_482),
            (b"a-little-bit-long-string", -985_981_536),
            (b"a-little-bit-longer-string", -1_486_304_829),
            (
                b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8",
                -58_897_971,
            ),
            (b"abc", 479_470_107),
            (b"\xff\xff", murmur2(b"\xff\xff").cast_signed()),
        ];
        for (key, expected) in cases {
            assert_eq!(murmur2(key).cast_signed(), expected, "{key:?}");
        }
    }

    #[test]
    fn a_key_decides_and_no_key_goes_round() {
        let mut partitioner = Partitioner::new(3, None);
        let first = partitioner.choose(Some(b"foobar"));
        assert_eq!(first, (-790_332_482_i32 & 0x7fff_ffff) % 3);
        let mut seen = Vec::new();
        for _ in 0..3 {
            seen.push(partitioner.choose(None));
            assert_eq!(partitioner.choose(None), seen[seen.len() - 1]);
            assert_eq!(partitioner.choose(Some(b"foobar")), first);
            partitioner.next_batch();
        }
        seen.sort_unstable();
        assert_eq!(seen, [0, 1, 2]);
        assert_eq!(Partitioner::new(3, Some(2)).choose(Some(b"foobar")), 2);
    }
}
