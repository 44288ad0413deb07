//! Taking completions: what is durable now, and who is to be told.

use super::{
    Store,
    operation::{Completion, SegmentWrite},
};
use crate::{
    block::SealedBlock,
    disk::{Clock, Disk},
    housekeeper::Job,
    journal::{Flight, Touched, fragment::Kind, frame::Sequence},
    partition::{Partition, Unneeded},
    sabotage::{self, Sabotage},
    types::Offset,
};
use bytes::Bytes;
use std::{io, rc::Rc};

impl<D: Disk, C: Clock> Store<D, C> {
    pub(super) fn complete(&self, completion: Completion<D>) {
        match completion {
            Completion::Frame {
                sequence,
                position,
                result,
                buf,
            } => {
                self.journal.borrow_mut().buffers.give_back(buf);
                self.frame_written(sequence, position, result);
            }
            Completion::Segment(write) => self.segment_written(write),
            Completion::Opened {
                partition,
                name,
                prepared,
                opened,
            } => self.segment_opened((partition, name), *prepared, opened),
            Completion::Reopened { partition, opened } => self.segment_reopened(&partition, opened),
            Completion::ReadAhead {
                file,
                entry,
                until,
                read,
            } => {
                self.read_ahead_done(&file, entry, until, read);
            }
            Completion::Closed(Ok(())) => {}
            Completion::Closed(Err(error)) => self.config.fence.trip(error.to_string()),
            Completion::JournalOpened { prepared, opened } => {
                self.journal_opened(*prepared, opened)
            }
        }
    }

    fn frame_written(&self, sequence: Sequence, position: u64, result: io::Result<()>) {
        if let Err(error) = result {
            let at = format!("journal frame {sequence} at {position}: {error}");
            return self.config.fence.trip(at);
        }
        let durable = self.journal.borrow_mut().written(sequence);
        for flight in durable {
            let Flight {
                sequence,
                touched,
                oldest_needed,
                dropped,
                ..
            } = flight;
            for touch in touched {
                self.settle(sequence, touch);
            }
            dropped
                .into_iter()
                .for_each(|topic| self.ask(Job::RemoveTopic { topic }));
            self.free_files(oldest_needed);
        }
    }

    /// One partition's share of a frame is durable.
    fn settle(&self, sequence: Sequence, touch: Touched<D>) {
        let Touched {
            partition,
            end,
            placed,
        } = touch;
        if partition.is_dropped.get() {
            return;
        }
        let mut log = partition.log.borrow_mut();
        if placed > 0 {
            log.needs.drain(..placed);
        }
        let unneeded = log.apply_start(sequence);
        let replaced = log.apply_switch(sequence);
        let is_freed = unneeded.memory_bytes > 0;
        let is_announced = log.direct.as_mut().is_some_and(|direct| {
            direct.is_announced |= direct.sequence == Some(sequence);
            direct.is_announced && direct.is_written
        });
        drop(log);
        if placed > 0 || is_freed {
            self.repin(&partition);
        }
        self.give_up(&partition, unneeded);
        self.discard(&partition, replaced);
        partition.progress.wake_start();
        self.advance(&partition, end);
        if is_announced {
            self.finish_direct(&partition);
        }
    }

    /// Moves the durable end and tells whom it concerns.
    fn advance(&self, partition: &Partition<D>, end: Offset) {
        if end <= partition.progress.durable_end() {
            return;
        }
        partition.progress.advance(end);
        let listener = self.on_advance.borrow().clone();
        if let Some(listener) = listener {
            listener(partition.tp, end);
        }
    }

    fn segment_written(&self, write: SegmentWrite<D>) {
        let SegmentWrite {
            partition,
            file,
            blocks,
            position,
            result,
            buf,
        } = write;
        if let Err(error) = result {
            let at = format!("{} at {position}: {error}", file.path().display());
            return self.config.fence.trip(at);
        }
        self.count(|counters| counters.segment_bytes += buf.as_ref().len() as u64);
        let mut log = partition.log.borrow_mut();
        log.is_writing = false;
        if partition.is_dropped.get() {
            return;
        }
        self.cache_written(&log, &file, blocks, position, buf);
        let is_both = log.direct.as_mut().map(|direct| {
            direct.is_written = true;
            direct.is_announced || sabotage::is(Sabotage::DirectUnannounced)
        });
        drop(log);
        match is_both {
            None => self.finish_blocks(&partition, blocks),
            Some(true) => self.finish_direct(&partition),
            Some(false) => {}
        }
    }

