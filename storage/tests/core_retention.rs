//! What logs forget: by age, by size, by DeleteRecords and with their topics; crashes at every step
//! of it, readers on their way meanwhile, and starts under other numbers of shards.
#![allow(missing_docs, clippy::unwrap_used)]

mod core;

use core::{Node, Sent, Start, data, encode, sent, stamp, start, tp};
use spate_storage::{
    batch::batches,
    commit::CommitError,
    disk::{
        Clock,
        simulated::{Crash, SimulatedDisk, Simulation},
    },
    retention::{Retention, Retired},
    segment::partition_dir,
    store::{Appended, ReadError, Stamp, StartError},
    types::{LeaderEpoch, Offset, TopicPartition},
};
use std::{
    cell::RefCell,
    collections::{BTreeMap, HashSet},
    rc::Rc,
    time::Duration,
};

const SEGMENT_BYTES: u64 = 20_000;

fn rolling() -> Stamp {
    Stamp {
        segment_bytes: SEGMENT_BYTES,
        ..stamp(0)
    }
}

fn at(timestamp: i64, bytes: usize) -> Sent {
    Sent {
        timestamp,
        ..sent(bytes, timestamp as u8)
    }
}

fn append(node: &Node, tp: TopicPartition, what: Sent, how: Stamp) -> Appended {
    node.store(tp).append(tp, &encode(&what), how).unwrap()
}

/// Appends so many batches of 5,000 bytes, four to a Kafka segment, with timestamps from 1000 on.
fn fill(node: &Node, tp: TopicPartition, batches: i64) {
    for n in 0..batches {
        let commit = append(node, tp, at(1000 + n, 5_000), rolling()).commit;
        node.sim
            .block_on(async move { commit.wait().await })
            .unwrap();
    }
}

fn now_ms(node: &Node) -> i64 {
    node.sim.clock().wall_ms()
}

fn log_start(node: &Node, tp: TopicPartition) -> i64 {
    node.store(tp).bounds(tp).log_start.0
}

fn files(disk: &SimulatedDisk, tp: TopicPartition) -> usize {
    let dir = partition_dir(&data(), tp);
    let all = disk.files().into_iter();
    all.filter(|(path, _)| path.starts_with(&dir)).count()
}

fn delete_before(node: &Node, tp: TopicPartition, before: i64) -> Result<Offset, StartError> {
    let store = Rc::clone(node.store(tp));
    let moved = async move { store.advance_start(tp, Offset(before)).await };
    node.sim.block_on(moved)
}

fn by_size(bytes: u64) -> Retention {
    let bytes = Some(bytes);
    Retention {
        age_ms: None,
        bytes,
    }
}

/// Everything but what is still to come.
const ALL: Retention = Retention {
    age_ms: Some(0),
    bytes: None,
};

#[test]
fn the_oldest_kafka_segments_go_by_size_and_files_with_them() {
    let node = Node::start(Simulation::new(1), &start(1));
    fill(&node, tp(0), 40);
    assert_eq!(node.store(tp(0)).log_bytes(tp(0)), 200_000);
    // What is still being sealed has no file yet.
    node.run_for(1000);
    let before = files(&node.sim.disk(), tp(0));
    let retired = node.store(tp(0)).retain(tp(0), by_size(60_000));
    let (segments, bytes) = (7, 140_000);
    assert_eq!(retired, Retired { segments, bytes });
    assert_eq!(log_start(&node, tp(0)), 0, "not before it is durable");
    node.run_for(1000);
    assert_eq!(log_start(&node, tp(0)), 28);
    assert!(files(&node.sim.disk(), tp(0)) < before);
    assert_eq!(node.store(tp(0)).log_bytes(tp(0)), 60_000);
    let again = node.store(tp(0)).retain(tp(0), by_size(60_000));
    assert_eq!(again, Retired::default());
    let again = node.store(tp(0)).retain(tp(0), by_size(40_000));
    assert_eq!(again.segments, 1);
    let node = Node::start(node.crash(Crash::Power), &start(3));
    assert!([28, 32].contains(&log_start(&node, tp(0))));
    assert_eq!(node.read_all(tp(0)).last().unwrap().0.base, Offset(39));
}

