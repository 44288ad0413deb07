//! What meets half-way: deletions, lookups, shut-downs, starts and damage in unlucky places. Each
//! test opens with what went wrong before.
#![allow(missing_docs, clippy::unwrap_used)]

mod core;

use bytes::Bytes;
use core::{Node, Sent, Start, Told, data, encode, recover_on, sent, stamp, start, tp};
use spate_storage::{
    batch::batches,
    disk::{
        Disk, Flush, OpenMode, PAGE,
        simulated::{Crash, Fault, Operation, SimulatedDisk, Simulation},
    },
    journal::row::UnreadableRange,
    recovery::RecoverError,
    segment::partition_dir,
    store::{AppendError, Stamp},
    types::Offset,
};
use std::{cell::Cell, collections::HashSet, path::PathBuf, rc::Rc, time::Duration};

const EIO: i32 = 5;
const ENOENT: i32 = 2;
const ENOSPC: i32 = 28;

/// The journal file that holds `what`, and where.
fn journal_with(disk: &SimulatedDisk, what: &[u8]) -> (PathBuf, u64) {
    let files = disk.files().into_iter();
    let mut journals = files.filter(|(path, _)| path.starts_with("/data/journal"));
    let found = journals.find_map(|(path, len)| {
        let bytes = disk.peek(&path, 0, len as usize)?;
        let at = bytes.windows(what.len()).position(|w| w == what)?;
        Some((path, at as u64))
    });
    found.unwrap()
}

/// A node whose journal has gone on in a second file, and that file.
fn in_second_file(told: &mut Told) -> (Simulation, PathBuf) {
    let node = Node::start(Simulation::new(1), &start(1));
    // Its open block keeps the first file needed.
    node.append_durably(tp(1), sent(300, 99));
    let mut last = 0;
    for round in 0..45 {
        let what = sent(5000, round);
        let appended = node.append_durably(tp(0), what);
        told.note(tp(0), appended.base_offset, &what);
        last = round;
    }
    node.run_for(1000);
    let sim = node.crash(Crash::Power);
    let (path, _) = journal_with(&sim.disk(), &[last; 4000]);
    assert!(path.ends_with("1"), "{}", path.display());
    (sim, path)
}

/// A damaged head page hid every frame behind it, and the journal seemed to end before the file:
/// acknowledged records were gone without a word (S12).
#[test]
fn journal_file_with_a_damaged_head_is_scanned() {
    let mut told = Told::default();
    let (sim, path) = in_second_file(&mut told);
    sim.disk().flip_bit(&path, 20, 3);
    let node = Node::start(sim, &start(1));
    told.check(&node);
}

/// A file whose removal a crash cut short named an earlier use of the slot: by that the one with
/// the damaged head was scanned, in vain, and what it held given up (S12).
#[test]
fn journal_file_with_a_damaged_head_is_scanned_as_the_newest_frame_names_it() {
    let node = Node::start(Simulation::new(1), &start(1));
    let (mut told, disk) = (Told::default(), node.sim.disk());
    let mut append = |round: usize| {
        let what = sent(5000, round as u8);
        let appended = node.append_durably(tp(0), what);
        told.note(tp(0), appended.base_offset, &what);
    };
    let slot = |name: &str| {
        let mut files = disk.files().into_iter();
        files.find(|(path, _)| path.starts_with("/data/journal") && path.ends_with(name))
    };
    let frames_in = |name: &str| {
        let (path, _) = slot(name)?;
        let page = disk.peek(&path, PAGE as u64, PAGE)?;
        page.iter().any(|byte| *byte != 0).then_some(page)
    };
    let mut rounds = 0..1000;
    let used = rounds.by_ref().find_map(|round| {
        append(round);
        frames_in("1")
    });
    let (first, len) = slot("0").unwrap();
    let old = disk.peek(&first, 0, len as usize).unwrap();
    let is_used_again = rounds.by_ref().any(|round| {
        append(round);
        frames_in("1").is_some_and(|now| Some(now) != used)
    });
    assert!(is_used_again);
    (0..5).for_each(&mut append);
    let (again, _) = slot("1").unwrap();
    let sim = node.crash(Crash::Power);
    let (disk, left) = (sim.disk(), first.with_file_name("90"));
    sim.block_on(async move {
        let mode = OpenMode::Create { len };
        let file = disk.open(&left, mode).await.unwrap();
        let mut buf = disk.buffer(old.len());
        buf.as_mut().copy_from_slice(&old);
        disk.write(&file, 0, buf, Flush::Data).await.0.unwrap();
        disk.sync_dir(left.parent().unwrap()).await.unwrap();
    });
    sim.disk().flip_bit(&again, 20, 3);
    told.check(&Node::start(sim, &start(1)));
}

