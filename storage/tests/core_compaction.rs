//! Compaction (S16) on a simulated machine: what stays and what goes, by Kafka's rules, and that
//! nothing else ever does, wherever a round or its switch is cut short.
#![allow(missing_docs, clippy::unwrap_used)]

mod core;

use bytes::Bytes;
use core::{
    Node, SimStore,
    records::{Kind, Plain, batch_of, marker_of, records_of},
    start, tp,
};
use spate_storage::{
    batch::{delete_horizon_ms, record_count},
    compaction::CompactionRules,
    disk::{
        Clock,
        simulated::{Crash, Fault, Operation, Simulation},
    },
    sabotage::{self, Sabotage},
    store::{CompactError, Compacted, Stamp},
    types::{LeaderEpoch, Offset, TopicPartition},
};
use std::{
    collections::{BTreeMap, HashSet},
    path::PathBuf,
    rc::Rc,
    time::Duration,
};

/// Bytes of a Kafka segment: a few batches.
const SEGMENT_BYTES: u64 = 400;
const HISTORIES: u64 = 30;

fn rules() -> CompactionRules {
    CompactionRules {
        min_dirty_ratio: 0.0,
        min_lag_ms: 0,
        max_lag_ms: i64::MAX,
        delete_retention_ms: 60_000,
        segment_bytes: SEGMENT_BYTES,
        key_memory_bytes: 1 << 20,
        key_load: 0.9,
        bytes_per_second: f64::MAX,
    }
}

fn append(node: &Node, tp: TopicPartition, batch: &Bytes) -> Offset {
    let stamp = Stamp {
        epoch: LeaderEpoch(node.epoch),
        segment_bytes: SEGMENT_BYTES,
        segment_ms: i64::MAX,
        ..Stamp::default()
    };
    let appended = node.store(tp).append(tp, batch, stamp).unwrap();
    let commit = appended.commit.clone();
    node.sim
        .block_on(async move { commit.wait().await })
        .unwrap();
    appended.base_offset
}

fn put(node: &Node, records: &[(&str, Option<&str>)]) -> Offset {
    append(node, tp(0), &batch_of(records, Kind::default()))
}

/// Closes the Kafka segment that is being filled: one larger batch begins the next.
fn roll(node: &Node) {
    let long = "x".repeat(SEGMENT_BYTES as usize);
    put(node, &[("roll", Some(&long))]);
    // Each closed segment waits for a file of its own, one after the other.
    node.run_for(3000);
}

fn compact_by(node: &Node, rules: &CompactionRules) -> Result<Compacted, CompactError> {
    let (store, rules): (Rc<SimStore>, _) = (Rc::clone(node.store(tp(0))), *rules);
    let compact = async move { store.compact(tp(0), &rules).await };
    node.sim.block_on(compact)
}

fn compact(node: &Node) -> Compacted {
    compact_by(node, &rules()).unwrap()
}

/// All records of the log but those that only close segments.
fn records(node: &Node) -> Vec<Plain> {
    let batches = spread_batches(node);
    let all = batches.iter().flat_map(|batch| records_of(batch));
    all.filter(|record| record.key != "roll").collect()
}

/// All batches: their offsets rise, and need not be contiguous.
fn spread_batches(node: &Node) -> Vec<Bytes> {
    let bounds = node.store(tp(0)).bounds(tp(0));
    let all = node.read_all(tp(0));
    let mut next = Offset(0);
    for (header, _) in &all {
        assert!(header.base >= next, "{} after {next}", header.base);
        next = header.next();
    }
    assert_eq!(next, bounds.high_watermark, "the log's end is lost");
    all.into_iter().map(|(_, batch)| batch).collect()
}

fn brief(node: &Node) -> Vec<(i64, String, Option<String>)> {
    let all = records(node).into_iter();
    all.map(|r| (r.offset, r.key, r.value)).collect()
}

fn expect(node: &Node, expected: &[(i64, &str, Option<&str>)]) {
    let owned = expected
        .iter()
        .map(|(offset, key, value)| (*offset, (*key).to_owned(), value.map(str::to_owned)));
    assert_eq!(brief(node), owned.collect::<Vec<_>>());
}

