//! A block's prefix and header: written by [`encode_block`], read in place by [`BlockView`].
//!
//! ```text
//!  prefix (little-endian), 64 bytes
//!  0       4       8          12          16          20          24      28      32
//! +-------+-------+----------+-----------+-----------+-----------+-------+-------+
//! | magic | format| header   | payload   | payload   | block     | zero  | zero  |
//! | u32   | u32   | len u32  | pos u32   | len u32   | len u32   | u32   | u32   |
//! +-------+-------+----------+-----------+-----------+-----------+-------+-------+
//! | zeros, 24 bytes                                   | checksum u64 of bytes 0..56 |
//! |                                                   | and the archive             |
//! +---------------------------------------------------+-----------------------------+
//! 32                                                  56                            64
//! ```
//! The archive follows at 64. Both checksums (the header's here, the payload's in the archive) are
//! seeded with the file's incarnation (S7). The checksum is verified before rkyv sees a byte.

use bytes::Bytes;
use rkyv::{rancor, ser::writer::Buffer};

use crate::{
    disk::PAGE,
    hash::{self, ChainHash, Incarnation},
    types::{LeaderEpoch, Offset, PartitionIndex, TopicId, TopicPartition},
};

/// "SPBK", read as a little-endian number.
const MAGIC: u32 = u32::from_le_bytes(*b"SPBK");
/// Of prefix and archive together; another archived type or rkyv feature is another number.
const FORMAT: u32 = 1;
/// Length of the fixed prefix.
pub const PREFIX_BYTES: usize = 64;
const CHECKSUM_AT: usize = 56;
/// The longest prefix and archive that is read: 32 MiB of payload with an entry for each 4 KiB are
/// 8192 entries, 192 KiB. Bounds what a damaged length makes us read.
pub const HEADER_BYTES_MAX: usize = 256 * 1024;

const _: () = assert!(
    PREFIX_BYTES.is_multiple_of(8),
    "the archive must start aligned"
);
const _: () = assert!(align_of::<v1::ArchivedBlockHeader>() <= 8);
const _: () =
    assert!(PREFIX_BYTES + 8192 * size_of::<v1::ArchivedIndexEntry>() + 256 <= HEADER_BYTES_MAX);

/// The archived types of format 1. They never change: a change is `v2` beside it.
pub mod v1 {
    // The derives write types without doc comments.
    #![allow(missing_docs)]

    use rkyv::{Archive, Serialize};

    /// What a block says about its payload.
    #[derive(Archive, Serialize, Debug)]
    #[rkyv(derive(Debug))]
    pub struct BlockHeader {
        pub topic: [u8; 16],
        pub partition: i32,
        pub leader_epoch: i32,
        pub base_offset: i64,
        pub next_offset: i64,
        pub max_timestamp: i64,
        pub payload_checksum: u64,
        pub chain_before: u64,
        pub chain_after: u64,
        pub payload_len: u32,
        pub index: Vec<IndexEntry>,
    }

    /// One step of the sparse index.
    #[derive(Archive, Serialize, Debug)]
    #[rkyv(derive(Debug))]
    pub struct IndexEntry {
        pub offset: i64,
        pub max_timestamp: i64,
        pub position: u32,
        pub producers: u32,
    }
}

/// What kinds of producers wrote the batches from one index entry to the next.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ProducerFlags(pub u32);

impl ProducerFlags {
    /// A batch has a producer id: idempotent or transactional.
    pub const IDEMPOTENT: ProducerFlags = ProducerFlags(1);
    /// A batch belongs to a transaction.
    pub const TRANSACTIONAL: ProducerFlags = ProducerFlags(2);
    /// A batch is a control batch (a transaction marker).
    pub const CONTROL: ProducerFlags = ProducerFlags(4);

    /// Both sets of flags.
    #[must_use]
    pub fn union(self, other: ProducerFlags) -> ProducerFlags {
        ProducerFlags(self.0 | other.0)
    }

    /// Whether all of `other`'s flags are set.
    #[must_use]
    pub fn contains(self, other: ProducerFlags) -> bool {
        self.0 & other.0 == other.0
    }
}

/// One step of a block's sparse index: a batch that starts at `position` of the payload, and what
/// holds from there to the next entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IndexEntry {
    /// The batch's base offset.
    pub offset: Offset,
    /// The largest timestamp up to the next entry, in milliseconds; -1 for none.
    pub max_timestamp: i64,
    /// Where in the payload the batch starts.
    pub position: u32,
    /// Who wrote the batches up to the next entry.
    pub producers: ProducerFlags,
}