/// A file that was gone altogether was taken for the end of the journal.
#[test]
fn journal_file_that_is_named_and_missing_is_corruption() {
    let (sim, path) = in_second_file(&mut Told::default());
    let (disk, gone) = (sim.disk(), path.clone());
    sim.block_on(async move { disk.remove(&gone).await })
        .unwrap();
    let error = Node::try_start(sim, &start(1)).err().unwrap().1;
    assert!(
        matches!(&error, RecoverError::Corrupt { path: named, .. } if *named == path),
        "{error}"
    );
}

/// The lost frame's partition was noted as one of shard 0, and its later frames, in the journal of
/// shard 1, as another's: no start got past that, not even one that accepts the loss.
#[test]
fn loss_is_accepted_in_any_shards_journal() {
    for n in 0..2 {
        let node = Node::start(Simulation::new(1), &start(2));
        for fill in 1..=3 {
            node.append_durably(tp(n), sent(600, fill));
        }
        node.run_for(1000);
        let sim = node.crash(Crash::Power);
        let (path, position) = journal_with(&sim.disk(), &[1; 500]);
        sim.disk().flip_bit(&path, position + 100, 3);
        let how = Start {
            accept_loss: true,
            ..start(2)
        };
        let node = Node::start(sim, &how);
        assert_eq!(node.store(tp(n)).bounds(tp(n)).high_watermark, Offset(3));
    }
}

/// What two starts gave up, one behind the other, was two ranges: lookups by time and compaction
/// took the hole that they make together for damage that nobody had heard of, for ever.
#[test]
fn losses_behind_one_another_are_one_range() {
    let how = Start {
        accept_loss: true,
        ..start(1)
    };
    let mut node = Node::start(Simulation::new(1), &how);
    node.append_durably(tp(0), sent(60_000, 1));
    for fill in 2..4 {
        node.append_durably(tp(0), sent(600, fill));
        node.run_for(1000);
        let sim = node.crash(Crash::Power);
        let (path, position) = journal_with(&sim.disk(), &[fill; 500]);
        sim.disk().flip_bit(&path, position + 100, 3);
        node = Node::start(sim, &how);
        assert_eq!(node.report.lost_frames, 1);
    }
    let sim = node.crash(Crash::Power);
    let recovered = sim.block_on(recover_on(sim.disk(), sim.clock(), how));
    let row = &recovered.unwrap().shards[0].partitions[0].row;
    let (base, next) = (Offset(1), Offset(3));
    assert_eq!(row.unreadable, [UnreadableRange { base, next }]);
}

/// Topics are deleted shard by shard and their files all at once: a shard that had just been given
/// a file did not find it, and fenced the disk.
#[test]
fn file_that_went_with_its_topic_does_not_fence() {
    let node = Node::start(Simulation::new(1), &start(1));
    let fault = Fault::once(Operation::Open, "/data/topics/", ENOENT);
    node.sim.disk().inject(fault);
    for round in 0..60 {
        node.append_durably(tp(0), sent(5000, round));
    }
    assert_eq!(node.fence.check(), Ok(()));
    node.run_for(1000);
    assert!(node.stores[0].counters().seals > 0);
}