#[test]
fn newest_of_each_key_stays_at_its_offset() {
    let node = Node::start(Simulation::new(1), &start(1));
    put(
        &node,
        &[("a", Some("1")), ("b", Some("1")), ("c", Some("1"))],
    );
    put(&node, &[("a", Some("2"))]);
    put(&node, &[("b", Some("2")), ("d", Some("1"))]);
    roll(&node);
    put(&node, &[("d", Some("active"))]);
    node.run_for(3000);
    let before = node.store(tp(0)).bounds(tp(0));
    let done = compact(&node);
    assert_eq!((done.clean_end, done.records_removed), (Offset(7), 2));
    let kept = [
        (2, "c", Some("1")),
        (3, "a", Some("2")),
        (4, "b", Some("2")),
        (5, "d", Some("1")),
        (7, "d", Some("active")),
    ];
    expect(&node, &kept);
    assert_eq!(node.store(tp(0)).bounds(tp(0)), before);
    // Nothing is dirty any more, and the active segment never is.
    assert!(matches!(
        compact_by(&node, &rules()),
        Err(CompactError::Nothing { .. })
    ));
    for crash in [Crash::Power, Crash::Kill] {
        let node = Node::start(Simulation::new(2), &start(1));
        put(&node, &[("a", Some("1")), ("b", Some("1"))]);
        put(&node, &[("a", Some("2"))]);
        roll(&node);
        compact(&node);
        let node = Node::start(node.crash(crash), &start(3));
        expect(&node, &[(1, "b", Some("1")), (2, "a", Some("2"))]);
        assert_eq!(put(&node, &[("e", None)]), Offset(4));
    }
}

#[test]
fn reading_at_a_removed_offset_gives_the_next_batch() {
    let node = Node::start(Simulation::new(3), &start(1));
    for round in 0..40 {
        let value = format!("{round}");
        put(&node, &[("a", Some(&value))]);
        if round % 10 == 0 {
            put(&node, &[(&value, Some("once"))]);
        }
    }
    roll(&node);
    compact(&node);
    let all = records(&node);
    assert_eq!(all.len(), 5);
    for from in 0..44 {
        let data = node.read(tp(0), from, 1);
        let first = records_of(&data.slices.concat()).remove(0);
        let expected = all.iter().map(|r| r.offset).find(|offset| *offset >= from);
        if let Some(expected) = expected {
            assert_eq!(first.offset, expected, "from {from}");
        }
    }
}

#[test]
fn tombstone_stays_for_its_time_once_clean_and_then_goes() {
    let node = Node::start(Simulation::new(4), &start(1));
    put(&node, &[("a", Some("1")), ("b", Some("1"))]);
    put(&node, &[("a", None)]);
    roll(&node);
    compact(&node);
    expect(&node, &[(1, "b", Some("1")), (2, "a", None)]);
    let horizons: Vec<_> = spread_batches(&node)
        .iter()
        .filter_map(|batch| delete_horizon_ms(batch))
        .collect();
    assert_eq!(
        horizons.len(),
        1,
        "the batch with the tombstone, and no other"
    );
    // Before its time the tombstone stays in another round.
    roll(&node);
    compact(&node);
    assert_eq!(records(&node).len(), 2);
    node.run_for(61_000);
    roll(&node);
    compact(&node);
    expect(&node, &[(1, "b", Some("1"))]);
}

#[test]
fn last_batch_of_a_producer_keeps_its_header() {
    let node = Node::start(Simulation::new(5), &start(1));
    let of = |producer, sequence| Kind {
        producer: Some((producer, sequence)),
        ..Kind::default()
    };
    append(&node, tp(0), &batch_of(&[("a", Some("1"))], of(7, 0)));
    append(&node, tp(0), &batch_of(&[("a", Some("2"))], of(7, 1)));
    append(&node, tp(0), &batch_of(&[("a", Some("3"))], of(8, 0)));
    put(&node, &[("a", Some("4"))]);
    roll(&node);
    compact(&node);
    put(&node, &[("a", Some("5"))]);
    roll(&node);
    compact(&node);
    let shape: Vec<_> = node
        .read_all(tp(0))
        .iter()
        .map(|(header, batch)| (header.base.0, header.producer.0, record_count(batch)))
        .collect();
    // Offset 0 was not producer 7's last, and 3 has no producer.
    let expected = [(1, 7, 0), (2, 8, 0), (4, -1, 1), (5, -1, 1), (6, -1, 1)];
    assert_eq!(shape, expected, "offset, producer, records");
    let node = Node::start(node.crash(Crash::Power), &start(2));
    assert_eq!(node.read_all(tp(0)).len(), expected.len());
}

