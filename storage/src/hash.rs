//! The two hashes of everything on disk: checksums seeded with the file's incarnation, so that
//! bytes of a file's earlier use never verify (S7), and the chain over a partition's batches.
//!
//! Both are xxh3-64: they detect damage and divergence, not malice. Never used for Kafka's own
//! CRC-32C, which covers the batch on its way from client to client.

use std::{fmt, rc::Rc};

use xxhash_rust::xxh3::{Xxh3, xxh3_64_with_seed};

use crate::sabotage::{self, Sabotage};

/// A random number that one use of one file has to itself (S7). Never 0: zeroed bytes must not
/// pass for a file's head.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Incarnation(pub u64);

impl Incarnation {
    /// A fresh one from the operating system's random numbers.
    #[must_use]
    pub fn random() -> Incarnation {
        // A v4 uuid has 122 random bits; the low half has 62 of them, which is plenty here.
        let (_, low) = uuid::Uuid::new_v4().as_u64_pair();
        Incarnation(low)
    }
}

/// Where incarnations come from: random, except in simulations.
#[derive(Clone)]
pub struct Incarnations(Rc<dyn Fn() -> Incarnation>);

impl Incarnations {
    /// From `source`, which never gives one twice, nor 0.
    pub fn from_source(source: impl Fn() -> Incarnation + 'static) -> Incarnations {
        Incarnations(Rc::new(source))
    }

    /// A fresh one.
    #[must_use]
    pub fn next(&self) -> Incarnation {
        (self.0)()
    }
}

impl Default for Incarnations {
    fn default() -> Incarnations {
        Incarnations::from_source(Incarnation::random)
    }
}

impl fmt::Debug for Incarnations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Incarnations")
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The hash over all stored batches of a partition up to some offset. Logs that hold the same
/// batches have the same chain, wherever their blocks were cut.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct ChainHash(pub u64);

impl ChainHash {
    /// The chain of an empty log that starts at offset 0.
    pub const START: ChainHash = ChainHash(0);

    /// The chain after one more batch. `batch` is the stored form: offset, epoch and timestamps
    /// stamped.
    #[must_use]
    pub fn then(self, batch: &[u8]) -> ChainHash {
        ChainHash(xxh3_64_with_seed(batch, self.0))
    }
}

impl fmt::Display for ChainHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The checksum of `bytes` in the file of that incarnation.
#[must_use]
pub fn checksum(incarnation: Incarnation, bytes: &[u8]) -> u64 {
    xxh3_64_with_seed(bytes, seed(incarnation))
}

fn seed(incarnation: Incarnation) -> u64 {
    if sabotage::is(Sabotage::IncarnationIgnored) {
        return 0;
    }
    incarnation.0
}

/// The same over several pieces, as if they were contiguous.
#[must_use]
pub fn checksum_pieces<'a>(
    incarnation: Incarnation,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> u64 {
    let mut hash = Xxh3::with_seed(seed(incarnation));
    for piece in pieces {
        hash.update(piece);
    }
    hash.digest()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_hash_as_the_whole() {
        let whole: Vec<u8> = (0..10_000u32).map(|i| i as u8).collect();
        let seed = Incarnation(7);
        for cut in [0, 1, 63, 256, 4096, whole.len()] {
            let pieces = [&whole[..cut], &whole[cut..]];
            assert_eq!(checksum(seed, &whole), checksum_pieces(seed, pieces));
        }
    }

    #[test]
    fn s7_another_incarnation_gives_another_checksum() {
        assert_ne!(
            checksum(Incarnation(1), b"x"),
            checksum(Incarnation(2), b"x")
        );
        assert_ne!(Incarnation::random(), Incarnation::random());
    }

    #[test]
    fn chain_depends_on_order_and_not_on_blocks() {
        let ab = ChainHash::START.then(b"a").then(b"b");
        let ba = ChainHash::START.then(b"b").then(b"a");
        assert_ne!(ab, ba);
        assert_ne!(ab, ChainHash::START.then(b"ab"));
    }
}