/// Files whose places were noted before a lookup were gone, or others, by the time it got there;
/// and after a restart those below the log's start, long unlinked, were looked for.
#[test]
fn lookup_by_time_outlives_the_files_it_began_with() {
    for micros in [1, 50, 100, 200, 400, 800, 1600] {
        let node = Node::start(Simulation::new(micros), &start(1));
        let how = Stamp {
            segment_bytes: 100_000,
            ..stamp(0)
        };
        for n in 0..200 {
            let what = Sent {
                timestamp: 1000 + n,
                ..sent(5000, n as u8)
            };
            let appended = node.stores[0].append(tp(0), &encode(&what), how).unwrap();
            let wait = async move { appended.commit.wait().await };
            node.sim.block_on(wait).unwrap();
        }
        node.run_for(1000);
        let node = Node::start(node.crash(Crash::Power), &start(1));
        let (looks, moves) = (Rc::clone(&node.stores[0]), Rc::clone(&node.stores[0]));
        let found = node
            .sim
            .spawn(async move { looks.offset_at_timestamp(tp(0), 1000).await });
        node.sim.run_for(Duration::from_micros(micros));
        let moved = async move { moves.advance_start(tp(0), Offset(170)).await };
        node.sim.block_on(moved).unwrap();
        let found = node.sim.block_on(found).unwrap().unwrap();
        assert!(found.offset <= Offset(170), "{found:?}");
        node.run_for(1000);

        let node = Node::start(node.crash(Crash::Power), &start(1));
        let looks = Rc::clone(&node.stores[0]);
        let found = async move { looks.offset_at_timestamp(tp(0), 1000).await };
        let found = node.sim.block_on(found).unwrap().unwrap();
        assert_eq!(found.offset, Offset(170));
    }
}

/// A read went on behind files that had gone below a log's moving start, and gave batches of before
/// and after them as if they followed one another.
#[test]
fn read_ends_where_the_start_has_overtaken_it() {
    for micros in (0..6000).step_by(200) {
        let node = Node::start(Simulation::new(micros), &start(1));
        let how = Stamp {
            segment_bytes: 20_000,
            ..stamp(0)
        };
        for n in 0..60 {
            let append = node.stores[0].append(tp(0), &encode(&sent(5000, n)), how);
            let commit = append.unwrap().commit;
            node.sim
                .block_on(async move { commit.wait().await })
                .unwrap();
        }
        node.run_for(1000);
        let node = Node::start(node.crash(Crash::Power), &start(1));
        let (reads, moves) = (Rc::clone(&node.stores[0]), Rc::clone(&node.stores[0]));
        let read = async move { reads.read(tp(0), Offset(0), 1 << 20, true).await };
        let read = node.sim.spawn(read);
        node.sim.run_for(Duration::from_micros(micros));
        let moved = async move { moves.advance_start(tp(0), Offset(50)).await };
        node.sim.block_on(moved).unwrap();
        let Ok(data) = node.sim.block_on(read) else {
            continue;
        };
        let bytes = data.slices.concat();
        let found: Vec<i64> = batches(&bytes).map(|(header, _)| header.base.0).collect();
        let expected: Vec<i64> = (0..found.len() as i64).collect();
        assert_eq!(found, expected);
    }
}

/// Two batches of partition 0, of which the second was written directly and is acknowledged; at the
/// crash its confirmation is on its way, and there or not.
fn announced_only(seed: u64, how: &Start) -> (Simulation, Told) {
    let mut told = Told::default();
    let node = Node::start(Simulation::new(seed), how);
    for fill in 1..3 {
        // The first has its file fetched and takes the journal; the second finds the file.
        node.run_for(1000);
        let what = sent(20_000, fill);
        let appended = node.append_durably(tp(0), what);
        told.note(tp(0), appended.base_offset, &what);
    }
    (node.crash(Crash::Power), told)
}

