//! What a store does when its disk fails or fills up: the fence (S10), the watermarks, and opens
//! that fail while no write has.
#![allow(missing_docs, clippy::unwrap_used)]

mod core;

use core::{Node, Told, sent, start, tp};
use spate_storage::{
    disk::simulated::{Crash, Fault, Operation, Simulation},
    space::{FileSystem, Level, Space, Watermarks},
    store::{AppendError, Stamp},
    types::Offset,
};
use std::rc::Rc;

const EIO: i32 = 5;
const EMFILE: i32 = 24;
const MIB: u64 = 1 << 20;

fn space() -> Space {
    Space::new(Watermarks {
        low_bytes: 64 * MIB,
        full_bytes: 16 * MIB,
        reserve_bytes: 8 * MIB,
    })
}

fn tell(space: &Space, usable_mib: u64) {
    space.note(FileSystem {
        total_bytes: 1024 * MIB,
        usable_bytes: usable_mib * MIB,
    });
}

#[test]
fn a_full_disk_takes_nothing_new_and_goes_on_by_itself() {
    let space = space();
    let mut how = start(1);
    how.config.space = space.clone();
    let node = Node::start(Simulation::new(1), &how);
    tell(&space, 512);
    let mut idempotent = sent(200, 1);
    (idempotent.producer, idempotent.sequence) = (7, 0);
    node.append_durably(tp(0), idempotent);

    tell(&space, 20);
    assert_eq!(space.level(), Level::Full);
    let store = Rc::clone(node.store(tp(0)));
    let batch = core::encode(&sent(200, 2));
    let refused = store.append(tp(0), &batch, core::stamp(0)).unwrap_err();
    assert!(
        matches!(refused, AppendError::DiskFull { full_bytes, .. } if full_bytes == 24 * MIB),
        "{refused}"
    );
    assert_eq!(node.read(tp(0), 0, 1 << 20).bytes, 200, "reads go on");
    // What was taken before is answered as it was then: the producer only missed the answer.
    let again = node.append(tp(0), idempotent);
    assert_eq!(again.base_offset, Offset(0));
    // The broker's own records have their space.
    let internal = Stamp {
        is_internal: true,
        ..core::stamp(0)
    };
    let own = store.append(tp(1), &batch, internal).unwrap();
    node.sim
        .block_on(async move { own.commit.wait().await })
        .unwrap();

    tell(&space, 512);
    assert_eq!(
        node.append_durably(tp(0), sent(200, 2)).base_offset,
        Offset(1)
    );
    assert_eq!(store.counters().refused_for_space, 1);
}

/// A file system that others fill, however early: what was acknowledged stays, whatever could not
/// be sealed waits, and all of it goes on when there is space.
#[test]
fn no_space_loses_nothing_and_fences_nothing() {
    for seed in 0..10 {
        let node = Node::start(Simulation::new(seed), &start(1));
        let mut told = Told::default();
        node.run_for(50);
        node.sim.disk().limit_space(0);
        let mut commits = Vec::new();
        for round in 0..200 {
            let what = sent(9_000, round as u8);
            let appended = node.append(tp(round % 4), what);
            commits.push((tp(round % 4), appended, what));
            node.run_for(1);
        }
        node.run_for(3000);
        assert!(
            node.fence.check().is_ok(),
            "seed {seed}: fenced by a full disk"
        );
        node.sim.disk().limit_space(u64::MAX);
        node.run_for(5000);
        for (tp, appended, what) in commits {
            assert!(
                appended.commit.is_settled(),
                "seed {seed}: it did not go on"
            );
            told.note(tp, appended.base_offset, &what);
        }
        told.check(&node);
        let node = Node::start(node.crash(Crash::Kill), &start(2));
        told.check(&node);
    }
}

#[test]
fn s10_reads_of_what_is_known_go_on_behind_the_fence() {
    let node = Node::start(Simulation::new(3), &start(1));
    for round in 0..40 {
        node.append_durably(tp(0), sent(9_000, round));
    }
    node.run_for(1000);
    let before = node.store(tp(0)).bounds(tp(0));
    node.sim
        .disk()
        .inject(Fault::once(Operation::Write, "/", EIO));
    let lost = node.append(tp(0), sent(100, 99));
    node.run_for(100);
    assert!(node.fence.check().is_err());
    assert!(lost.commit.is_settled());
    assert_eq!(
        node.store(tp(0)).bounds(tp(0)).high_watermark,
        before.high_watermark
    );
    let read = node.read_all(tp(0));
    assert_eq!(read.len(), 40);
}

/// Too many open files are no failed write: the disk is not in doubt.
#[test]
fn an_open_that_fails_is_tried_again_and_fences_nothing() {
    for path in [".seg", "/journal/"] {
        let node = Node::start(Simulation::new(5), &start(1));
        node.run_for(50);
        let mut told = Told::default();
        let fault = Fault::once(Operation::Open, path, EMFILE);
        node.sim.disk().inject(fault);
        for round in 0..200 {
            let what = sent(9_000, round as u8);
            let appended = node.append_durably(tp(0), what);
            told.note(tp(0), appended.base_offset, &what);
        }
        assert!(node.fence.check().is_ok(), "{path}");
        told.check(&node);
    }
}