/// What the writer of a block knows of it, and what a reader learns back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BlockMeta {
    /// Whose batches they are.
    pub tp: TopicPartition,
    /// Base offset of the first batch.
    pub base: Offset,
    /// The offset after the last batch.
    pub next: Offset,
    /// Leader epoch of the last batch.
    pub epoch: LeaderEpoch,
    /// The largest timestamp, in milliseconds; -1 for none.
    pub max_timestamp: i64,
    /// The chain before the first batch.
    pub chain_before: ChainHash,
    /// The chain after the last batch.
    pub chain_after: ChainHash,
    /// By position; the first entry is the first batch. One entry for each 4 KiB of payload.
    pub index: Vec<IndexEntry>,
}

/// What is wrong with a block's bytes.
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
pub enum BlockError {
    /// Not a block at all.
    #[error("magic: expected {MAGIC:#010x}, found {found:#010x}")]
    Magic {
        /// What stands there.
        found: u32,
    },
    /// A block of another release.
    #[error("block format {found} is not known to this release, which reads format {FORMAT}")]
    Format {
        /// Its number.
        found: u32,
    },
    /// A length in the prefix contradicts another.
    #[error("{field}: {found} does not fit ({limit})")]
    Length {
        /// Which one.
        field: &'static str,
        /// Its value.
        found: u64,
        /// What it would have to fit.
        limit: u64,
    },
    /// Prefix or archive is damaged, or of an earlier use of the file.
    #[error("header checksum: expected {expected:016x}, found {found:016x}")]
    HeaderChecksum {
        /// What stands in the prefix.
        expected: u64,
        /// What the bytes give.
        found: u64,
    },
    /// The batches are damaged.
    #[error("payload checksum: expected {expected:016x}, found {found:016x}")]
    PayloadChecksum {
        /// What stands in the header.
        expected: u64,
        /// What the bytes give.
        found: u64,
    },
    /// The archive's checksum holds and rkyv refuses it: a bug or malice.
    #[error("header archive: {0}")]
    Archive(String),
}

/// The archive's length for that many index entries.
fn archive_len(entries: usize) -> usize {
    entries * size_of::<v1::ArchivedIndexEntry>() + size_of::<v1::ArchivedBlockHeader>()
}

/// Where the payload of a block with that many index entries starts.
#[must_use]
pub fn payload_position(index_entries: usize) -> usize {
    PREFIX_BYTES + archive_len(index_entries)
}

/// Length of the whole block, a multiple of [`PAGE`].
#[must_use]
pub fn block_len(index_entries: usize, payload_len: usize) -> usize {
    (payload_position(index_entries) + payload_len).next_multiple_of(PAGE)
}

/// Writes a block whose payload is the pieces, one after the other, into `out`, which is exactly
/// [`block_len`] long.
///
/// # Panics
/// When `out` has another length or the block is longer than its lengths can say (4 GiB).
pub fn encode_block(meta: &BlockMeta, pieces: &[Bytes], incarnation: Incarnation, out: &mut [u8]) {
    let start = payload_position(meta.index.len());
    let mut at = start;
    for piece in pieces {
        out[at..at + piece.len()].copy_from_slice(piece);
        at += piece.len();
    }
    seal_block(meta, at - start, incarnation, out);
}

/// Completes a block whose payload already lies at [`payload_position`] of `out`: header, zeros
/// after the payload, checksums.
///
/// # Panics
/// When `out` is not exactly [`block_len`] long.
pub fn seal_block(meta: &BlockMeta, payload_len: usize, incarnation: Incarnation, out: &mut [u8]) {
    let entries = meta.index.len();
    assert_eq!(
        out.len(),
        block_len(entries, payload_len),
        "buffer is not the block's length"
    );
    assert!(
        meta.base < meta.next,
        "a block of no records: {} to {}",
        meta.base,
        meta.next
    );
    let archive_end = payload_position(entries);
    assert!(
        archive_end <= HEADER_BYTES_MAX,
        "{entries} index entries: one per 4 KiB is the limit"
    );
    let payload_end = archive_end + payload_len;
    out[payload_end..].fill(0);
    let header = archived(meta, &out[archive_end..payload_end], incarnation);
    let target = Buffer::from(&mut out[PREFIX_BYTES..archive_end]);
    let written = rkyv::api::high::to_bytes_in::<_, rancor::Error>(&header, target)
        .expect("an archive of plain numbers fits the length computed for it")
        .len();
    assert_eq!(
        written,
        archive_len(entries),
        "rkyv laid the archive out in another length"
    );

    let fields = [
        MAGIC,
        FORMAT,
        archive_len(entries) as u32,
        archive_end as u32,
        payload_len as u32,
    ];
    out[..PREFIX_BYTES].fill(0);
    for (slot, field) in out.chunks_exact_mut(4).zip(fields) {
        slot.copy_from_slice(&field.to_le_bytes());
    }
    let len = u32::try_from(out.len()).expect("a block is at most a segment file long");
    out[20..24].copy_from_slice(&len.to_le_bytes());
    let sum = header_checksum(incarnation, &out[..archive_end]);
    out[CHECKSUM_AT..PREFIX_BYTES].copy_from_slice(&sum.to_le_bytes());
}

