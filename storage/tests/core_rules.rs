//! The rules of the storage protocol, each by a test that breaks without it. S1, S7 (heads) and the
//! `node` file's part of S11 are tested where they live, with the files; S16 comes with compaction.
#![allow(missing_docs, clippy::unwrap_used)]

mod core;

use core::{Node, Sent, Start, Told, data, encode, place, recover_on, sent, stamp, start, tp};
use spate_storage::{
    commit::CommitError,
    disk::{
        Disk,
        simulated::{Crash, Fault, Operation, SimulatedDisk, Simulation},
    },
    recovery::RecoverError,
    segment::partition_dir,
    store::{AppendError, ReadError},
    types::{LeaderEpoch, Offset},
};
use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    rc::Rc,
    time::Duration,
};

const EIO: i32 = 5;

fn fill(node: &Node, told: &mut Told, partitions: i32, rounds: u32, bytes: usize) {
    for round in 0..rounds {
        for n in 0..partitions {
            let what = sent(bytes, round as u8);
            let appended = node.append_durably(tp(n), what);
            told.note(tp(n), appended.base_offset, &what);
        }
    }
}

fn journal_files(disk: &SimulatedDisk) -> Vec<PathBuf> {
    let files = disk.files().into_iter().map(|(path, _)| path);
    let is_journal = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        path.starts_with("/data/journal") && !name.starts_with("shards")
    };
    files.filter(is_journal).collect()
}

/// Position of `what` in the file, which must hold it.
fn find(disk: &SimulatedDisk, path: &Path, what: &[u8]) -> Option<u64> {
    let len = disk.files().into_iter().find(|(p, _)| p == path)?.1;
    let bytes = disk.peek(path, 0, len as usize)?;
    bytes
        .windows(what.len())
        .position(|w| w == what)
        .map(|at| at as u64)
}

fn payload(fill: u8) -> Vec<u8> {
    vec![fill; 500]
}

#[test]
fn s3_ack_waits_for_earlier_frame() {
    let mut overlaps = 0;
    for seed in 0..80 {
        let node = Node::start(Simulation::new(seed), &start(1));
        node.run_for(1000);
        let before = node.stores[0].counters().frames;
        let first = node.append(tp(0), sent(9_000, 1)).commit;
        node.sim.run_for(Duration::from_nanos(1));
        let second = node.append(tp(1), sent(100, 2)).commit;
        node.sim.run_for(Duration::from_nanos(1));
        overlaps += u32::from(node.stores[0].counters().frames == before + 2);
        node.sim
            .block_on(async move { second.wait().await })
            .unwrap();
        assert!(first.is_settled(), "seed {seed}");
        // What counts is the disk: the earlier write must have landed by now.
        let disk = node.sim.disk();
        let files = journal_files(&disk);
        let has_landed = files
            .iter()
            .any(|path| find(&disk, path, &payload(1)).is_some());
        assert!(
            has_landed,
            "seed {seed}: acknowledged before an earlier write had landed"
        );
    }
    assert!(
        overlaps > 40,
        "only {overlaps} of 80 histories had two writes in flight"
    );
}

#[test]
fn s3_only_the_durable_prefix_is_read() {
    let node = Node::start(Simulation::new(1), &start(1));
    node.append_durably(tp(0), sent(100, 1));
    node.append(tp(0), sent(100, 2));
    let bounds = node.store(tp(0)).bounds(tp(0));
    assert_eq!(
        (bounds.high_watermark, bounds.log_end),
        (Offset(1), Offset(2))
    );
    assert_eq!(
        node.store(tp(0))
            .readable_bytes(tp(0), Offset(0), 1 << 20)
            .unwrap(),
        100
    );
    let store = Rc::clone(node.store(tp(0)));
    let read = store.readable_bytes(tp(0), Offset(2), 100);
    assert!(matches!(
        read,
        Err(ReadError::OutOfRange { end: Offset(1), .. })
    ));
    assert_eq!(node.read(tp(0), 0, 1 << 20).bytes, 100);
}