    /// Blocks just written are the ones that will be read: they go to the cache as they are.
    fn cache_written(
        &self,
        log: &crate::partition::Log<D>,
        file: &crate::segment::SegmentFile<D>,
        blocks: usize,
        position: u64,
        buf: D::Buf,
    ) {
        let mut cache = self.cache.borrow_mut();
        let bytes: Bytes = cache.lease(buf);
        for held in log.held.iter().take(blocks) {
            let Some(place) = held.place else { continue };
            let start = (place.position.0 - position) as usize;
            let block = bytes.slice(start..start + place.block_bytes as usize);
            let entry = held.entry(place.position, place.block_bytes);
            if let Ok(block) = SealedBlock::just_written(block, entry.base, entry.next) {
                cache.insert_written((file.incarnation(), place.position), block);
            }
        }
    }

    /// Both halves of a direct write are durable (S5).
    fn finish_direct(&self, partition: &Rc<Partition<D>>) {
        let mut log = partition.log.borrow_mut();
        let Some(direct) = log.direct.take() else {
            return;
        };
        let blocks = log
            .held
            .iter()
            .take_while(|held| held.place.is_some())
            .count();
        drop(log);
        self.finish_blocks(partition, blocks);
        self.advance(partition, direct.end);
    }

    /// The first `blocks` held blocks are flushed, and everything before them in their file: they
    /// leave memory, and the next frame says so.
    fn finish_blocks(&self, partition: &Rc<Partition<D>>, blocks: usize) {
        let mut log = partition.log.borrow_mut();
        let now_ms = self.clock.wall_ms();
        for _ in 0..blocks {
            let Some(held) = log.held.pop_front() else {
                break;
            };
            let Some(place) = held.place else { break };
            let kind = if held.is_direct {
                Kind::Confirmed
            } else {
                Kind::Sealed
            };
            let note = held.note(kind, partition.tp, &place, now_ms);
            log.notes.push(note);
            log.flushed = (held.block.next, held.block.chain_after);
            let entry = held.entry(place.position, place.block_bytes);
            let batch_bytes = held.block.len();
            log.segments
                .flushed(place.incarnation, entry, batch_bytes, now_ms);
            self.charge(-(held.block.charged_bytes as isize));
            self.count(|counters| match held.is_direct {
                true => counters.direct_writes += 1,
                false => counters.seals += 1,
            });
        }
        let holds_more = !log.held.is_empty();
        // They may hold nothing but what a start that came meanwhile has hidden.
        let files = log.take_files_below();
        drop(log);
        self.discard(partition, files);
        if holds_more {
            self.queue_seal(partition);
        }
        self.mark_dirty(partition);
        self.tell_room();
    }

    /// Gives back what a log that begins later now does not need.
    fn give_up(&self, partition: &Rc<Partition<D>>, unneeded: Unneeded<D>) {
        let Unneeded {
            files,
            memory_bytes,
        } = unneeded;
        let mut log = partition.log.borrow_mut();
        // A file that came ahead for the Kafka segment that is gone would never be used.
        let early = match log.segments.slots.is_empty() {
            true => log.segments.next.take(),
            false => None,
        };
        drop(log);
        self.discard(partition, files);
        if let Some((_, file)) = early {
            self.discard_file(file.path());
        }
        if memory_bytes > 0 {
            self.charge(-(memory_bytes as isize));
            // Batches behind a roll may have waited for the blocks before them to be sealed.
            self.queue_seal(partition);
            self.mark_dirty(partition);
            self.tell_room();
        }
    }

    pub(super) fn tell_room(&self) {
        let budget_bytes = self.config.open_block_budget_bytes;
        if self.rhythm.is_short.get() && self.charged_bytes.get() < budget_bytes {
            self.rhythm.is_short.set(false);
            let listener = self.on_room.borrow().clone();
            if let Some(listener) = listener {
                listener();
            }
        }
    }
}
