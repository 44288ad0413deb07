//! Damage that is found by a reader, by the scrub or by a start, and open files within a budget:
//! the rest of every log is served (S19).
#![allow(missing_docs, clippy::unwrap_used)]

mod core;

use core::{Node, Sent, Start, Told, encode, sent, stamp, start, tp};
use spate_storage::{
    compaction::{CompactionError, CompactionRules},
    disk::{
        Disk, Flush, OpenMode,
        simulated::{Crash, Effect, Fault, Operation, Simulation},
    },
    journal::{fragment::Kind, reader::FoundJournal},
    recovery::RecoverError,
    store::{CompactError, ReadError, ScrubPace, Stamp},
    types::{Offset, TopicPartition},
};
use std::{
    path::{Path, PathBuf},
    rc::Rc,
    time::Duration,
};

const EIO: i32 = 5;

fn segments(node: &Node) -> Vec<PathBuf> {
    let files = node.sim.disk().files().into_iter().map(|(path, _)| path);
    let mut files: Vec<PathBuf> = files
        .filter(|path| path.extension().is_some_and(|extension| extension == "seg"))
        .collect();
    files.sort();
    files
}

/// Enough for several segment files and blocks; the last of it stays in memory.
fn filled(how: &Start) -> (Node, Told) {
    let node = Node::start(Simulation::new(11), how);
    let mut told = Told::default();
    for round in 0..200 {
        let what = sent(9_000, round as u8);
        let appended = node.append_durably(tp(0), what);
        told.note(tp(0), appended.base_offset, &what);
    }
    node.run_for(500);
    assert!(segments(&node).len() > 2, "{:?}", segments(&node));
    (node, told)
}

fn scrubbing() -> Start {
    let mut how = start(1);
    how.config.cache_bytes = 0;
    how.config.scrub = ScrubPace {
        bytes_per_second: 64 << 20,
        interval: Duration::from_secs(5),
    };
    how
}

#[test]
fn s19_a_scrub_finds_what_nobody_reads_and_says_it_once() {
    let (node, _) = filled(&scrubbing());
    node.run_for(20_000);
    let store = Rc::clone(node.store(tp(0)));
    let before = store.counters();
    assert!(
        before.scrub_passes >= 2 && before.scrubbed_blocks > 20,
        "{before:?}"
    );
    assert_eq!(before.damages, 0);

    // One bit of a block's batches, and one of another block's header.
    let files = segments(&node);
    node.sim.disk().flip_bit(&files[0], 2 * 4096 + 100, 3);
    node.sim.disk().flip_bit(&files[1], 4096 + 8, 0);
    node.run_for(20_000);
    let after = store.counters();
    assert!(after.scrub_passes >= before.scrub_passes + 2);
    assert_eq!(after.damages, 2, "each place is counted once");
}

#[test]
fn a_scrub_keeps_to_its_rate() {
    let mut how = scrubbing();
    how.config.scrub.bytes_per_second = 100 << 10;
    let (node, _) = filled(&how);
    let store = Rc::clone(node.store(tp(0)));
    let before = store.counters().scrubbed_bytes;
    node.run_for(10_000);
    let read = store.counters().scrubbed_bytes - before;
    // Ten seconds' worth, and the part that was under way.
    assert!(read <= (1000 << 10) + (2 << 20), "{read}");
}

#[test]
fn s19_a_damaged_block_hides_its_own_records_only() {
    let mut how = start(1);
    how.config.cache_bytes = 0;
    let (node, told) = filled(&how);
    let files = segments(&node);
    node.sim.disk().flip_bit(&files[0], 2 * 4096 + 100, 3);
    let store = Rc::clone(node.store(tp(0)));
    let reading = Rc::clone(&store);
    let read = async move { reading.read(tp(0), Offset(0), 1 << 20, true).await };
    let error = node.sim.block_on(read).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, ReadError::Damaged { .. }) && !error.is_passing());
    assert!(
        text.contains(".seg") && text.contains("offsets 0 to"),
        "{text}"
    );
    assert_eq!(store.counters().damages, 1);
    let bounds = store.bounds(tp(0));
    let mut from = 0;
    let mut served = 0;
    while from < bounds.high_watermark.0 {
        let reading = Rc::clone(&store);
        let read = async move { reading.read(tp(0), Offset(from), 1, true).await };
        served += u64::from(node.sim.block_on(read).is_ok());
        from += 1;
    }
    assert!(
        served >= 150 && (served as usize) < told.0[&tp(0)].len(),
        "{served}"
    );
    assert_eq!(
        store.counters().damages,
        1,
        "said once, however often it is read"
    );
}