#[test]
fn s3_duplicate_waits_for_its_original() {
    let node = Node::start(Simulation::new(1), &start(1));
    let what = Sent {
        producer: 7,
        sequence: 0,
        ..sent(100, 1)
    };
    let first = node.append(tp(0), what);
    let again = node.append(tp(0), what);
    assert_eq!(first.base_offset, again.base_offset);
    assert!(!again.commit.is_settled());
    let waits = again.commit.clone();
    node.sim
        .block_on(async move { waits.wait().await })
        .unwrap();
    assert!(first.commit.is_settled());
    assert_eq!(node.store(tp(0)).bounds(tp(0)).log_end, Offset(1));
}

#[test]
fn s4_silence_is_closed_by_one_empty_frame() {
    let node = Node::start(Simulation::new(1), &start(1));
    node.run_for(1000);
    let before = node.stores[0].counters().frames;
    node.append_durably(tp(0), sent(100, 1));
    assert_eq!(node.stores[0].counters().frames, before + 1);
    node.run_for(50);
    assert_eq!(node.stores[0].counters().frames, before + 1);
    node.run_for(2000);
    assert_eq!(node.stores[0].counters().frames, before + 2);
}

#[test]
fn s5_unconfirmed_direct_writes_are_adopted_or_cut() {
    let (mut adopted, mut cut) = (0, 0);
    for seed in 0..60 {
        let node = Node::start(Simulation::new(seed), &start(1));
        let mut told = Told::default();
        for round in 0..12 {
            for _ in 0..4 {
                node.append(tp(0), sent(15_000, round));
            }
            node.run_for(30);
        }
        let (until, all) = (
            node.store(tp(0)).bounds(tp(0)).high_watermark,
            node.read_all(tp(0)),
        );
        assert_eq!(
            all.last().map_or(Offset(0), |(header, _)| header.next()),
            until
        );
        for (header, bytes) in &all {
            told.note(tp(0), header.base, &sent(15_000, bytes[100]));
        }
        for _ in 0..4 {
            node.append(tp(0), sent(15_000, 99));
        }
        node.sim.run_for(Duration::from_micros(20 * seed));
        let node = Node::start(node.crash(Crash::Power), &start(1));
        adopted += node.report.adopted_blocks;
        cut += node.report.cut_blocks;
        told.check(&node);
    }
    assert!(
        adopted > 0 && cut > 0,
        "{adopted} adopted, {cut} cut: both must occur"
    );
}

#[test]
fn s6_start_advance_takes_effect_when_durable() {
    let node = Node::start(Simulation::new(1), &start(1));
    fill(&node, &mut Told::default(), 1, 10, 300);
    let store = Rc::clone(node.store(tp(0)));
    let advanced = node
        .sim
        .spawn(async move { store.advance_start(tp(0), Offset(6)).await });
    assert_eq!(node.store(tp(0)).bounds(tp(0)).log_start, Offset(0));
    assert_eq!(node.sim.block_on(advanced), Ok(Offset(6)));
    let node = Node::start(node.crash(Crash::Power), &start(2));
    assert_eq!(node.store(tp(0)).bounds(tp(0)).log_start, Offset(6));
    assert_eq!(node.read_all(tp(0)).len(), 4);
}

#[test]
fn s6_dropped_topic_goes_with_its_files_and_stays_gone() {
    let node = Node::start(Simulation::new(1), &start(1));
    fill(&node, &mut Told::default(), 3, 100, 6000);
    let disk = node.sim.disk();
    let dir = partition_dir(&data(), tp(0));
    let has_files = |disk: &SimulatedDisk| disk.files().iter().any(|(p, _)| p.starts_with(&dir));
    assert!(has_files(&disk));
    node.stores[0].drop_topics(&HashSet::from([tp(0).topic]));
    assert!(
        has_files(&disk),
        "nothing is unlinked before the frame is durable"
    );
    node.run_for(2000);
    assert!(!has_files(&disk));
    let mut how = start(1);
    how.known.known.remove(&tp(0).topic);
    how.known.deleted.insert(tp(0).topic);
    let node = Node::start(node.crash(Crash::Power), &how);
    assert_eq!(node.report.partitions, 2);
}

