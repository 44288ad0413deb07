//! The ring of journal files: entering the next, writing its rows (S8), emptying the oldest, and
//! handing it back once a durable frame says that nothing needs it (S9).

use super::Store;
use crate::{
    disk::{Clock, Disk},
    housekeeper::Job,
    journal::{
        FileId, Journal,
        fragment::{Fragment, Kind},
        frame::Sequence,
    },
    partition::{Note, Partition},
    sabotage::{self, Sabotage},
    types::{Offset, TopicId, TopicPartition},
};
use std::rc::Rc;

/// Open blocks below this are copied forward instead of sealed: a seal of less is a small write of
/// its own for each of ten thousand partitions, a copy is part of one large one.
const COPY_BYTES_MAX: usize = 64 << 10;

impl<D: Disk, C: Clock> Store<D, C> {
    /// Goes on in the next file, if one is ready. When notes or copies wait for it (`is_stuck`) and
    /// none is on its way, one comes past the limit: nothing would ever come free else.
    pub(super) fn enter_next_file(&self, is_stuck: bool) -> bool {
        let next = self
            .journal
            .borrow()
            .ready
            .front()
            .map(|r| (r.slot, r.incarnation));
        let Some((slot, incarnation)) = next else {
            if is_stuck {
                self.expect_past_limit();
            }
            self.expect_files();
            return false;
        };
        self.write_next_file(slot, incarnation);
        self.journal.borrow_mut().enter_next();
        let mut queues = self.queues.borrow_mut();
        // Rows that an overfull file still lacked are written here, newer.
        queues.rows.clear();
        queues
            .rows
            .extend(self.partitions.borrow().values().cloned());
        if sabotage::is(Sabotage::RowLeftOut) {
            queues.rows.pop_front();
        }
        queues.rows_written = 0;
        queues.is_head_open = true;
        drop(queues);
        self.expect_files();
        true
    }

    pub(super) fn row_note(&self, partition: &Partition<D>) -> Note {
        let row = partition.log.borrow().row();
        let durable_end = partition.progress.durable_end();
        let fragment = Fragment::plain(Kind::Row, partition.tp, row.start, durable_end);
        let mut payload = Vec::new();
        row.encode(&mut payload);
        Note { fragment, payload }
    }

    pub(super) fn rows_end(count: i64) -> Note {
        let at = Offset(count);
        let fragment = Fragment::plain(Kind::RowsEnd, TopicPartition::default(), at, at);
        Note {
            fragment,
            payload: Vec::new(),
        }
    }

    /// What the next frame says of the oldest needed write. While a file's rows are incomplete
    /// nothing moves: recovery could not begin there.
    pub(super) fn oldest_needed(&self, journal: &mut Journal<D>) -> Sequence {
        let is_head_open = self.queues.borrow().is_head_open;
        if !is_head_open {
            journal.needed = journal.oldest_needed();
        }
        journal.needed
    }

    /// Sees to it that a next file is ready or on its way: a new one while the limit allows, else
    /// the oldest once it is empty.
    pub(super) fn expect_files(&self) {
        let mut journal = self.journal.borrow_mut();
        if !journal.ready.is_empty() || journal.asked > 0 {
            return;
        }
        // A start's first file may be so long that the limit leaves no room for another; while it
        // is the only one, nothing that is emptied would ever free it.
        let is_only_one = journal.files.len() == 1;
        let bytes = journal.bytes() + self.next_file_bytes(&journal);
        if is_only_one || bytes <= self.config.journal_bytes {
            drop(journal);
            return self.ask_journal();
        }
        let has_said_so = journal
            .files
            .get(1)
            .is_none_or(|next| next.first <= journal.needed);
        let Some(oldest) = journal.files.front_mut() else {
            return;
        };
        let id = oldest.id;
        if oldest.pins == 0 {
            // Only a frame that says so is missing.
            if !has_said_so && !self.rhythm.wants_frame.replace(true) {
                self.signal.wake();
            }
            return;
        }
        let pinned = std::mem::take(&mut oldest.pinned);
        if journal.emptied.replace(id) != Some(id) {
            drop(journal);
            self.empty_file(id, pinned);
        }
    }

