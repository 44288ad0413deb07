//! Forming a frame: everything that arrived since the last one (group commit), in two passes over
//! the partitions that changed, and no others. The first measures, the second fills the buffer.

use super::{
    Store,
    operation::{Completion, Operation},
};
use crate::{
    disk::{Clock, Disk, Flush, PAGE},
    hash::Incarnation,
    journal::{
        Buffers, FLIGHTS_MAX, FileId, Flight, Journal, Touched,
        fragment::{Fragment, Kind},
        frame::{FrameHead, FrameWriter, Sequence, frame_len},
    },
    partition::{Fresh, Note, Partition},
    sabotage::{self, Sabotage},
    types::{Offset, TopicId},
};
use std::rc::Rc;

/// Notes of no partition that go together: a thousand topics may be deleted at once, and what does
/// not fit the journal's smallest file would never be written.
const NOTES_MAX: usize = 256;

/// What the next frame will carry.
struct Draft<D: Disk> {
    parts: Vec<Part<D>>,
    fragments: usize,
    payload_bytes: usize,
    /// What the file has room for, and what a frame should not exceed.
    room_bytes: usize,
    usual_bytes: usize,
    /// Something did not fit the file: go on in the next.
    is_out_of_room: bool,
    /// What did not fit is what makes files come free.
    is_stuck: bool,
}

enum Part<D: Disk> {
    /// Notes, of a partition or of none.
    Notes(Option<Rc<Partition<D>>>, Vec<Note>),
    /// A partition's open block, copied forward.
    Copy(Rc<Partition<D>>),
    /// So many of a partition's fresh blocks.
    Fresh(Rc<Partition<D>>, usize),
}

/// The frame being filled.
struct Filling<'a, D: Disk> {
    writer: FrameWriter<'a>,
    touched: Vec<Touched<D>>,
    dropped: Vec<TopicId>,
    sequence: Sequence,
    file: FileId,
    full_bytes: usize,
}

impl<D: Disk> Draft<D> {
    fn new(room_bytes: usize, usual_bytes: usize) -> Draft<D> {
        Draft {
            parts: Vec::new(),
            fragments: 0,
            payload_bytes: 0,
            room_bytes,
            usual_bytes,
            is_out_of_room: false,
            is_stuck: false,
        }
    }

    /// Takes the part if it fits. The first part may exceed a frame's usual length, but not the
    /// file's room.
    fn add(&mut self, fragments: usize, payload_bytes: usize, room_bytes: usize) -> bool {
        let len = frame_len(
            self.fragments + fragments,
            self.payload_bytes + payload_bytes,
        );
        if len > room_bytes {
            self.is_out_of_room = true;
            return false;
        }
        if len > self.usual_bytes && self.fragments > 0 {
            return false;
        }
        self.fragments += fragments;
        self.payload_bytes += payload_bytes;
        true
    }

    fn add_notes(&mut self, of: Option<&Rc<Partition<D>>>, notes: &mut Vec<Note>) -> bool {
        let payload_bytes = notes.iter().map(|note| note.payload.len()).sum();
        let fits = notes.is_empty() || self.add(notes.len(), payload_bytes, self.room_bytes);
        self.is_stuck |= !fits && self.is_out_of_room;
        if fits && !notes.is_empty() {
            self.parts
                .push(Part::Notes(of.cloned(), std::mem::take(notes)));
        }
        fits
    }
}

