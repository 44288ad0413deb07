//! What became of each item of a request to a shard.

use bytes::Bytes;
use spate_storage::types::{LeaderEpoch, Offset};

use crate::control::message::Refusal;

/// A batch that is in the log.
#[derive(Debug, Clone, Copy)]
pub struct Placed {
    /// The offset of its first record.
    pub base_offset: Offset,
    /// The time it was stamped with, when the topic asks for LogAppendTime (ms).
    pub log_append_time: Option<i64>,
    /// The partition's first offset.
    pub log_start: Offset,
}

/// What became of one batch.
pub type AppendOutcome = Result<Placed, Refusal>;

/// Where a partition's log begins and ends for a reader.
#[derive(Debug, Clone, Copy, Default)]
pub struct Extent {
    /// First offset.
    pub log_start: Offset,
    /// The offset after the last record that may be read.
    pub high_watermark: Offset,
}

/// What a read would find.
#[derive(Debug, Clone)]
pub struct Probed {
    /// Bytes that a read would return, as far as `max_bytes` allows.
    pub bytes: usize,
    /// Why a read would fail.
    pub failure: Option<Refusal>,
    /// The log's ends.
    pub extent: Extent,
    /// Where the reader's log went another way than this one (KIP-320): the largest epoch not
    /// above the reader's last one, and where it ends here.
    pub diverging: Option<(LeaderEpoch, Offset)>,
}

/// What a read found.
#[derive(Debug)]
pub struct ReadOutcome {
    /// Whole batches as stored.
    pub slices: Vec<Bytes>,
    /// Why there are none.
    pub failure: Option<Refusal>,
    /// The log's ends, as they were when the bytes were chosen.
    pub extent: Extent,
}

/// An offset found by time or by epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FoundOffset {
    /// The offset; -1 when there is none.
    pub offset: Offset,
    /// The record's timestamp in ms; -1 where it is not of a record.
    pub timestamp: i64,
    /// The leader epoch the offset is of; -1 when unknown.
    pub epoch: LeaderEpoch,
}

impl FoundOffset {
    /// Kafka's answer for "no such record".
    pub const NONE: FoundOffset = FoundOffset {
        offset: Offset(-1),
        timestamp: -1,
        epoch: LeaderEpoch(-1),
    };
}

/// Where a log begins after records were removed, or why none were.
pub type Removed = Result<Offset, Refusal>;

/// What became of one lookup.
pub type Found = Result<FoundOffset, Refusal>;
