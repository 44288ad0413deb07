//! The ring of journal files one shard writes: where the next frame goes, which writes are in
//! flight, how far they are durable (S3), and which file the log still needs (S9).

use super::{Buffers, frame::Sequence};
use crate::{
    disk::Disk,
    disk::PAGE,
    hash::Incarnation,
    partition::Partition,
    sabotage::{self, Sabotage},
    types::{Offset, TopicId},
};
use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    rc::Rc,
};

/// Writes in flight at most (S3). One leaves the disk idle while the next frame is formed; a third
/// only takes batches from the one that would follow.
pub(crate) const FLIGHTS_MAX: usize = 2;

/// A journal file's number among all that this process has used; a file used again gets another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct FileId(pub u64);

/// A journal file in use.
pub(crate) struct JournalFile<D: Disk> {
    pub id: FileId,
    /// Its name in the set's directory.
    pub slot: u32,
    pub file: D::File,
    pub incarnation: Incarnation,
    pub len: u64,
    /// Its first frame.
    pub first: Sequence,
    /// Partitions whose oldest unsealed batch is in this file.
    pub pins: usize,
    /// Those partitions, and some that no longer are: each checks.
    pub pinned: Vec<Rc<Partition<D>>>,
}

/// What one write carries of one partition.
pub(crate) struct Touched<D: Disk> {
    pub partition: Rc<Partition<D>>,
    /// The end of what is journaled with it.
    pub end: Offset,
    /// Blocks whose place in a segment it notes: they need the journal no more.
    pub placed: usize,
}

/// A write in flight.
pub(crate) struct Flight<D: Disk> {
    pub sequence: Sequence,
    pub is_written: bool,
    pub touched: Vec<Touched<D>>,
    /// What it says of the oldest needed write.
    pub oldest_needed: Sequence,
    /// Topics whose deletion it carries.
    pub dropped: Vec<TopicId>,
}

/// A file that may be written to next.
pub(crate) struct ReadyFile<D: Disk> {
    pub slot: u32,
    pub file: D::File,
    pub incarnation: Incarnation,
    pub len: u64,
}

/// The journal of one shard.
pub(crate) struct Journal<D: Disk> {
    dir: PathBuf,
    /// Oldest first; the last is written to.
    pub files: VecDeque<JournalFile<D>>,
    /// Where the next frame goes in the last file.
    pub position: u64,
    pub next: Sequence,
    /// The oldest needed write, as the last frame has it.
    pub needed: Sequence,
    /// The file that is being emptied, or was last.
    pub emptied: Option<FileId>,
    /// Hash of the frame before the next.
    pub predecessor: u64,
    pub durable_through: Sequence,
    /// Oldest first.
    pub flights: VecDeque<Flight<D>>,
    pub ready: VecDeque<ReadyFile<D>>,
    /// Files asked of the housekeeper that have not come.
    pub asked: usize,
    /// Slots handed out so far.
    pub slots: u32,
    next_id: FileId,
    pub buffers: Buffers<D>,
}

/// Where recovery left a shard's journal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JournalState {
    /// The directory of the shard's journal files.
    pub dir: PathBuf,
    /// The first file's name there.
    pub slot: u32,
    /// Which use of it (S7).
    pub incarnation: Incarnation,
    /// Its length in bytes.
    pub file_bytes: u64,
    /// Where the next frame goes.
    pub position: u64,
    /// The next frame's number.
    pub next: Sequence,
    /// Hash of the frame before it.
    pub predecessor: u64,
}

impl JournalState {
    /// The first file's path.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        file_path(&self.dir, self.slot)
    }
}

/// The path of a journal file.
#[must_use]
pub(crate) fn file_path(dir: &Path, slot: u32) -> PathBuf {
    dir.join(slot.to_string())
}

/// The slot that a path names.
pub(crate) fn slot_of(path: &Path) -> Option<u32> {
    path.file_name()?.to_str()?.parse().ok()
}

impl<D: Disk> Journal<D> {
    /// The journal as recovery left it; its file is opened by [`Journal::begin`].
    pub(crate) fn new(state: &JournalState) -> Journal<D> {
        Journal {
            dir: state.dir.clone(),
            files: VecDeque::new(),
            position: state.position,
            next: state.next,
            needed: Sequence(1),
            emptied: None,
            predecessor: state.predecessor,
            durable_through: Sequence(state.next.0 - 1),
            flights: VecDeque::new(),
            ready: VecDeque::new(),
            asked: 0,
            slots: state.slot + 1,
            next_id: FIRST_FILE,
            buffers: Buffers::new(),
        }
    }