/// A start that sealed an adopted block for want of room gave the new file the name of the one that
/// the block was announced in. When it crashed before its commit, the next start found an empty
/// file there, took the block for torn and cut it: acknowledged records were gone without a word.
#[test]
fn s11_start_that_crashes_leaves_an_announced_block_where_it_was() {
    let mut how = start(1);
    how.config.open_block_budget_bytes = 70_000;
    how.config.direct_threshold_bytes = 8_000;
    let mut adopted = 0;
    for turns in 0..200 {
        let (sim, told) = announced_only(turns, &how);
        let starting = recover_on(sim.disk(), sim.clock(), how.clone());
        drop(sim.spawn(starting));
        sim.limit_turns(turns);
        sim.run_for(Duration::from_secs(10));
        let node = Node::start(sim.crash(Crash::Power), &how);
        adopted += node.report.adopted_blocks;
        told.check(&node);
    }
    assert!(adopted > 0);
}

/// An announced block whose file could not be read was taken for torn, too.
#[test]
fn s15_block_that_cannot_be_read_is_not_cut() {
    let mut how = start(1);
    how.config.direct_threshold_bytes = 8_000;
    let mut refused = 0;
    for seed in 0..20 {
        let (sim, told) = announced_only(seed, &how);
        let fault = Fault::once(Operation::Read, "/data/topics", EIO);
        sim.disk().inject(fault);
        let node = match Node::try_start(sim, &how) {
            Ok(node) => node,
            Err((sim, error)) => {
                assert!(matches!(error, RecoverError::Segment(_)), "{error}");
                refused += 1;
                Node::start(sim, &how)
            }
        };
        node.sim.disk().heal();
        told.check(&node);
    }
    assert!(refused > 0);
}

/// A batch of nearly a file's size never became durable when an open block had to go before it.
#[test]
fn largest_batch_follows_an_open_block() {
    let mut how = start(1);
    how.config.open_block_budget_bytes = 128 << 20;
    let node = Node::start(Simulation::new(1), &how);
    node.append_durably(tp(0), sent(100, 1));
    let refused = node.stores[0].append(tp(0), &encode(&sent(32 << 20, 2)), stamp(0));
    let Err(AppendError::TooLarge { limit, .. }) = refused else {
        panic!("{refused:?}")
    };
    node.append_durably(tp(0), sent(limit, 3));
    node.append_durably(tp(0), sent(100, 4));
    assert_eq!(node.read(tp(0), 1, 1).bytes, limit);
}

/// A batch that waited for its segment file was in no queue: the store ended without it.
#[test]
fn shutdown_waits_for_a_batch_that_waits_for_its_file() {
    let node = Node::start(Simulation::new(1), &start(1));
    let commit = node.append(tp(0), sent(200_000, 1)).commit;
    node.stores[0].shutdown();
    node.run_for(2000);
    assert!(commit.is_settled());
}

/// A journal file filled to its last page had no room for the frame that closes the run, and no
/// batch came that would have gone on in the next: a shutdown waited for ever.
#[test]
fn shutdown_ends_wherever_the_journal_file_stands() {
    for appends in 50..70 {
        let node = Node::start(Simulation::new(1), &start(1));
        for _ in 0..appends {
            node.append_durably(tp(0), sent(100, 1));
        }
        let store = &node.stores[0];
        let before = Rc::strong_count(store);
        store.shutdown();
        node.run_for(2000);
        assert_eq!(Rc::strong_count(store), before - 1, "{appends} appends");
    }
}

/// Each start that failed left its unfinished set on the disk that was too full for it.
#[test]
fn starts_that_fail_leave_no_more_than_one_set() {
    let node = Node::start(Simulation::new(1), &start(2));
    let mut told = Told::default();
    let what = sent(3000, 1);
    told.note(tp(0), node.append_durably(tp(0), what).base_offset, &what);
    let sim = node.crash(Crash::Power);
    let used = |sim: &Simulation| sim.disk().files().iter().map(|(_, len)| len).sum::<u64>();
    let mut sizes = Vec::new();
    for _ in 0..4 {
        let fault = Fault::once(Operation::Open, "/shards-", ENOSPC);
        sim.disk().inject(fault);
        let failed = sim.block_on(recover_on(sim.disk(), sim.clock(), start(2)));
        assert!(failed.is_err());
        sizes.push(used(&sim));
    }
    assert!(sizes.windows(2).all(|pair| pair[0] == pair[1]), "{sizes:?}");
    told.check(&Node::start(sim, &start(2)));
}