/// The journal's page held an acknowledged record, or did not: nobody can tell. So the operator
/// decides, and everything that can be read is there.
#[test]
fn s19_an_unreadable_sector_of_a_journal_is_the_operators_decision() {
    let node = Node::start(Simulation::new(4), &start(1));
    let mut told = Told::default();
    for n in 0..3 {
        for round in 0..5 {
            let what = sent(500, round);
            let appended = node.append_durably(tp(n), what);
            told.note(tp(n), appended.base_offset, &what);
        }
    }
    node.run_for(500);
    let sim = node.crash(Crash::Kill);
    // The first page, by itself and once more.
    let fault = Fault {
        operation: Operation::Read,
        path_part: "/journal/1/0/0".to_owned(),
        skip: 0,
        times: 2,
        effect: Effect::Errno(EIO),
    };
    sim.disk().inject(fault.clone());
    let (sim, error) = Node::try_start(sim, &start(1)).map(|_| ()).unwrap_err();
    assert!(matches!(error, RecoverError::Unreadable { .. }), "{error}");
    assert!(
        error.to_string().contains("recovery.accept.loss"),
        "{error}"
    );

    sim.disk().inject(fault);
    let accepting = Start {
        accept_loss: true,
        ..start(1)
    };
    // The head, which the journal does without only where another file names it.
    match Node::try_start(sim, &accepting) {
        Ok(node) => told.check(&node),
        Err((sim, error)) => {
            assert!(
                matches!(error, RecoverError::MissingJournal { .. }),
                "{error}"
            );
            // The same for a page that frames do not need: the file is read in one piece behind its
            // head, and page by page when that fails.
            let refuse = |sim: &Simulation, skip| {
                let fault = Fault::once(Operation::Read, "/journal/1/0/0", EIO);
                sim.disk().inject(Fault { skip, ..fault });
            };
            refuse(&sim, 1);
            refuse(&sim, 55);
            let (sim, error) = Node::try_start(sim, &start(1)).map(|_| ()).unwrap_err();
            assert!(matches!(error, RecoverError::Unreadable { .. }), "{error}");
            refuse(&sim, 1);
            refuse(&sim, 55);
            let node = Node::start(sim, &accepting);
            assert_eq!(node.report.unreadable_pages.len(), 1);
            told.check(&node);
        }
    }
}

#[test]
fn open_files_stay_within_their_budget_and_every_record_is_served() {
    let mut how = start(1);
    how.config.cache_bytes = 0;
    how.config.open_files_max = 4;
    let node = Node::start(Simulation::new(9), &how);
    let mut told = Told::default();
    for round in 0..60 {
        for n in 0..6 {
            let what = sent(9_000, round as u8);
            let appended = node.append_durably(tp(n), what);
            told.note(tp(n), appended.base_offset, &what);
        }
    }
    node.run_for(500);
    assert!(segments(&node).len() > 8);
    assert!(
        node.stores[0].open_file_count() <= 5,
        "{}",
        node.stores[0].open_file_count()
    );
    told.check(&node);
    // Writing goes on in files that were closed meanwhile.
    for round in 60..120 {
        for n in 0..6 {
            let what = sent(9_000, round as u8);
            let appended = node.append_durably(tp(n), what);
            told.note(tp(n), appended.base_offset, &what);
        }
    }
    told.check(&node);
    assert!(node.stores[0].open_file_count() <= 5);
    let node = Node::start(node.crash(Crash::Kill), &how);
    told.check(&node);
}

