//! The store on a simulated machine: appends, reads, seals, direct writes, and starts after them.
#![allow(missing_docs, clippy::unwrap_used)]

mod core;

use core::{Node, Told, sent, start, tp};
use spate_storage::disk::simulated::{Crash, Simulation};

#[test]
fn appended_is_read_back_after_a_crash_under_other_shards() {
    let node = Node::start(Simulation::new(1), &start(2));
    let mut told = Told::default();
    for round in 0..20u8 {
        for n in 0..5 {
            let what = sent(200 + 100 * n as usize, round);
            let appended = node.append_durably(tp(n), what);
            told.note(tp(n), appended.base_offset, &what);
        }
    }
    told.check(&node);
    let node = Node::start(node.crash(Crash::Power), &start(3));
    assert_eq!(node.report.partitions, 5);
    told.check(&node);
    let appended = node.append_durably(tp(0), sent(300, 9));
    assert_eq!(appended.base_offset.0, 20);
}

#[test]
fn a_ring_of_journal_files_goes_round() {
    let node = Node::start(Simulation::new(2), &start(1));
    let mut told = Told::default();
    for round in 0..400u32 {
        for n in 0..4 {
            let what = sent(4000 + 500 * n as usize, round as u8);
            let appended = node.append_durably(tp(n), what);
            told.note(tp(n), appended.base_offset, &what);
        }
    }
    let counters = node.stores[0].counters();
    assert!(counters.files_reused > 3, "{counters:?}");
    assert!(counters.seals > 10, "{counters:?}");
    told.check(&node);
    let node = Node::start(node.crash(Crash::Power), &start(1));
    told.check(&node);
}

#[test]
fn large_appends_go_straight_to_the_segment() {
    let node = Node::start(Simulation::new(3), &start(1));
    let mut told = Told::default();
    for round in 0..60u32 {
        let mut commits = Vec::new();
        for n in 0..6u8 {
            let what = sent(20_000, ((round * 6 + u32::from(n)) % 251) as u8);
            let appended = node.append(tp(0), what);
            told.note(tp(0), appended.base_offset, &what);
            commits.push(appended.commit);
        }
        node.sim.block_on(async move {
            for commit in commits {
                commit.wait().await.unwrap();
            }
        });
    }
    let counters = node.stores[0].counters();
    assert!(counters.direct_writes > 10, "{counters:?}");
    told.check(&node);
    let node = Node::start(node.crash(Crash::Power), &start(1));
    told.check(&node);
}