#[test]
fn aborted_records_go_and_their_marker_after_them() {
    let node = Node::start(Simulation::new(6), &start(1));
    let of = |producer, sequence| Kind {
        producer: Some((producer, sequence)),
        is_transactional: true,
        ..Kind::default()
    };
    put(&node, &[("a", Some("1"))]);
    append(&node, tp(0), &batch_of(&[("a", Some("aborted"))], of(7, 0)));
    append(&node, tp(0), &batch_of(&[("b", Some("2"))], of(8, 0)));
    append(&node, tp(0), &marker_of(7, 1, false));
    append(&node, tp(0), &marker_of(8, 1, true));
    roll(&node);
    compact(&node);
    let keys: Vec<_> = records(&node).iter().map(|r| r.offset).collect();
    // Both markers stay: their transactions had records until now.
    assert_eq!(keys, [0, 2, 3, 4]);
    roll(&node);
    compact(&node);
    let horizons = || {
        spread_batches(&node)
            .iter()
            .filter_map(|b| delete_horizon_ms(b))
            .count()
    };
    assert_eq!(
        horizons(),
        1,
        "the aborted one's marker is spent now, and begins to wait"
    );
    node.run_for(61_000);
    roll(&node);
    compact(&node);
    let keys: Vec<_> = records(&node).iter().map(|r| r.offset).collect();
    assert_eq!(keys, [0, 2, 4]);
}

#[test]
fn transaction_that_goes_on_ends_what_is_cleaned() {
    let node = Node::start(Simulation::new(7), &start(1));
    let open = Kind {
        producer: Some((7, 0)),
        is_transactional: true,
        ..Kind::default()
    };
    put(&node, &[("a", Some("1"))]);
    put(&node, &[("a", Some("2"))]);
    append(&node, tp(0), &batch_of(&[("a", Some("open"))], open));
    put(&node, &[("a", Some("3"))]);
    roll(&node);
    let done = compact(&node);
    assert_eq!(done.clean_end, Offset(2));
    let offsets: Vec<_> = records(&node).iter().map(|r| r.offset).collect();
    assert_eq!(offsets, [1, 2, 3]);
    assert!(matches!(
        compact_by(&node, &rules()),
        Err(CompactError::Nothing { .. })
    ));
    append(&node, tp(0), &marker_of(7, 1, true));
    roll(&node);
    compact(&node);
    let offsets: Vec<_> = records(&node).iter().map(|r| r.offset).collect();
    assert_eq!(offsets, [3, 5]);
}

#[test]
fn keys_that_do_not_fit_take_several_rounds() {
    let node = Node::start(Simulation::new(8), &start(1));
    for round in 0..3 {
        for key in 0..150 {
            put(&node, &[(&format!("k{key}"), Some(&format!("{round}")))]);
        }
    }
    roll(&node);
    let rules = CompactionRules {
        key_memory_bytes: 0,
        ..rules()
    };
    let mut rounds = 0;
    let mut clean_end = Offset(0);
    while let Ok(done) = compact_by(&node, &rules) {
        assert!(done.clean_end > clean_end, "{done:?}");
        clean_end = done.clean_end;
        rounds += 1;
    }
    assert!(rounds > 3, "{rounds} rounds");
    let all = brief(&node);
    assert_eq!(all.len(), 150);
    assert!(
        all.iter()
            .all(|(_, _, value)| value.as_deref() == Some("2"))
    );
}

#[test]
fn old_files_go_and_new_ones_are_as_long_as_their_content() {
    let node = Node::start(Simulation::new(9), &start(1));
    let bytes_of = |node: &Node| -> u64 {
        let files = node.sim.disk().files().into_iter();
        files
            .filter(|(path, _)| path.starts_with("/data/topics"))
            .map(|(_, len)| len)
            .sum()
    };
    for round in 0..200 {
        put(&node, &[("a", Some(&format!("{round}")))]);
    }
    roll(&node);
    let before = bytes_of(&node);
    compact(&node);
    node.run_for(1000);
    assert!(
        bytes_of(&node) * 4 < before,
        "{} of {before}",
        bytes_of(&node)
    );
    assert_eq!(records(&node).len(), 1);
}