impl<D: Disk, C: Clock> Store<D, C> {
    /// Forms one frame and begins its write; false if there is nothing to write, or no way to.
    pub(super) fn form_frame(&self) -> bool {
        let (room_bytes, is_stalled) = {
            let journal = self.journal.borrow();
            let is_stalled = journal.current().is_none() || journal.flights.len() >= FLIGHTS_MAX;
            (journal.room(), is_stalled)
        };
        if is_stalled {
            return false;
        }
        let mut draft = Draft::new(room_bytes, self.config.frame_bytes_max());
        if self.queues.borrow().is_head_open {
            self.draft_rows(&mut draft);
        } else {
            self.draft_copies(&mut draft);
            self.draft_fresh(&mut draft);
        }
        if draft.fragments == 0 {
            // Without room for an empty frame a run would stay open, and a shutdown wait, for ever.
            let is_full = self.rhythm.wants_frame.get() && room_bytes < PAGE;
            let is_stuck = draft.is_stuck || is_full;
            if (draft.is_out_of_room || is_full) && self.enter_next_file(is_stuck) {
                return true;
            }
            if !self.rhythm.wants_frame.get() || is_full {
                return false;
            }
        }
        self.rhythm.wants_frame.set(false);
        self.write_draft(draft);
        true
    }

    fn draft_rows(&self, draft: &mut Draft<D>) {
        let mut queues = self.queues.borrow_mut();
        while let Some(partition) = queues.rows.front() {
            if !partition.is_dropped.get() {
                let mut notes = vec![self.row_note(partition)];
                if !draft.add_notes(None, &mut notes) {
                    return;
                }
                queues.rows_written += 1;
            }
            queues.rows.pop_front();
        }
        if draft.add_notes(None, &mut vec![Self::rows_end(queues.rows_written)]) {
            queues.is_head_open = false;
        }
    }

    fn draft_copies(&self, draft: &mut Draft<D>) {
        let mut queues = self.queues.borrow_mut();
        while !queues.notes.is_empty() {
            let together = queues.notes.len().min(NOTES_MAX);
            let more = queues.notes.split_off(together);
            let fits = draft.add_notes(None, &mut queues.notes);
            queues.notes.extend(more);
            if !fits {
                return;
            }
        }
        while let Some(partition) = queues.copies.front() {
            let len = partition.log.borrow().open.len();
            if len > 0 && !partition.is_dropped.get() {
                if !draft.add(1, len, draft.room_bytes) {
                    draft.is_stuck |= draft.is_out_of_room;
                    return;
                }
                draft.parts.push(Part::Copy(Rc::clone(partition)));
            }
            queues.copies.pop_front();
        }
    }

    fn draft_fresh(&self, draft: &mut Draft<D>) {
        let waiting = self.queues.borrow().dirty.len();
        for _ in 0..waiting {
            let Some(partition) = self.queues.borrow_mut().dirty.pop_front() else {
                return;
            };
            if partition.is_dropped.get() {
                continue;
            }
            if !self.draft_partition(draft, &partition) {
                self.queues.borrow_mut().dirty.push_back(partition);
                // Short of room only batches wait: notes behind them are what makes room.
                if !draft.is_out_of_room {
                    return;
                }
            }
        }
    }

    /// Adds what the partition has; false if it did not all fit.
    fn draft_partition(&self, draft: &mut Draft<D>, partition: &Rc<Partition<D>>) -> bool {
        let must_be_direct = self.try_direct(partition);
        let mut log = partition.log.borrow_mut();
        if !draft.add_notes(Some(partition), &mut log.notes) {
            return false;
        }
        // Behind a direct write nothing is journaled until it is durable; its end brings the
        // partition back.
        if log.direct.is_some() || must_be_direct {
            partition.is_dirty.set(false);
            return true;
        }
        let mut base = log.journaled.base;
        let mut taken = 0;
        let room_bytes = self.journal.borrow().room_for_fresh();
        for fresh in &log.fresh {
            let rolls = usize::from(fresh.segment_base != base);
            if !draft.add(1 + rolls, fresh.block.len(), room_bytes) {
                break;
            }
            base = fresh.segment_base;
            taken += 1;
        }
        let fits = taken == log.fresh.len();
        if taken > 0 {
            draft.parts.push(Part::Fresh(Rc::clone(partition), taken));
        }
        partition.is_dirty.set(!fits);
        fits
    }