/// S7: to the pool when the start is durable, under another incarnation, and from there to whoever
/// asks next.
#[test]
fn s7_files_of_old_segments_serve_again() {
    let node = Node::start(Simulation::new(1), &start(1));
    fill(&node, tp(0), 60);
    let disk = node.sim.disk();
    let total = || -> u64 { disk.files().iter().map(|(_, len)| len).sum() };
    let in_pool = || {
        let all = disk.files().into_iter();
        all.filter(|(path, _)| path.starts_with(data().join("pool")))
            .count()
    };
    let (before, used) = (in_pool(), total());
    node.store(tp(0)).retain(tp(0), by_size(20_000));
    node.run_for(1000);
    assert!(
        in_pool() > before,
        "{before} files in the pool, then {}",
        in_pool()
    );
    assert!(total() <= used);
    let recycled = in_pool();
    fill(&node, tp(1), 60);
    assert!(
        in_pool() < recycled,
        "{recycled} files lay in the pool and were not used"
    );
    assert_eq!(node.read_all(tp(1)).len(), 60);
}

#[test]
fn sizes_and_ages_outlive_starts_and_journal_laps() {
    let mut node = Node::start(Simulation::new(1), &start(2));
    fill(&node, tp(0), 40);
    for shards in [1, 3, 2] {
        // Another partition takes the journal through its ring.
        fill(&node, tp(1), 200);
        node = Node::start(node.crash(Crash::Power), &start(shards));
        assert_eq!(node.store(tp(0)).log_bytes(tp(0)), 200_000);
    }
    let by_age = Retention {
        age_ms: Some(now_ms(&node) - 1011),
        bytes: None,
    };
    // Offset 11 has the timestamp 1011 and is as old as allowed: its segment, 8 to 11, stays.
    assert_eq!(node.store(tp(0)).retain(tp(0), by_age).segments, 2);
    node.run_for(100);
    assert_eq!(log_start(&node, tp(0)), 8);
}

#[test]
fn an_old_log_goes_as_a_whole_and_goes_on() {
    for batches in [1, 3, 4, 41] {
        let node = Node::start(Simulation::new(1), &start(1));
        fill(&node, tp(0), batches);
        node.run_for(500);
        // Now a row names the files.
        let node = Node::start(node.crash(Crash::Power), &start(1));
        assert!(node.store(tp(0)).retain(tp(0), ALL).segments > 0);
        node.run_for(500);
        assert_eq!(log_start(&node, tp(0)), batches);
        assert_eq!(files(&node.sim.disk(), tp(0)), 0, "{batches} batches");
        assert_eq!(node.stores[0].memory().open_block_bytes, 0);
        assert_eq!(node.store(tp(0)).retain(tp(0), ALL), Retired::default());
        let node = Node::start(node.crash(Crash::Power), &start(2));
        assert_eq!(log_start(&node, tp(0)), batches);
        let left = node.store(tp(0)).log_bytes(tp(0));
        assert_eq!(left, 0, "a start names a file that went");
        fill(&node, tp(0), 30);
        let node = Node::start(node.crash(Crash::Power), &start(1));
        assert_eq!(log_start(&node, tp(0)), batches);
        let all = node.read_all(tp(0));
        assert_eq!(all.first().unwrap().0.base, Offset(batches));
        assert_eq!(all.len(), 30);
    }
}

/// S6 and S7: a crash at any moment leaves the old start or the new one, and every record behind
/// it.
#[test]
fn s6_a_crash_in_the_middle_leaves_one_start_or_the_other() {
    let (mut before, mut after) = (0, 0);
    for step in 0..120_u64 {
        let node = Node::start(Simulation::new(step), &start(1));
        fill(&node, tp(0), 10);
        let to = [5, 8, 10][step as usize % 3];
        let store = Rc::clone(node.store(tp(0)));
        drop(
            node.sim
                .spawn(async move { store.advance_start(tp(0), Offset(to)).await }),
        );
        // Others go on, and may be given the files.
        for n in 0..step % 30 {
            append(&node, tp(1), at(1000, 4_000), rolling());
            append(&node, tp(0), at(2000 + n as i64, 3_000), rolling());
            node.sim.run_for(Duration::from_micros(7 * step));
        }
        node.sim.run_for(Duration::from_micros(20 * step));
        let node = Node::start(node.crash(Crash::Power), &start(1 + (step % 3) as u16));
        let begins = log_start(&node, tp(0));
        assert!(begins == 0 || begins == to, "step {step}: {begins}");
        before += u32::from(begins == 0);
        after += u32::from(begins == to);
        let all = node.read_all(tp(0));
        let bounds = node.store(tp(0)).bounds(tp(0));
        assert!(bounds.high_watermark >= Offset(10));
        let first = all
            .first()
            .map_or(bounds.log_start, |(header, _)| header.base);
        assert_eq!(first, bounds.log_start, "step {step}");
        fill(&node, tp(0), 12);
        let node = Node::start(node.crash(Crash::Kill), &start(2));
        assert_eq!(log_start(&node, tp(0)), begins);
        node.read_all(tp(0));
    }
    assert!(before > 5 && after > 5, "{before} before, {after} after");
}

