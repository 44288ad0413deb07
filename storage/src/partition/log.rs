//! The state of one partition's log, and how a batch moves through it.

use super::{Cleaning, SegmentSlot, Segments, read::Place};
use crate::{
    batch::{BatchHeader, batches},
    block::open::{Chunk, Incoming, OpenBlock},
    disk::Disk,
    epoch::EpochTable,
    hash::ChainHash,
    journal::{
        FileId,
        fragment::{BlockPlace, Fragment, Kind},
        frame::Sequence,
        row::{Delta, KafkaSegment, Row, UnreadableRange},
        switch::Switch,
    },
    producer::ProducerTable,
    sabotage::{self, Sabotage},
    segment::BlockEntry,
    types::{Offset, Position, TopicPartition},
};
use std::collections::VecDeque;

/// Batches that wait for a frame.
pub(crate) struct Fresh {
    pub block: OpenBlock,
    /// Base of the Kafka segment they belong to.
    pub segment_base: Offset,
    /// Wall clock when that was opened.
    pub opened_ms: i64,
    /// Largest timestamp of that one's first batch.
    pub first_timestamp: i64,
}

/// A frozen block on its way to a segment.
pub(crate) struct Held {
    pub block: OpenBlock,
    pub segment_base: Offset,
    /// Where it is being written.
    pub place: Option<BlockPlace>,
    /// Not journaled: announced instead (S5).
    pub is_direct: bool,
}

/// A direct write in flight: durable when both halves are (S5).
pub(crate) struct Direct {
    /// The frame that announces it, once formed.
    pub sequence: Option<Sequence>,
    pub is_announced: bool,
    pub is_written: bool,
    /// The log's end with it.
    pub end: Offset,
}

/// A log start that is not durable yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct NextStart {
    pub start: Offset,
    /// A block boundary at or before it, and the chain there.
    pub boundary: (Offset, ChainHash),
    /// It is the log's end: nothing before it needs to be sealed any more.
    pub clears: bool,
    /// The frame that carries it, once formed.
    pub sequence: Option<Sequence>,
}

/// What a log gives back when it begins later.
pub(crate) struct Unneeded<D: Disk> {
    /// Files that hold nothing else.
    pub files: Vec<SegmentSlot<D>>,
    /// Memory of blocks that need no segment any more.
    pub memory_bytes: usize,
}

impl<D: Disk> Default for Unneeded<D> {
    fn default() -> Unneeded<D> {
        Unneeded {
            files: Vec::new(),
            memory_bytes: 0,
        }
    }
}

/// A compacted generation that is not durable yet.
pub(crate) struct NextSwitch {
    pub switch: Switch,
    /// The frame that carries it, once formed.
    pub sequence: Option<Sequence>,
}

/// A fragment that is not batches, ready for the next frame.
pub(crate) struct Note {
    pub fragment: Fragment,
    pub payload: Vec<u8>,
}

impl Note {
    /// Whether it says that a block needs the journal no more.
    pub(crate) fn places_block(&self) -> bool {
        matches!(self.fragment.kind, Kind::Sealed | Kind::Confirmed)
    }
}

/// One partition's log.
pub(crate) struct Log<D: Disk> {
    pub start: Offset,
    /// A block boundary at or before the start, and the chain there.
    pub boundary: (Offset, ChainHash),
    /// Starts on their way to disk, rising (S6).
    pub next_starts: VecDeque<NextStart>,
    /// A compacted generation on its way to disk (S16).
    pub next_switch: Option<NextSwitch>,
    /// How far compaction has come, and what it holds.
    pub cleaning: Cleaning<D>,
    /// The end of everything appended, and the chain there.
    pub end: (Offset, ChainHash),
    pub epochs: EpochTable,
    pub producers: ProducerTable,
    pub unreadable: Vec<UnreadableRange>,
    pub segments: Segments<D>,
    /// The end of the flushed segment bytes, and the chain there.
    pub flushed: (Offset, ChainHash),
    /// Oldest first.
    pub held: VecDeque<Held>,
    /// Of the Kafka segment `journaled`.
    pub open: OpenBlock,
    pub fresh: VecDeque<Fresh>,
    pub fresh_bytes: usize,
    chunk: Chunk,
    /// The Kafka segment at the end of what is appended, and of what is journaled.
    pub appended: KafkaSegment,
    pub journaled: KafkaSegment,
    /// Wall clock of the last append.
    pub appended_ms: i64,
    pub notes: Vec<Note>,
    pub direct: Option<Direct>,
    /// A write to the partition's segment is in flight; one at a time, so that whatever is flushed
    /// has everything before it flushed (S5).
    pub is_writing: bool,
    /// The journal file of each block that is not yet noted as placed, in the order of blocks.
    pub needs: VecDeque<FileId>,
    /// The file that counts this partition among its pins.
    pub pin: Option<FileId>,
}