    fn write_draft(&self, draft: Draft<D>) {
        let mut journal = self.journal.borrow_mut();
        let Some(file) = journal.current() else {
            return;
        };
        let (id, incarnation, handle) = (file.id, file.incarnation, file.file.clone());
        let exact_len = frame_len(draft.fragments, draft.payload_bytes);
        let len = Buffers::<D>::rounded(exact_len);
        // The file's last page is the next file's name's.
        let len = if len <= journal.room().max(PAGE) {
            len
        } else {
            exact_len
        };
        let mut buf = journal.buffers.take(&self.disk, len);
        let sequence = journal.next;
        let mut filling = Filling {
            writer: FrameWriter::new(buf.as_mut(), draft.fragments),
            touched: Vec::with_capacity(draft.parts.len()),
            dropped: Vec::new(),
            sequence,
            file: id,
            full_bytes: self.config.block_payload_bytes(),
        };
        for part in draft.parts {
            self.count(|c| c.copies += u64::from(matches!(part, Part::Copy(_))));
            filling.put(part);
        }
        let Filling {
            writer,
            touched,
            dropped,
            ..
        } = filling;
        for touch in &touched {
            Self::repin_in(&mut journal, &touch.partition);
            // Taking in fresh batches freezes a full block.
            if !touch.partition.log.borrow().held.is_empty() {
                self.queue_seal(&touch.partition);
            }
        }
        let oldest_needed = self.oldest_needed(&mut journal);
        let head = FrameHead {
            sequence,
            predecessor: journal.predecessor,
            durable_through: journal.durable_through,
            oldest_needed,
        };
        journal.predecessor = writer.finish(&head, incarnation);
        let is_written = false;
        let flight = Flight {
            sequence,
            is_written,
            touched,
            oldest_needed,
            dropped,
        };
        let position = journal.position;
        self.note_departure(&mut journal, flight, draft.fragments, len);
        let write = self.write_frame(handle, sequence, position, buf);
        self.begun.borrow_mut().push(write);
    }

    /// The journal and the clock as they are once the frame is on its way.
    fn note_departure(
        &self,
        journal: &mut Journal<D>,
        flight: Flight<D>,
        fragments: usize,
        len: usize,
    ) {
        // An empty frame closes the run, unless writes before it are still in flight (S4).
        let is_covered = journal.durable_through.next() == flight.sequence;
        self.rhythm.is_run_open.set(fragments > 0 || !is_covered);
        journal.position += len as u64;
        journal.next = flight.sequence.next();
        journal.flights.push_back(flight);
        self.rhythm.last_frame.set(self.elapsed());
        self.count(|counters| {
            counters.frames += 1;
            counters.frame_bytes += len as u64;
        });
    }

    fn write_frame(
        &self,
        file: D::File,
        sequence: Sequence,
        position: u64,
        buf: D::Buf,
    ) -> Operation<D> {
        let disk = self.disk.clone();
        let flush = match sabotage::is(Sabotage::FrameUnflushed) {
            true => Flush::No,
            false => Flush::Data,
        };
        Box::pin(async move {
            let (result, buf) = disk.write(&file, position, buf, flush).await;
            Completion::Frame {
                sequence,
                position,
                result,
                buf,
            }
        })
    }

    /// Ends the file with the frame that names the next (S9), in the page kept for it.
    pub(super) fn write_next_file(&self, slot: u32, incarnation: Incarnation) {
        let mut draft = Draft::new(PAGE, PAGE);
        let note = Note {
            fragment: Fragment::next_file(slot, incarnation),
            payload: Vec::new(),
        };
        draft.add_notes(None, &mut vec![note]);
        self.write_draft(draft);
    }
}