#[test]
fn start_that_advances_during_a_round_wins() {
    for seed in 0..30 {
        let node = Node::start(Simulation::new(seed), &start(1));
        for round in 0..40 {
            put(&node, &[(&format!("k{}", round % 30), Some("v"))]);
        }
        roll(&node);
        let store = Rc::clone(node.store(tp(0)));
        let going = node
            .sim
            .spawn(async move { store.compact(tp(0), &rules()).await });
        node.sim
            .run_for(Duration::from_micros(node.sim.random_below(300_000)));
        let store = Rc::clone(node.store(tp(0)));
        let advanced = node
            .sim
            .block_on(async move { store.advance_start(tp(0), Offset(25)).await });
        assert_eq!(advanced, Ok(Offset(25)));
        let done = node.sim.block_on(going);
        assert!(done.is_ok(), "seed {seed}: {done:?}");
        let check = |node: &Node| {
            assert_eq!(node.store(tp(0)).bounds(tp(0)).log_start, Offset(25));
            let offsets: Vec<_> = records(node).iter().map(|r| r.offset).collect();
            let expected: Vec<i64> = (25..40).collect();
            assert_eq!(offsets, expected, "seed {seed}");
        };
        check(&node);
        let node = Node::start(node.crash(Crash::Power), &start(2));
        check(&node);
    }
}

#[test]
fn deleted_topic_takes_its_round_along() {
    for seed in 0..30 {
        let node = Node::start(Simulation::new(seed), &start(1));
        for round in 0..40 {
            put(&node, &[("a", Some(&format!("{round}")))]);
        }
        roll(&node);
        let store = Rc::clone(node.store(tp(0)));
        let going = node
            .sim
            .spawn(async move { store.compact(tp(0), &rules()).await });
        node.sim
            .run_for(Duration::from_micros(node.sim.random_below(300_000)));
        node.store(tp(0)).drop_topics(&HashSet::from([tp(0).topic]));
        drop(node.sim.block_on(going));
        node.run_for(1000);
        let left = node.sim.disk().files().into_iter();
        let left: Vec<_> = left
            .filter(|(path, _)| path.starts_with("/data/topics"))
            .collect();
        assert!(left.is_empty(), "seed {seed}: {left:?}");
    }
}

#[test]
fn damaged_log_is_left_as_it_is() {
    let node = Node::start(Simulation::new(11), &start(1));
    for round in 0..20 {
        put(&node, &[("a", Some(&format!("{round}")))]);
    }
    roll(&node);
    let disk = node.sim.disk();
    let files = disk.files().into_iter();
    let mut segments: Vec<_> = files
        .filter(|(path, _)| path.starts_with("/data/topics"))
        .collect();
    segments.sort();
    disk.flip_bit(&segments[1].0, 4096 + 200, 3);
    let failed = compact_by(&node, &rules());
    assert!(
        matches!(failed, Err(CompactError::Failed { .. })),
        "{failed:?}"
    );
    assert!(node.store(tp(0)).dirtiness(tp(0), &rules()).is_none());
    assert!(node.fence.check().is_ok());
}

#[test]
fn disk_error_gives_the_round_up_and_nothing_else() {
    for skip in 0..25 {
        let node = Node::start(Simulation::new(12), &start(1));
        for round in 0..30 {
            put(
                &node,
                &[(&format!("k{}", round % 7), Some(&format!("{round}")))],
            );
        }
        roll(&node);
        let operation = [Operation::Write, Operation::Sync, Operation::Open][skip as usize % 3];
        let fault = Fault {
            skip: skip / 3,
            ..Fault::once(operation, "pool/compaction", 28)
        };
        node.sim.disk().inject(fault);
        let first = compact_by(&node, &rules());
        assert!(node.fence.check().is_ok(), "{first:?}");
        if first.is_err() {
            assert_eq!(records(&node).len(), 30);
            compact(&node);
        }
        assert_eq!(records(&node).len(), 7);
    }
}

/// What clients were told: newest offsets, and every record there ever was.
#[derive(Default)]
struct Model {
    all: BTreeMap<i64, (String, Option<String>)>,
}