    fn expect_past_limit(&self) {
        let is_coming = {
            let journal = self.journal.borrow();
            journal.asked > 0 || !journal.ready.is_empty()
        };
        if !is_coming {
            self.ask_journal();
        }
    }

    /// Each file is twice as long as the one before it, up to the usual length: the next start
    /// reads all of them, and a node that sees little has little to read (S20).
    fn next_file_bytes(&self, journal: &Journal<D>) -> u64 {
        let last = journal.current().map_or(0, |file| file.len);
        (2 * last).min(self.config.journal_file_bytes)
    }

    fn ask_journal(&self) {
        let mut journal = self.journal.borrow_mut();
        let (path, len) = (journal.path(journal.slots), self.next_file_bytes(&journal));
        journal.slots += 1;
        journal.asked += 1;
        drop(journal);
        self.ask(Job::PrepareJournal { path, len });
    }

    /// Moves what still needs the file to a segment, or forward in the journal.
    fn empty_file(&self, id: FileId, pinned: Vec<Rc<Partition<D>>>) {
        // At most half of the file that takes the copies.
        let mut copy_bytes_left = (self.config.journal_file_bytes / 2) as usize;
        for partition in pinned {
            let mut log = partition.log.borrow_mut();
            if log.pin != Some(id) {
                continue;
            }
            let len = log.open.len();
            let needs_open = !log.open.is_empty() && log.needs.back() == Some(&id);
            if needs_open && len < COPY_BYTES_MAX && len <= copy_bytes_left {
                copy_bytes_left -= len;
                self.queues
                    .borrow_mut()
                    .copies
                    .push_back(Rc::clone(&partition));
            } else if needs_open {
                log.freeze();
            }
            let holds = !log.held.is_empty();
            drop(log);
            if holds {
                self.queue_seal(&partition);
            }
        }
        self.signal.wake();
    }

    /// Hands back the files that a durable frame has moved past (S9).
    pub(super) fn free_files(&self, oldest_needed: Sequence) {
        let mut journal = self.journal.borrow_mut();
        let free = journal.take_free(oldest_needed);
        let mut jobs = Vec::new();
        for file in free {
            let path = journal.path(file.slot);
            // The first file is smaller than the others; it makes room for a whole one.
            let is_excess = journal.bytes() + file.len > self.config.journal_bytes;
            if is_excess || file.len < self.config.journal_file_bytes {
                jobs.push(Job::Unlink { path });
            } else {
                journal.asked += 1;
                self.count(|counters| counters.files_reused += 1);
                jobs.push(Job::RenewJournal { path });
            }
        }
        let lacks_file = journal.ready.is_empty() && journal.asked == 0;
        drop(journal);
        jobs.into_iter().for_each(|job| self.ask(job));
        if lacks_file {
            self.expect_files();
        }
    }

    /// Forgets partitions of a deleted topic; their files are removed when the frame that says so
    /// is durable (S6).
    pub(super) fn forget(&self, topic: TopicId, gone: &[Rc<Partition<D>>]) {
        let mut released_bytes = 0;
        for partition in gone {
            partition.is_dropped.set(true);
            released_bytes += partition.log.borrow_mut().release();
            self.repin(partition);
            partition.progress.drop_topic();
        }
        self.charge(-(released_bytes as isize));
        self.tell_room();
        let tp = TopicPartition {
            topic,
            ..TopicPartition::default()
        };
        let fragment = Fragment::plain(Kind::Drop, tp, Offset(0), Offset(0));
        self.queues.borrow_mut().notes.push(Note {
            fragment,
            payload: Vec::new(),
        });
        self.signal.wake();
    }
}
