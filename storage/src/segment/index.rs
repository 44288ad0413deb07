//! The block index at the end of a closed segment file: where its blocks lie, so that opening the
//! file costs one or two reads instead of one for each block (S20).
//!
//! ```text
//!  an entry (little-endian), 48 bytes
//!  0          4        8      16     24           32       36      40            48
//! +----------+--------+------+------+------------+--------+-------+-------------+
//! | position | length | base | next | max        | leader | zero  | chain after |
//! | u32      | u32    | i64  | i64  | timestamp  | epoch  | u32   | u64         |
//! |          |        |      |      | i64        | i32    |       |             |
//! +----------+--------+------+------+------------+--------+-------+-------------+
//!
//!  the index: whole pages, the last of the file
//! +---------+-----+---------+-------+-------+--------+-------+-----------+----------+
//! | entry 0 | ... | entry n | zeros | magic | format | count | index len | checksum |
//! |         |     |         |       | u32   | u32    | u32   | u32       | u64      |
//! +---------+-----+---------+-------+-------+--------+-------+-----------+----------+
//!                                   len-24                               len-8      len
//! ```
//! The checksum covers everything before it and is seeded with the incarnation: an index of an
//! earlier use of the file is no index.

use crate::{
    block::BlockMeta,
    disk::PAGE,
    hash::{self, ChainHash, Incarnation},
    types::{LeaderEpoch, Offset, Position},
};

/// "SPIX", read as a little-endian number.
const MAGIC: u32 = u32::from_le_bytes(*b"SPIX");
const FORMAT: u32 = 1;
/// An entry's length.
pub const INDEX_ENTRY_BYTES: usize = 48;
const TRAILER_BYTES: usize = 24;

/// A block of a segment file, as the index knows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlockEntry {
    /// Where it starts in the file.
    pub position: Position,
    /// Its length in bytes, a multiple of a page.
    pub len: u32,
    /// Base offset of its first batch.
    pub base: Offset,
    /// The offset after its last batch.
    pub next: Offset,
    /// Its largest timestamp, in milliseconds; -1 for none.
    pub max_timestamp: i64,
    /// Leader epoch of its last batch.
    pub epoch: LeaderEpoch,
    /// The chain after its last batch.
    pub chain_after: ChainHash,
}

impl BlockEntry {
    /// The entry of a block that lies at `position`.
    #[must_use]
    pub fn new(position: Position, len: u32, meta: &BlockMeta) -> BlockEntry {
        BlockEntry {
            position,
            len,
            base: meta.base,
            next: meta.next,
            max_timestamp: meta.max_timestamp,
            epoch: meta.epoch,
            chain_after: meta.chain_after,
        }
    }

    /// Where it ends in the file.
    #[must_use]
    pub fn end(&self) -> Position {
        Position(self.position.0 + u64::from(self.len))
    }

    fn encode(&self, out: &mut [u8]) {
        let position = u32::try_from(self.position.0).expect("a segment file is at most 32 MiB");
        out[..4].copy_from_slice(&position.to_le_bytes());
        out[4..8].copy_from_slice(&self.len.to_le_bytes());
        out[8..16].copy_from_slice(&self.base.0.to_le_bytes());
        out[16..24].copy_from_slice(&self.next.0.to_le_bytes());
        out[24..32].copy_from_slice(&self.max_timestamp.to_le_bytes());
        out[32..36].copy_from_slice(&self.epoch.0.to_le_bytes());
        out[36..40].fill(0);
        out[40..48].copy_from_slice(&self.chain_after.0.to_le_bytes());
    }

    fn decode(bytes: &[u8]) -> BlockEntry {
        BlockEntry {
            position: Position(u64::from(u32_at(bytes, 0))),
            len: u32_at(bytes, 4),
            base: Offset(u64_at(bytes, 8) as i64),
            next: Offset(u64_at(bytes, 16) as i64),
            max_timestamp: u64_at(bytes, 24) as i64,
            epoch: LeaderEpoch(u32_at(bytes, 32) as i32),
            chain_after: ChainHash(u64_at(bytes, 40)),
        }
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

/// Length of an index of that many blocks: whole pages.
#[must_use]
pub const fn index_len(blocks: usize) -> usize {
    (blocks * INDEX_ENTRY_BYTES + TRAILER_BYTES).next_multiple_of(PAGE)
}

/// Writes the index into `out`, which is exactly [`index_len`] long.
pub(super) fn encode(entries: &[BlockEntry], incarnation: Incarnation, out: &mut [u8]) {
    assert_eq!(out.len(), index_len(entries.len()));
    out.fill(0);
    for (entry, slot) in entries.iter().zip(out.chunks_exact_mut(INDEX_ENTRY_BYTES)) {
        entry.encode(slot);
    }
    let len = out.len();
    let fields = [MAGIC, FORMAT, entries.len() as u32, len as u32];
    for (i, field) in fields.into_iter().enumerate() {
        let at = len - TRAILER_BYTES + i * 4;
        out[at..at + 4].copy_from_slice(&field.to_le_bytes());
    }
    let sum = hash::checksum(incarnation, &out[..len - 8]);
    out[len - 8..].copy_from_slice(&sum.to_le_bytes());
}

/// The index at the end of a whole file's bytes, if there is one that verifies.
#[must_use]
pub fn index_of(file: &[u8], incarnation: Incarnation) -> Option<Vec<BlockEntry>> {
    let last_page = file.get(file.len().checked_sub(PAGE)?..)?;
    let len = len_of_tail(last_page, file.len() as u64)?;
    decode(&file[file.len() - len..], incarnation)
}

/// The index's length, from the file's last page; nothing if the file does not end in one.
pub(super) fn len_of_tail(page: &[u8], file_len: u64) -> Option<usize> {
    let trailer = page.last_chunk::<TRAILER_BYTES>()?;
    let (count, len) = (u32_at(trailer, 8) as usize, u32_at(trailer, 12) as usize);
    let plausible = u32_at(trailer, 0) == MAGIC
        && u32_at(trailer, 4) == FORMAT
        && len as u64 <= file_len
        && count <= len / INDEX_ENTRY_BYTES
        && len == index_len(count);
    plausible.then_some(len)
}

/// The entries, if the bytes are a whole index of this use of the file whose entries make sense.
pub(super) fn decode(bytes: &[u8], incarnation: Incarnation) -> Option<Vec<BlockEntry>> {
    let len = bytes.len();
    if hash::checksum(incarnation, &bytes[..len - 8]) != u64_at(bytes, len - 8) {
        return None;
    }
    let count = u32_at(bytes, len - TRAILER_BYTES + 8) as usize;
    Some(
        bytes
            .chunks_exact(INDEX_ENTRY_BYTES)
            .take(count)
            .map(BlockEntry::decode)
            .collect(),
    )
}
