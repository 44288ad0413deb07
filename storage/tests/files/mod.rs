//! Blocks of made-up batches, for the tests of files.
#![allow(dead_code, missing_docs, clippy::unwrap_used)]

use bytes::Bytes;
use spate_storage::{
    block::{BlockMeta, IndexEntry, ProducerFlags, block_len, encode_block},
    disk::{Disk, Flush},
    hash::{ChainHash, Incarnation},
    segment::{BlockEntry, SegmentFile},
    types::{LeaderEpoch, Offset, PartitionIndex, TopicId, TopicPartition},
};

pub fn tp() -> TopicPartition {
    TopicPartition {
        topic: TopicId([7; 16]),
        partition: PartitionIndex(3),
    }
}

/// A v2 batch of `records` records whose payload is `fill`; only the header is meaningful.
pub fn batch(base: i64, records: i32, timestamp: i64, fill: &[u8]) -> Bytes {
    let mut bytes = Vec::with_capacity(61 + fill.len());
    bytes.extend_from_slice(&base.to_be_bytes());
    bytes.extend_from_slice(&i32::try_from(49 + fill.len()).unwrap().to_be_bytes());
    bytes.extend_from_slice(&5i32.to_be_bytes());
    bytes.push(2);
    bytes.extend_from_slice(&0xC0FF_EE00_u32.to_be_bytes());
    bytes.extend_from_slice(&0i16.to_be_bytes());
    bytes.extend_from_slice(&(records - 1).to_be_bytes());
    bytes.extend_from_slice(&timestamp.to_be_bytes());
    bytes.extend_from_slice(&timestamp.to_be_bytes());
    bytes.extend_from_slice(&(-1i64).to_be_bytes());
    bytes.extend_from_slice(&(-1i16).to_be_bytes());
    bytes.extend_from_slice(&(-1i32).to_be_bytes());
    bytes.extend_from_slice(&records.to_be_bytes());
    assert_eq!(bytes.len(), 61);
    bytes.extend_from_slice(fill);
    Bytes::from(bytes)
}

/// `count` batches of ten records each from `base`, timestamps equal to offsets.
pub fn batches(base: i64, count: i64, fill_len: usize) -> Vec<Bytes> {
    let fill = vec![0x5A; fill_len];
    (0..count)
        .map(|i| batch(base + i * 10, 10, base + i * 10, &fill))
        .collect()
}

/// The meta of a block of those batches, with an index entry for each 4 KiB.
pub fn meta(base: i64, chain_before: ChainHash, pieces: &[Bytes]) -> BlockMeta {
    let (mut index, mut position) = (Vec::<IndexEntry>::new(), 0u32);
    for (i, piece) in pieces.iter().enumerate() {
        let timestamp = base + i as i64 * 10;
        match index.last_mut() {
            Some(last) if position < last.position + 4096 => last.max_timestamp = timestamp,
            _ => index.push(IndexEntry {
                offset: Offset(timestamp),
                max_timestamp: timestamp,
                position,
                producers: ProducerFlags::IDEMPOTENT,
            }),
        }
        position += piece.len() as u32;
    }
    let next = base + pieces.len() as i64 * 10;
    BlockMeta {
        tp: tp(),
        base: Offset(base),
        next: Offset(next),
        epoch: LeaderEpoch(5),
        max_timestamp: next - 10,
        chain_before,
        chain_after: pieces
            .iter()
            .fold(chain_before, |chain, piece| chain.then(piece)),
        index,
    }
}

/// A whole block in aligned memory of the disk.
pub fn block<D: Disk>(
    disk: &D,
    meta: &BlockMeta,
    pieces: &[Bytes],
    incarnation: Incarnation,
) -> D::Buf {
    let payload: usize = pieces.iter().map(Bytes::len).sum();
    let mut buf = disk.buffer(block_len(meta.index.len(), payload));
    encode_block(meta, pieces, incarnation, buf.as_mut());
    buf
}

/// Writes blocks of five batches each and makes them known.
pub async fn fill<D: Disk>(disk: &D, segment: &SegmentFile<D>, blocks: i64) -> Vec<BlockEntry> {
    let mut chain = ChainHash::START;
    let mut entries = Vec::new();
    for i in 0..blocks {
        let pieces = batches(i * 50, 5, 900);
        let meta = meta(i * 50, chain, &pieces);
        chain = meta.chain_after;
        let buf = block(disk, &meta, &pieces, segment.incarnation());
        let len = buf.as_ref().len();
        let position = segment.reserve(len).expect("room");
        disk.write(segment.file(), position.0, buf, Flush::Data)
            .await
            .0
            .unwrap();
        entries.push(BlockEntry::new(position, len as u32, &meta));
        segment.push(entries[entries.len() - 1]);
    }
    entries
}
