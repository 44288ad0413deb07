//! A log as the Kafka segments that it consists of: what retention decides on.

use super::Log;
use crate::{disk::Disk, retention::SegmentExtent};

impl<D: Disk> Log<D> {
    /// Its Kafka segments, oldest first; the last is the active one. Of one whose first files are
    /// gone it is what is left.
    pub(crate) fn extents(&self) -> Vec<SegmentExtent> {
        let files = self.segments.slots.iter().map(|slot| SegmentExtent {
            base: slot.row.name.base,
            bytes: slot.row.batch_bytes,
            max_timestamp: slot.row.max_timestamp,
            written_ms: slot.row.written_ms,
        });
        let held = self
            .held
            .iter()
            .map(|held| (held.segment_base, &held.block));
        let open = (self.journaled.base, &self.open);
        let fresh = self
            .fresh
            .iter()
            .map(|fresh| (fresh.segment_base, &fresh.block));
        let memory = held.chain([open]).chain(fresh);
        let memory = memory.map(|(base, block)| SegmentExtent {
            base,
            bytes: block.len() as u64,
            max_timestamp: block.max_timestamp,
            written_ms: self.appended_ms,
        });
        let mut extents: Vec<SegmentExtent> = Vec::new();
        for part in files.chain(memory) {
            match extents.last_mut().filter(|last| last.base == part.base) {
                Some(last) => last.take(&part),
                // The open block is there also when it is empty.
                None if part.bytes == 0 && part.base < self.appended.base => {}
                None => extents.push(part),
            }
        }
        extents
    }

    /// Bytes of all batches, in segments and in memory: what Kafka calls the log's size.
    pub(crate) fn batch_bytes(&self) -> u64 {
        let files: u64 = self
            .segments
            .slots
            .iter()
            .map(|slot| slot.row.batch_bytes)
            .sum();
        let held: usize = self.held.iter().map(|held| held.block.len()).sum();
        files + (held + self.open.len() + self.fresh_bytes) as u64
    }
}

impl SegmentExtent {
    fn take(&mut self, part: &SegmentExtent) {
        self.bytes += part.bytes;
        self.max_timestamp = self.max_timestamp.max(part.max_timestamp);
        if part.bytes > 0 {
            self.written_ms = self.written_ms.max(part.written_ms);
        }
    }
}
