//! What shards say to each other: closed enums, so that every message and its answer is known here.
//!
//! Bytes cross as immutable [`Bytes`]; the memory they pin stays charged to the budget it was taken
//! from until the answer (or the connection that holds it) lets go.

use bytes::Bytes;
use spate_storage::{
    producer::Producer,
    types::{LeaderEpoch, Offset, ProducerId, ShardId, TopicPartition},
};

use crate::{
    coordinator::message::{GroupAnswer, GroupAsk},
    shard::outcome::{AppendOutcome, Found, Probed, ReadOutcome, Removed},
};

/// One batch on its way to its log: already validated, not yet stamped.
#[derive(Debug)]
pub struct AppendItem {
    /// Where it goes.
    pub target: TopicPartition,
    /// One whole v2 batch as it came from the producer.
    pub batch: Bytes,
    /// It is most of the frame that it came in, and the only one there: the log may keep that
    /// memory. A small part of a large frame may not, since it is charged for itself only.
    pub owns_frame: bool,
    /// The largest timestamp of its records, where the header's is wrong.
    pub max_timestamp: Option<i64>,
}

/// One partition of a fetch.
#[derive(Debug, Clone, Copy)]
pub struct ReadItem {
    /// What to read.
    pub target: TopicPartition,
    /// From which offset on.
    pub from: Offset,
    /// At most this many bytes of it.
    pub max_bytes: usize,
    /// Whether one batch comes even when it is larger than `max_bytes`.
    pub at_least_one: bool,
    /// The epoch of the last record that the reader has, if it said so (KIP-320).
    pub last_fetched_epoch: Option<LeaderEpoch>,
}

/// What ListOffsets and OffsetForLeaderEpoch want to know of a partition.
#[derive(Debug, Clone, Copy)]
pub enum Lookup {
    /// The log start offset.
    Earliest,
    /// The high watermark.
    Latest,
    /// The first record at or after this time (ms since the Unix epoch).
    AtTimestamp(i64),
    /// The record with the largest timestamp (KIP-734).
    MaxTimestamp,
    /// Where this leader epoch ends (KIP-101).
    EpochEnd(LeaderEpoch),
}

/// One partition whose first records go.
#[derive(Debug, Clone, Copy)]
pub struct RemoveItem {
    /// Whose records.
    pub target: TopicPartition,
    /// The first offset that stays; all that is readable goes if there is none.
    pub before: Option<Offset>,
}

/// Names the waiting fetch of one connection; a connection has at most one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WatchKey {
    /// The connection's shard.
    pub asker: ShardId,
    /// The connection's number on it.
    pub connection: u64,
}

/// A request from one shard to another. Each is answered exactly once.
#[derive(Debug)]
pub enum Ask {
    /// Append, and answer when durable (or at once, for acks=0).
    Append {
        /// In the order of the produce request.
        items: Vec<AppendItem>,
        /// False for acks=0.
        wait_for_durable: bool,
    },
    /// Sizes of what could be read; with a key, arms that watch over all items.
    Probe {
        /// What would be read.
        items: Vec<ReadItem>,
        /// The watch to arm in place of the connection's earlier one.
        watch: Option<WatchKey>,
    },
    /// Read what was granted.
    Read {
        /// In the order of the grants.
        items: Vec<ReadItem>,
    },
    /// Offsets by time or epoch.
    Find {
        /// What of which partition.
        items: Vec<(TopicPartition, Lookup)>,
    },
    /// Let logs begin later, and answer when that is durable.
    Remove {
        /// In the order of the request.
        items: Vec<RemoveItem>,
    },
    /// How large partitions are.
    Measure {
        /// Which.
        items: Vec<TopicPartition>,
    },
    /// The producers that partitions remember.
    Producers {
        /// Which partitions.
        items: Vec<TopicPartition>,
    },
    /// The connection is gone.
    Unwatch(WatchKey),
    /// For the coordinator of a group.
    Group(GroupAsk),
}

impl Ask {
    /// The connection that the owner may have to wake after its answer.
    pub fn watch(&self) -> Option<WatchKey> {
        match self {
            Ask::Probe { watch, .. } => *watch,
            Ask::Group(GroupAsk::Join(join)) => Some(join.key),
            Ask::Group(GroupAsk::Sync(key, _)) => Some(*key),
            _ => None,
        }
    }
}

/// The answer to an [`Ask`], item by item in the same order.
#[derive(Debug)]
pub enum Answer {
    /// To [`Ask::Append`].
    Append(Vec<AppendOutcome>),
    /// To [`Ask::Probe`].
    Probe(Vec<Probed>),
    /// To [`Ask::Read`].
    Read(Vec<ReadOutcome>),
    /// To [`Ask::Find`].
    Find(Vec<Found>),
    /// To [`Ask::Remove`].
    Remove(Vec<Removed>),
    /// To [`Ask::Measure`], in bytes.
    Measure(Vec<u64>),
    /// To [`Ask::Producers`].
    Producers(Vec<Vec<(ProducerId, Producer)>>),
    /// To [`Ask::Unwatch`].
    Unwatched,
    /// To [`Ask::Group`].
    Group(GroupAnswer),
}

/// What travels in a ring.
#[derive(Debug)]
pub enum Envelope {
    /// A request, with the number that its answer will carry.
    Ask {
        /// The asker's slot.
        slot: u32,
        /// The request.
        ask: Ask,
    },
    /// An answer.
    Answer {
        /// The asker's slot.
        slot: u32,
        /// The answer.
        answer: Answer,
    },
    /// A watch that fired on its owner's shard and is disarmed by that, or a group's answer that
    /// can be collected there.
    Fired(Vec<WatchKey>),
}
