//! Reading what is still in memory, and finding what is not.

use super::Log;
use crate::{
    batch::BatchHeader, block::open::OpenBlock, disk::Disk, journal::row::UnreadableRange,
    types::Offset,
};
use bytes::Bytes;

/// Where a batch is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// In the segment file of this index.
    File(usize),
    /// In the held block of this index.
    Held(usize),
    /// In the open block.
    Open,
    /// Given up by recovery (S19).
    Unreadable(UnreadableRange),
    /// Not journaled yet, or at the end.
    Nowhere,
}

/// A stretch of whole batches read from one block.
#[derive(Debug, Default)]
pub(crate) struct MemoryRead {
    pub slices: Vec<Bytes>,
    pub bytes: usize,
    /// Where to go on; nothing if the limit was reached before the block's end.
    pub next: Option<Offset>,
}

impl<D: Disk> Log<D> {
    /// Where the batch with `offset`, or the first one after it, is.
    pub(crate) fn place_of(&self, offset: Offset) -> Place {
        if let Some(range) = self
            .unreadable
            .iter()
            .find(|r| r.base <= offset && offset < r.next)
        {
            return Place::Unreadable(*range);
        }
        if offset < self.flushed.0
            && let Some(at) = self.segments.find(offset)
        {
            return Place::File(at);
        }
        if let Some(at) = self.held.iter().position(|held| offset < held.block.next) {
            return Place::Held(at);
        }
        if offset < self.open.next && !self.open.is_empty() {
            Place::Open
        } else {
            Place::Nowhere
        }
    }

    /// The block in memory at `place`.
    pub(crate) fn block_mut(&mut self, place: Place) -> Option<&mut OpenBlock> {
        match place {
            Place::Held(at) => self.held.get_mut(at).map(|held| &mut held.block),
            Place::Open => Some(&mut self.open),
            Place::File(_) | Place::Unreadable(_) | Place::Nowhere => None,
        }
    }
}

impl OpenBlock {
    /// The batches from the one that holds `from`, whole, as many as fit `bytes_max`, ending at
    /// `until`; the first also if it does not fit when `at_least_one`.
    pub(crate) fn read(
        &mut self,
        from: Offset,
        until: Offset,
        bytes_max: usize,
        at_least_one: bool,
    ) -> MemoryRead {
        let is_wanted = |header: &BatchHeader| header.last() >= from && header.base < until;
        let Some((start, first)) = self.walk(self.seek(from), is_wanted) else {
            return MemoryRead {
                next: Some(self.next.min(until)),
                ..MemoryRead::default()
            };
        };
        let (len, next) = (self.len(), self.next);
        let end = if next <= until && len - start <= bytes_max {
            len
        } else {
            self.end_of_read(start, until, bytes_max)
        };
        // The walk above found a batch at `start`, so this cannot go beyond the block.
        let end = if end == start && at_least_one {
            start + first.size_bytes
        } else {
            end
        };
        let mut read = MemoryRead {
            next: (end == len).then_some(next),
            ..MemoryRead::default()
        };
        let mut left = end - start;
        for piece in self.pieces_from(start) {
            if left == 0 {
                break;
            }
            let cut = piece.len().min(left);
            left -= cut;
            read.bytes += cut;
            read.slices.push(piece.slice(..cut));
        }
        read
    }

    /// Position behind the last batch that is below `until` and ends within `bytes_max` of `start`.
    fn end_of_read(&mut self, start: usize, until: Offset, bytes_max: usize) -> usize {
        let limit = start.saturating_add(bytes_max);
        let fits = |entry: &&crate::block::IndexEntry| {
            entry.position as usize <= limit && entry.offset < until
        };
        let indexed = self
            .index
            .iter()
            .rev()
            .find(fits)
            .map_or(0, |e| e.position as usize);
        let from = indexed.max(start);
        let mut end = from;
        let stop = self.walk(from, |header| {
            let is_outside = header.base >= until || end + header.size_bytes > limit;
            if !is_outside {
                end += header.size_bytes;
            }
            is_outside
        });
        stop.map_or(end, |(position, _)| position)
    }

    /// The first batch at or after byte `position` for which `is_wanted` holds. `position` is a
    /// batch's start.
    pub(crate) fn walk(
        &mut self,
        position: usize,
        mut is_wanted: impl FnMut(&BatchHeader) -> bool,
    ) -> Option<(usize, BatchHeader)> {
        let mut at = position;
        for piece in self.pieces_from(position) {
            let mut rest = &piece[..];
            while let Some(header) = BatchHeader::parse(rest) {
                if is_wanted(&header) {
                    return Some((at, header));
                }
                rest = &rest[header.size_bytes..];
                at += header.size_bytes;
            }
        }
        None
    }
}
