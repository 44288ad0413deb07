//! Segment files on a simulated disk: found again after a crash, read around damage.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "files/mod.rs"]
mod files;

use std::path::Path;

use files::{batches, block, fill, meta, tp};
use spate_storage::{
    disk::{
        Disk as _, Flush, PAGE,
        simulated::{Crash, Fault, Operation, SimulatedDisk, Simulation},
    },
    hash::Incarnation,
    pool::{FileKind, Filling, PreparedFile, SizeClass, prepare, renew},
    segment::{BlockEntry, Found, SegmentError, SegmentFile},
    types::{Offset, PartitionIndex, Position, TopicPartition},
};

const INCARNATION: Incarnation = Incarnation(0x1111);

async fn prepared(disk: &SimulatedDisk, class: SizeClass) -> PreparedFile {
    let (kind, len) = (FileKind::Segment, class.bytes());
    prepare(
        disk,
        Path::new("/pool"),
        kind,
        len,
        Filling::Allocated,
        INCARNATION,
    )
    .await
    .unwrap()
}

/// A segment with five blocks, and what is in it.
fn five_blocks(sim: &Simulation, close: bool) -> (PreparedFile, Vec<BlockEntry>) {
    let disk = sim.disk();
    sim.block_on(async move {
        let file = prepared(&disk, SizeClass::M1).await;
        let segment = SegmentFile::create(&disk, &file, tp()).await.unwrap();
        let entries = fill(&disk, &segment, 5).await;
        if close {
            segment.close().await.unwrap();
        }
        (file, entries)
    })
}

type Opened = Result<SegmentFile<SimulatedDisk>, SegmentError>;

fn reopen(sim: &Simulation, file: &PreparedFile, flushed: Option<Position>) -> Opened {
    let (disk, file) = (sim.disk(), file.clone());
    sim.block_on(async move {
        SegmentFile::open(&disk, &file.path, file.incarnation, tp(), flushed).await
    })
}

#[test]
fn s20_closed_file_is_opened_by_its_index_and_an_open_one_by_its_headers() {
    for close in [true, false] {
        let sim = Simulation::new(1);
        let (file, entries) = five_blocks(&sim, close);
        let sim = sim.crash(Crash::Power);
        for flushed in [None, Some(entries[4].end())] {
            let segment = reopen(&sim, &file, flushed).unwrap();
            assert_eq!(segment.entries(), entries);
            assert_eq!(segment.damages(), []);
            assert_eq!(segment.end(), entries[4].end());
        }
    }
}

#[test]
fn s20_index_saves_the_reads_of_the_headers() {
    let sim = Simulation::new(2);
    let (file, entries) = five_blocks(&sim, true);
    // Head, last page, index: three reads. A fourth fails.
    let fault = Fault {
        skip: 3,
        times: u64::MAX,
        ..Fault::once(Operation::Read, "/pool", 5)
    };
    sim.disk().inject(fault);
    assert_eq!(reopen(&sim, &file, None).unwrap().entries(), entries);
}

#[test]
fn s15_bytes_behind_the_flushed_end_are_not_believed() {
    let sim = Simulation::new(3);
    let (file, entries) = five_blocks(&sim, false);
    let segment = reopen(&sim, &file, Some(entries[2].end())).unwrap();
    assert_eq!(segment.entries(), entries[..3]);
    assert_eq!(segment.find(Offset(150)), Found::Beyond);
    // Nor is half a block.
    let half = Position(entries[3].end().0 - PAGE as u64);
    let segment = reopen(&sim, &file, Some(half)).unwrap();
    assert_eq!(segment.entries(), entries[..3]);
    assert_eq!(segment.damages()[0].start, entries[3].position);
}

#[test]
fn s7_recycled_bytes_never_come_back() {
    let sim = Simulation::new(4);
    let (file, entries) = five_blocks(&sim, true);
    let (disk, path) = (sim.disk(), file.path.clone());
    let renewed = sim.block_on(async move {
        renew(&disk, &path, FileKind::Segment, Incarnation(0x2222))
            .await
            .unwrap()
    });
    let segment = reopen(&sim, &renewed, None).unwrap();
    assert_eq!(segment.entries(), [], "blocks and index of the earlier use");
    let segment = reopen(&sim, &renewed, Some(entries[4].end())).unwrap();
    assert_eq!(segment.entries(), []);
    assert!(
        segment.damages()[0].reason.contains("earlier use"),
        "{:?}",
        segment.damages()
    );
    let error = reopen(&sim, &file, None).unwrap_err();
    assert!(matches!(error, SegmentError::Incarnation { .. }), "{error}");
}