impl Model {
    /// Every record that is there was written so; every one that is not has a newer one of its key.
    fn check(&self, node: &Node, seed: u64) {
        let mut found = BTreeMap::new();
        for record in records(node) {
            found.insert(record.offset, (record.key, record.value));
        }
        for (offset, record) in &found {
            assert_eq!(
                self.all.get(offset),
                Some(record),
                "seed {seed}: at {offset}"
            );
        }
        let mut newest = BTreeMap::new();
        for (offset, (key, _)) in &self.all {
            newest.insert(key, *offset);
        }
        for offset in newest.values() {
            assert!(found.contains_key(offset), "seed {seed}: {offset} is lost");
        }
    }

    fn is_compact(&self, node: &Node, seed: u64) {
        let all = records(node);
        let mut keys: Vec<_> = all.iter().map(|record| &record.key).collect();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), all.len(), "seed {seed}: a key is there twice");
    }
}

fn live(node: &Node, model: &mut Model, seed: u64) {
    for _ in 0..node.sim.random_below(25) {
        let count = 1 + node.sim.random_below(4);
        let batch: Vec<(String, Option<String>)> = (0..count)
            .map(|_| {
                let key = format!("k{}", node.sim.random_below(12));
                let value = node.sim.random_below(5) > 0;
                let value = value.then(|| format!("{}", node.sim.random_below(1 << 40)));
                (key, value)
            })
            .collect();
        let plain: Vec<_> = batch
            .iter()
            .map(|(k, v)| (k.as_str(), v.as_deref()))
            .collect();
        let base = put(node, &plain);
        for (n, record) in batch.into_iter().enumerate() {
            let before = model.all.insert(base.0 + n as i64, record);
            assert!(
                before.is_none(),
                "seed {seed}: an offset was given out twice"
            );
        }
    }
    if node.sim.random_below(3) > 0 {
        roll(node);
    }
}

/// What the rounds of some histories came to.
#[derive(Default)]
struct Rounds {
    switched: u64,
    cut_short: u64,
}

/// Runs until the round has placed a file of its generation, and a little on: into the switch.
fn run_to_switch(node: &Node) {
    let names = || -> HashSet<PathBuf> {
        let files = node.sim.disk().files().into_iter().map(|(path, _)| path);
        let is_compacted = |path: &PathBuf| {
            let name = path.file_name().unwrap().to_str().unwrap();
            path.starts_with("/data/topics") && !name.starts_with("0-")
        };
        files.filter(is_compacted).collect()
    };
    let before = names();
    for _ in 0..4000 {
        node.sim.run_for(Duration::from_micros(100));
        if !names().is_subset(&before) {
            break;
        }
    }
    let us = node.sim.random_below(6_000);
    node.sim.run_for(Duration::from_micros(us));
}

/// Writes, begins a round, crashes at any moment, starts under other shards; five times.
fn history(seed: u64, rounds: &mut Rounds) {
    let mut node = Node::start(Simulation::new(seed), &start(1));
    let mut model = Model::default();
    let patient = CompactionRules {
        delete_retention_ms: i64::MAX / 2,
        ..rules()
    };
    for _ in 0..5 {
        live(&node, &mut model, seed);
        let store = Rc::clone(node.store(tp(0)));
        drop(
            node.sim
                .spawn(async move { store.compact(tp(0), &patient).await }),
        );
        if node.sim.random_below(2) == 0 {
            let us = node.sim.random_below(400_000);
            node.sim.run_for(Duration::from_micros(us));
        } else {
            run_to_switch(&node);
        }
        let counters = node.store(tp(0)).counters();
        rounds.switched += counters.compactions;
        rounds.cut_short += u64::from(counters.compactions == 0);
        let crash = [Crash::Power, Crash::Kill][node.sim.random_below(2) as usize];
        let shards = 1 + node.sim.random_below(3) as u16;
        node = Node::start(node.crash(crash), &start(shards));
        model.check(&node, seed);
    }
    roll(&node);
    drop(compact_by(&node, &patient));
    model.check(&node, seed);
    model.is_compact(&node, seed);
}

/// A round is cut short at any moment, and the switch too; whatever the start finds is the log
/// before or after it.
#[test]
fn s16_crash_at_any_step_leaves_the_old_log_or_the_new_one() {
    let mut rounds = Rounds::default();
    for seed in 0..HISTORIES {
        history(seed, &mut rounds);
    }
    let Rounds {
        switched,
        cut_short,
    } = rounds;
    assert!(
        switched > 10 && cut_short > 10,
        "{switched} rounds ended, {cut_short} were cut short"
    );
}

