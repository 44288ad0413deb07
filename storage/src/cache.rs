//! The block cache of one shard: verified blocks in memory, up to a budget in bytes that also
//! counts blocks which were evicted and are still being sent to someone.
//!
//! The policy is S3-FIFO: a block that was read from disk enters a small queue and moves to the
//! main one only if a second reader came before it left; a block just written is a tail and enters
//! the main queue. A reader that walks a whole backlog once passes through the small queue, a tenth
//! of the budget, and evicts no tail. Rejected: LRU, which such a reader flushes.
//!
//! A reader takes a large block in several fetches, each from a higher offset. That is one use: a
//! use counts only if it starts where some reader has already been. (Were each fetch a use, every
//! backlog reader would fill the main queue.)

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;

use crate::{
    block::SealedBlock,
    disk::DiskBuf,
    hash::Incarnation,
    types::{Offset, Position},
};

/// Which block: the use of the file it lies in, and where.
pub type CacheKey = (Incarnation, Position);

/// Part of the budget for blocks read only once: one tenth, as the S3-FIFO paper found best.
const SMALL_SHARE: usize = 10;
/// Uses that count; more would keep a block that was hot last hour.
const USES_MAX: u8 = 3;
/// Keys remembered after eviction from the small queue, for each block the main queue holds: a
/// block that comes back soon goes straight to the main queue.
const GHOSTS_PER_BLOCK: usize = 1;
/// But at least so many, for a cache that is filling up.
const GHOSTS_MIN: usize = 16;
/// How long a block that came early is still expected to be read: who has not come by then has
/// left, or reads so slowly that he needs none ahead.
const EARLY_FOR: Duration = Duration::from_secs(5);

/// What the cache did so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CacheCounters {
    /// Lookups that found their block.
    pub hits: u64,
    /// Lookups that did not.
    pub misses: u64,
    /// Blocks that made room for others.
    pub evictions: u64,
}

struct Slot {
    block: SealedBlock,
    uses: u8,
    /// The highest offset that somebody read it from.
    read_from: Offset,
    main: bool,
    /// When it came, if that was before its reader, who has not been here yet.
    early_since: Option<Duration>,
}

/// Blocks by file and position.
pub struct BlockCache {
    budget_bytes: usize,
    held_bytes: Arc<AtomicUsize>,
    slots: HashMap<CacheKey, Slot>,
    small: VecDeque<CacheKey>,
    main: VecDeque<CacheKey>,
    ghosts: VecDeque<CacheKey>,
    /// The same keys; a key is a ghost while it is in here.
    ghost_keys: HashSet<CacheKey>,
    small_bytes: usize,
    /// Blocks that came early, and when; oldest first. Those that were read meanwhile stay in it.
    early: VecDeque<(CacheKey, Duration)>,
    early_bytes: usize,
    cached_bytes: usize,
    counters: CacheCounters,
}

/// A buffer whose bytes count against the cache until its last slice is dropped.
struct Leased<B> {
    buf: B,
    bytes: usize,
    held_bytes: Arc<AtomicUsize>,
}

impl<B: DiskBuf> AsRef<[u8]> for Leased<B> {
    fn as_ref(&self) -> &[u8] {
        self.buf.as_ref()
    }
}

