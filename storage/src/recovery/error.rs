//! Why a start stops, and what it reports when it does not.

use crate::{
    hash::ChainHash,
    journal::{frame::Sequence, reader::Unreadable, row::UnreadableRange},
    node::NodeError,
    pool::HeadError,
    segment::SegmentError,
    types::{Offset, ShardId, TopicId, TopicPartition},
};
use std::{fmt, io, path::PathBuf, time::Duration};

const ACCEPT: &str = "restore the file from a backup, or start with \
                      --set recovery.accept.loss=true to go on without \
                      these records";

/// Why recovery stops. Nothing was changed: a repeated start finds the same.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The disk failed.
    #[error("{path}: {error}; check the disk (dmesg, SMART) and the directory's permissions")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the disk said.
        error: io::Error,
    },
    /// `node` could not be read or written.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// A segment file could not be written.
    #[error(transparent)]
    Segment(#[from] SegmentError),
    /// A prepared file does not read back.
    #[error("{path}: {error}")]
    Head {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: HeadError,
    },
    /// The set that `node` names is not there (S11).
    #[error(
        "{path}: `node` names this journal set, expected it with its shards, found {found}; \
         restore it from a backup"
    )]
    MissingSet {
        /// Its directory.
        path: PathBuf,
        /// What is there.
        found: String,
    },
    /// A shard's journal has no frame that verifies (S11).
    #[error("{path}: expected a journal, found no frame that verifies ({found}); restore it")]
    MissingJournal {
        /// Its directory.
        path: PathBuf,
        /// What is wrong with its files.
        found: String,
    },
    /// An acknowledged journal write does not verify (S13, S19).
    #[error(
        "{path}: at {position}: expected frame {sequence}, which was durable, found: {reason}; \
         lost: {lost}; {ACCEPT}"
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where.
        position: u64,
        /// Which write.
        sequence: Sequence,
        /// What stands there.
        reason: String,
        /// Whose records are lost with it.
        lost: LostRanges,
    },
    /// A page of a journal cannot be read: what it held is not known (S19).
    #[error(
        "{path}: at {position}: expected a page of the journal, the disk says: {reason}; check \
         the disk (dmesg, SMART); {ACCEPT} that were there"
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Where.
        position: u64,
        /// What the disk said.
        reason: String,
    },
    /// A frame verifies and makes no sense.
    #[error("{path}: at {position}: expected {expected}, found {found}; this is a bug, report it")]
    Nonsense {
        /// The file.
        path: PathBuf,
        /// Where.
        position: u64,
        /// What should be there.
        expected: String,
        /// What is.
        found: String,
    },
    /// Records between others are missing (S14).
    #[error(
        "{tp}: expected offset {expected} (chain {chain}), found {found} next in the journal; \
         lost: {lost}; {ACCEPT}"
    )]
    Gap {
        /// Whose log.
        tp: TopicPartition,
        /// The first missing offset.
        expected: Offset,
        /// The chain there.
        chain: ChainHash,
        /// What comes instead.
        found: String,
        /// Whose records are lost with it.
        lost: LostRanges,
    },
    /// A log's newest records are missing (S19).
    #[error(
        "{tp}: expected records up to offset {told}, which were durable, found none from {found} \
         on; lost: {lost}; {ACCEPT}"
    )]
    EndsEarly {
        /// Whose log.
        tp: TopicPartition,
        /// The first missing offset.
        found: Offset,
        /// The durable end that a journal row tells.
        told: Offset,
        /// Whose records are lost with it.
        lost: LostRanges,
    },
    /// Records of a topic that the metadata never heard of (S17).
    #[error(
        "{path}: at {position}: expected a known or deleted topic, found records of {topic}; the \
         metadata log is older than the journal: restore <data>/metadata, or {ACCEPT}"
    )]
    UnknownTopic {
        /// The file.
        path: PathBuf,
        /// Where.
        position: u64,
        /// The topic.
        topic: TopicId,
    },
    /// A partition in two journals (S14).
    #[error("{tp}: expected it in one journal, found it in those of shards {first} and {second}")]
    TwoJournals {
        /// Whose log.
        tp: TopicPartition,
        /// One.
        first: ShardId,
        /// The other.
        second: ShardId,
    },
}

impl From<Unreadable> for RecoverError {
    fn from(refused: Unreadable) -> RecoverError {
        let Unreadable {
            path,
            position,
            reason,
        } = refused;
        RecoverError::Unreadable {
            path,
            position,
            reason,
        }
    }
}

/// A journal that ends in a write that was never acknowledged: the normal mark of a crash.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TornTail {
    /// Whose journal.
    pub shard: ShardId,
    /// The file.
    pub path: PathBuf,
    /// Where it was cut.
    pub position: u64,
    /// The first write that was cut.
    pub sequence: Sequence,
    /// How many were.
    pub frames: usize,
    /// What stands there.
    pub reason: String,
}

/// Offsets that cannot be read any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LostRange {
    /// Whose.
    pub tp: TopicPartition,
    /// Which.
    pub range: UnreadableRange,
}

/// What a refusal says of lost records.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LostRanges(Vec<LostRange>);

/// Ranges that a refusal names: more would be no text to read. The start that accepts the loss
/// names all of them.
const RANGES_NAMED: usize = 20;

impl LostRanges {
    pub(super) fn add(&mut self, more: impl IntoIterator<Item = LostRange>) {
        for range in more {
            let is_same =
                |known: &LostRange| known.tp == range.tp && known.range.base < range.range.next;
            // What a start would give up covers what single frames say of the same records.
            self.0
                .retain(|known| !(is_same(known) && known.range.next <= range.range.next));
            self.0.push(range);
        }
    }

    /// The ranges.
    pub fn iter(&self) -> impl Iterator<Item = &LostRange> {
        self.0.iter()
    }
}

impl fmt::Display for LostRanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("whose records cannot be told");
        }
        for (at, LostRange { tp, range }) in self.0.iter().take(RANGES_NAMED).enumerate() {
            let comma = if at > 0 { ", " } else { "" };
            write!(f, "{comma}{tp} offsets {} to {}", range.base, range.next)?;
        }
        match self.0.len().saturating_sub(RANGES_NAMED) {
            0 => Ok(()),
            more => write!(f, " and {more} more ranges"),
        }
    }
}

/// What a start found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RecoveryReport {
    /// Shards of the set that was read.
    pub shards_before: u16,
    /// Journal writes replayed.
    pub frames: u64,
    /// Bytes of batches replayed.
    pub replayed_bytes: u64,
    /// Unfinished writes that were cut.
    pub torn: Vec<TornTail>,
    /// Partitions with data.
    pub partitions: usize,
    /// Unconfirmed direct writes that proved whole, and those that did not (S15).
    pub adopted_blocks: u64,
    /// See above.
    pub cut_blocks: u64,
    /// Partitions whose records were sealed because the fresh journals had no room (S11).
    pub sealed_partitions: u64,
    /// Journal writes lost, accepted by the operator (S19).
    pub lost_frames: u64,
    /// Pages of journals that the disk would not give, accepted by the operator.
    pub unreadable_pages: Vec<(PathBuf, u64)>,
    /// Ranges that stay unreadable (S19).
    pub unreadable: Vec<LostRange>,
    /// Files that nobody named, removed.
    pub removed_files: u64,
    /// Directories of topics that the metadata does not know, left alone.
    pub foreign: Vec<PathBuf>,
    /// How long it took.
    pub elapsed: Duration,
}