impl<D: Disk> Log<D> {
    /// The log as a row has it, without what the journal holds beyond the flushed end.
    pub(crate) fn from_row(row: &Row) -> Log<D> {
        let (flushed, chain) = row.flushed;
        Log {
            start: row.start,
            boundary: row.boundary,
            next_starts: VecDeque::new(),
            next_switch: None,
            cleaning: Cleaning::of(row),
            end: row.flushed,
            epochs: row.epochs.clone(),
            producers: row.producers.clone(),
            unreadable: row.unreadable.clone(),
            segments: Segments::new(&row.files),
            flushed: row.flushed,
            held: VecDeque::new(),
            open: OpenBlock::new(flushed, chain),
            fresh: VecDeque::new(),
            fresh_bytes: 0,
            chunk: Chunk::default(),
            appended: row.segment,
            journaled: row.segment,
            appended_ms: row.appended_ms,
            notes: Vec::new(),
            direct: None,
            is_writing: false,
            needs: VecDeque::new(),
            pin: None,
        }
    }

    /// Puts back what recovery found in the journal beyond the flushed end; returns the memory
    /// taken. Everything of it is in the fresh journal's first file, which `file` names.
    pub(crate) fn restore(
        &mut self,
        tail: &[u8],
        rolls: &[Offset],
        file: FileId,
        full: usize,
    ) -> usize {
        let mut charged_bytes = 0;
        let is_before = |base: &&Offset| **base <= self.flushed.0;
        let last_file = self.segments.slots.last().map(|slot| slot.row.name.base);
        let first = rolls.iter().filter(is_before).max().copied().or(last_file);
        self.journaled.base = first.unwrap_or(self.flushed.0);
        for (header, batch) in batches(tail) {
            let rolls_here = rolls.contains(&header.base);
            let overflows = self.open.len() + batch.len() > full;
            if !self.open.is_empty() && (rolls_here || overflows) {
                self.freeze();
            }
            if rolls_here {
                self.journaled.base = header.base;
            }
            if self.open.is_empty() {
                self.needs.push_back(file);
            }
            charged_bytes += self
                .open
                .push(&mut self.chunk, Incoming::Lent(batch), |_| {})
                .1;
        }
        self.end = (self.open.next, self.open.chain_after);
        self.journaled = self.appended;
        charged_bytes
    }

    /// Everything recovery needs to know of the partition (S8).
    pub(crate) fn row(&self) -> Row {
        let mut rolls: Vec<Offset> = self.held.iter().map(|held| held.segment_base).collect();
        rolls.push(self.journaled.base);
        rolls.dedup();
        // A start on its way is written already: an older file that holds its frame may go before
        // it is durable, but only together with this row.
        let next = self
            .next_starts
            .back()
            .map(|next| (next.start, next.boundary));
        let (start, boundary) = next.unwrap_or((self.start, self.boundary));
        let mut row = Row {
            start,
            boundary,
            flushed: self.flushed,
            clean_end: self.cleaning.clean_end,
            compacted: self.cleaning.compacted,
            noted_end: self.end.0,
            counted_end: self.open.next,
            segment: self.journaled,
            appended_ms: self.appended_ms,
            rolls,
            files: self.segments.slots.iter().map(|slot| slot.row).collect(),
            epochs: self.epochs.clone(),
            producers: match sabotage::is(Sabotage::RowsWithoutProducers) {
                true => ProducerTable::default(),
                false => self.producers.clone(),
            },
            unreadable: self.unreadable.clone(),
        };
        // As with the start. The new files are flushed and the old ones stay until it is durable,
        // so that either is right.
        if let Some(next) = &self.next_switch {
            next.switch.apply(&mut row);
        }
        row
    }

    /// Takes a batch in at the end of the log; returns its stored header and the memory taken.
    pub(crate) fn push(
        &mut self,
        batch: Incoming<'_>,
        full: usize,
        stamp: impl FnOnce(&mut [u8]),
    ) -> (BatchHeader, usize) {
        let segment = self.appended;
        let batch_bytes = batch.bytes().len();
        let is_full = |fresh: &Fresh| fresh.block.len() + batch_bytes > full;
        let fits = |fresh: &&Fresh| fresh.segment_base == segment.base && !is_full(fresh);
        if self.fresh.back().filter(fits).is_none() {
            self.fresh.push_back(Fresh {
                block: OpenBlock::new(self.end.0, self.end.1),
                segment_base: segment.base,
                opened_ms: segment.opened_ms,
                first_timestamp: segment.first_timestamp,
            });
        }
        let fresh = self.fresh.back_mut().expect("pushed above");
        let (header, taken_bytes) = fresh.block.push(&mut self.chunk, batch, stamp);
        self.end = (fresh.block.next, fresh.block.chain_after);
        self.fresh_bytes += batch_bytes;
        self.appended
            .count(batch_bytes as u64, header.max_timestamp);
        fresh.first_timestamp = self.appended.first_timestamp;
        (header, taken_bytes)
    }

