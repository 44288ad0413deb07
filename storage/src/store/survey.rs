//! Numbers of single partitions, for whoever shows them to people: nothing here is on a record's
//! way, and nothing decides by it.

use super::{Bounds, Store};
use crate::{
    disk::{Clock, Disk},
    types::TopicPartition,
};

/// One partition's numbers at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PartitionNumbers {
    /// Whose they are.
    pub tp: TopicPartition,
    /// Where the log begins and ends.
    pub bounds: Bounds,
    /// Bytes of its batches, on disk and in memory.
    pub batch_bytes: u64,
    /// Segment files.
    pub files: usize,
    /// Idempotent producers that are remembered.
    pub producers: usize,
}

impl<D: Disk, C: Clock> Store<D, C> {
    /// The numbers of a partition that there is.
    pub fn numbers(&self, tp: TopicPartition) -> Option<PartitionNumbers> {
        let partition = self.partition(tp)?;
        let log = partition.log.borrow();
        Some(PartitionNumbers {
            tp,
            bounds: Bounds {
                log_start: log.start,
                high_watermark: partition.progress.durable_end(),
                log_end: log.end.0,
            },
            batch_bytes: log.batch_bytes(),
            files: log.segments.slots.len(),
            producers: log.producers.len(),
        })
    }
}
