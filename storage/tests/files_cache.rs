//! The block cache: its budget, what it keeps, and the memory of blocks still in use.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "files/mod.rs"]
mod files;

use files::{batches, block, meta};
use spate_storage::{
    block::SealedBlock,
    cache::{BlockCache, CacheKey},
    disk::standard::StandardDisk,
    hash::{ChainHash, Incarnation},
    types::{Offset, Position},
};
use std::time::Duration;

const FILE: Incarnation = Incarnation(1);

fn key(number: u64) -> CacheKey {
    (FILE, Position(number))
}

/// A block of 8 KiB whose base offset is its number, charged to the cache.
fn leased(cache: &BlockCache, number: u64) -> SealedBlock {
    let base = i64::try_from(number).unwrap() * 1000;
    let pieces = batches(base, 5, 1000);
    let buf = block(
        &StandardDisk::new(),
        &meta(base, ChainHash(0), &pieces),
        &pieces,
        FILE,
    );
    SealedBlock::verify(cache.lease(buf), FILE).unwrap()
}

fn base(number: u64) -> Offset {
    Offset(i64::try_from(number).unwrap() * 1000)
}

fn add(cache: &mut BlockCache, number: u64) {
    let block = leased(cache, number);
    cache.insert(key(number), base(number), block);
}

fn get(cache: &mut BlockCache, number: u64) -> Option<SealedBlock> {
    cache.get(key(number), base(number))
}

#[test]
fn budget_holds_over_cached_blocks() {
    let mut cache = BlockCache::new(100 * 8192);
    for number in 0..1000 {
        add(&mut cache, number);
        assert!(cache.held_bytes() <= cache.budget_bytes());
        assert_eq!(cache.held_bytes(), cache.cached_bytes());
        assert_eq!(
            get(&mut cache, number).unwrap().base(),
            Offset(number as i64 * 1000)
        );
    }
    assert!(
        cache.held_bytes() > 90 * 8192,
        "{} held",
        cache.held_bytes()
    );
}

#[test]
fn reader_of_a_backlog_evicts_no_tail() {
    let mut cache = BlockCache::new(100 * 8192);
    for tail in 0..50 {
        let block = leased(&cache, tail);
        cache.insert_written(key(tail), block);
    }
    for old in 1000..5000 {
        assert!(get(&mut cache, old).is_none());
        add(&mut cache, old);
        // The same reader takes the rest of the block in small fetches.
        for step in 1..5 {
            cache
                .get(key(old), Offset(base(old).0 + step * 10))
                .unwrap();
        }
    }
    let kept = (0..50)
        .filter(|&tail| get(&mut cache, tail).is_some())
        .count();
    assert_eq!(kept, 50);
}

#[test]
fn block_with_a_second_reader_stays() {
    let mut cache = BlockCache::new(100 * 8192);
    for hot in 0..20 {
        add(&mut cache, hot);
        get(&mut cache, hot).unwrap();
    }
    (1000..1500).for_each(|cold| add(&mut cache, cold));
    let kept = (0..20)
        .filter(|&hot| get(&mut cache, hot).is_some())
        .count();
    assert_eq!(kept, 20);
}

#[test]
fn block_in_use_counts_until_it_is_dropped() {
    let mut cache = BlockCache::new(10 * 8192);
    add(&mut cache, 0);
    let sending = get(&mut cache, 0).unwrap().payload();
    cache.forget(FILE);
    assert_eq!((cache.cached_bytes(), cache.held_bytes()), (0, 8192));
    for number in 1..30 {
        add(&mut cache, number);
        assert!(cache.held_bytes() <= cache.budget_bytes());
    }
    assert!(
        cache.cached_bytes() <= 9 * 8192,
        "the lease has its share of the budget"
    );
    let held = cache.held_bytes();
    std::thread::spawn(move || drop(sending)).join().unwrap();
    assert_eq!(cache.held_bytes(), held - 8192);
}

#[test]
fn leases_of_the_whole_budget_leave_the_newest_block_only() {
    let mut cache = BlockCache::new(10 * 8192);
    let held: Vec<_> = (100..120).map(|number| leased(&cache, number)).collect();
    for number in 0..5 {
        add(&mut cache, number);
        assert_eq!(cache.cached_bytes(), 8192);
        assert!(get(&mut cache, number).is_some());
    }
    drop(held);
}

#[test]
fn forgotten_file_is_gone_and_others_stay() {
    let mut cache = BlockCache::new(100 * 8192);
    add(&mut cache, 1);
    let block = leased(&cache, 2);
    let other = (Incarnation(2), Position(2));
    cache.insert(other, Offset(2000), block);
    cache.forget(FILE);
    assert!(get(&mut cache, 1).is_none());
    assert!(cache.get(other, Offset(2000)).is_some());
    assert_eq!(cache.counters().hits, 1);
}

#[test]
fn no_budget_caches_nothing() {
    let mut cache = BlockCache::new(0);
    add(&mut cache, 1);
    assert!(get(&mut cache, 1).is_none());
    assert_eq!(cache.held_bytes(), 0);
}

#[test]
fn blocks_that_came_early_count_until_their_reader_comes_or_they_go() {
    let mut cache = BlockCache::new(64 << 10);
    let second = Duration::from_secs;
    for number in 1..=3 {
        let block = leased(&cache, number);
        cache.insert_ahead(key(number), block, second(number));
    }
    let bytes = cache.early_bytes(second(3)) / 3;
    assert!(bytes > 0);
    for _ in 0..2 {
        assert!(get(&mut cache, 2).is_some());
        assert_eq!(cache.early_bytes(second(3)), 2 * bytes);
    }
    // Somebody has read it already: it does not come early.
    let again = leased(&cache, 2);
    cache.insert_ahead(key(2), again, second(4));
    assert_eq!(cache.early_bytes(second(4)), 2 * bytes);
    // The reader of the first does not come any more; the block stays.
    assert_eq!(cache.early_bytes(second(6)), bytes);
    assert!(cache.contains(key(1)));
    assert!(get(&mut cache, 1).is_some());
    assert_eq!(cache.early_bytes(second(6)), bytes);
    cache.forget(FILE);
    assert_eq!(cache.early_bytes(second(6)), 0);
}