impl<D: Disk> Filling<'_, D> {
    fn put(&mut self, part: Part<D>) {
        match part {
            Part::Notes(partition, notes) => self.put_notes(partition, &notes),
            Part::Copy(partition) => self.put_copy(partition),
            Part::Fresh(partition, count) => self.put_fresh(partition, count),
        }
    }

    fn put_notes(&mut self, partition: Option<Rc<Partition<D>>>, notes: &[Note]) {
        for note in notes {
            self.writer.put(&note.fragment, [&note.payload[..]]);
        }
        let Some(partition) = partition else {
            let drops = notes.iter().filter(|note| note.fragment.kind == Kind::Drop);
            self.dropped
                .extend(drops.map(|note| note.fragment.tp.topic));
            return;
        };
        let placed = notes.iter().filter(|note| note.places_block()).count();
        let mut log = partition.log.borrow_mut();
        let says = |kind| notes.iter().any(|note| note.fragment.kind == kind);
        if says(Kind::Announced)
            && let Some(direct) = &mut log.direct
        {
            direct.sequence = Some(self.sequence);
        }
        if says(Kind::Start) {
            let formed = log.next_starts.iter_mut();
            formed.for_each(|next| _ = next.sequence.get_or_insert(self.sequence));
        }
        if says(Kind::Switch)
            && let Some(next) = &mut log.next_switch
        {
            next.sequence = Some(self.sequence);
        }
        drop(log);
        let end = partition.progress.durable_end();
        self.touched.push(Touched {
            partition,
            end,
            placed,
        });
    }

    fn put_copy(&mut self, partition: Rc<Partition<D>>) {
        let mut log = partition.log.borrow_mut();
        let fragment = Fragment {
            kind: Kind::Copy,
            tp: partition.tp,
            base: log.open.base,
            next: log.open.next,
            chain_before: log.open.chain_before,
            chain_after: log.open.chain_after,
        };
        self.writer.put(&fragment, log.open.run.slices());
        // Empty when the block has left for a segment since it was measured, in this very frame:
        // ahead of a direct write, or of one that rolls. Then its bytes are not in here, and it
        // needs the file that it was in until it is sealed.
        if !log.open.is_empty()
            && let Some(need) = log.needs.back_mut()
        {
            *need = self.file;
        }
        let end = partition.progress.durable_end();
        drop(log);
        self.touched.push(Touched {
            partition,
            end,
            placed: 0,
        });
    }

    fn put_fresh(&mut self, partition: Rc<Partition<D>>, count: usize) {
        let mut log = partition.log.borrow_mut();
        for _ in 0..count {
            let Some(fresh) = log.fresh.pop_front() else {
                break;
            };
            log.fresh_bytes -= fresh.block.len();
            self.put_block(&partition, &fresh, log.journaled.base);
            log.absorb(fresh, self.file, self.full_bytes);
        }
        let end = log.open.next;
        drop(log);
        self.touched.push(Touched {
            partition,
            end,
            placed: 0,
        });
    }

    fn put_block(&mut self, partition: &Partition<D>, fresh: &Fresh, journaled: Offset) {
        let base = fresh.segment_base;
        if base != journaled {
            self.writer
                .put(&Fragment::plain(Kind::Roll, partition.tp, base, base), []);
        }
        let fragment = Fragment {
            kind: Kind::Batches,
            tp: partition.tp,
            base: fresh.block.base,
            next: fresh.block.next,
            chain_before: fresh.block.chain_before,
            chain_after: fresh.block.chain_after,
        };
        self.writer.put(&fragment, fresh.block.run.slices());
    }
}

impl<D: Disk, C: Clock> Store<D, C> {
    /// Moves the partition's pin to the oldest file that it needs now.
    pub(super) fn repin(&self, partition: &Rc<Partition<D>>) {
        Self::repin_in(&mut self.journal.borrow_mut(), partition);
    }

    pub(super) fn repin_in(journal: &mut Journal<D>, partition: &Rc<Partition<D>>) {
        let mut log = partition.log.borrow_mut();
        let needed = log.needs.front().copied();
        let before = std::mem::replace(&mut log.pin, needed);
        drop(log);
        journal.repin(partition, before, needed);
    }
}
