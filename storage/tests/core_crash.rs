//! Random histories with crashes: whatever was acknowledged is there once, in order, at its offset,
//! after any number of starts under any number of shards. A failing seed is printed; it replays.
#![allow(missing_docs, clippy::unwrap_used)]

mod core;

use core::{Node, Sent, Told, sent, start, tp};
use spate_storage::{
    commit::Commit,
    disk::simulated::{Crash, Simulation},
    types::{Offset, TopicPartition},
};
use std::{cell::RefCell, rc::Rc, time::Duration};

const PARTITIONS: u64 = 8;
/// Histories in the normal run; those of `storm` go much further.
const HISTORIES: u64 = 40;

/// A client's append on its way: noted once its commit says so.
fn follow(
    node: &Node,
    told: &Rc<RefCell<Told>>,
    tp: TopicPartition,
    base: Offset,
    what: Sent,
    commit: Commit,
) {
    let told = Rc::clone(told);
    node.sim.spawn(async move {
        if commit.wait().await.is_ok() {
            told.borrow_mut().note(tp, base, &what);
        }
    });
}

fn random_batch(sim: &Simulation, fill: u8) -> Sent {
    let bytes = match sim.random_below(20) {
        0 => 20_000 + sim.random_below(80_000),
        1..4 => 4_000 + sim.random_below(16_000),
        _ => 70 + sim.random_below(1_500),
    };
    let records = 1 + sim.random_below(5) as i32;
    Sent {
        records,
        ..sent(bytes as usize, fill)
    }
}

/// Appends for a while, then stops at some moment in the middle of things.
fn live(node: &Node, told: &Rc<RefCell<Told>>) {
    let rounds = node.sim.random_below(120);
    for round in 0..rounds {
        for _ in 0..node.sim.random_below(6) {
            let tp = tp(node.sim.random_below(PARTITIONS) as i32);
            let what = random_batch(&node.sim, round as u8);
            let appended = node.append(tp, what);
            follow(node, told, tp, appended.base_offset, what, appended.commit);
        }
        node.sim
            .run_for(Duration::from_micros(node.sim.random_below(3_000)));
    }
}

fn history(seed: u64) {
    let mut sim = Simulation::new(seed);
    let told = Rc::new(RefCell::new(Told::default()));
    for _ in 0..3 {
        let mut how = start(1 + sim.random_below(4) as u16);
        how.config.idle_frame_after = Duration::from_millis(1 + sim.random_below(100));
        let mut node = Node::start(sim, &how);
        node.epoch = seed as i32;
        told.borrow().check(&node);
        live(&node, &told);
        let crash = if node.sim.random_below(3) == 0 {
            Crash::Kill
        } else {
            Crash::Power
        };
        sim = node.crash(crash);
    }
    let node = Node::start(sim, &start(2));
    told.borrow().check(&node);
}

/// `SEED` and `HISTORIES` choose others than the usual ones.
fn histories(first: u64, count: u64) {
    let first = std::env::var("SEED").map_or(first, |seed| seed.parse().unwrap());
    let count = std::env::var("HISTORIES").map_or(count, |n| n.parse().unwrap());
    for seed in first..first + count {
        // Shown only when the history fails: the test harness keeps it back otherwise.
        println!("history of seed {seed}; if it is the last, replay with SEED={seed} HISTORIES=1");
        history(seed);
    }
}

#[test]
fn everything_acknowledged_survives_crashes() {
    histories(0, HISTORIES / 2);
}

/// The other half, so that two cores share the work.
#[test]
fn everything_acknowledged_survives_more_crashes() {
    histories(HISTORIES / 2, HISTORIES / 2);
}