fn archived(meta: &BlockMeta, payload: &[u8], incarnation: Incarnation) -> v1::BlockHeader {
    let entry = |e: &IndexEntry| v1::IndexEntry {
        offset: e.offset.0,
        max_timestamp: e.max_timestamp,
        position: e.position,
        producers: e.producers.0,
    };
    v1::BlockHeader {
        topic: meta.tp.topic.0,
        partition: meta.tp.partition.0,
        leader_epoch: meta.epoch.0,
        base_offset: meta.base.0,
        next_offset: meta.next.0,
        max_timestamp: meta.max_timestamp,
        payload_checksum: hash::checksum(incarnation, payload),
        chain_before: meta.chain_before.0,
        chain_after: meta.chain_after.0,
        payload_len: payload.len() as u32,
        index: meta.index.iter().map(entry).collect(),
    }
}

fn header_checksum(incarnation: Incarnation, header: &[u8]) -> u64 {
    let (before, after) = (&header[..CHECKSUM_AT], &header[PREFIX_BYTES..]);
    hash::checksum_pieces(incarnation, [before, after])
}

/// The lengths a block's first bytes give. Not yet verified: the checksum covers the archive too,
/// which may not have been read. Bounded, so that reading what they ask for is safe.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Prefix {
    /// Where prefix and archive end and the payload starts.
    pub payload_position: usize,
    /// Bytes of batches.
    pub payload_len: usize,
    /// Bytes of the whole block.
    pub block_len: usize,
}

impl Prefix {
    /// Reads the first [`PREFIX_BYTES`] of `bytes`.
    pub fn parse(bytes: &[u8]) -> Result<Prefix, BlockError> {
        let short = |limit| BlockError::Length {
            field: "bytes of a block",
            found: bytes.len() as u64,
            limit,
        };
        let prefix = bytes
            .get(..PREFIX_BYTES)
            .ok_or(short(PREFIX_BYTES as u64))?;
        let mut fields = [0u32; 6];
        for (field, slot) in fields.iter_mut().zip(prefix.chunks_exact(4)) {
            *field = u32::from_le_bytes([slot[0], slot[1], slot[2], slot[3]]);
        }
        let [
            magic,
            format,
            header_len,
            payload_position,
            payload_len,
            block_len,
        ] = fields;
        if magic != MAGIC {
            return Err(BlockError::Magic { found: magic });
        }
        if format != FORMAT {
            return Err(BlockError::Format { found: format });
        }
        let archive_end = PREFIX_BYTES as u64 + u64::from(header_len);
        let payload_end = u64::from(payload_position) + u64::from(payload_len);
        check(
            "header length",
            archive_end,
            archive_end <= HEADER_BYTES_MAX as u64,
            || HEADER_BYTES_MAX as u64,
        )?;
        let at = u64::from(payload_position);
        check("payload position", at, at == archive_end, || archive_end)?;
        let len = u64::from(block_len);
        let whole = payload_end.next_multiple_of(PAGE as u64);
        check("block length", len, len == whole, || whole)?;
        Ok(Prefix {
            payload_position: payload_position as usize,
            payload_len: payload_len as usize,
            block_len: block_len as usize,
        })
    }
}

fn check(
    field: &'static str,
    found: u64,
    holds: bool,
    limit: impl Fn() -> u64,
) -> Result<(), BlockError> {
    if holds {
        Ok(())
    } else {
        Err(BlockError::Length {
            field,
            found,
            limit: limit(),
        })
    }
}

/// A block's header, verified, read in place.
#[derive(Clone, Copy, Debug)]
pub struct BlockView<'a> {
    prefix: Prefix,
    header: &'a v1::ArchivedBlockHeader,
}

impl<'a> BlockView<'a> {
    /// Verifies prefix and archive. `bytes` starts at the block and holds at least
    /// `Prefix::payload_position` bytes; it must be aligned to 8, as disk buffers are.
    pub fn parse_header(bytes: &'a [u8], incarnation: Incarnation) -> Result<Self, BlockError> {
        let prefix = Prefix::parse(bytes)?;
        let header = bytes
            .get(..prefix.payload_position)
            .ok_or(BlockError::Length {
                field: "bytes of a block's header",
                found: bytes.len() as u64,
                limit: prefix.payload_position as u64,
            })?;
        let mut expected = [0; 8];
        expected.copy_from_slice(&header[CHECKSUM_AT..PREFIX_BYTES]);
        let expected = u64::from_le_bytes(expected);
        let found = header_checksum(incarnation, header);
        if found != expected {
            return Err(BlockError::HeaderChecksum { expected, found });
        }
        let view = BlockView {
            prefix,
            header: access(&header[PREFIX_BYTES..])?,
        };
        let len = u64::from(view.header.payload_len.to_native());
        check(
            "payload length",
            len,
            len == prefix.payload_len as u64,
            || prefix.payload_len as u64,
        )?;
        Ok(view)
    }

