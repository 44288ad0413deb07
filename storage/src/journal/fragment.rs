//! What a frame carries: one entry of its table for each fragment, and the encoding of the
//! payloads that are not batches.
//!
//! ```text
//!  table entry, 64 bytes, little-endian
//!  0       1        4           8              24       32       40           48
//! +-------+--------+-----------+--------------+--------+--------+------------+------------+--
//! | kind  | zeros  | partition | topic id     | base   | next   | chain      | chain      |
//! | u8    |        | i32       | 16 bytes     | i64    | i64    | before u64 | after u64  |
//! +-------+--------+-----------+--------------+--------+--------+------------+------------+--
//!  56                 60              64
//! +------------------+---------------+
//! | payload len u32  | zero u32      |
//! +------------------+---------------+
//!
//!  payload of Sealed, Announced, Confirmed: where a block lies
//!  0          4           8              16          24         32         36        40
//! +----------+-----------+--------------+-----------+----------+----------+---------+-------
//! | gener-   | number    | segment base | incar-    | position | block    | file    | max
//! | ation u32| u32       | i64          | nation u64| u64      | len u32  | KiB u32 | ts i64
//! +----------+-----------+--------------+-----------+----------+----------+---------+-------
//!  48
//! +---------------+------------------------------------------------------------------------
//! | payload len   | zero u32 | Announced only: producers and epochs of its batches (row.rs)
//! | u32           |          |
//! +---------------+------------------------------------------------------------------------
//! ```

use crate::{
    hash::{ChainHash, Incarnation},
    segment::{Generation, SegmentName},
    types::{Offset, PartitionIndex, Position, TopicId, TopicPartition},
};

/// Length of a table entry.
pub const FRAGMENT_BYTES: usize = 64;
/// Length of an encoded [`BlockPlace`].
pub const PLACE_BYTES: usize = 56;

/// What a fragment is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Fresh batches from `base` to `next`; the payload is the batches.
    Batches,
    /// The same bytes as earlier fragments, copied forward so that their file may be reused.
    Copy,
    /// A block of batches that earlier frames hold was flushed to a segment.
    Sealed,
    /// A direct write was begun beside this frame (S5).
    Announced,
    /// That direct write was flushed.
    Confirmed,
    /// A Kafka segment begins at `base`.
    Roll,
    /// The log begins at `base`; `next` and `chain_after` are of the block boundary at or before
    /// it (S6).
    Start,
    /// The log was cut to `next`, where the chain is `chain_after` (S6).
    Truncate,
    /// The topic was deleted.
    Drop,
    /// Everything known of one partition (S8); the payload is a row. `base` is where the log
    /// begins, `next` its durable end: it stands in the table, so that it counts also where the
    /// payload is damaged, and in files whose rows are not read.
    Row,
    /// All rows of this file have come; `base` is their number.
    RowsEnd,
    /// The journal goes on in file slot `base`, incarnation `chain_after` (S9).
    NextFile,
    /// Compaction has rewritten the log up to `next`, where the old chain is `chain_after`; the
    /// payload names the files (S16).
    Switch,
}

const KINDS: [(Kind, u8); 13] = [
    (Kind::Batches, 1),
    (Kind::Copy, 2),
    (Kind::Sealed, 3),
    (Kind::Announced, 4),
    (Kind::Confirmed, 5),
    (Kind::Roll, 6),
    (Kind::Start, 7),
    (Kind::Truncate, 8),
    (Kind::Drop, 9),
    (Kind::Row, 10),
    (Kind::RowsEnd, 11),
    (Kind::NextFile, 12),
    (Kind::Switch, 13),
];

/// One entry of a frame's table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fragment {
    /// What it is, and so what the other fields mean.
    pub kind: Kind,
    /// Whose it is.
    pub tp: TopicPartition,
    /// First offset.
    pub base: Offset,
    /// The offset after the last.
    pub next: Offset,
    /// The chain at `base`.
    pub chain_before: ChainHash,
    /// The chain at `next`.
    pub chain_after: ChainHash,
}

impl Fragment {
    /// A fragment of which only the offsets matter.
    #[must_use]
    pub fn plain(kind: Kind, tp: TopicPartition, base: Offset, next: Offset) -> Fragment {
        let (chain_before, chain_after) = (ChainHash::START, ChainHash::START);
        Fragment {
            kind,
            tp,
            base,
            next,
            chain_before,
            chain_after,
        }
    }