    /// Takes the oldest fresh block into the journaled part: its bytes are in a frame now.
    pub(crate) fn absorb(&mut self, fresh: Fresh, file: FileId, full: usize) {
        let rolls = fresh.segment_base != self.journaled.base;
        if !self.open.is_empty() && (rolls || self.open.len() + fresh.block.len() > full) {
            self.freeze();
        }
        if rolls {
            self.journaled = KafkaSegment::new(fresh.segment_base, fresh.opened_ms);
        }
        if self.open.is_empty() {
            self.needs.push_back(file);
        }
        self.journaled.bytes += fresh.block.len() as u64;
        self.journaled.opened_ms = fresh.opened_ms;
        self.journaled.first_timestamp = fresh.first_timestamp;
        self.open.append(fresh.block);
    }

    /// Freezes the open block: it will be sealed as it is.
    pub(crate) fn freeze(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let next = OpenBlock::new(self.open.next, self.open.chain_after);
        let block = std::mem::replace(&mut self.open, next);
        let segment_base = self.journaled.base;
        self.held.push_back(Held {
            block,
            segment_base,
            place: None,
            is_direct: false,
        });
        // Otherwise the rest of the chunk would go on being used, uncounted, by later blocks.
        if self.fresh.is_empty() {
            self.chunk.abandon();
        }
    }

    /// Moves the oldest fresh blocks, up to `limit` bytes, straight to the held ones: a direct
    /// write begins. `file` is that of the announcing frame.
    pub(crate) fn hold_direct(&mut self, limit: usize, file: FileId) {
        let base = self.journaled.base;
        let mut taken = 0;
        while let Some(fresh) = self.fresh.front() {
            let len = fresh.block.len();
            if fresh.segment_base != base || (taken > 0 && taken + len > limit) {
                break;
            }
            taken += len;
            let Some(fresh) = self.fresh.pop_front() else {
                break;
            };
            self.fresh_bytes -= len;
            self.journaled.bytes += len as u64;
            self.journaled.opened_ms = fresh.opened_ms;
            self.journaled.first_timestamp = fresh.first_timestamp;
            self.needs.push_back(file);
            let block = fresh.block;
            self.open = OpenBlock::new(block.next, block.chain_after);
            let (place, is_direct) = (None, true);
            self.held.push_back(Held {
                block,
                segment_base: base,
                place,
                is_direct,
            });
        }
        if self.fresh.is_empty() {
            self.chunk.abandon();
        }
    }

    /// Lets the log begin where durable frames say; returns what that makes unneeded.
    pub(crate) fn apply_start(&mut self, sequence: Sequence) -> Unneeded<D> {
        let is_durable = |next: &NextStart| next.sequence.is_some_and(|at| at <= sequence);
        let mut unneeded = Unneeded::default();
        while let Some(next) = self.next_starts.pop_front_if(|next| is_durable(next)) {
            self.start = next.start;
            self.boundary = next.boundary;
            self.epochs.advance_start(next.start);
            self.unreadable.retain(|range| range.next > next.start);
            if next.clears {
                unneeded.memory_bytes += self.drop_held();
            }
        }
        unneeded.files = self.take_files_below();
        unneeded
    }

    /// Whether a start at the log's end is on its way: what is held will not be needed.
    pub(crate) fn is_clearing(&self) -> bool {
        self.next_starts.iter().any(|next| next.clears)
    }

    /// The files that hold nothing from the start on and are not written to.
    pub(crate) fn take_files_below(&mut self) -> Vec<SegmentSlot<D>> {
        if self.is_writing {
            return Vec::new();
        }
        self.segments.take_below(self.start, self.journaled.base)
    }