#[test]
fn s8_rows_carry_producers_past_reused_files() {
    let node = Node::start(Simulation::new(1), &start(1));
    let what = Sent {
        producer: 7,
        sequence: 0,
        ..sent(100, 1)
    };
    let first = node.append_durably(tp(0), what);
    node.append_durably(
        tp(0),
        Sent {
            sequence: 1,
            ..what
        },
    );
    let mut told = Told::default();
    for round in 0..300 {
        let other = sent(5000, round as u8);
        let appended = node.append_durably(tp(1), other);
        told.note(tp(1), appended.base_offset, &other);
    }
    assert!(node.stores[0].counters().files_reused > 2);
    let node = Node::start(node.crash(Crash::Power), &start(2));
    told.check(&node);
    assert_eq!(node.append(tp(0), what).base_offset, first.base_offset);
    let gap = Sent {
        sequence: 5,
        ..what
    };
    let refused = node.store(tp(0)).append(tp(0), &encode(&gap), stamp(1));
    assert!(matches!(
        refused,
        Err(AppendError::OutOfOrderSequence { expected: 2, .. })
    ));
}

#[test]
fn s9_small_open_blocks_are_copied_forward_not_sealed() {
    let node = Node::start(Simulation::new(1), &start(1));
    let mut told = Told::default();
    fill(&node, &mut told, 6, 1, 300);
    for round in 0..300 {
        let other = sent(5000, round as u8);
        let appended = node.append_durably(tp(7), other);
        told.note(tp(7), appended.base_offset, &other);
    }
    let counters = node.stores[0].counters();
    assert!(
        counters.files_reused > 2 && counters.copies >= 6,
        "{counters:?}"
    );
    let node = Node::start(node.crash(Crash::Power), &start(1));
    told.check(&node);
}

#[test]
fn s10_failed_write_fences_every_shard() {
    let node = Node::start(Simulation::new(1), &start(2));
    let (here, there) = (
        tp(0),
        (1..8)
            .map(tp)
            .find(|t| place(*t, 2) != place(tp(0), 2))
            .unwrap(),
    );
    node.append_durably(here, sent(100, 1));
    node.sim
        .disk()
        .inject(Fault::once(Operation::Write, "/data/journal/", EIO));
    let commit = node.append(here, sent(100, 2)).commit;
    let failed = node.sim.block_on(async move { commit.wait().await });
    assert!(matches!(failed, Err(CommitError::Fenced(_))), "{failed:?}");
    let refused = node
        .store(there)
        .append(there, &encode(&sent(100, 3)), stamp(0));
    assert!(matches!(refused, Err(AppendError::Fenced(_))));
    assert!(node.read(here, 0, 1000).bytes == 100, "reads go on");
    let node = Node::start(node.crash(Crash::Power), &start(2));
    assert!(!node.read_all(here).is_empty());
}

#[test]
fn s11_start_that_crashes_before_its_commit_is_repeated() {
    let node = Node::start(Simulation::new(1), &start(2));
    let mut told = Told::default();
    fill(&node, &mut told, 4, 60, 3000);
    let mut sim = node.crash(Crash::Power);
    for micros in [200, 900, 2_000, 5_000, 9_000, 20_000, 50_000] {
        sim.spawn(recover_on(sim.disk(), sim.clock(), start(3)));
        sim.run_for(Duration::from_micros(micros));
        sim = sim.crash(Crash::Power);
    }
    let node = Node::start(sim, &start(1));
    told.check(&node);
    let sets: Vec<_> = journal_files(&node.sim.disk());
    let first = sets[0].parent().unwrap().to_owned();
    assert!(
        sets.iter().all(|path| path.starts_with(&first)),
        "other sets are unlinked: {sets:?}"
    );
}