/// Where in the shard's first journal the frames lie that hold batches of `tp`.
fn frames_of(sim: &Simulation, wanted: TopicPartition) -> Vec<(PathBuf, u64)> {
    let disk = sim.disk();
    sim.block_on(async move {
        let dir = Path::new("/data/journal/1/0");
        let found = FoundJournal::read(&disk, dir).await.unwrap();
        let readable = found.readable(&disk).await.unwrap();
        let mut again = found.frames(&disk);
        let mut places = Vec::new();
        for located in &readable.frames {
            let frame = again.read(located).await.unwrap();
            let mut fragments = frame.fragments().unwrap().into_iter();
            if fragments.any(|(f, _)| f.kind == Kind::Batches && f.tp == wanted) {
                let (path, at) = found.place(located);
                places.push((path.to_owned(), at));
            }
        }
        places
    })
}

/// A partition's last frames are lost, so thoroughly that they do not even say whose they were, and
/// no later frame has anything of it but its row. Its end would come back to an earlier offset, and
/// the next record take one that a consumer has read as another.
#[test]
fn s19_a_lost_tail_that_names_nobody_is_told_by_the_rows_behind_it() {
    let node = Node::start(Simulation::new(21), &start(1));
    for round in 0..5 {
        node.append_durably(tp(0), sent(300, round));
    }
    // Until the journal goes on in its next file, which begins with everybody's rows.
    while node
        .sim
        .disk()
        .peek(Path::new("/data/journal/1/0/1"), 4096, 8)
        .is_none_or(|page| page == [0; 8])
    {
        node.append_durably(tp(1), sent(9_000, 7));
    }
    node.run_for(500);
    let sim = node.crash(Crash::Kill);
    let frames = frames_of(&sim, tp(0));
    assert!(frames.len() >= 5 && frames.iter().all(|(path, _)| path.ends_with("0/0")));
    for (path, position) in &frames[3..] {
        sim.disk().flip_bit(path, position + 20, 1);
    }

    let (sim, error) = Node::try_start(sim, &start(1)).map(|_| ()).unwrap_err();
    let text = error.to_string();
    let named = format!("{} offsets 3 to 5", tp(0));
    assert!(
        text.contains(&named) && text.contains("accept.loss"),
        "{text}"
    );

    let accepting = Start {
        accept_loss: true,
        ..start(1)
    };
    let node = Node::start(sim, &accepting);
    let lost = node
        .report
        .unreadable
        .iter()
        .find(|lost| lost.tp == tp(0))
        .unwrap();
    assert_eq!((lost.range.base, lost.range.next), (Offset(3), Offset(5)));
    assert_eq!(
        node.append_durably(tp(0), sent(300, 9)).base_offset,
        Offset(5)
    );
    let store = Rc::clone(node.store(tp(0)));
    let read = async move { store.read(tp(0), Offset(3), 1 << 20, true).await };
    assert!(matches!(
        node.sim.block_on(read),
        Err(ReadError::Lost { .. })
    ));
    let node = Node::start(node.crash(Crash::Power), &start(1));
    assert_eq!(
        node.append_durably(tp(0), sent(300, 9)).base_offset,
        Offset(6)
    );
}

/// Six batches of a partition, each a block written directly to its segment, and where those of its
/// second file lie. Nothing knows more of that file than its blocks' own headers: it has no index.
fn written_directly(how: &Start) -> (Simulation, PathBuf, Vec<u64>) {
    let node = Node::start(Simulation::new(31), how);
    for n in 0..6 {
        let timestamp = 1000 * i64::from(n);
        let what = Sent {
            timestamp,
            ..sent(50_000, n)
        };
        node.append_durably(tp(0), what);
        // The first finds no file at hand, and takes the journal.
        node.run_for(1000);
    }
    let files = segments(&node);
    let sim = node.crash(Crash::Kill);
    let is_begin = |file: &PathBuf, at: u64| {
        let first = sim.disk().peek(file, 4096, 8).unwrap();
        first != [0; 8] && sim.disk().peek(file, at, 8).unwrap() == first
    };
    let blocks = |file: &PathBuf| -> Vec<u64> {
        let len = sim
            .disk()
            .files()
            .into_iter()
            .find(|(path, _)| path == file)
            .unwrap()
            .1;
        let pages = (4096..len).step_by(4096);
        pages.filter(|at| is_begin(file, *at)).collect()
    };
    let file = files
        .into_iter()
        .max_by_key(|file| blocks(file).len())
        .unwrap();
    let places = blocks(&file);
    assert!(places.len() >= 4, "{places:?}");
    (sim, file, places)
}

