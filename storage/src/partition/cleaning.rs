//! What one partition's log knows of its compaction (S16): how far it is clean, which files a round
//! is reading, and the moment when what the round made takes their place.

use super::{Log, SegmentSlot};
use crate::{
    disk::Disk,
    hash::{ChainHash, Incarnation},
    journal::{frame::Sequence, row::FileRow, row::Row},
    segment::Generation,
    types::Offset,
};

/// The state of a partition's compaction.
pub(crate) struct Cleaning<D: Disk> {
    /// Up to where the log is clean.
    pub clean_end: Offset,
    /// Where the present generation ends, and the old chain there.
    pub compacted: (Offset, ChainHash),
    /// The files that a round reads.
    pub lease: Option<Lease<D>>,
    /// The last generation that a round of this process has tried: what it left behind must not
    /// meet the next one's files.
    pub tried: Generation,
    /// A round that ends here finds nothing to do.
    pub idle_end: Offset,
    /// A damaged log is not tried again before a restart.
    pub is_uncleanable: bool,
}

/// Files that a round reads: given up by the log meanwhile, they wait here (S7).
pub(crate) struct Lease<D: Disk> {
    pub sources: Vec<Incarnation>,
    pub given_up: Vec<SegmentSlot<D>>,
}

impl<D: Disk> Cleaning<D> {
    pub(crate) fn of(row: &Row) -> Cleaning<D> {
        Cleaning {
            clean_end: row.clean_end,
            compacted: row.compacted,
            lease: None,
            tried: Generation::default(),
            idle_end: Offset(-1),
            is_uncleanable: false,
        }
    }

    /// Keeps those of the given-up files that a round reads; returns the others.
    pub(crate) fn hold_back(&mut self, slots: Vec<SegmentSlot<D>>) -> Vec<SegmentSlot<D>> {
        let Some(lease) = &mut self.lease else {
            return slots;
        };
        let is_read = |slot: &SegmentSlot<D>| lease.sources.contains(&slot.row.incarnation);
        let (held, free) = slots.into_iter().partition(is_read);
        lease.given_up.extend(held);
        free
    }
}

impl<D: Disk> Log<D> {
    /// The files of closed Kafka segments: nothing is written to them any more, and all of them is
    /// flushed. The active Kafka segment is never compacted.
    pub(crate) fn closed_files(&self) -> Vec<FileRow> {
        let active = self.journaled.base;
        let is_flushed =
            |base: Offset| base < active && self.held.iter().all(|h| h.segment_base > base);
        let slots = self.segments.slots.iter();
        slots
            .take_while(|slot| is_flushed(slot.row.name.base))
            .map(|slot| slot.row)
            .collect()
    }

    /// Lets a compacted generation take the place of the files before it, when the frame that says
    /// so is durable; returns the files that nobody needs any more.
    pub(crate) fn apply_switch(&mut self, sequence: Sequence) -> Vec<SegmentSlot<D>> {
        let is_durable = |next: &mut super::NextSwitch| next.sequence == Some(sequence);
        let Some(next) = self.next_switch.take_if(is_durable) else {
            return Vec::new();
        };
        let switch = next.switch;
        self.cleaning.clean_end = switch.clean_end;
        self.cleaning.compacted = switch.end;
        let slots = &mut self.segments.slots;
        let replaced = slots.partition_point(|slot| slot.row.first < switch.end.0);
        let mut gone: Vec<_> = slots.drain(..replaced).collect();
        // The start may have moved on while the round went: those files go with the old ones.
        let slot = |row| SegmentSlot { row, file: None };
        let (new, below): (Vec<_>, Vec<_>) = switch
            .files
            .into_iter()
            .map(slot)
            .partition(|slot| slot.row.next > self.start);
        slots.splice(..0, new);
        gone.extend(below);
        gone
    }
}