#[test]
fn s11_missing_set_is_corruption() {
    let node = Node::start(Simulation::new(1), &start(2));
    fill(&node, &mut Told::default(), 4, 2, 300);
    let sim = node.crash(Crash::Power);
    let disk = sim.disk();
    let dir = journal_files(&disk)[0].parent().unwrap().to_owned();
    sim.block_on(async move { disk.remove(&dir).await })
        .unwrap();
    let error = Node::try_start(sim, &start(2)).err().unwrap().1;
    assert!(
        matches!(error, RecoverError::MissingJournal { .. }),
        "{error}"
    );
}

/// A node with three batches in one journal, of which the middle one is damaged.
fn damaged(close_the_run: bool, which: u8) -> Simulation {
    let node = Node::start(Simulation::new(1), &start(1));
    for n in 1..=3 {
        node.append_durably(tp(0), sent(600, n));
    }
    if close_the_run {
        node.run_for(1000);
    }
    let sim = node.crash(Crash::Power);
    let disk = sim.disk();
    let found = journal_files(&disk)
        .into_iter()
        .find_map(|path| Some((find(&disk, &path, &payload(which))?, path)));
    let (position, path) = found.unwrap();
    disk.flip_bit(&path, position + 100, 3);
    sim
}

#[test]
fn s12_damage_hides_no_later_frame_and_s13_makes_it_corruption() {
    let error = Node::try_start(damaged(true, 2), &start(1))
        .err()
        .unwrap()
        .1;
    let RecoverError::Corrupt { lost, .. } = &error else {
        panic!("{error}")
    };
    assert!(lost.to_string().contains("offsets 1 to 2"), "{error}");
    assert!(
        error.to_string().contains("recovery.accept.loss=true"),
        "{error}"
    );
}

#[test]
fn s13_torn_tail_is_cut() {
    let node = Node::start(damaged(false, 3), &start(1));
    assert_eq!(node.report.torn.len(), 1, "{:?}", node.report);
    assert_eq!(node.store(tp(0)).bounds(tp(0)).high_watermark, Offset(2));
}

#[test]
fn s13_last_frame_is_protected_once_the_run_is_closed() {
    assert!(Node::try_start(damaged(true, 3), &start(1)).is_err());
}

#[test]
fn s19_accepted_loss_stays_unreadable_and_is_never_used_again() {
    let how = Start {
        accept_loss: true,
        ..start(1)
    };
    let node = Node::start(damaged(true, 2), &how);
    assert_eq!(node.report.unreadable.len(), 1);
    check_loss(&node);
    let node = Node::start(node.crash(Crash::Power), &start(1));
    check_loss(&node);
    assert_eq!(
        node.append_durably(tp(0), sent(100, 9)).base_offset,
        Offset(3)
    );

    let node = Node::start(damaged(true, 3), &how);
    assert_eq!(
        node.append_durably(tp(0), sent(100, 9)).base_offset,
        Offset(3)
    );
}

fn check_loss(node: &Node) {
    let store = Rc::clone(node.store(tp(0)));
    let read = async move { store.read(tp(0), Offset(1), 1000, true).await };
    let lost = node.sim.block_on(read);
    assert!(matches!(lost, Err(ReadError::Lost { .. })), "{lost:?}");
    assert_eq!(node.read(tp(0), 0, 1000).bytes, 600);
    assert_eq!(node.read(tp(0), 2, 1000).bytes, 600);
}

#[test]
fn s15_files_that_no_row_names_are_removed() {
    let node = Node::start(Simulation::new(1), &start(1));
    let mut told = Told::default();
    fill(&node, &mut told, 1, 100, 6000);
    let disk = node.sim.disk();
    let stray = partition_dir(&data(), tp(0)).join("0-00000000000000000777-0.seg");
    let path = stray.clone();
    node.sim.block_on(async move {
        let mode = spate_storage::disk::OpenMode::Create { len: 65_536 };
        disk.open(&path, mode).await.unwrap();
        disk.sync_dir(path.parent().unwrap()).await.unwrap();
    });
    let node = Node::start(node.crash(Crash::Power), &start(1));
    assert!(node.report.removed_files >= 1);
    assert!(
        node.sim
            .disk()
            .files()
            .iter()
            .all(|(path, _)| *path != stray)
    );
    told.check(&node);
}