#[test]
fn s19_a_lookup_by_time_says_that_an_earlier_record_may_be_damaged() {
    let mut how = start(1);
    how.config.cache_bytes = 0;
    let (sim, file, places) = written_directly(&how);
    // Its header: nobody can tell what times it had.
    sim.disk().flip_bit(&file, places[1] + 20, 1);
    let node = Node::start(sim, &how);
    let find = |timestamp| {
        let store = Rc::clone(node.store(tp(0)));
        let found = async move { store.offset_at_timestamp(tp(0), timestamp).await };
        node.sim.block_on(found)
    };
    // Block `n` of the second file is the batch with the timestamp `1000 * (first + n)`.
    let first = 6 - places.len() as i64;
    assert_eq!(find(1000 * first).unwrap().unwrap().offset, Offset(first));
    let error = find(1000 * (first + 1)).unwrap_err();
    assert!(matches!(error, ReadError::Unreadable { .. }), "{error}");
    assert_eq!(node.stores[0].counters().damages, 1);
}

/// A write that went to another block's place, as a disk may do it: every block that is found
/// verifies, and one is missing. To compact such a file would make the loss good for ever, and
/// silent.
#[test]
fn s19_a_file_whose_blocks_do_not_follow_one_another_is_not_compacted() {
    let mut how = start(1);
    how.config.cache_bytes = 0;
    let (sim, file, places) = written_directly(&how);
    let block_bytes = (places[2] - places[1]) as usize;
    let disk = sim.disk();
    let (source, path) = (places[2], file.clone());
    let target = places[1];
    sim.block_on(async move {
        let file = disk.open(&path, OpenMode::Write).await.unwrap();
        let (read, block) = disk.read(&file, source, disk.buffer(block_bytes)).await;
        read.unwrap();
        disk.write(&file, target, block, Flush::Data)
            .await
            .0
            .unwrap();
    });
    let node = Node::start(sim, &how);
    // The active Kafka segment is never compacted: another begins.
    let rolling = Stamp {
        segment_bytes: 1,
        ..stamp(0)
    };
    for n in 6..8 {
        let batch = encode(&sent(50_000, n));
        let appended = node.store(tp(0)).append(tp(0), &batch, rolling).unwrap();
        let committed = async move { appended.commit.wait().await };
        node.sim.block_on(committed).unwrap();
        node.run_for(1000);
    }
    let rules = CompactionRules {
        min_dirty_ratio: 0.0,
        min_lag_ms: 0,
        max_lag_ms: i64::MAX,
        delete_retention_ms: 0,
        segment_bytes: 1 << 30,
        key_memory_bytes: 1 << 20,
        key_load: 0.9,
        bytes_per_second: f64::MAX,
    };
    assert!(node.stores[0].dirtiness(tp(0), &rules).is_some());
    let store = Rc::clone(node.store(tp(0)));
    let compacted = async move { store.compact(tp(0), &rules).await };
    let error = node.sim.block_on(compacted).unwrap_err();
    let text = error.to_string();
    let is_damage = matches!(
        error,
        CompactError::Failed {
            error: CompactionError::Damaged { .. },
            ..
        }
    );
    assert!(
        is_damage && text.contains("missing between its blocks"),
        "{text}"
    );
    // Said once, and not tried again.
    assert_eq!(node.stores[0].counters().damages, 1);
    assert_eq!(node.stores[0].dirtiness(tp(0), &rules), None);
    assert!(
        node.sim
            .disk()
            .files()
            .iter()
            .any(|(path, _)| *path == file)
    );
}
