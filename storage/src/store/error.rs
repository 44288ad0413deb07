//! Why an append or a read is refused.

use crate::{
    commit::Fenced,
    journal::row::UnreadableRange,
    producer::SequenceError,
    segment::SegmentError,
    types::{Offset, Position, ProducerEpoch, ProducerId, TopicPartition},
};
use std::{path::PathBuf, rc::Rc};

/// Why a batch was not appended.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AppendError {
    /// Kafka's error 45.
    #[error(
        "producer {producer} (epoch {epoch}) sent sequence {found} where {expected} was expected: \
         a batch before it is missing; start the producer again, it will ask for a new id"
    )]
    OutOfOrderSequence {
        /// The producer.
        producer: ProducerId,
        /// Its epoch in the batch.
        epoch: ProducerEpoch,
        /// What should have come.
        expected: i32,
        /// What came.
        found: i32,
    },
    /// Kafka's error 47.
    #[error("producer {producer} sent epoch {found}, but epoch {current} has taken over")]
    InvalidProducerEpoch {
        /// The producer.
        producer: ProducerId,
        /// The epoch that rules.
        current: ProducerEpoch,
        /// The epoch in the batch.
        found: ProducerEpoch,
    },
    /// It fits no segment file.
    #[error(
        "batch of {size_bytes} bytes, at most {limit} fit a segment file; send smaller batches"
    )]
    TooLarge {
        /// Its size.
        size_bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The caller's validation has let something through.
    #[error("{size_bytes} bytes are not one whole v2 batch, which has at least {least}")]
    NotABatch {
        /// Bytes given.
        size_bytes: usize,
        /// The least a batch has.
        least: usize,
    },
    /// Try again when memory came free: back-pressure.
    #[error("open blocks use {used_bytes} of {budget_bytes} bytes; wait for seals to free some")]
    NoMemory {
        /// In use.
        used_bytes: usize,
        /// The limit.
        budget_bytes: usize,
    },
    /// Try again when there is space: nothing else is wrong.
    #[error(
        "the disk is full: {usable_bytes} bytes are left and {full_bytes} are kept free; delete \
         topics or records, lower retention, or add space: producing goes on by itself then"
    )]
    DiskFull {
        /// Free.
        usable_bytes: u64,
        /// The watermark.
        full_bytes: u64,
    },
    /// A write to the disk failed.
    #[error(transparent)]
    Fenced(#[from] Fenced),
}

impl From<SequenceError> for AppendError {
    fn from(error: SequenceError) -> AppendError {
        match error {
            SequenceError::OutOfOrder {
                producer,
                epoch,
                expected,
                found,
            } => AppendError::OutOfOrderSequence {
                producer,
                epoch,
                expected,
                found,
            },
            SequenceError::StaleEpoch {
                producer,
                current,
                found,
            } => AppendError::InvalidProducerEpoch {
                producer,
                current,
                found,
            },
        }
    }
}

/// Why a read gives nothing.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReadError {
    /// Kafka's error 1.
    #[error("offset {asked} of {tp} is outside the log, which has {start} to {end}")]
    OutOfRange {
        /// Whose log.
        tp: TopicPartition,
        /// The offset asked for.
        asked: Offset,
        /// The log's first.
        start: Offset,
        /// Its durable end.
        end: Offset,
    },
    /// The bytes are damaged (S19); the rest of the log is served.
    #[error("{tp}: {error}")]
    Damaged {
        /// Whose log.
        tp: TopicPartition,
        /// What is wrong, where, and the remedy.
        error: Rc<SegmentError>,
    },
    /// Recovery gave these offsets up (S19).
    #[error(
        "{tp}: offsets {} to {} were lost; read on from {}",
        range.base, range.next, range.next
    )]
    Lost {
        /// Whose log.
        tp: TopicPartition,
        /// Which offsets.
        range: UnreadableRange,
    },
    /// Blocks of the file are damaged and nothing is known of them but where they were (S19).
    #[error(
        "{tp}: offset {asked} lies in a damaged range: {path}: from {position}: {reason}; restore \
         the file or read on"
    )]
    Unreadable {
        /// Whose log.
        tp: TopicPartition,
        /// The offset asked for.
        asked: Offset,
        /// The file.
        path: PathBuf,
        /// Where the range begins.
        position: Position,
        /// What the scan found.
        reason: String,
    },
}

impl ReadError {
    /// Whether another try may well succeed: nothing is known to be damaged.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(self, ReadError::Damaged { error, .. } if error.is_passing())
    }
}

/// Why a log's start did not move.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StartError {
    /// Kafka's error 1.
    #[error("{tp} cannot begin at {asked}: it ends at {end}")]
    OutOfRange {
        /// Whose log.
        tp: TopicPartition,
        /// The start asked for.
        asked: Offset,
        /// The durable end.
        end: Offset,
    },
    /// It will never be durable.
    #[error(transparent)]
    Lost(#[from] crate::commit::CommitError),
}