#[test]
fn deleting_records_is_bounded_by_the_durable_end() {
    let node = Node::start(Simulation::new(1), &start(1));
    assert_eq!(
        delete_before(&node, tp(0), 0),
        Ok(Offset(0)),
        "an empty log"
    );
    fill(&node, tp(0), 6);
    append(&node, tp(0), at(1, 300), rolling());
    let beyond = delete_before(&node, tp(0), 7);
    assert!(
        matches!(beyond, Err(StartError::OutOfRange { end: Offset(6), .. })),
        "{beyond:?}"
    );
    assert_eq!(delete_before(&node, tp(0), 4), Ok(Offset(4)));
    assert_eq!(delete_before(&node, tp(0), 2), Ok(Offset(4)));
    let (store, is_below) = (Rc::clone(node.store(tp(0))), Offset(3));
    let below = async move { store.read(tp(0), is_below, 1000, true).await };
    let below = node.sim.block_on(below);
    assert!(matches!(
        below,
        Err(ReadError::OutOfRange {
            start: Offset(4),
            ..
        })
    ));
}

#[test]
fn a_start_inside_a_batch_gives_that_batch_whole() {
    let node = Node::start(Simulation::new(1), &start(1));
    let what = Sent {
        records: 5,
        ..sent(500, 1)
    };
    node.append_durably(tp(0), what);
    node.append_durably(tp(0), what);
    assert_eq!(delete_before(&node, tp(0), 3), Ok(Offset(3)));
    let node = Node::start(node.crash(Crash::Power), &start(2));
    assert_eq!(node.read(tp(0), 3, 500).bytes, 500);
    assert_eq!(
        node.store(tp(0)).epoch_at(tp(0), Offset(3)),
        Some(LeaderEpoch(0))
    );
    assert_eq!(node.store(tp(0)).epoch_at(tp(0), Offset(10)), None);
}

/// Each new start took the place of one that was still on its way, and whoever came last waited for
/// ever as long as others came.
#[test]
fn starts_that_follow_each_other_closely_all_take_effect() {
    let node = Node::start(Simulation::new(1), &start(1));
    fill(&node, tp(0), 40);
    let mut last = 0;
    for before in 1..40 {
        let store = Rc::clone(node.store(tp(0)));
        drop(
            node.sim
                .spawn(async move { store.advance_start(tp(0), Offset(before)).await }),
        );
        node.sim.run_for(Duration::from_micros(300));
        last = log_start(&node, tp(0));
    }
    assert!(last > 0, "none of them took effect while others came");
    node.run_for(100);
    assert_eq!(log_start(&node, tp(0)), 39);
}

/// As in Kafka a segment's age is that of its records, and the topic's present setting holds.
#[test]
fn segments_roll_by_the_records_own_time() {
    let node = Node::start(Simulation::new(1), &start(1));
    let by_time = |segment_ms| Stamp {
        segment_ms,
        ..stamp(0)
    };
    for (timestamp, segment_ms) in [
        (1000, 100),
        (1100, 100),
        (1101, 100),
        (1150, 100),
        (1160, 10),
    ] {
        append(&node, tp(0), at(timestamp, 300), by_time(segment_ms));
    }
    node.run_for(500);
    // Segments begin at 0, 2 and 4: two segments may go, and the third is the active one.
    let retired = node.store(tp(0)).retain(tp(0), by_size(1));
    assert_eq!((retired.segments, retired.bytes), (2, 1200));
}

#[test]
fn segments_without_timestamps_age_by_the_clock() {
    let node = Node::start(Simulation::new(1), &start(1));
    let timeless = Sent {
        timestamp: -1,
        ..sent(300, 1)
    };
    node.append_durably(tp(0), timeless);
    let hour = Retention {
        age_ms: Some(3_600_000),
        bytes: None,
    };
    // A start does not know how old what the journal holds is, and counts from its own time. It
    // writes that down: the next does not count anew.
    let node = Node::start(node.crash(Crash::Power), &start(2));
    node.run_for(3_500_000);
    assert_eq!(node.store(tp(0)).retain(tp(0), hour).segments, 0);
    let node = Node::start(node.crash(Crash::Power), &start(1));
    node.run_for(200_000);
    assert_eq!(node.store(tp(0)).retain(tp(0), hour).segments, 1);
}

