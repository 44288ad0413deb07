//! What records hold beside their stamp: sizes, keys and content, by chance from a seed.

use std::path::Path;
use std::{fs, io};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rand_distr::weighted::WeightedIndex;
use rand_distr::{Distribution, Zipf};

use crate::scenario::{Keys, RecordBytes, Scenario};
use crate::verify::STAMP_BYTES;

/// Content that values are cut from: far more than any cache of a codec's window.
const POOL_BYTES: usize = 4 << 20;
/// Chance and sameness take turns in pieces of this size.
const GRAIN_BYTES: usize = 64;
/// A sample is held in memory: beyond, its beginning serves.
const SAMPLE_BYTES_MAX: u64 = 256 << 20;
/// A key's bytes: a number of so many hexadecimal digits.
pub const KEY_BYTES: usize = 16;

/// Where the content of records comes from, for all connections of a thread.
pub struct Content {
    bytes: Vec<u8>,
    /// Where the lines of a sample are.
    lines: Vec<(usize, usize)>,
}

impl Content {
    /// Random bytes as compressible as the scenario says, or its sample.
    pub fn new(scenario: &Scenario) -> io::Result<Content> {
        match &scenario.sample {
            Some(path) => Content::of_sample(path, scenario.sample_lines),
            None => Ok(Content::by_chance(scenario)),
        }
    }

    fn by_chance(scenario: &Scenario) -> Content {
        let length = POOL_BYTES.max(2 * scenario.record_bytes.max());
        let mut bytes = vec![b'x'; length];
        let mut random = StdRng::seed_from_u64(scenario.seed);
        let chance = GRAIN_BYTES - (GRAIN_BYTES as f64 * scenario.compressible).round() as usize;
        for grain in bytes.chunks_mut(GRAIN_BYTES) {
            let chance = chance.min(grain.len());
            random.fill(&mut grain[..chance]);
        }
        let lines = Vec::new();
        Content { bytes, lines }
    }

    fn of_sample(path: &Path, by_line: bool) -> io::Result<Content> {
        let mut bytes = Vec::new();
        let file = fs::File::open(path)?;
        io::Read::read_to_end(&mut io::Read::take(file, SAMPLE_BYTES_MAX), &mut bytes)?;
        if bytes.is_empty() {
            return Err(io::Error::other("a sample must not be empty"));
        }
        let mut lines = Vec::new();
        if by_line {
            let mut at = 0;
            for line in bytes.split(|byte| *byte == b'\n') {
                if !line.is_empty() {
                    lines.push((at, line.len()));
                }
                at += line.len() + 1;
            }
        }
        Ok(Content { bytes, lines })
    }
}

/// What the next record of a connection is to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecordPlan {
    /// Its key's number, if it has one.
    pub key: Option<u64>,
    /// Bytes of its value.
    pub bytes: u32,
    /// Where its content begins.
    pub content: u32,
}

/// One connection's choices.
pub struct Chooser {
    random: StdRng,
    sizes: RecordBytes,
    weights: Option<WeightedIndex<u32>>,
    keys: Keys,
    key_count: u64,
    zipf: Option<Zipf<f64>>,
    next_key: u64,
}

impl Chooser {
    /// The choices of connection number `connection` of `connections`.
    pub fn new(scenario: &Scenario, (connection, connections): (u64, u64)) -> Chooser {
        let weights = match &scenario.record_bytes {
            RecordBytes::Weighted(sizes) => {
                WeightedIndex::new(sizes.iter().map(|(_, weight)| *weight)).ok()
            }
            _ => None,
        };
        let zipf = (scenario.keys == Keys::Zipf)
            .then(|| Zipf::new(scenario.key_count as f64, scenario.zipf_exponent).ok());
        Chooser {
            random: StdRng::seed_from_u64(scenario.seed.wrapping_add(connection + 1)),
            sizes: scenario.record_bytes.clone(),
            weights,
            keys: scenario.keys,
            key_count: scenario.key_count,
            zipf: zipf.flatten(),
            // Each begins at a place of its own.
            next_key: scenario.key_count / connections.max(1) * connection,
        }
    }

    /// What the next record is.
    pub fn choose(&mut self, content: &Content) -> RecordPlan {
        let key = match self.keys {
            Keys::None => None,
            Keys::Uniform => Some(self.random.random_range(0..self.key_count)),
            // Its ranks begin at 1.
            Keys::Zipf => self
                .zipf
                .as_ref()
                .map(|zipf| zipf.sample(&mut self.random) as u64 - 1),
            Keys::Sequential => {
                let key = self.next_key % self.key_count;
                self.next_key = key + 1;
                Some(key)
            }
        };
        if !content.lines.is_empty() {
            let (at, length) = content.lines[self.random.random_range(0..content.lines.len())];
            return RecordPlan {
                key,
                bytes: (STAMP_BYTES + length) as u32,
                content: at as u32,
            };
        }
        let bytes = match &self.sizes {
            RecordBytes::Fixed(bytes) => *bytes,
            RecordBytes::Between(from, to) => self.random.random_range(*from..=*to),
            RecordBytes::Weighted(sizes) => {
                let index = self.weights.as_ref();
                let index = index.map_or(0, |weights| weights.sample(&mut self.random));
                sizes[index].0
            }
        };
        let at = self.random.random_range(0..content.bytes.len());
        RecordPlan {
            key,
            bytes: bytes as u32,
            content: at as u32,
        }
    }
}