/// The histories above prove nothing unless they find what they are there to find.
#[cfg(debug_assertions)]
#[test]
fn s16_compacted_file_that_is_not_flushed_is_found() {
    std::panic::set_hook(Box::new(|_| {}));
    sabotage::choose(Some(Sabotage::CompactedUnflushed));
    let fails = |seed: &u64| {
        let run = || history(*seed, &mut Rounds::default());
        std::panic::catch_unwind(run).is_err()
    };
    let found = (0..HISTORIES).find(fails);
    sabotage::choose(None);
    assert!(found.is_some(), "no history found it");
}

#[test]
fn pace_is_that_of_the_rules() {
    let elapsed_ms = |bytes_per_second: f64| {
        let node = Node::start(Simulation::new(13), &start(1));
        for round in 0..200 {
            put(&node, &[("a", Some(&format!("{round}")))]);
        }
        roll(&node);
        let slow = CompactionRules {
            bytes_per_second,
            ..rules()
        };
        let begun = node.sim.clock().wall_ms();
        let done = compact_by(&node, &slow).unwrap();
        let bytes = (done.read_bytes + done.written_bytes) as f64;
        let elapsed_ms = (node.sim.clock().wall_ms() - begun) as f64;
        (elapsed_ms, bytes * 1000.0 / bytes_per_second)
    };
    let (fast, _) = elapsed_ms(f64::MAX);
    let (slow, least) = elapsed_ms(20_000.0);
    assert!(
        slow >= 0.9 * least && slow > 2.0 * fast,
        "{slow} ms, {least} ms, {fast} ms"
    );
}

#[test]
fn oldest_dirty_record_is_told_by_its_batch() {
    let node = Node::start(Simulation::new(14), &start(1));
    let at = |timestamp| Kind {
        timestamp,
        ..Kind::default()
    };
    append(&node, tp(0), &batch_of(&[("a", Some("1"))], at(500)));
    append(&node, tp(0), &batch_of(&[("a", Some("2"))], at(900)));
    roll(&node);
    let oldest = |node: &Node| {
        let store = Rc::clone(node.store(tp(0)));
        node.sim
            .block_on(async move { store.oldest_dirty_ms(tp(0)).await })
    };
    assert_eq!(oldest(&node), Some(500));
    compact(&node);
    append(&node, tp(0), &batch_of(&[("b", Some("1"))], at(1200)));
    roll(&node);
    assert_eq!(
        oldest(&node),
        Some(0),
        "of the batch that closed the segment"
    );
    // A record younger than the bound holds its segment back.
    let now_ms = node.sim.clock().wall_ms();
    append(&node, tp(0), &batch_of(&[("b", Some("2"))], at(now_ms)));
    roll(&node);
    let young = CompactionRules {
        min_lag_ms: 60_000,
        ..rules()
    };
    let end = |rules| node.store(tp(0)).dirtiness(tp(0), rules).unwrap().end;
    assert!(end(&young) < end(&rules()));
}

#[test]
fn readers_in_flight_go_on_over_a_switch() {
    for seed in 0..40 {
        let node = Node::start(Simulation::new(seed), &start(1));
        for round in 0..60 {
            put(
                &node,
                &[(&format!("k{}", round % 20), Some(&format!("{round}")))],
            );
        }
        roll(&node);
        let node = Node::start(node.crash(Crash::Kill), &start(1));
        let store = Rc::clone(node.store(tp(0)));
        let going = node
            .sim
            .spawn(async move { store.compact(tp(0), &rules()).await });
        let store = Rc::clone(node.store(tp(0)));
        let reading = node.sim.spawn(async move {
            let mut seen = Vec::new();
            let mut from = Offset(0);
            while from < Offset(60) {
                let data = store.read(tp(0), from, 300, true).await.unwrap();
                let bytes = data.slices.concat();
                for (header, batch) in spate_storage::batch::batches(&bytes) {
                    assert!(header.last() >= from);
                    from = header.next();
                    seen.extend(records_of(batch));
                }
            }
            seen
        });
        let seen = node.sim.block_on(reading);
        node.sim.block_on(going).unwrap();
        let newest: Vec<_> = seen
            .iter()
            .map(|r| r.offset)
            .filter(|o| (40..60).contains(o))
            .collect();
        assert_eq!(newest, (40..60).collect::<Vec<_>>(), "seed {seed}");
    }
}