/// S7: a reader whose file goes, and serves another partition next, gets what was there, or is told
/// that it is gone; never other bytes, and never batches from behind a hole.
#[test]
fn s7_readers_on_their_way_get_their_bytes_or_out_of_range() {
    let (mut got, mut refused) = (0, 0);
    for seed in 0..150 {
        let mut how = start(1);
        how.config.cache_bytes = 0;
        let node = Node::start(Simulation::new(seed), &how);
        fill(&node, tp(0), 60);
        let node = Node::start(node.crash(Crash::Kill), &how);
        let from = Offset(node.sim.random_below(50) as i64);
        // Reading takes some 10 ms, the new start 1 ms.
        let (reads_at, moves_at) = (node.sim.random_below(5), node.sim.random_below(10));
        let (store, clock) = (Rc::clone(node.store(tp(0))), node.sim.clock());
        let read = node.sim.spawn(async move {
            clock.sleep(Duration::from_millis(reads_at)).await;
            store.read(tp(0), from, 300_000, true).await
        });
        let (store, clock) = (Rc::clone(node.store(tp(0))), node.sim.clock());
        drop(node.sim.spawn(async move {
            clock.sleep(Duration::from_millis(moves_at)).await;
            store.advance_start(tp(0), Offset(55)).await
        }));
        for _ in 0..20 {
            append(&node, tp(1), at(9, 5_000), rolling());
            node.sim.run_for(Duration::from_millis(1));
        }
        match node.sim.block_on(read) {
            Ok(data) => {
                got += 1;
                let bytes = data.slices.concat();
                for (n, (header, batch)) in batches(&bytes).enumerate() {
                    assert_eq!(header.base.0, from.0 + n as i64, "seed {seed}: a hole");
                    let what = at(1000 + header.base.0, 5_000);
                    assert!(
                        batch[61..] == encode(&what)[61..],
                        "seed {seed}: other bytes"
                    );
                }
            }
            Err(error) => {
                refused += 1;
                assert!(
                    matches!(error, ReadError::OutOfRange { .. }),
                    "seed {seed}: {error}"
                );
            }
        }
    }
    assert!(got > 10 && refused > 10, "{got} read, {refused} refused");
}

/// What one partition was asked and answered.
#[derive(Default)]
struct Model {
    acknowledged: BTreeMap<i64, Vec<u8>>,
    /// The highest start that was confirmed, and the highest that may have been asked for.
    confirmed: i64,
    asked: i64,
}

type Models = Rc<RefCell<BTreeMap<TopicPartition, Model>>>;

fn model<T>(models: &Models, tp: TopicPartition, change: impl FnOnce(&mut Model) -> T) -> T {
    change(models.borrow_mut().entry(tp).or_default())
}

/// One step of a client, or of retention.
fn act(node: &Node, models: &Models) {
    let tp = tp(node.sim.random_below(5) as i32);
    let (store, models) = (Rc::clone(node.store(tp)), Rc::clone(models));
    let end = store.bounds(tp).high_watermark.0;
    match node.sim.random_below(20) {
        0 => {
            let inside = node.sim.random_below(end as u64 + 1) as i64;
            let to = [inside, end][node.sim.random_below(2) as usize];
            model(&models, tp, |model| model.asked = model.asked.max(to));
            node.sim.spawn(async move {
                if let Ok(start) = store.advance_start(tp, Offset(to)).await {
                    assert!(start.0 >= to);
                    model(&models, tp, |model| {
                        model.confirmed = model.confirmed.max(to)
                    });
                }
            });
        }
        1 => {
            let limits = [ALL, by_size(30_000)][node.sim.random_below(2) as usize];
            store.retain(tp, limits);
            model(&models, tp, |model| model.asked = model.asked.max(end));
        }
        _ => {
            let bytes = match node.sim.random_below(20) {
                0 => 50_000,
                _ => 100 + node.sim.random_below(6_000) as usize,
            };
            let what = Sent {
                timestamp: now_ms(node) - 10,
                ..sent(bytes, node.sim.random_below(250) as u8)
            };
            let appended = append(node, tp, what, rolling());
            node.sim.spawn(async move {
                if appended.commit.wait().await.is_ok() {
                    let bytes = encode(&what)[61..].to_vec();
                    let base = appended.base_offset.0;
                    model(&models, tp, |model| model.acknowledged.insert(base, bytes));
                }
            });
        }
    }
}