impl<B> Drop for Leased<B> {
    fn drop(&mut self) {
        self.held_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl BlockCache {
    /// An empty cache. A budget of 0 caches nothing.
    #[must_use]
    pub fn new(budget_bytes: usize) -> BlockCache {
        BlockCache {
            budget_bytes,
            held_bytes: Arc::default(),
            slots: HashMap::new(),
            small: VecDeque::new(),
            main: VecDeque::new(),
            ghosts: VecDeque::new(),
            ghost_keys: HashSet::new(),
            small_bytes: 0,
            early: VecDeque::new(),
            early_bytes: 0,
            cached_bytes: 0,
            counters: CacheCounters::default(),
        }
    }

    /// Wraps a buffer that was read so that its memory counts until the last slice of it is gone,
    /// on whatever thread that happens.
    #[must_use]
    pub fn lease<B: DiskBuf>(&self, buf: B) -> Bytes {
        let bytes = buf.as_ref().len();
        self.held_bytes.fetch_add(bytes, Ordering::Relaxed);
        Bytes::from_owner(Leased {
            buf,
            bytes,
            held_bytes: Arc::clone(&self.held_bytes),
        })
    }

    /// Bytes of all leases alive: cached ones and evicted ones still in somebody's hands.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.held_bytes.load(Ordering::Relaxed)
    }

    /// Bytes of the cached blocks.
    #[must_use]
    pub fn cached_bytes(&self) -> usize {
        self.cached_bytes
    }

    /// What it may hold.
    #[must_use]
    pub fn budget_bytes(&self) -> usize {
        self.budget_bytes
    }

    /// What it did.
    #[must_use]
    pub fn counters(&self) -> CacheCounters {
        self.counters
    }

    /// A block to be read from `from` on, if it is here.
    pub fn get(&mut self, key: CacheKey, from: Offset) -> Option<SealedBlock> {
        let Some(slot) = self.slots.get_mut(&key) else {
            self.counters.misses += 1;
            return None;
        };
        self.counters.hits += 1;
        if slot.early_since.take().is_some() {
            self.early_bytes -= slot.block.len();
        }
        if from <= slot.read_from {
            slot.uses = (slot.uses + 1).min(USES_MAX);
        } else {
            slot.read_from = from;
        }
        Some(slot.block.clone())
    }

    /// Adds a block that was read from disk for someone who reads it from `from` on.
    ///
    /// Evicts until the budget holds. Blocks still in somebody's hands free nothing when they are
    /// evicted, so they can push the cache down to this block, and past the budget by it alone.
    pub fn insert(&mut self, key: CacheKey, from: Offset, block: SealedBlock) {
        let main = self.ghost_keys.remove(&key);
        self.add(key, from, block, main);
    }

    /// Whether the block is here; no use of it.
    #[must_use]
    pub fn contains(&self, key: CacheKey) -> bool {
        self.slots.contains_key(&key)
    }

    /// Adds a block that was read before its reader came: his coming is the first reading, and no
    /// second use. `now` never falls from call to call.
    pub fn insert_ahead(&mut self, key: CacheKey, block: SealedBlock, now: Duration) {
        if self.contains(key) {
            return;
        }
        let main = self.ghost_keys.remove(&key);
        let before_all = Offset(block.base().0 - 1);
        self.add(key, before_all, block, main);
        if let Some(slot) = self.slots.get_mut(&key) {
            slot.early_since = Some(now);
            self.early_bytes += slot.block.len();
            self.early.push_back((key, now));
        }
        self.expect_no_more(now);
    }

    /// Bytes of blocks that came before their readers, who are still to come. One whose reader has
    /// not come for long is a block like others.
    pub fn early_bytes(&mut self, now: Duration) -> usize {
        self.expect_no_more(now);
        self.early_bytes
    }

    fn expect_no_more(&mut self, now: Duration) {
        while let Some((key, came)) = self.early.front() {
            // It may have been read since, or even have come anew.
            let slot = self.slots.get_mut(key);
            if let Some(slot) = slot.filter(|slot| slot.early_since == Some(*came)) {
                if now < *came + EARLY_FOR {
                    return;
                }
                slot.early_since = None;
                self.early_bytes -= slot.block.len();
            }
            self.early.pop_front();
        }
    }

    /// Adds a block that was just written: a tail, which its readers are about to ask for.
    pub fn insert_written(&mut self, key: CacheKey, block: SealedBlock) {
        let before_all = Offset(block.base().0 - 1);
        self.add(key, before_all, block, true);
    }

    fn add(&mut self, key: CacheKey, read_from: Offset, block: SealedBlock, main: bool) {
        if block.len() > self.budget_bytes || self.slots.contains_key(&key) {
            return;
        }
        let len = block.len();
        self.cached_bytes += len;
        self.slots.insert(
            key,
            Slot {
                block,
                uses: 0,
                read_from,
                main,
                early_since: None,
            },
        );
        if main {
            self.main.push_back(key);
        } else {
            self.small_bytes += len;
            self.small.push_back(key);
        }
        self.evict(key);
    }

    /// Forgets all blocks of a file that is about to be recycled or unlinked.
    pub fn forget(&mut self, incarnation: Incarnation) {
        let gone = |key: &CacheKey| key.0 == incarnation;
        let keys: Vec<CacheKey> = self.slots.keys().copied().filter(gone).collect();
        for key in keys {
            self.remove(key);
        }
        for queue in [&mut self.small, &mut self.main, &mut self.ghosts] {
            queue.retain(|key| !gone(key));
        }
        self.ghost_keys.retain(|key| !gone(key));
    }

    fn over_budget(&self) -> bool {
        self.held_bytes().max(self.cached_bytes) > self.budget_bytes
    }

    /// `newest` stays: its reader is about to use it.
    fn evict(&mut self, newest: CacheKey) {
        while self.over_budget() && self.slots.len() > 1 {
            let small_full = self.small_bytes > self.budget_bytes / SMALL_SHARE;
            let small_has = self.small.front().is_some_and(|&key| key != newest);
            let main_has = self.main.iter().take(2).any(|&key| key != newest);
            if small_has && (small_full || !main_has) {
                self.evict_small();
            } else if main_has {
                self.evict_main(newest);
            } else {
                return;
            }
        }
    }

    fn evict_small(&mut self) {
        let Some(key) = self.small.pop_front() else {
            return;
        };
        let Some(slot) = self.slots.get_mut(&key) else {
            return;
        };
        if slot.uses > 0 {
            slot.uses = 0;
            slot.main = true;
            self.small_bytes -= slot.block.len();
            self.main.push_back(key);
            return;
        }
        self.remove(key);
        self.counters.evictions += 1;
        if self.ghost_keys.insert(key) {
            self.ghosts.push_back(key);
        }
        while self.ghosts.len() > (self.main.len() * GHOSTS_PER_BLOCK).max(GHOSTS_MIN) {
            let oldest = self.ghosts.pop_front();
            oldest.map(|key| self.ghost_keys.remove(&key));
        }
    }

    fn evict_main(&mut self, newest: CacheKey) {
        let Some(key) = self.main.pop_front() else {
            return;
        };
        let Some(slot) = self.slots.get_mut(&key) else {
            return;
        };
        if slot.uses > 0 || key == newest {
            slot.uses = slot.uses.saturating_sub(1);
            self.main.push_back(key);
            return;
        }
        self.remove(key);
        self.counters.evictions += 1;
    }

    fn remove(&mut self, key: CacheKey) {
        if let Some(slot) = self.slots.remove(&key) {
            self.cached_bytes -= slot.block.len();
            if slot.early_since.is_some() {
                self.early_bytes -= slot.block.len();
            }
            if !slot.main {
                self.small_bytes -= slot.block.len();
            }
        }
    }
}
