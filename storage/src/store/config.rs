//! What a store may use, and what it has used.

use super::ScrubPace;
use crate::{
    block::block_len, commit::Fence, disk::PAGE, journal::row::PRODUCER_BYTES_MAX, pool::SizeClass,
    producer::PRODUCERS_MAX, segment::index_len, space::Space,
};
use std::{path::PathBuf, time::Duration};

/// Limits of one shard's store.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// The data directory.
    pub data: PathBuf,
    /// All journal files of the shard together (S20).
    pub journal_bytes: u64,
    /// One of them. The first is smaller, so that a first start need not wait for zeros.
    pub journal_file_bytes: u64,
    /// Memory of batches that are in no segment yet; appends beyond it are refused.
    pub open_block_budget_bytes: usize,
    /// Memory of blocks read from segments.
    pub cache_bytes: usize,
    /// A block on disk, header and all.
    pub block_bytes: usize,
    /// A partition for which so much waits when a frame is formed writes to its segment directly.
    pub direct_threshold_bytes: usize,
    /// Silence after which one empty frame closes the run (S4).
    pub idle_frame_after: Duration,
    /// A producer not seen for so long is forgotten (Kafka's `producer.id.expiration.ms`).
    pub producer_expiry: Duration,
    /// Shared by all shards of the disk (S10).
    pub fence: Fence,
    /// How full the disk is; shared likewise.
    pub space: Space,
    /// Segment files open at a time.
    pub open_files_max: usize,
    /// How fast blocks are read to find damage.
    pub scrub: ScrubPace,
}

impl StoreConfig {
    /// The defaults, for data in that directory.
    #[must_use]
    pub fn new(data: PathBuf, fence: Fence) -> StoreConfig {
        StoreConfig {
            data,
            journal_bytes: 256 << 20,
            journal_file_bytes: 32 << 20,
            open_block_budget_bytes: 128 << 20,
            cache_bytes: 128 << 20,
            block_bytes: BLOCK_BYTES_USUAL,
            direct_threshold_bytes: 128 << 10,
            idle_frame_after: Duration::from_millis(100),
            producer_expiry: Duration::from_secs(24 * 60 * 60),
            fence,
            space: Space::default(),
            open_files_max: 8000,
            scrub: ScrubPace {
                bytes_per_second: 0,
                interval: Duration::from_secs(7 * 24 * 60 * 60),
            },
        }
    }

    /// The same with sizes that work together. A ring needs four files: one being written, one
    /// ready, one being emptied, and one that waits for its partitions.
    #[must_use]
    pub(crate) fn checked(mut self) -> StoreConfig {
        let file_bytes = self.journal_file_bytes.min(self.journal_bytes / 4);
        let file_bytes = file_bytes
            .max(JOURNAL_FILE_BYTES_MIN)
            .next_multiple_of(PAGE as u64);
        self.journal_file_bytes = file_bytes;
        self.journal_bytes = self.journal_bytes.max(4 * file_bytes);
        let block_bytes = self.block_bytes.clamp(BLOCK_BYTES_MIN, BLOCK_BYTES_MAX);
        self.block_bytes = block_bytes.min(file_bytes as usize / 4);
        self
    }

    /// A journal write's length at most; a single item may exceed it.
    pub(super) fn frame_bytes_max(&self) -> usize {
        FRAME_BYTES_MAX.min(self.journal_file_bytes as usize / 2)
    }

    /// Bytes of batches after which a block is full: its index and header must fit too.
    pub(super) fn block_payload_bytes(&self) -> usize {
        block_payload_bytes(self.block_bytes)
    }

    /// Producers that a partition remembers at most: a row, which has all of them, must leave most
    /// of its journal file to others.
    pub(super) fn producers_max(&self) -> usize {
        let row_bytes = self.journal_file_bytes as usize / 8;
        (row_bytes / PRODUCER_BYTES_MAX).min(PRODUCERS_MAX)
    }

    /// The largest batch: a block of its own in the largest segment file, with the page to spare
    /// that a direct write asks for.
    pub(super) fn batch_bytes_max(&self) -> usize {
        let file_bytes = SizeClass::M32.bytes() as usize;
        file_bytes - PAGE - index_len(1) - block_len(1, 0) - PAGE
    }
}

/// Bytes of batches that a block of `block_bytes` holds at most.
#[must_use]
pub(crate) fn block_payload_bytes(block_bytes: usize) -> usize {
    // An entry for each 4 KiB, and one more for a batch that ends behind the last step.
    let entries = block_bytes / PAGE + 1;
    block_bytes - block_len(entries, 0)
}

/// More would make the batches that come meanwhile wait longer than the flush itself takes.
const FRAME_BYTES_MAX: usize = (1 << 20) + (128 << 10);
const BLOCK_BYTES_MIN: usize = 64 << 10;
/// A block is copied, hashed and written in one go, and group commits wait behind that: with 1 MiB
/// some two milliseconds, five times a second for a steady trickle of 5 MB/s, which was its p99.
const BLOCK_BYTES_USUAL: usize = 256 << 10;
/// Twice this would double the time to the first byte of a cold fetch and gain nothing else.
const BLOCK_BYTES_MAX: usize = 1 << 20;
/// A file must take the largest block that is journaled, and then some.
const JOURNAL_FILE_BYTES_MIN: u64 = 256 << 10;

const _: () = assert!(4 * BLOCK_BYTES_MIN as u64 <= JOURNAL_FILE_BYTES_MIN);

/// What happened since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StoreCounters {
    /// Batches appended.
    pub appends: u64,
    /// Their bytes.
    pub appended_bytes: u64,
    /// Batches that had been appended before.
    pub duplicates: u64,
    /// Appends refused for want of memory.
    pub refused_for_memory: u64,
    /// Appends refused for want of disk space.
    pub refused_for_space: u64,
    /// Journal writes.
    pub frames: u64,
    /// Their bytes.
    pub frame_bytes: u64,
    /// Blocks sealed.
    pub seals: u64,
    /// Blocks written directly.
    pub direct_writes: u64,
    /// Bytes of segment writes.
    pub segment_bytes: u64,
    /// Open blocks copied forward in the journal.
    pub copies: u64,
    /// Journal files used again.
    pub files_reused: u64,
    /// Blocks read from disk.
    pub block_reads: u64,
    /// Rounds of compaction that became a log.
    pub compactions: u64,
    /// Rounds that were given up.
    pub compactions_failed: u64,
    /// Bytes that rounds have read.
    pub compaction_read_bytes: u64,
    /// Bytes that rounds have written.
    pub compaction_written_bytes: u64,
    /// Records that rounds have removed.
    pub compaction_removed_records: u64,
    /// Blocks read before anyone asked for them.
    pub blocks_ahead: u64,
    /// Places found damaged.
    pub damages: u64,
    /// Times that every block was read to find damage.
    pub scrub_passes: u64,
    /// Blocks read for that which verify.
    pub scrubbed_blocks: u64,
    /// Bytes read for it.
    pub scrubbed_bytes: u64,
}

/// Memory in use.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MemoryUse {
    /// Batches in no segment yet.
    pub open_block_bytes: usize,
    /// Blocks in the cache.
    pub cached_bytes: usize,
    /// Blocks in the cache or on their way to someone.
    pub held_bytes: usize,
}