    /// Adds the file that recovery wrote.
    pub(crate) fn begin(&mut self, state: &JournalState, file: D::File) {
        let (slot, incarnation, len) = (state.slot, state.incarnation, state.file_bytes);
        self.push(
            ReadyFile {
                slot,
                file,
                incarnation,
                len,
            },
            Sequence(1),
        );
    }

    fn push(&mut self, ready: ReadyFile<D>, first: Sequence) {
        let ReadyFile {
            slot,
            file,
            incarnation,
            len,
        } = ready;
        let id = self.next_id;
        self.next_id = FileId(id.0 + 1);
        let (pins, pinned) = (0, Vec::new());
        self.files.push_back(JournalFile {
            id,
            slot,
            file,
            incarnation,
            len,
            first,
            pins,
            pinned,
        });
    }

    /// Goes on in the next ready file, after the frame that names it.
    pub(crate) fn enter_next(&mut self) {
        if let Some(ready) = self.ready.pop_front() {
            self.push(ready, self.next);
            self.position = PAGE as u64;
        }
    }

    /// The file being written to.
    pub(crate) fn current(&self) -> Option<&JournalFile<D>> {
        self.files.back()
    }

    /// Longest frame that fits the current file; its last page is kept for the frame that names
    /// the next file (S9).
    pub(crate) fn room(&self) -> usize {
        let len = self.current().map_or(0, |file| file.len);
        len.saturating_sub(self.position + PAGE as u64) as usize
    }

    /// The same for fresh batches. While no next file is ready the last quarter is kept for notes
    /// and copies: without them no file ever comes free.
    pub(crate) fn room_for_fresh(&self) -> usize {
        let kept = match self.current() {
            Some(file) if self.ready.is_empty() => file.len as usize / 4,
            _ => 0,
        };
        self.room().saturating_sub(kept)
    }

    /// The path of a slot.
    pub(crate) fn path(&self, slot: u32) -> PathBuf {
        file_path(&self.dir, slot)
    }

    /// Counts a partition as needing file `id`, instead of `before`.
    pub(crate) fn repin(
        &mut self,
        partition: &Rc<Partition<D>>,
        before: Option<FileId>,
        id: Option<FileId>,
    ) {
        if before == id {
            return;
        }
        if let Some(file) = before.and_then(|id| self.file_mut(id)) {
            file.pins -= 1;
        }
        if let Some(file) = id.and_then(|id| self.file_mut(id)) {
            file.pins += 1;
            file.pinned.push(Rc::clone(partition));
        }
    }

    fn file_mut(&mut self, id: FileId) -> Option<&mut JournalFile<D>> {
        let first = self.files.front()?.id;
        self.files.get_mut(id.0.checked_sub(first.0)? as usize)
    }

    /// The first frame that recovery still needs: that of the oldest file some partition needs.
    pub(crate) fn oldest_needed(&self) -> Sequence {
        let needed = self
            .files
            .iter()
            .find(|file| file.pins > 0 && !sabotage::is(Sabotage::JournalReusedEarly))
            .or(self.files.back());
        needed.map_or(Sequence(0), |file| file.first)
    }

    /// Files that no durable frame needs any more, oldest first (S9).
    pub(crate) fn take_free(&mut self, oldest_needed: Sequence) -> Vec<JournalFile<D>> {
        let mut free = Vec::new();
        while self.files.len() > 1 && self.files[1].first <= oldest_needed {
            free.extend(self.files.pop_front());
        }
        free
    }

    /// Notes that a write came back, and takes those that are durable now: the prefix (S3).
    pub(crate) fn written(&mut self, sequence: Sequence) -> Vec<Flight<D>> {
        for flight in &mut self.flights {
            flight.is_written |= flight.sequence == sequence;
            let vouches = sabotage::is(Sabotage::AckOutOfOrder) && flight.sequence < sequence;
            flight.is_written |= vouches;
        }
        let mut durable = Vec::new();
        while self.flights.front().is_some_and(|flight| flight.is_written) {
            durable.extend(self.flights.pop_front());
        }
        if let Some(last) = durable.last() {
            self.durable_through = last.sequence;
        }
        durable
    }

    /// Bytes of all files in use or ready.
    pub(crate) fn bytes(&self) -> u64 {
        let used: u64 = self.files.iter().map(|file| file.len).sum();
        used + self.ready.iter().map(|file| file.len).sum::<u64>()
    }
}

/// The file that recovery wrote: everything it found is in there.
pub(crate) const FIRST_FILE: FileId = FileId(0);
