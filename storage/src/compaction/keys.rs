//! The newest offset of each key in the part that is being compacted, in bounded memory.
//!
//! Keys are told apart by a 128-bit hash, as Kafka does with MD5; the keys themselves would not
//! fit. A false match would lose a record, so it must not happen: the hash is seeded anew for each
//! round with a number nobody outside knows, so that nobody can prepare keys that meet, and by
//! chance two of 2^32 keys meet once in 2^65 rounds.
//!
//! ```text
//!  an entry, 24 bytes
//! +----------+----------+----------------+
//! | hash u64 | hash u64 | offset + 1 u64 |     0 in the last: the slot is free
//! +----------+----------+----------------+
//! ```

use crate::types::Offset;
use xxhash_rust::xxh3::xxh3_128_with_seed;

/// Memory of one key.
pub const KEY_BYTES: usize = 24;
/// A table this small could not take the keys of an ordinary batch; Kafka asks for a MiB.
const SLOTS_MIN: usize = 64;

type Entry = [u64; 3];

const _: () = assert!(size_of::<Entry>() == KEY_BYTES);

/// An open-addressed table of fixed size: it never grows, so that its memory is what was planned.
pub struct KeyMap {
    seed: u64,
    entries: Vec<Entry>,
    len: usize,
    limit: usize,
}

impl KeyMap {
    /// A map of at most `memory_bytes`, and no more than `keys_max` keys need. It is full when
    /// `load` of its slots are taken: beyond 0.9 a lookup walks far.
    #[must_use]
    pub fn new(seed: u64, memory_bytes: usize, keys_max: u64, load: f64) -> KeyMap {
        let load = load.clamp(0.1, 0.95);
        let wanted = (keys_max as f64 / load).ceil() as usize + 1;
        let slots = (memory_bytes / KEY_BYTES).min(wanted).max(SLOTS_MIN);
        let limit = ((slots as f64 * load) as usize).clamp(1, slots - 1);
        // Zeroed pages come from the kernel when they are first touched: a map that stays small
        // costs little.
        let entries = vec![[0; 3]; slots];
        KeyMap {
            seed,
            entries,
            len: 0,
            limit,
        }
    }

    /// Notes that `key` has a record at `offset`, which is higher than any noted before for it.
    /// False if there is no room for another key.
    pub fn put(&mut self, key: &[u8], offset: Offset) -> bool {
        let (at, hash) = self.slot_of(key);
        let is_free = self.entries[at][2] == 0;
        if is_free && self.len == self.limit {
            return false;
        }
        self.len += usize::from(is_free);
        self.entries[at] = [hash.0, hash.1, offset.0 as u64 + 1];
        true
    }

    /// The offset noted last for `key`.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<Offset> {
        let entry = self.entries[self.slot_of(key).0];
        entry[2].checked_sub(1).map(|offset| Offset(offset as i64))
    }

    /// How many keys it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many it can hold.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// The key's slot, or the free one where it belongs. There is a free one: `limit` is below the
    /// number of slots.
    fn slot_of(&self, key: &[u8]) -> (usize, (u64, u64)) {
        let hash = xxh3_128_with_seed(key, self.seed);
        let hash = ((hash >> 64) as u64, hash as u64);
        let slots = self.entries.len();
        let mut at = ((u128::from(hash.0) * slots as u128) >> 64) as usize;
        loop {
            let entry = &self.entries[at];
            if entry[2] == 0 || (entry[0], entry[1]) == hash {
                return (at, hash);
            }
            at = (at + 1) % slots;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_offset_of_each_key_is_kept() {
        let mut keys = KeyMap::new(7, 1 << 20, 10_000, 0.9);
        for offset in 0..30_000i64 {
            let key = (offset % 9_000).to_le_bytes();
            assert!(keys.put(&key, Offset(offset)));
        }
        assert_eq!(keys.len(), 9_000);
        for key in 0..9_000i64 {
            let newest = (0..30_000).rev().find(|offset| offset % 9_000 == key);
            assert_eq!(keys.get(&key.to_le_bytes()).map(|o| o.0), newest);
        }
        assert_eq!(keys.get(b"another"), None);
    }

    #[test]
    fn a_full_map_takes_known_keys_and_no_new_ones() {
        let mut keys = KeyMap::new(1, 100 * KEY_BYTES, 1_000_000, 0.9);
        let taken = (0..1000i64)
            .take_while(|n| keys.put(&n.to_le_bytes(), Offset(*n)))
            .count();
        assert_eq!((taken, keys.limit()), (90, 90));
        assert!(keys.put(&5i64.to_le_bytes(), Offset(5000)));
        assert_eq!(keys.get(&5i64.to_le_bytes()), Some(Offset(5000)));
        assert!(!keys.put(&2000i64.to_le_bytes(), Offset(5001)));
    }

    #[test]
    fn a_short_dirty_part_takes_little_memory() {
        let keys = KeyMap::new(1, 128 << 20, 1000, 0.9);
        assert!(keys.entries.len() < 1200 && keys.limit() >= 1000);
    }
}