    /// The last fragment of a file (S9).
    #[must_use]
    pub fn next_file(slot: u32, incarnation: Incarnation) -> Fragment {
        let at = Offset(i64::from(slot));
        let mut fragment = Fragment::plain(Kind::NextFile, TopicPartition::default(), at, at);
        fragment.chain_after = ChainHash(incarnation.0);
        fragment
    }

    pub(super) fn encode(&self, payload_len: u32, slot: &mut [u8]) {
        let code = KINDS
            .iter()
            .find(|(kind, _)| *kind == self.kind)
            .map_or(0, |(_, code)| *code);
        slot.fill(0);
        slot[0] = code;
        slot[4..8].copy_from_slice(&self.tp.partition.0.to_le_bytes());
        slot[8..24].copy_from_slice(&self.tp.topic.0);
        slot[24..32].copy_from_slice(&self.base.0.to_le_bytes());
        slot[32..40].copy_from_slice(&self.next.0.to_le_bytes());
        slot[40..48].copy_from_slice(&self.chain_before.0.to_le_bytes());
        slot[48..56].copy_from_slice(&self.chain_after.0.to_le_bytes());
        slot[56..60].copy_from_slice(&payload_len.to_le_bytes());
    }

    pub(super) fn decode(slot: &[u8]) -> Option<(Fragment, u32)> {
        let kind = KINDS.iter().find(|(_, code)| *code == slot[0])?.0;
        let mut reader = Reader(slot.get(4..)?);
        let partition = PartitionIndex(reader.i32()?);
        let topic = TopicId(reader.array()?);
        let fragment = Fragment {
            kind,
            tp: TopicPartition { topic, partition },
            base: Offset(reader.i64()?),
            next: Offset(reader.i64()?),
            chain_before: ChainHash(reader.u64()?),
            chain_after: ChainHash(reader.u64()?),
        };
        Some((fragment, reader.u32()?))
    }
}

/// Where a block lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlockPlace {
    /// Which file of the partition.
    pub segment: SegmentName,
    /// Which use of it (S7).
    pub incarnation: Incarnation,
    /// Length of the file.
    pub file_bytes: u64,
    /// Where in it the block starts.
    pub position: Position,
    /// The block's length, a multiple of a page.
    pub block_bytes: u32,
    /// Bytes of batches in it.
    pub payload_bytes: u32,
    /// Its largest timestamp.
    pub max_timestamp: i64,
}

impl BlockPlace {
    /// Appends the encoding, [`PLACE_BYTES`] long.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.segment.generation.0.to_le_bytes());
        out.extend_from_slice(&self.segment.number.to_le_bytes());
        out.extend_from_slice(&self.segment.base.0.to_le_bytes());
        out.extend_from_slice(&self.incarnation.0.to_le_bytes());
        out.extend_from_slice(&self.position.0.to_le_bytes());
        out.extend_from_slice(&self.block_bytes.to_le_bytes());
        out.extend_from_slice(&((self.file_bytes >> 10) as u32).to_le_bytes());
        out.extend_from_slice(&self.max_timestamp.to_le_bytes());
        out.extend_from_slice(&self.payload_bytes.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
    }

    /// Reads it back.
    #[must_use]
    pub fn decode(reader: &mut Reader<'_>) -> Option<BlockPlace> {
        let (generation, number) = (reader.u32()?, reader.u32()?);
        let generation = Generation(generation);
        let segment = SegmentName {
            generation,
            base: Offset(reader.i64()?),
            number,
        };
        let incarnation = Incarnation(reader.u64()?);
        let position = Position(reader.u64()?);
        let block_bytes = reader.u32()?;
        let file_bytes = u64::from(reader.u32()?) << 10;
        let max_timestamp = reader.i64()?;
        let payload_bytes = reader.u32()?;
        reader.u32()?;
        Some(BlockPlace {
            segment,
            incarnation,
            file_bytes,
            position,
            block_bytes,
            payload_bytes,
            max_timestamp,
        })
    }
}

/// Takes little-endian numbers off the front of bytes; `None` past their end.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a>(pub &'a [u8]);

impl Reader<'_> {
    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*head)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn i32(&mut self) -> Option<i32> {
        self.array().map(i32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_le_bytes)
    }

    pub(crate) fn i16(&mut self) -> Option<i16> {
        self.array().map(i16::from_le_bytes)
    }
}