/// Each start that failed behind the flush of its new segment files left them, under names of their
/// own, on the disk that was too full for its journals.
#[test]
fn starts_that_fail_leave_no_segment_files() {
    let node = Node::start(Simulation::new(1), &start(2));
    let mut told = Told::default();
    let what = sent(3000, 1);
    told.note(tp(0), node.append_durably(tp(0), what).base_offset, &what);
    let sim = node.crash(Crash::Power);
    let mut how = start(2);
    // What the journal holds is more than this has room for: it is sealed.
    how.config.open_block_budget_bytes = 2000;
    let segments = |sim: &Simulation| {
        let files = sim.disk().files().into_iter();
        files
            .filter(|(path, _)| path.starts_with("/data/topics"))
            .count()
    };
    for _ in 0..3 {
        let fault = Fault::once(Operation::Open, "/shards-", ENOSPC);
        sim.disk().inject(fault);
        let failed = sim.block_on(recover_on(sim.disk(), sim.clock(), how.clone()));
        assert!(failed.is_err());
        assert_eq!(segments(&sim), 0);
    }
    // One that cannot tell whether `node` names them leaves them.
    let fault = Fault::once(Operation::Write, "/node", EIO);
    sim.disk().inject(fault);
    let failed = sim.block_on(recover_on(sim.disk(), sim.clock(), how.clone()));
    assert!(failed.is_err());
    assert_eq!(segments(&sim), 1);
    let node = Node::start(sim, &how);
    assert_eq!(node.report.sealed_partitions, 1);
    told.check(&node);
}

/// Producers that waited for memory were not told when a deleted topic gave it back.
#[test]
fn deleting_a_topic_tells_those_who_wait_for_memory() {
    let mut how = start(1);
    how.config.open_block_budget_bytes = 100_000;
    let node = Node::start(Simulation::new(1), &how);
    let told = Rc::new(Cell::new(0));
    let count = Rc::clone(&told);
    node.stores[0].on_room(Box::new(move || count.set(count.get() + 1)));
    while node.stores[0]
        .append(tp(0), &encode(&sent(5000, 1)), stamp(0))
        .is_ok()
    {}
    node.stores[0].drop_topics(&HashSet::from([tp(0).topic]));
    assert_eq!(told.get(), 1);
}

/// A block copied forward left for its segment in the very frame that was to hold the copy, ahead
/// of a direct write; when a crash cut that, the empty copy behind it made a gap.
#[test]
fn copy_beside_a_direct_write_makes_no_gap() {
    // So many appends bring the oldest file's turn to be emptied, one way or another.
    for appends in 150..165 {
        let node = Node::start(Simulation::new(56), &start(1));
        for _ in 0..4 {
            node.append(tp(0), sent(15_000, 1));
        }
        node.run_for(500);
        node.append_durably(tp(0), sent(300, 2));
        for _ in 0..appends {
            node.append_durably(tp(1), sent(5000, 3));
        }
        node.append(tp(1), sent(5000, 3));
        node.sim.run_for(Duration::from_micros(20));
        for _ in 0..4 {
            node.append(tp(0), sent(15_000, 4));
        }
        let segment = partition_dir(&data(), tp(0));
        let segment = segment.to_str().unwrap();
        let fault = Fault::once(Operation::Write, segment, EIO);
        node.sim.disk().inject(fault);
        node.run_for(20);
        let node = Node::start(node.crash(Crash::Power), &start(1));
        assert!(node.read_all(tp(0)).len() >= 5);
    }
}

