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

fn add(cache: &mut BlockCache, number: u64) {
    let block = leased(cache, number);
    cache.insert(key(number), block);
}

#[test]
fn budget_holds_over_cached_blocks() {
    let mut cache = BlockCache::new(100 * 8192);
    for number in 0..1000 {
        add(&mut cache, number);
        assert!(cache.held_bytes() <= cache.budget_bytes());
        assert_eq!(cache.held_bytes(), cache.cached_bytes());
        assert_eq!(
            cache.get(key(number)).unwrap().base(),
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
        add(&mut cache, tail);
        cache.get(key(tail)).unwrap();
    }
    for old in 1000..5000 {
        if cache.get(key(old)).is_none() {
            add(&mut cache, old);
        }
        if old % 100 == 0 {
            // The tails' own readers come by now and then.
            (0..50).for_each(|tail| drop(cache.get(key(tail))));
        }
    }
    let kept = (0..50)
        .filter(|&tail| cache.get(key(tail)).is_some())
        .count();
    assert_eq!(kept, 50);
}

#[test]
fn block_in_use_counts_until_it_is_dropped() {
    let mut cache = BlockCache::new(10 * 8192);
    add(&mut cache, 0);
    let sending = cache.get(key(0)).unwrap().payload();
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
        assert!(cache.get(key(number)).is_some());
    }
    drop(held);
}

#[test]
fn forgotten_file_is_gone_and_others_stay() {
    let mut cache = BlockCache::new(100 * 8192);
    add(&mut cache, 1);
    let block = leased(&cache, 2);
    let other = (Incarnation(2), Position(2));
    cache.insert(other, block);
    cache.forget(FILE);
    assert!(cache.get(key(1)).is_none());
    assert!(cache.get(other).is_some());
    assert_eq!(cache.counters().hits, 1);
}

#[test]
fn no_budget_caches_nothing() {
    let mut cache = BlockCache::new(0);
    add(&mut cache, 1);
    assert!(cache.get(key(1)).is_none());
    assert_eq!(cache.held_bytes(), 0);
}