#[test]
fn s17_unknown_topic_is_corruption_and_a_tombstone_is_not() {
    let node = Node::start(Simulation::new(1), &start(1));
    fill(&node, &mut Told::default(), 3, 2, 300);
    let mut how = start(1);
    how.known.known.remove(&tp(1).topic);
    let (sim, error) = Node::try_start(node.crash(Crash::Power), &how)
        .err()
        .unwrap();
    assert!(
        matches!(error, RecoverError::UnknownTopic { .. }),
        "{error}"
    );
    how.known.deleted.insert(tp(1).topic);
    let node = Node::start(sim, &how);
    assert_eq!(node.report.partitions, 2);
}

#[test]
fn s18_epoch_enters_the_table_at_its_first_append() {
    let mut node = Node::start(Simulation::new(1), &start(1));
    node.epoch = 1;
    node.append_durably(tp(0), sent(300, 1));
    let mut node = Node::start(node.crash(Crash::Power), &start(1));
    node.epoch = 2;
    assert_eq!(node.store(tp(0)).latest_epoch(tp(0)), Some(LeaderEpoch(1)));
    node.append_durably(tp(0), sent(300, 2));
    let end = |node: &Node, epoch| node.store(tp(0)).epoch_end(tp(0), LeaderEpoch(epoch));
    let node = Node::start(node.crash(Crash::Power), &start(1));
    assert_eq!(end(&node, 1), Some((LeaderEpoch(1), Offset(1))));
    assert_eq!(end(&node, 7), Some((LeaderEpoch(2), Offset(2))));
}

#[test]
fn s19_damaged_segment_serves_the_rest() {
    let node = Node::start(Simulation::new(1), &start(1));
    fill(&node, &mut Told::default(), 1, 100, 6000);
    let sim = node.crash(Crash::Power);
    let disk = sim.disk();
    let dir = partition_dir(&data(), tp(0));
    let file = disk
        .files()
        .into_iter()
        .map(|(path, _)| path)
        .find(|path| path.starts_with(&dir));
    disk.flip_bit(&file.unwrap(), 4096 + 8000, 1);
    let node = Node::start(sim, &start(1));
    let store = Rc::clone(node.store(tp(0)));
    let first = node
        .sim
        .block_on(async move { store.read(tp(0), Offset(0), 1000, true).await });
    assert!(matches!(first, Err(ReadError::Damaged { .. })), "{first:?}");
    assert!(node.read(tp(0), 60, 1000).bytes > 0);
    assert!(node.read(tp(0), 99, 1000).bytes > 0);
}

#[test]
fn s20_start_does_not_wait_for_the_whole_journal() {
    let mut how = start(4);
    how.config.journal_bytes = 256 << 20;
    how.config.journal_file_bytes = 32 << 20;
    let node = Node::start(Simulation::new(1), &how);
    let bytes: u64 = node.sim.disk().files().iter().map(|(_, len)| len).sum();
    assert!(bytes < 20 << 20, "{bytes} bytes on a first start");
}

#[test]
fn s20_idle_node_leaves_the_next_start_little_to_read() {
    let mut how = start(2);
    how.config.journal_bytes = 256 << 20;
    how.config.journal_file_bytes = 32 << 20;
    let node = Node::start(Simulation::new(1), &how);
    node.append_durably(tp(0), sent(300, 1));
    node.run_for(2000);
    let files = node.sim.disk().files().into_iter();
    let journals = files.filter(|(path, _)| path.starts_with("/data/journal"));
    let bytes: u64 = journals.map(|(_, len)| len).sum();
    assert!(bytes < 16 << 20, "{bytes} bytes of journals");
}