/// A block that was to be copied forward was frozen in that very frame, because a batch too large
/// for the journal rolled the Kafka segment. It counted as copied, its file was used again, and a
/// crash before its seal lost it without a word.
#[test]
fn s9_block_frozen_by_a_roll_is_not_taken_for_copied() {
    for appends in 140..175 {
        let how = Stamp {
            segment_bytes: 20_000,
            ..stamp(0)
        };
        let mut told = Told::default();
        let node = Node::start(Simulation::new(appends), &start(1));
        let what = sent(15_000, 1);
        let appended = node.stores[0].append(tp(0), &encode(&what), how).unwrap();
        told.note(tp(0), appended.base_offset, &what);
        node.run_for(500);
        for _ in 0..appends {
            node.append_durably(tp(1), sent(5000, 3));
        }
        node.append(tp(1), sent(5000, 3));
        node.sim.run_for(Duration::from_micros(20));
        let segment = partition_dir(&data(), tp(0));
        let fault = Fault::once(Operation::Write, segment.to_str().unwrap(), EIO);
        node.sim.disk().inject(fault);
        let large = encode(&sent(100_000, 2));
        let _ = node.stores[0].append(tp(0), &large, how);
        node.run_for(20);
        told.check(&Node::start(node.crash(Crash::Power), &start(1)));
    }
}

/// A block that verified in the place of another, where a misdirected write had put it, made a read
/// go on behind both: the other's records were missing without a word (S19).
#[test]
fn s19_block_in_anothers_place_hides_no_loss() {
    let node = Node::start(Simulation::new(1), &start(1));
    for fill in 0..100 {
        node.append_durably(tp(0), sent(5000, fill));
    }
    node.run_for(1000);
    let sim = node.crash(Crash::Power);
    let segment = partition_dir(&data(), tp(0));
    let files = sim.disk().files();
    let largest = files.iter().filter(|(path, _)| path.starts_with(&segment));
    let (path, len) = largest.max_by_key(|(_, len)| *len).unwrap().clone();
    let bytes = sim.disk().peek(&path, 0, len as usize).unwrap();
    let is_block = |at: &usize| bytes[*at..*at + 4] == bytes[PAGE..PAGE + 4];
    let blocks: Vec<usize> = (PAGE..bytes.len()).step_by(PAGE).filter(is_block).collect();
    let (first, second, third) = (blocks[1], blocks[2], blocks[3]);
    assert_eq!(second - first, third - second, "blocks of one length");
    let disk = sim.disk();
    let moved = async move {
        let file = disk.open(&path, OpenMode::Write).await.unwrap();
        let mut buf = disk.buffer(third - second);
        buf.copy_from_slice(&bytes[second..third]);
        disk.write(&file, first as u64, buf, Flush::Data).await.0
    };
    sim.block_on(moved).unwrap();
    let node = Node::start(sim, &start(1));
    let mut offset = Offset(0);
    let mut refused = 0;
    while offset < Offset(100) {
        let store = Rc::clone(&node.stores[0]);
        let read = async move { store.read(tp(0), offset, 1, true).await };
        offset = match node.sim.block_on(read) {
            Ok(data) => {
                let bytes = Bytes::from(data.slices.concat());
                let (header, _) = batches(&bytes).next().unwrap();
                assert_eq!(header.base, offset, "batches between are missing");
                header.next()
            }
            Err(_) => {
                refused += 1;
                offset.next()
            }
        };
    }
    assert!(refused > 0);
}

/// Memory was looked for before the refused batches' frames were written, and then, for want of any
/// other event, only when the silence was closed 100 ms later.
#[test]
fn room_is_looked_for_again_soon() {
    let mut how = start(1);
    how.config.open_block_budget_bytes = 100_000;
    let node = Node::start(Simulation::new(1), &how);
    node.append_durably(tp(0), sent(50_000, 1));
    node.run_for(1000);
    let told = Rc::new(Cell::new(0));
    let count = Rc::clone(&told);
    node.stores[0].on_room(Box::new(move || count.set(count.get() + 1)));
    for n in 0.. {
        let append = node.stores[0].append(tp(n % 8), &encode(&sent(5000, 1)), stamp(0));
        if append.is_err() {
            break;
        }
    }
    node.run_for(60);
    assert!(told.get() > 0);
}

