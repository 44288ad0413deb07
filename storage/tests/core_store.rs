//! The store on a simulated machine: appends, reads, seals, direct writes, and starts after them.
#![allow(missing_docs, clippy::unwrap_used)]

mod core;

use core::{Node, Sent, Told, encode, sent, stamp, start, tp};
use spate_storage::{
    disk::simulated::{Crash, Simulation},
    types::Offset,
};
use std::rc::Rc;

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
fn a_first_file_that_fills_the_ring_is_followed_all_the_same() {
    let node = Node::start(Simulation::new(84), &start(4));
    let mut told = Told::default();
    for n in 0..24 {
        let what = sent(40_000, n as u8);
        let appended = node.append_durably(tp(n), what);
        told.note(tp(n), appended.base_offset, &what);
    }
    // One shard begins with what four had open.
    let node = Node::start(node.crash(Crash::Kill), &start(1));
    let config = start(1).config;
    let journals = (node.sim.disk().files().into_iter())
        .filter(|(path, _)| path.starts_with("/data/journal"))
        .map(|(_, len)| len);
    let bytes: u64 = journals.sum();
    assert!(
        bytes + config.journal_file_bytes > config.journal_bytes,
        "{bytes}"
    );
    for round in 0..400u32 {
        let what = sent(8_000, round as u8);
        let appended = node.append_durably(tp(0), what);
        told.note(tp(0), appended.base_offset, &what);
    }
    told.check(&node);
}

#[test]
fn a_large_batch_stays_where_it_came_unless_others_hold_its_memory() {
    let node = Node::start(Simulation::new(8), &start(1));
    let store = node.store(tp(0));
    let mut own = encode(&sent(40_000, 7));
    let address = own.as_ptr();
    let appended = store.append_given(tp(0), &mut own, stamp(1)).unwrap();
    assert!(own.is_empty());
    assert!(store.memory().open_block_bytes >= 40_000);
    let mut shared = encode(&sent(40_000, 8));
    let (kept, before) = (shared.clone(), shared.to_vec());
    let next = store.append_given(tp(0), &mut shared, stamp(1)).unwrap();
    node.sim.block_on(async move {
        appended.commit.wait().await.unwrap();
        next.commit.wait().await.unwrap();
    });
    let read = node.read(tp(0), 0, 100_000);
    assert_eq!(read.slices[0].as_ptr(), address);
    // Stamped is the copy: the sender's bytes are as they were.
    assert_eq!(read.slices[1][..8], 1i64.to_be_bytes());
    assert_eq!(kept, before);
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

/// Each record comes from a producer of its own, as when an idempotent producer is opened for each
/// request. All of them together would make a row longer than a journal file, and the journal could
/// never go on in its next one.
#[test]
fn two_hundred_thousand_producers_of_one_partition_leave_the_journal_its_room() {
    let mut how = start(1);
    how.config.journal_bytes = 16 << 20;
    how.config.journal_file_bytes = 4 << 20;
    how.config.open_block_budget_bytes = 64 << 20;
    let node = Node::start(Simulation::new(5), &how);
    let one = |producer: i64| Sent {
        producer,
        sequence: 0,
        ..sent(80, 1)
    };
    for producer in 0..200_000 {
        let appended = node.append(tp(0), one(producer));
        if producer % 5_000 == 4_999 {
            let commit = appended.commit;
            let committed = async move { commit.wait().await };
            node.sim.block_on(committed).unwrap();
        }
    }
    // A row of theirs takes an eighth of a journal file at most.
    let remembered = node.store(tp(0)).producers(tp(0)).len();
    assert!((1_000..=4_096).contains(&remembered), "{remembered}");
    let counters = node.stores[0].counters();
    assert!(counters.files_reused > 0, "{counters:?}");

    let node = Node::start(node.crash(Crash::Power), &how);
    assert_eq!(node.store(tp(0)).producers(tp(0)).len(), remembered);
    let again = node.append_durably(tp(0), one(199_999));
    assert_eq!(again.base_offset.0, 199_999, "the newest are remembered");
    let forgotten = node.append_durably(tp(0), one(0));
    assert_eq!(forgotten.base_offset.0, 200_000);
}

/// Kafka answers with the largest timestamp of its segments, whatever DeleteRecords has hidden of
/// them; so do we of the batches that are still there.
#[test]
fn largest_timestamp_is_found_behind_a_start_inside_its_batch() {
    let node = Node::start(Simulation::new(6), &start(1));
    for (records, timestamp) in [(4, 900), (3, 400)] {
        let batch = Sent {
            records,
            timestamp,
            ..sent(200, 1)
        };
        node.append_durably(tp(0), batch);
    }
    for begin in [2, 5] {
        let store = Rc::clone(node.store(tp(0)));
        let found = node.sim.block_on(async move {
            store.advance_start(tp(0), Offset(begin)).await.unwrap();
            store.max_timestamp(tp(0)).await.unwrap().unwrap()
        });
        assert_eq!((found.offset, found.timestamp), (Offset(0), 900));
        let store = Rc::clone(node.store(tp(0)));
        let visible = async move { store.offset_at_timestamp(tp(0), 900).await.unwrap() };
        let visible = node.sim.block_on(visible);
        assert_eq!(
            visible.map(|found| found.offset),
            (begin == 2).then_some(Offset(2))
        );
    }
    // Of a log that is deleted to its end nothing is left.
    let store = Rc::clone(node.store(tp(0)));
    let found = node.sim.block_on(async move {
        store.advance_start(tp(0), Offset(7)).await.unwrap();
        store.max_timestamp(tp(0)).await.unwrap()
    });
    assert_eq!(found, None);
}