#[test]
fn s19_damaged_block_is_reported_and_the_rest_serves() {
    let sim = Simulation::new(5);
    let (file, entries) = five_blocks(&sim, true);
    sim.disk()
        .flip_bit(&file.path, entries[2].position.0 + 2000, 3);
    let segment = reopen(&sim, &file, None).unwrap();
    let read = |offset: i64| match segment.find(Offset(offset)) {
        Found::Block(entry) => Ok(entry),
        other => Err(format!("{other:?}")),
    };
    let entries_of: Vec<_> = (0..5).map(|i| read(i * 50 + 7).unwrap()).collect();
    assert_eq!(entries_of, entries);
    let results = sim.block_on(async move {
        let mut results = Vec::new();
        for entry in entries_of {
            results.push(segment.read_block(entry).await.map(|block| block.base()));
        }
        results
    });
    let good: Vec<_> = results.iter().map(Result::is_ok).collect();
    assert_eq!(good, [true, true, false, true, true]);
    let text = results[2].as_ref().unwrap_err().to_string();
    for part in [
        "/pool/",
        "payload checksum: expected",
        "found",
        "offsets 100 to 150",
    ] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn s19_damaged_header_in_an_open_file_is_a_range_and_the_rest_serves() {
    let sim = Simulation::new(6);
    let (file, entries) = five_blocks(&sim, false);
    sim.disk()
        .flip_bit(&file.path, entries[1].position.0 + 100, 0);
    sim.disk().flip_bit(&file.path, entries[2].position.0, 0);
    let segment = reopen(&sim, &file, Some(entries[4].end())).unwrap();
    assert_eq!(segment.entries(), [entries[0], entries[3], entries[4]]);
    let [damage] = segment.damages() else {
        panic!("{:?}", segment.damages())
    };
    assert_eq!(
        (damage.start, damage.end),
        (entries[1].position, entries[3].position)
    );
    for offset in [50, 99, 100, 149] {
        assert_eq!(
            segment.find(Offset(offset)),
            Found::Unreadable(damage.clone()),
            "{offset}"
        );
    }
    assert_eq!(segment.find(Offset(49)), Found::Block(entries[0]));
    assert_eq!(segment.find(Offset(150)), Found::Block(entries[3]));
}

#[test]
fn s19_damaged_end_of_a_closed_file_is_not_the_end_of_the_log() {
    for close in [true, false] {
        let sim = Simulation::new(13);
        let (file, entries) = five_blocks(&sim, close);
        for entry in &entries[3..] {
            sim.disk().flip_bit(&file.path, entry.position.0 + 70, 0);
        }
        // The index, if there is one, is damaged as well.
        sim.disk().flip_bit(&file.path, file.len - 1, 0);
        let (disk, path) = (sim.disk(), file.path.clone());
        let extent = (entries[4].end(), Offset(250));
        let segment = sim.block_on(async move {
            SegmentFile::open_closed(&disk, &path, INCARNATION, tp(), extent)
                .await
                .unwrap()
        });
        assert_eq!(segment.entries(), entries[..3]);
        assert!(matches!(segment.find(Offset(150)), Found::Unreadable(_)));
        assert!(matches!(segment.find(Offset(249)), Found::Unreadable(_)));
        assert_eq!(segment.find(Offset(250)), Found::Beyond);
    }
}

#[test]
fn s19_index_that_ends_before_the_journal_says_leaves_the_rest_unreadable() {
    let sim = Simulation::new(14);
    let (file, entries) = five_blocks(&sim, true);
    let (disk, path) = (sim.disk(), file.path.clone());
    let extent = (Position(entries[4].end().0 + PAGE as u64), Offset(260));
    let segment = sim.block_on(async move {
        SegmentFile::open_closed(&disk, &path, INCARNATION, tp(), extent)
            .await
            .unwrap()
    });
    assert_eq!(segment.entries(), entries);
    assert!(matches!(segment.find(Offset(255)), Found::Unreadable(_)));
}

#[test]
fn s19_unreadable_sector_is_damage_too() {
    let sim = Simulation::new(7);
    let (file, entries) = five_blocks(&sim, false);
    // The head is read first; then one read for each header.
    sim.disk().inject(Fault {
        skip: 3,
        ..Fault::once(Operation::Read, "/pool", 5)
    });
    let segment = reopen(&sim, &file, Some(entries[4].end())).unwrap();
    assert_eq!(segment.entries().len(), 4);
    assert!(matches!(segment.find(Offset(120)), Found::Unreadable(_)));
}

#[test]
fn block_of_another_partition_is_damage() {
    let sim = Simulation::new(8);
    let (file, entries) = five_blocks(&sim, false);
    let other = TopicPartition {
        partition: PartitionIndex(99),
        ..tp()
    };
    let disk = sim.disk();
    let segment = sim.block_on(async move {
        let flushed = Some(entries[4].end());
        SegmentFile::open(&disk, &file.path, INCARNATION, other, flushed)
            .await
            .unwrap()
    });
    assert_eq!(segment.entries(), []);
    assert!(segment.damages()[0].reason.contains("has its file"));
}

#[test]
fn file_is_filled_to_the_last_page_with_room_for_its_index() {
    let sim = Simulation::new(9);
    let disk = sim.disk();
    let (file, written) = sim.block_on(async move {
        let file = prepared(&disk, SizeClass::K64).await;
        let trial = SegmentFile::create(&disk, &file, tp()).await.unwrap();
        let len = fill(&disk, &trial, 1).await[0].len as usize;
        let mut blocks = 1;
        while trial.reserve(len).is_some() {
            blocks += 1;
        }
        let whole = SegmentFile::create(&disk, &file, tp()).await.unwrap();
        let written = fill(&disk, &whole, blocks).await;
        assert!(whole.reserve(len).is_none());
        whole.close().await.unwrap();
        (file, written)
    });
    let free = SizeClass::K64.bytes() - written[written.len() - 1].end().0;
    assert!(
        free < 2 * PAGE as u64 + u64::from(written[0].len),
        "{free} bytes unused"
    );
    assert_eq!(reopen(&sim, &file, None).unwrap().entries(), written);
}

#[test]
fn timestamps_find_their_block() {
    let sim = Simulation::new(10);
    let (file, entries) = five_blocks(&sim, true);
    let segment = reopen(&sim, &file, None).unwrap();
    assert_eq!(segment.find_timestamp(0), Some(entries[0]));
    assert_eq!(segment.find_timestamp(41), Some(entries[1]));
    assert_eq!(segment.find_timestamp(240), Some(entries[4]));
    assert_eq!(segment.find_timestamp(241), None);
}

#[test]
fn truncation_forgets_blocks_and_never_reuses_their_place() {
    let sim = Simulation::new(11);
    let (file, entries) = five_blocks(&sim, false);
    let segment = reopen(&sim, &file, Some(entries[4].end())).unwrap();
    segment.truncate(Offset(100));
    assert_eq!(segment.find(Offset(100)), Found::Beyond);
    assert_eq!(segment.reserve(PAGE), Some(entries[4].end()));
}

/// The blocks that a truncation cut are still in the file when it has no index.
#[test]
fn s6_truncated_blocks_do_not_come_back() {
    let sim = Simulation::new(15);
    let (file, entries) = five_blocks(&sim, false);
    let (disk, opened) = (sim.disk(), file.clone());
    let last = sim.block_on(async move {
        let flushed = Some(entries[4].end());
        let path = &opened.path;
        let segment = SegmentFile::open(&disk, path, INCARNATION, tp(), flushed)
            .await
            .unwrap();
        segment.truncate(Offset(100));
        let pieces = batches(100, 2, 300);
        let meta = meta(100, entries[1].chain_after, &pieces);
        let buf = block(&disk, &meta, &pieces, INCARNATION);
        let position = segment.reserve(buf.len()).unwrap();
        let entry = BlockEntry::new(position, buf.len() as u32, &meta);
        disk.write(segment.file(), position.0, buf, Flush::Data)
            .await
            .0
            .unwrap();
        entry
    });
    let segment = reopen(&sim, &file, Some(last.end())).unwrap();
    let bases: Vec<_> = segment.entries().iter().map(|entry| entry.base.0).collect();
    assert_eq!(bases, [0, 50, 100]);
    assert_eq!(segment.find(Offset(110)), Found::Block(last));
    let (disk, path) = (sim.disk(), file.path.clone());
    let closed = sim.block_on(async move {
        let extent = (last.end(), Offset(100));
        SegmentFile::open_closed(&disk, &path, INCARNATION, tp(), extent)
            .await
            .unwrap()
    });
    assert_eq!(
        closed.find(Offset(100)),
        Found::Beyond,
        "cut again, and nothing came after"
    );
}

#[test]
fn damaged_file_head_names_the_file() {
    let sim = Simulation::new(12);
    let (file, _) = five_blocks(&sim, true);
    sim.disk().flip_bit(&file.path, 20, 0);
    let error = reopen(&sim, &file, None).unwrap_err().to_string();
    assert!(
        error.contains("/pool/") && error.contains("checksum: expected"),
        "{error}"
    );
}