    /// Forgets the frozen blocks before the start that are not on their way to a segment: recovery
    /// begins behind them. Returns their memory.
    fn drop_held(&mut self) -> usize {
        let start = self.start;
        let is_gone = |held: &Held| held.place.is_none() && held.block.next <= start;
        // `needs` has one entry for each block: those noted but not durably so come first.
        let noted = self.needs.len() - self.held.len() - usize::from(!self.open.is_empty());
        let mut at = 0;
        let mut dropped_bytes = 0;
        while let Some(held) = self.held.get(at) {
            if !is_gone(held) {
                at += 1;
                continue;
            }
            dropped_bytes += held.block.charged_bytes;
            if at == 0 {
                self.flushed = (held.block.next, held.block.chain_after);
            }
            self.held.remove(at);
            self.needs.remove(noted + at);
        }
        dropped_bytes
    }

    /// Memory of its blocks.
    pub(crate) fn charged_bytes(&self) -> usize {
        let held: usize = self.held.iter().map(|held| held.block.charged_bytes).sum();
        let fresh: usize = self
            .fresh
            .iter()
            .map(|fresh| fresh.block.charged_bytes)
            .sum();
        held + fresh + self.open.charged_bytes
    }

    /// Gives up what is in memory: the topic is gone. The log itself stays until the journal needs
    /// no file on its account. Returns the memory.
    pub(crate) fn release(&mut self) -> usize {
        let released_bytes = self.charged_bytes();
        self.held.clear();
        self.fresh.clear();
        self.fresh_bytes = 0;
        self.open = OpenBlock::new(self.end.0, self.end.1);
        self.chunk = Chunk::default();
        self.needs.clear();
        self.segments.close_all();
        released_bytes
    }

    /// Where batches are, the offset after each place, and its largest timestamp.
    pub(crate) fn places(&self) -> impl Iterator<Item = (Place, Offset, i64)> + '_ {
        let files = self.segments.slots.iter().enumerate();
        let files =
            files.map(|(at, slot)| (Place::File(at), slot.row.next, slot.row.max_timestamp));
        let held = self.held.iter().enumerate();
        let held =
            held.map(|(at, held)| (Place::Held(at), held.block.next, held.block.max_timestamp));
        let open = (Place::Open, self.open.next, self.open.max_timestamp);
        files.chain(held).chain([open])
    }
}

impl Held {
    /// The fragment and payload that announce it, confirm it or note its seal.
    pub(crate) fn note(
        &self,
        kind: Kind,
        tp: TopicPartition,
        place: &BlockPlace,
        now_ms: i64,
    ) -> Note {
        let fragment = Fragment {
            kind,
            tp,
            base: self.block.base,
            next: self.block.next,
            chain_before: self.block.chain_before,
            chain_after: self.block.chain_after,
        };
        let mut payload = Vec::new();
        place.encode(&mut payload);
        if kind == Kind::Announced {
            let mut delta = Delta::default();
            for piece in self.block.run.slices() {
                batches(piece).for_each(|(header, _)| delta.note(&header, now_ms));
            }
            delta.encode(&mut payload);
        }
        Note { fragment, payload }
    }

    /// What the segment's index knows of it once it lies at `position`.
    pub(crate) fn entry(&self, position: Position, block_bytes: u32) -> BlockEntry {
        BlockEntry {
            position,
            len: block_bytes,
            base: self.block.base,
            next: self.block.next,
            max_timestamp: self.block.max_timestamp,
            epoch: self.block.epoch,
            chain_after: self.block.chain_after,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{batch::stamp, disk::standard::StandardDisk, types::LeaderEpoch};

    const FULL: usize = 1 << 20;

    fn batch() -> Vec<u8> {
        let mut batch = vec![0; 100];
        batch[8..12].copy_from_slice(&88_i32.to_be_bytes());
        batch[16] = 2;
        batch
    }

    #[test]
    fn a_deleted_topics_blocks_leave_memory_at_once() {
        let mut log = Log::<StandardDisk>::from_row(&Row::default());
        let file = FileId(0);
        let mut taken_bytes = 0;
        // A frozen block, one that is journaled, and one that waits for its frame.
        for step in 0..3 {
            let base = log.end.0;
            let placed = |stored: &mut [u8]| stamp(stored, base, LeaderEpoch(0));
            taken_bytes += log.push(Incoming::Lent(&batch()), FULL, placed).1;
            if step < 2 {
                let fresh = log.fresh.pop_front().expect("it was pushed");
                log.absorb(fresh, file, FULL);
            }
            if step == 0 {
                log.freeze();
            }
        }
        assert!((log.held.len(), log.open.len(), log.fresh.len()) == (1, 100, 1));
        let end = log.end;
        assert_eq!(log.release(), taken_bytes);
        assert!(log.held.is_empty() && log.open.is_empty() && log.fresh.is_empty());
        assert!(log.needs.is_empty(), "no file of the journal is held");
        assert_eq!((log.charged_bytes(), log.end), (0, end));
    }
}
