//! The segment files of one partition, oldest first. Those that recovery found are opened when they
//! are first read or written: a start must not depend on their number (S20).

use crate::{
    disk::{Disk, PAGE},
    hash::Incarnation,
    journal::row::FileRow,
    pool::SizeClass,
    segment::{BlockEntry, SegmentFile, SegmentName, index_len},
    types::{Offset, Position},
};
use std::rc::Rc;

/// One file.
pub(crate) struct SegmentSlot<D: Disk> {
    /// What a journal row says of it; follows the flushed blocks.
    pub row: FileRow,
    /// The file, once opened.
    pub file: Option<Rc<SegmentFile<D>>>,
}

impl<D: Disk> SegmentSlot<D> {
    /// Bytes of blocks from the one that holds `from`; all of them while the file is not open.
    pub(crate) fn readable_bytes(&self, from: Offset) -> usize {
        let Some(file) = &self.file else {
            return self.row.end.0 as usize - PAGE;
        };
        let entries = file.entries();
        let behind = entries.iter().filter(|entry| entry.next > from);
        behind.map(|entry| entry.len as usize).sum()
    }
}

/// All files of a partition.
pub(crate) struct Segments<D: Disk> {
    pub slots: Vec<SegmentSlot<D>>,
    /// A file was asked for, or is being opened; one at a time.
    pub is_waiting: bool,
    /// A file that came before it was needed.
    pub next: Option<(SegmentName, SegmentFile<D>)>,
    /// The last name given out, also to a file that was given up since.
    named: Option<SegmentName>,
    /// The last file could not be opened: writing goes on in another.
    pub is_last_lost: bool,
}

impl<D: Disk> Segments<D> {
    pub(crate) fn new(files: &[FileRow]) -> Segments<D> {
        let slots = files
            .iter()
            .map(|row| SegmentSlot {
                row: *row,
                file: None,
            })
            .collect();
        Segments {
            slots,
            is_waiting: false,
            next: None,
            named: None,
            is_last_lost: false,
        }
    }

    /// The file being written to, if it is of the Kafka segment at `base`.
    pub(crate) fn writable(&self, base: Offset) -> Option<&SegmentSlot<D>> {
        let last = self.slots.last().filter(|_| !self.is_last_lost);
        last.filter(|slot| slot.row.name.base == base)
    }

    /// A name for another file of the Kafka segment at `base`. None is given out twice: a file that
    /// was given up may lie under its name for a while, and what removes it must not meet another.
    pub(crate) fn take_name(&mut self, base: Offset) -> SegmentName {
        let last = self.slots.last().map(|slot| slot.row.name);
        let generation = last.map_or_else(Default::default, |name| name.generation);
        let taken = [last, self.named].into_iter().flatten();
        let same = taken.filter(|name| name.base == base);
        let number = same.map(|name| name.number + 1).max().unwrap_or(0);
        let name = SegmentName {
            generation,
            base,
            number,
        };
        self.named = Some(name);
        name
    }

    /// The size of the next file: large enough for the block, and a step larger than the one that
    /// it follows in the same Kafka segment.
    pub(crate) fn next_class(&self, base: Offset, block_bytes: usize) -> Option<SizeClass> {
        let least = SizeClass::holding((PAGE + block_bytes + index_len(1)) as u64)?;
        let last = self
            .writable(base)
            .and_then(|slot| SizeClass::of_len(slot.row.file_bytes));
        Some(last.map_or(least, |class| class.next().max(least)))
    }

    /// Adds a file fresh from the pool. `first` is the first offset that will be written to it.
    pub(crate) fn push(
        &mut self,
        name: SegmentName,
        first: Offset,
        file: SegmentFile<D>,
    ) -> Rc<SegmentFile<D>> {
        let row = FileRow {
            name,
            incarnation: file.incarnation(),
            file_bytes: file.len(),
            first,
            next: first,
            end: Position(PAGE as u64),
            max_timestamp: -1,
            batch_bytes: 0,
            written_ms: 0,
        };
        let file = Rc::new(file);
        self.is_last_lost = false;
        self.slots.push(SegmentSlot {
            row,
            file: Some(Rc::clone(&file)),
        });
        file
    }

    /// Lets go of every file that nobody is reading or writing. Those of a deleted topic must not
    /// be open when they are unlinked: the last close frees their blocks, for seconds where the
    /// file system discards them, and it would be the shard's.
    pub(crate) fn close_all(&mut self) {
        for slot in &mut self.slots {
            slot.file = None;
        }
        self.next = None;
    }

    /// Takes the last file, opened again, unless the log needed it no more meanwhile, or has
    /// written to it since: what comes next would be written over that.
    pub(crate) fn adopt(&mut self, file: SegmentFile<D>) {
        let (incarnation, end) = (file.incarnation(), file.end());
        let is_same = |row: &FileRow| (row.incarnation, row.end) == (incarnation, end);
        if let Some(slot) = self.slots.last_mut().filter(|slot| is_same(&slot.row)) {
            slot.file.get_or_insert_with(|| Rc::new(file));
        }
    }

    /// Notes a flushed block, of so many bytes of batches, of the file with that incarnation.
    pub(crate) fn flushed(
        &mut self,
        incarnation: Incarnation,
        entry: BlockEntry,
        batch_bytes: usize,
        now_ms: i64,
    ) {
        let same = |slot: &&mut SegmentSlot<D>| slot.row.incarnation == incarnation;
        if let Some(slot) = self.slots.iter_mut().rev().find(same) {
            slot.row.next = entry.next;
            slot.row.end = entry.end();
            slot.row.max_timestamp = slot.row.max_timestamp.max(entry.max_timestamp);
            slot.row.batch_bytes += batch_bytes as u64;
            slot.row.written_ms = now_ms;
            if let Some(file) = &slot.file {
                file.push(entry);
            }
        }
    }

    /// Takes out the files that end at or before `start`; the last one only if none of the Kafka
    /// segment at `base`, where writing goes on, has a name yet: names are not used twice, for the
    /// file may be on its way to the pool when the next is placed.
    pub(crate) fn take_below(&mut self, start: Offset, base: Offset) -> Vec<SegmentSlot<D>> {
        let below = self.slots.partition_point(|slot| slot.row.next <= start);
        let keeps_last = self
            .slots
            .last()
            .is_some_and(|slot| slot.row.name.base == base);
        let below = below.min(self.slots.len() - usize::from(keeps_last));
        self.slots.drain(..below).collect()
    }

    /// Index of the file that holds `offset`, or the first one after it.
    pub(crate) fn find(&self, offset: Offset) -> Option<usize> {
        let at = self.slots.partition_point(|slot| slot.row.next <= offset);
        (at < self.slots.len()).then_some(at)
    }
}
