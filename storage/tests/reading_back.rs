//! Reading what is no longer in memory: read-ahead for backlogs, tails that stay where they are,
//! and lookups that read little.
#![allow(missing_docs, clippy::unwrap_used)]

mod core;

use core::{Node, Sent, Start, sent, start, tp};
use spate_storage::{disk::simulated::Simulation, types::Offset};
use std::rc::Rc;

const RECORDS: i64 = 600;

/// Several files of one partition; each record's timestamp is 1000 times its offset.
fn filled(how: &Start) -> Node {
    let node = Node::start(Simulation::new(21), how);
    for n in 0..RECORDS {
        let what = Sent {
            timestamp: n * 1000,
            ..sent(9_000, n as u8)
        };
        node.append_durably(tp(0), what);
    }
    node.run_for(500);
    node
}

#[test]
fn a_backlog_is_read_ahead_and_pushes_no_tail_out() {
    let mut how = start(1);
    how.config.cache_bytes = 4 << 20;
    let node = filled(&how);
    let store = Rc::clone(node.store(tp(0)));
    let end = store.bounds(tp(0)).high_watermark;
    // The tail's reader is a bit behind: its blocks are sealed, and still in memory.
    let tail = Offset(end.0 - 30);
    let before = store.counters();
    node.read(tp(0), tail.0, 1);
    assert_eq!(
        store.counters().block_reads,
        before.block_reads,
        "the tail is in memory"
    );

    let read = node.read_all(tp(0));
    assert_eq!(read.len(), RECORDS as usize);
    for (n, (header, _)) in read.iter().enumerate() {
        assert_eq!(header.base, Offset(n as i64));
    }
    let after = store.counters();
    assert!(after.blocks_ahead > 20, "{after:?}");
    assert!(
        after.blocks_ahead > 5 * (after.block_reads - before.block_reads),
        "most blocks were there when they were asked for: {after:?}"
    );
    node.read(tp(0), tail.0, 1);
    let last = store.counters();
    assert_eq!(
        last.block_reads, after.block_reads,
        "the backlog pushed the tail out"
    );
}

/// While a reader sends what he took, the disk goes on: a fetch's worth, and no further.
#[test]
fn a_window_of_blocks_comes_without_another_read() {
    let mut how = start(1);
    how.config.cache_bytes = 64 << 20;
    let node = filled(&how);
    let node = Node::start(node.shut_down(), &how);
    let store = Rc::clone(node.store(tp(0)));
    // Behind the first files, which are small.
    node.read(tp(0), RECORDS / 3, 1);
    node.run_for(500);
    let counters = store.counters();
    // Blocks are sealed a bit before they are full; four times as many lie behind this one.
    let blocks_of_a_window = (1 << 20) / how.config.block_bytes as u64;
    assert!(
        (3..2 * blocks_of_a_window).contains(&counters.blocks_ahead),
        "{counters:?}"
    );
}

#[test]
fn a_lookup_reads_two_blocks_at_most() {
    let mut how = start(1);
    how.config.cache_bytes = 0;
    let node = filled(&how);
    // Nothing is open, nothing is cached.
    let node = Node::start(node.shut_down(), &how);
    let store = Rc::clone(node.store(tp(0)));
    for n in [0, 1, 150, 399, RECORDS - 1] {
        let before = store.counters().block_reads;
        let finding = Rc::clone(&store);
        let find = async move { finding.offset_at_timestamp(tp(0), n * 1000).await };
        let found = node.sim.block_on(find).unwrap().unwrap();
        assert_eq!((found.offset, found.timestamp), (Offset(n), n * 1000));
        assert!(store.counters().block_reads - before <= 2, "at {n}");

        let before = store.counters().block_reads;
        assert_eq!(node.read(tp(0), n, 1).bytes, 9_000);
        assert!(store.counters().block_reads - before <= 1, "at {n}");
    }
}