    /// Verifies the whole block, payload and all.
    pub fn parse(bytes: &'a [u8], incarnation: Incarnation) -> Result<Self, BlockError> {
        let view = Self::parse_header(bytes, incarnation)?;
        let start = view.prefix.payload_position;
        let payload = bytes.get(start..start + view.prefix.payload_len);
        let payload = payload.ok_or(BlockError::Length {
            field: "bytes of a block",
            found: bytes.len() as u64,
            limit: view.prefix.block_len as u64,
        })?;
        let expected = view.header.payload_checksum.to_native();
        let found = hash::checksum(incarnation, payload);
        if found != expected {
            return Err(BlockError::PayloadChecksum { expected, found });
        }
        Ok(view)
    }

    /// A header that was verified before, from bytes that stayed in memory since.
    pub(super) fn reread(bytes: &'a [u8], prefix: Prefix) -> Result<Self, BlockError> {
        let header = access(&bytes[PREFIX_BYTES..prefix.payload_position])?;
        Ok(BlockView { prefix, header })
    }

    /// Its lengths.
    #[must_use]
    pub fn prefix(&self) -> Prefix {
        self.prefix
    }

    /// Whose batches they are.
    #[must_use]
    pub fn tp(&self) -> TopicPartition {
        TopicPartition {
            topic: TopicId(self.header.topic),
            partition: PartitionIndex(self.header.partition.to_native()),
        }
    }

    /// Base offset of the first batch.
    #[must_use]
    pub fn base(&self) -> Offset {
        Offset(self.header.base_offset.to_native())
    }

    /// The offset after the last batch.
    #[must_use]
    pub fn next(&self) -> Offset {
        Offset(self.header.next_offset.to_native())
    }

    /// Leader epoch of the last batch.
    #[must_use]
    pub fn epoch(&self) -> LeaderEpoch {
        LeaderEpoch(self.header.leader_epoch.to_native())
    }

    /// The largest timestamp, in milliseconds; -1 for none.
    #[must_use]
    pub fn max_timestamp(&self) -> i64 {
        self.header.max_timestamp.to_native()
    }

    /// The chain before the first batch and after the last.
    #[must_use]
    pub fn chain(&self) -> (ChainHash, ChainHash) {
        let before = self.header.chain_before.to_native();
        (
            ChainHash(before),
            ChainHash(self.header.chain_after.to_native()),
        )
    }

    /// The sparse index, by position.
    pub fn index(&self) -> impl ExactSizeIterator<Item = IndexEntry> + DoubleEndedIterator + 'a {
        self.header.index.iter().map(IndexEntry::of)
    }

    /// Where in the payload to start looking for the batch that holds `offset`.
    #[must_use]
    pub fn seek(&self, offset: Offset) -> usize {
        let after = self
            .header
            .index
            .partition_point(|e| e.offset.to_native() <= offset.0);
        let entry = after.checked_sub(1).and_then(|i| self.header.index.get(i));
        entry.map_or(0, |e| e.position.to_native() as usize)
    }

    /// Where in the payload to start looking for the first batch with a timestamp of at least
    /// `timestamp_ms`.
    #[must_use]
    pub fn seek_timestamp(&self, timestamp_ms: i64) -> Option<usize> {
        let index = &self.header.index;
        let entry = index
            .iter()
            .find(|e| e.max_timestamp.to_native() >= timestamp_ms)?;
        Some(entry.position.to_native() as usize)
    }

    /// Everything the writer said, copied out.
    #[must_use]
    pub fn meta(&self) -> BlockMeta {
        let (chain_before, chain_after) = self.chain();
        BlockMeta {
            tp: self.tp(),
            base: self.base(),
            next: self.next(),
            epoch: self.epoch(),
            max_timestamp: self.max_timestamp(),
            chain_before,
            chain_after,
            index: self.index().collect(),
        }
    }
}

impl IndexEntry {
    fn of(archived: &v1::ArchivedIndexEntry) -> IndexEntry {
        IndexEntry {
            offset: Offset(archived.offset.to_native()),
            max_timestamp: archived.max_timestamp.to_native(),
            position: archived.position.to_native(),
            producers: ProducerFlags(archived.producers.to_native()),
        }
    }
}

fn access(archive: &[u8]) -> Result<&v1::ArchivedBlockHeader, BlockError> {
    rkyv::access::<v1::ArchivedBlockHeader, rancor::Error>(archive)
        .map_err(|e| BlockError::Archive(e.to_string()))
}