/// The start lies between what was confirmed and what was asked; from there on everything
/// acknowledged is there once, and nothing is missing between.
fn check(node: &Node, models: &Models) {
    for (tp, model) in models.borrow_mut().iter_mut() {
        let start = log_start(node, *tp);
        let (confirmed, asked) = (model.confirmed, model.asked);
        assert!(
            (confirmed..=asked).contains(&start),
            "{tp}: {confirmed} {start} {asked}"
        );
        let mut next = Offset(start);
        let mut found = BTreeMap::new();
        for (header, batch) in node.read_all(*tp) {
            assert_eq!(header.base, next, "{tp}: a hole");
            next = header.next();
            found.insert(header.base.0, batch.slice(61..));
        }
        for (base, expected) in model.acknowledged.range(start..) {
            let there = found.get(base).map(|bytes| bytes[..] == expected[..]);
            assert_eq!(there, Some(true), "{tp}: offset {base} is lost or another");
        }
        model.confirmed = start;
    }
}

fn history(seed: u64) {
    let mut sim = Simulation::new(seed);
    let models = Models::default();
    for _ in 0..3 {
        let how = start(1 + sim.random_below(3) as u16);
        let node = Node::start(sim, &how);
        check(&node, &models);
        for _ in 0..node.sim.random_below(300) {
            act(&node, &models);
            if node.sim.random_below(3) == 0 {
                let pause = Duration::from_micros(node.sim.random_below(3_000));
                node.sim.run_for(pause);
            }
        }
        let crash = [Crash::Kill, Crash::Power][node.sim.random_below(2) as usize];
        sim = node.crash(crash);
    }
    check(&Node::start(sim, &start(2)), &models);
}

/// `SEED` and `HISTORIES` choose others than the usual ones.
#[test]
fn nothing_is_forgotten_that_nobody_asked_to_forget() {
    let number = |name, usual| std::env::var(name).map_or(usual, |text| text.parse().unwrap());
    let first: u64 = number("SEED", 0);
    for seed in first..first + number("HISTORIES", 100) {
        println!("history of seed {seed}; if it is the last, replay with SEED={seed} HISTORIES=1");
        history(seed);
    }
}

fn without(topics: &[TopicPartition], shards: u16) -> Start {
    let mut how = start(shards);
    for tp in topics {
        how.known.known.remove(&tp.topic);
        how.known.deleted.insert(tp.topic);
    }
    how
}

/// The metadata say first that a topic is gone; whatever a crash leaves of its files and frames, a
/// start removes it and nothing else.
#[test]
fn a_crash_in_the_middle_of_a_deletion_leaves_nothing_of_the_topic() {
    for step in 0..60_u64 {
        let node = Node::start(Simulation::new(step), &start(2));
        for n in 0..6 {
            fill(&node, tp(n), 8);
        }
        for store in &node.stores {
            store.drop_topics(&HashSet::from([tp(0).topic]));
            node.sim.run_for(Duration::from_micros(13 * step));
        }
        for n in 0..step % 10 {
            append(&node, tp(1), at(n as i64, 5_000), rolling());
            node.sim.run_for(Duration::from_micros(50 * step));
        }
        let crash = [Crash::Kill, Crash::Power][step as usize % 2];
        let node = Node::start(node.crash(crash), &without(&[tp(0)], 1 + (step % 3) as u16));
        assert_eq!(node.report.partitions, 4);
        let dir = partition_dir(&data(), tp(0)).parent().unwrap().to_owned();
        let left = node.sim.disk().files().into_iter();
        assert_eq!(left.filter(|(path, _)| path.starts_with(&dir)).count(), 0);
        for n in [1, 2, 4, 5] {
            assert!(node.read_all(tp(n)).len() >= 8);
        }
    }
}

#[test]
fn what_waits_for_a_deleted_topic_is_told() {
    let node = Node::start(Simulation::new(1), &start(1));
    fill(&node, tp(0), 3);
    let commit = append(&node, tp(0), at(1, 300), rolling()).commit;
    let store = Rc::clone(node.store(tp(0)));
    let moved = node
        .sim
        .spawn(async move { store.advance_start(tp(0), Offset(2)).await });
    node.sim.run_for(Duration::from_nanos(1));
    node.stores[0].drop_topics(&HashSet::from([tp(0).topic]));
    let dropped = node.sim.block_on(async move { commit.wait().await });
    assert!(matches!(dropped, Err(CommitError::Dropped { .. })));
    let moved = node.sim.block_on(moved);
    assert!(
        matches!(moved, Err(StartError::Lost(CommitError::Dropped { .. }))),
        "{moved:?}"
    );
}