impl RecordPlan {
    /// Puts the content into a value, behind the place of its stamp.
    pub fn fill(&self, content: &Content, value: &mut Vec<u8>) {
        value.clear();
        value.resize(STAMP_BYTES, 0);
        let (mut at, until) = (self.content as usize, self.bytes as usize);
        while value.len() < until {
            let piece = (until - value.len()).min(content.bytes.len() - at);
            value.extend_from_slice(&content.bytes[at..at + piece]);
            at = 0;
        }
    }
}

/// The bytes of a key.
pub fn key_bytes(number: u64) -> [u8; KEY_BYTES] {
    std::array::from_fn(|index| {
        let digit = number >> (4 * (KEY_BYTES - 1 - index)) & 0xf;
        b"0123456789abcdef"[digit as usize]
    })
}

/// The partition that Kafka's clients choose for a key: murmur2 as they seed it, without its sign.
pub fn partition_of(key: &[u8], partitions: usize) -> usize {
    (murmur2(key) & 0x7fff_ffff) as usize % partitions
}

fn murmur2(key: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c ^ key.len() as u32;
    let (words, rest) = key.as_chunks::<4>();
    for word in words {
        let mut mixed = u32::from_le_bytes(*word).wrapping_mul(M);
        mixed = (mixed ^ (mixed >> 24)).wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ mixed;
    }
    if !rest.is_empty() {
        for (index, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * index);
        }
        hash = hash.wrapping_mul(M);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of org.apache.kafka.common.utils.UtilsTest.testMurmur2.
    #[test]
    fn keys_hash_as_kafkas_clients_hash_them() {
        for (key, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            (
                "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8",
                -58_897_971,
            ),
        ] {
            assert_eq!(murmur2(key.as_bytes()) as i32, hash, "{key}");
        }
        assert_eq!(&key_bytes(0xbeef), b"000000000000beef");
    }

    fn chosen(scenario: &Scenario, count: usize) -> Vec<RecordPlan> {
        let content = Content::new(scenario).unwrap();
        let mut chooser = Chooser::new(scenario, (0, 1));
        (0..count).map(|_| chooser.choose(&content)).collect()
    }

    #[test]
    fn sizes_and_keys_are_distributed_as_told_and_the_same_for_a_seed() {
        let scenario = Scenario {
            record_bytes: "100:90,5000:10".parse().unwrap(),
            keys: Keys::Zipf,
            key_count: 1_000,
            ..Scenario::default()
        };
        let plans = chosen(&scenario, 20_000);
        assert_eq!(plans, chosen(&scenario, 20_000));
        let large = plans.iter().filter(|plan| plan.bytes == 5_000).count();
        assert!((1_800..2_200).contains(&large), "{large}");
        let times = |key| plans.iter().filter(|plan| plan.key == Some(key)).count() as f64;
        let ratio = times(0) / times(1);
        assert!((1.7..2.3).contains(&ratio), "{ratio}");
        let sequential = Scenario {
            keys: Keys::Sequential,
            key_count: 3,
            ..Scenario::default()
        };
        let keys: Vec<_> = chosen(&sequential, 4).iter().map(|plan| plan.key).collect();
        assert_eq!(keys, [Some(0), Some(1), Some(2), Some(0)]);
    }

    #[test]
    fn values_are_as_compressible_as_told() {
        for (compressible, expected) in [(0.0, 1.0), (0.5, 0.5), (0.9, 0.1)] {
            let scenario = Scenario {
                compressible,
                record_bytes: RecordBytes::Fixed(100_000),
                ..Scenario::default()
            };
            let content = Content::new(&scenario).unwrap();
            let mut value = Vec::new();
            chosen(&scenario, 1)[0].fill(&content, &mut value);
            assert_eq!(value.len(), 100_000);
            let random = value.iter().filter(|byte| **byte != b'x').count() as f64 / 1e5;
            assert!((random - expected).abs() < 0.03, "{compressible}: {random}");
        }
    }

    #[test]
    fn samples_are_carried_whole_or_by_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sample");
        fs::write(&path, "alpha\n\nbeta\n").unwrap();
        let mut scenario = Scenario {
            sample: Some(path),
            sample_lines: true,
            ..Scenario::default()
        };
        let content = Content::new(&scenario).unwrap();
        for plan in chosen(&scenario, 50) {
            let mut value = Vec::new();
            plan.fill(&content, &mut value);
            assert!([&b"alpha"[..], b"beta"].contains(&&value[STAMP_BYTES..]));
        }
        scenario.sample_lines = false;
        let mut value = Vec::new();
        chosen(&scenario, 1)[0].fill(&content, &mut value);
        assert_eq!(value.len(), 1024);
    }
}