/// A batch that did not fit beside what lay in open blocks, three quarters of the budget at most,
/// was refused for ever: nobody made room for it.
#[test]
fn room_is_made_for_a_large_batch() {
    let mut how = start(1);
    how.config.open_block_budget_bytes = 200_000;
    let node = Node::start(Simulation::new(1), &how);
    for n in 0..3 {
        node.append_durably(tp(n), sent(30_000, 1));
    }
    let large = encode(&sent(150_000, 2));
    let refused = node.stores[0].append(tp(4), &large, stamp(0));
    assert!(matches!(refused, Err(AppendError::NoMemory { .. })));
    let told = Rc::new(Cell::new(0));
    let count = Rc::clone(&told);
    node.stores[0].on_room(Box::new(move || count.set(count.get() + 1)));
    for _ in 0..3 {
        node.run_for(2000);
        drop(node.stores[0].append(tp(4), &large, stamp(0)));
    }
    node.run_for(2000);
    assert!(told.get() > 0);
    assert!(node.store(tp(4)).bounds(tp(4)).high_watermark > Offset(0));
}

/// A file that was fetched ahead and does not hold the batch that comes is given up, and another
/// is asked for. The housekeeper places that one before it comes to unlink the first: under the
/// same name it would unlink what has just been written.
#[test]
fn s7_a_file_that_is_given_up_takes_no_other_along() {
    for seed in 0..5 {
        let mut told = Told::default();
        let node = Node::start(Simulation::new(seed), &start(1));
        node.run_for(50);
        for partition in 0..6 {
            // The first fills the smallest file, so that the next larger one is fetched.
            for bytes in [50_000, 1_500_000, 50_000] {
                let what = sent(bytes, partition as u8);
                let appended = node.append_durably(tp(partition), what);
                told.note(tp(partition), appended.base_offset, &what);
                node.run_for(50);
            }
        }
        node.run_for(1000);
        let node = Node::start(node.crash(Crash::Kill), &start(1));
        told.check(&node);
    }
}

/// A reader opened the last file by what the log knew then. Until it was done the file was opened
/// by others too, written to, and closed again for want of descriptors: the reader's own then took
/// its place, and the next block was written over the one that it did not know of (S9).
#[test]
fn a_file_that_was_written_to_while_it_was_opened_is_opened_again() {
    for seed in 0..40 {
        let mut how = start(1);
        how.config.cache_bytes = 0;
        how.config.open_files_max = 1;
        let node = Node::start(Simulation::new(seed), &how);
        let mut told = Told::default();
        for round in 0..40 {
            for n in 0..6 {
                let what = sent(3_000, round as u8);
                let store = Rc::clone(&node.stores[0]);
                // Whoever reads the end opens the file that is about to be written to.
                let end = node.stores[0].bounds(tp(n)).high_watermark;
                let from = Offset(end.0.saturating_sub(1 + i64::from(n) * 2).max(0));
                node.sim.spawn(async move {
                    let _ = store.read(tp(n), from, 1, true).await;
                });
                let appended = node.append_durably(tp(n), what);
                told.note(tp(n), appended.base_offset, &what);
            }
        }
        told.check(&node);
        let node = Node::start(node.crash(Crash::Kill), &how);
        told.check(&node);
    }
}

#[test]
fn a_segment_whose_placing_failed_after_the_rename_is_placed_again() {
    let node = Node::start(Simulation::new(653), &start(1));
    let fault = Fault::once(Operation::SyncDir, "/data/topics", EIO);
    node.sim.disk().inject(fault);
    let mut told = Told::default();
    for round in 0..600u32 {
        let what = sent(6_000, round as u8);
        let appended = node.append(tp(0), what);
        // What failed is tried again a second later.
        node.run_for(
            match node.store(tp(0)).bounds(tp(0)).high_watermark.0 < i64::from(round) {
                true => 5_000,
                false => 20,
            },
        );
        told.note(tp(0), appended.base_offset, &what);
    }
    node.run_for(5_000);
    assert_eq!(node.store(tp(0)).bounds(tp(0)).high_watermark, Offset(600));
    let seals = node.stores[0].counters().seals;
    assert!(seals > 10, "{seals}");
    told.check(&node);
}
