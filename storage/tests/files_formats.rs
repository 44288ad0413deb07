//! The bytes of format 1, frozen: a hash that changes here means data that a released version has
//! written cannot be read any more. Then it is format 2, beside format 1.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "files/mod.rs"]
mod files;

use std::path::Path;

use files::{batches, block, fill, meta, tp};
use spate_storage::{
    disk::{
        Disk as _,
        simulated::{SimulatedDisk, Simulation},
        standard::StandardDisk,
    },
    hash::{ChainHash, Incarnation, checksum},
    metadata_log::RecordLog,
    node::{ClusterId, JournalSet, NodeFile, NodeId, NodeState},
    pool::{FileKind, Filling, SizeClass, prepare},
    segment::SegmentFile,
};
use uuid::Uuid;

const INCARNATION: Incarnation = Incarnation(0x0123_4567_89AB_CDEF);

fn hash(bytes: &[u8]) -> String {
    format!("{:016x}", checksum(Incarnation(0), bytes))
}

fn stored(disk: &SimulatedDisk, path: &str) -> Vec<u8> {
    let (_, len) = disk
        .files()
        .into_iter()
        .find(|(p, _)| p == Path::new(path))
        .unwrap();
    disk.peek(Path::new(path), 0, len as usize).unwrap()
}

#[test]
fn block_of_format_1_is_frozen() {
    let pieces = batches(1000, 20, 700);
    let meta = meta(1000, ChainHash(77), &pieces);
    let bytes = block(&StandardDisk::new(), &meta, &pieces, INCARNATION);
    assert_eq!(hash(&bytes), "709f476b0cb21e63");
}

#[test]
fn segment_file_of_format_1_is_frozen() {
    let sim = Simulation::new(0);
    let disk = sim.disk();
    sim.block_on(async move {
        let (kind, len) = (FileKind::Segment, SizeClass::K64.bytes());
        let dir = Path::new("/s");
        let file = prepare(&disk, dir, kind, len, Filling::Zeros, INCARNATION)
            .await
            .unwrap();
        let segment = SegmentFile::create(&disk, &file, tp()).await.unwrap();
        fill(&disk, &segment, 4).await;
        segment.close().await.unwrap();
    });
    assert_eq!(
        hash(&stored(&sim.disk(), "/s/0123456789abcdef")),
        "48fc23f70d6c7caa"
    );
}

#[test]
fn node_file_of_format_1_is_frozen() {
    let sim = Simulation::new(0);
    let disk = sim.disk();
    let state = NodeState {
        cluster: ClusterId(Uuid::from_u128(1)),
        node: NodeId::new(2).unwrap(),
        disk: Uuid::from_u128(3),
        journal_set: JournalSet(4),
    };
    sim.block_on(async move {
        disk.create_dir(Path::new("/data")).await.unwrap();
        let mut node = NodeFile::create(&disk, Path::new("/data"), state)
            .await
            .unwrap();
        node.commit(&disk, JournalSet(5)).await.unwrap();
    });
    assert_eq!(hash(&stored(&sim.disk(), "/data/node")), "dfac6704dd9b765f");
}

#[test]
fn metadata_snapshot_of_format_1_is_frozen() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = RecordLog::open(dir.path()).unwrap();
    log.append(b"record").unwrap();
    log.snapshot(b"state").unwrap();
    assert_eq!(
        hash(&std::fs::read(dir.path().join("snapshot")).unwrap()),
        "fe0bca8a4a70c20b"
    );
}

/// A log file's incarnation is random, so its own bytes cannot be compared: a file written by
/// format 1 is read instead.
#[test]
fn metadata_log_of_format_1_is_read() {
    let bytes = concat!(
        "53504154454d4c470100000000000000cd2f4bd2f88c2dbe9bcbbbaafa21dca253504d5203000000",
        "01000000000000008a454a97ca52207c6f6e6553504d52030000000200000000000000c29c4fa6c4",
        "55636774776f",
    );
    let bytes: Vec<u8> = (0..bytes.len() / 2)
        .map(|i| u8::from_str_radix(&bytes[2 * i..2 * i + 2], 16).unwrap())
        .collect();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("00000000000000000001.log"), bytes).unwrap();
    let (log, contents) = RecordLog::open(dir.path()).unwrap();
    assert_eq!(
        (contents.records, log.last().0),
        (vec![b"one".to_vec(), b"two".to_vec()], 2)
    );
}
