//! Writing blocks to segments: seals of what the journal holds, and direct writes of what it does
//! not (S5). One write per partition is in flight, so that what is flushed has everything before it
//! in its file flushed.

use super::{
    Store,
    operation::{Completion, SegmentWrite},
};
use crate::{
    block::{open::OpenBlock, payload_position, seal_block},
    disk::{Clock, Disk, Flush, PAGE},
    hash::Incarnation,
    journal::{
        FileId,
        fragment::{BlockPlace, Fragment, Kind},
        row::KafkaSegment,
    },
    partition::{Direct, Log, Note, Partition},
    pool::SizeClass,
    sabotage::{self, Sabotage},
    segment::{SegmentFile, index_len},
    types::{Offset, Position, TopicPartition},
};
use std::{rc::Rc, time::Duration};

/// Bytes of blocks in one segment write at most, unless one block is longer. With 4 MiB nothing is
/// gained but a longer wait for the group commits behind it.
const WRITE_BYTES_MAX: usize = 1 << 20;
/// Every partition is looked at for what to seal at most so often when memory is short.
const SCAN_INTERVAL: Duration = Duration::from_millis(5);

impl<D: Disk, C: Clock> Store<D, C> {
    /// Has the partition's held blocks sealed at the end of this turn of the store's task. No wake:
    /// a turn that asks for it would never end.
    pub(super) fn queue_seal(&self, partition: &Rc<Partition<D>>) {
        if !partition.is_sealing.replace(true) {
            let mut queues = self.queues.borrow_mut();
            queues.sealing.push_back(Rc::clone(partition));
        }
    }

    pub(super) fn begin_seals(&self) {
        loop {
            let Some(partition) = self.queues.borrow_mut().sealing.pop_front() else {
                return;
            };
            partition.is_sealing.set(false);
            if !partition.is_dropped.get() {
                self.begin_seal(&partition);
            }
        }
    }

    /// Writes the oldest held blocks, as many as belong together; what remains is queued again by
    /// the completion.
    fn begin_seal(&self, partition: &Rc<Partition<D>>) {
        let mut log = partition.log.borrow_mut();
        let Some(first) = log.held.front() else {
            return;
        };
        if log.is_writing || log.direct.is_some() || log.is_clearing() {
            return;
        }
        let (base, first_len) = (first.segment_base, first.block.sealed_len());
        let Some(file) = self.file_for(partition, &mut log, base, first_len) else {
            return;
        };
        let mut blocks = 0;
        let mut total = 0;
        for held in &log.held {
            let len = held.block.sealed_len();
            let fits = total == 0 || total + len <= WRITE_BYTES_MAX;
            if held.segment_base != base || !fits || !file.room_for(total + len + PAGE * blocks) {
                break;
            }
            total += len;
            blocks += 1;
        }
        self.write_blocks(partition, &mut log, file, blocks.max(1));
    }

    /// Gives the first `blocks` held blocks their places and begins their write.
    fn write_blocks(
        &self,
        partition: &Rc<Partition<D>>,
        log: &mut Log<D>,
        file: Rc<SegmentFile<D>>,
        blocks: usize,
    ) {
        let Some(name) = log.segments.slots.last().map(|slot| slot.row.name) else {
            return;
        };
        let total = log
            .held
            .iter()
            .take(blocks)
            .map(|held| held.block.sealed_len())
            .sum();
        let position = file.end();
        let mut buf = self.disk.lasting_buffer(total);
        let mut rest = buf.as_mut();
        for held in log.held.iter_mut().take(blocks) {
            let len = held.block.sealed_len();
            let reserved = file.reserve(len);
            let (out, after) = rest.split_at_mut(len);
            rest = after;
            fill_block(&held.block, partition.tp, file.incarnation(), out);
            held.place = reserved.map(|position| BlockPlace {
                segment: name,
                incarnation: file.incarnation(),
                file_bytes: file.len(),
                position,
                block_bytes: len as u32,
                payload_bytes: held.block.len() as u32,
                max_timestamp: held.block.max_timestamp,
            });
            assert!(
                held.place.is_some(),
                "room was checked for every block of the write"
            );
        }
        log.is_writing = true;
        self.begin_write(Rc::clone(partition), file, blocks, position, buf);
    }

    fn begin_write(
        &self,
        partition: Rc<Partition<D>>,
        file: Rc<SegmentFile<D>>,
        blocks: usize,
        position: Position,
        buf: D::Buf,
    ) {
        let disk = self.disk.clone();
        let position = position.0;
        let flush = match sabotage::is(Sabotage::SealUnflushed) {
            true => Flush::No,
            false => Flush::Data,
        };
        self.begun.borrow_mut().push(Box::pin(async move {
            let (result, buf) = disk.write(file.file(), position, buf, flush).await;
            Completion::Segment(SegmentWrite {
                partition,
                file,
                blocks,
                position,
                result,
                buf,
            })
        }));
    }

    /// The file for the next block of the Kafka segment at `base`; without one, has it fetched:
    /// the partition comes back when it is there.
    fn file_for(
        &self,
        partition: &Rc<Partition<D>>,
        log: &mut Log<D>,
        base: Offset,
        bytes: usize,
    ) -> Option<Rc<SegmentFile<D>>> {
        if let Some(slot) = log.segments.writable(base) {
            match &slot.file {
                Some(file) if file.room_for(bytes) => return Some(Rc::clone(file)),
                Some(_) => {}
                None => {
                    self.reopen(partition, log);
                    return None;
                }
            }
        }
        let class = self.next_class(log, base, bytes)?;
        if let Some((name, file)) = log.segments.next.take() {
            if name.base == base && file.room_for(bytes) {
                return Some(self.enter_file(partition, log, name, file));
            }
            self.discard_file(file.path());
        }
        if !log.segments.is_waiting {
            log.segments.is_waiting = true;
            self.fetch_file(partition, log.segments.take_name(base), class);
        }
        None
    }

    /// The size of the next file: a step larger than the last, but in proportion to the disk.
    fn next_class(&self, log: &Log<D>, base: Offset, bytes: usize) -> Option<SizeClass> {
        let class = log.segments.next_class(base, bytes)?;
        let least = SizeClass::holding((PAGE + bytes + index_len(1)) as u64)?;
        let suits = |class: &SizeClass| {
            *class == least || (*class > least && self.config.space.suits(class.bytes()))
        };
        let mut down = SizeClass::ALL.into_iter().rev();
        down.find(|smaller| *smaller <= class && suits(smaller))
    }

    /// Goes on in a new file; the one before it gets its index.
    fn enter_file(
        &self,
        partition: &Rc<Partition<D>>,
        log: &mut Log<D>,
        name: crate::segment::SegmentName,
        file: SegmentFile<D>,
    ) -> Rc<SegmentFile<D>> {
        let full = log.segments.slots.last().and_then(|slot| slot.file.clone());
        if let Some(full) = full.filter(|full| !full.is_empty()) {
            let closing = Box::pin(async move { Completion::Closed(full.close().await) });
            self.begun.borrow_mut().push(closing);
        }
        self.count_open(partition, file.incarnation());
        let first = log.flushed.0;
        log.segments.push(name, first, file)
    }

    /// Begins a direct write if so much waits and nothing stands before it. Without a file at hand
    /// the batches take the journal this time: nobody waits for one. True if they cannot: a batch
    /// larger than a block is never journaled.
    pub(super) fn try_direct(&self, partition: &Rc<Partition<D>>) -> bool {
        let mut log = partition.log.borrow_mut();
        let Some(front) = log.fresh.front() else {
            return false;
        };
        let must = front.block.len() > self.config.block_payload_bytes();
        let is_wanted = must || log.fresh_bytes >= self.config.direct_threshold_bytes;
        if log.direct.is_some() || !is_wanted {
            return false;
        }
        if front.segment_base != log.journaled.base {
            if !must {
                return false;
            }
            roll(partition, &mut log);
        }
        if !log.held.is_empty() || log.is_writing {
            drop(log);
            self.queue_seal(partition);
            return must;
        }
        let base = log.journaled.base;
        // A page more for the index of the blocks behind the first.
        let bytes = direct_len(&log) + PAGE;
        if log.segments.next_class(base, bytes).is_none() {
            // No file holds the open block and the largest batches: the block goes first, alone.
            log.freeze();
            drop(log);
            self.queue_seal(partition);
            return must;
        }
        let Some(file) = self.file_for(partition, &mut log, base, bytes) else {
            return must;
        };
        let file_id = self
            .journal
            .borrow()
            .current()
            .map_or(crate::journal::FIRST_FILE, |f| f.id);
        self.begin_direct(partition, &mut log, file, file_id);
        self.fetch_ahead(partition, &mut log, bytes);
        false
    }

    fn begin_direct(
        &self,
        partition: &Rc<Partition<D>>,
        log: &mut Log<D>,
        file: Rc<SegmentFile<D>>,
        file_id: FileId,
    ) {
        log.freeze();
        log.hold_direct(WRITE_BYTES_MAX, file_id);
        let end = log.open.next;
        log.direct = Some(Direct {
            sequence: None,
            is_announced: false,
            is_written: false,
            end,
        });
        let blocks = log.held.len();
        self.write_blocks(partition, log, file, blocks);
        let now_ms = self.clock.wall_ms();
        let announced = log
            .held
            .iter()
            .filter(|held| held.is_direct)
            .filter_map(|held| {
                Some(held.note(Kind::Announced, partition.tp, held.place.as_ref()?, now_ms))
            });
        let announced: Vec<Note> = announced.collect();
        log.notes.extend(announced);
    }

    /// Has the next file fetched while the present one still has room for a few writes.
    fn fetch_ahead(&self, partition: &Rc<Partition<D>>, log: &mut Log<D>, bytes: usize) {
        let base = log.journaled.base;
        let is_ample = log.segments.writable(base).is_none_or(|slot| {
            slot.file
                .as_ref()
                .is_none_or(|file| file.room_for(4 * bytes))
        });
        if is_ample || log.segments.is_waiting || log.segments.next.is_some() {
            return;
        }
        let class = self.next_class(log, base, bytes);
        if let Some(class) = class.filter(|class| self.config.space.admits_ahead(class.bytes())) {
            log.segments.is_waiting = true;
            self.fetch_file(partition, log.segments.take_name(base), class);
        }
    }

    /// Whether memory is short, or soon will be. A large batch is refused long before it is full.
    pub(super) fn is_crowded(&self) -> bool {
        let used = self.charged_bytes.get();
        let is_wanted = self.rhythm.is_short.get() && used > 0;
        is_wanted || used > self.config.open_block_budget_bytes / 4 * 3
    }

    /// When memory is short: freezes the largest open blocks until half of what is used is on its
    /// way to segments.
    pub(super) fn make_room(&self) {
        let (used, now) = (self.charged_bytes.get(), self.elapsed());
        if !self.is_crowded() || now < self.rhythm.scan_at.get() {
            return;
        }
        self.rhythm.scan_at.set(now + SCAN_INTERVAL);
        let mut leaving = 0;
        let mut open = Vec::new();
        for partition in self.partitions.borrow().values() {
            let log = partition.log.borrow();
            leaving += log
                .held
                .iter()
                .map(|held| held.block.charged_bytes)
                .sum::<usize>();
            if !log.open.is_empty() {
                open.push((log.open.charged_bytes, Rc::clone(partition)));
            }
        }
        open.sort_unstable_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
        for (bytes, partition) in open {
            if leaving >= used / 2 {
                return;
            }
            leaving += bytes;
            partition.log.borrow_mut().freeze();
            self.queue_seal(&partition);
        }
    }
}

/// Writes a block's bytes into its part of the write's buffer.
pub(crate) fn fill_block(
    block: &OpenBlock,
    tp: TopicPartition,
    incarnation: Incarnation,
    out: &mut [u8],
) {
    let mut at = payload_position(block.index.len());
    for piece in block.run.slices() {
        out[at..at + piece.len()].copy_from_slice(piece);
        at += piece.len();
    }
    seal_block(&block.meta(tp), block.len(), incarnation, out);
}

/// Bytes on disk of a direct write that begins now, the open block ahead of it included.
fn direct_len<D: Disk>(log: &Log<D>) -> usize {
    let open = if log.open.is_empty() {
        0
    } else {
        log.open.sealed_len()
    };
    let mut payload = 0;
    let mut total = open;
    for fresh in &log.fresh {
        let len = fresh.block.len();
        let is_behind = payload > 0 && payload + len > WRITE_BYTES_MAX;
        if fresh.segment_base != log.journaled.base || is_behind {
            break;
        }
        payload += len;
        total += fresh.block.sealed_len();
    }
    total
}

/// Begins the Kafka segment of the oldest fresh block without journaling that block.
fn roll<D: Disk>(partition: &Partition<D>, log: &mut Log<D>) {
    log.freeze();
    let Some(fresh) = log.fresh.front() else {
        return;
    };
    let base = fresh.segment_base;
    log.journaled = KafkaSegment::new(base, fresh.opened_ms);
    let fragment = Fragment::plain(Kind::Roll, partition.tp, base, base);
    log.notes.push(Note {
        fragment,
        payload: Vec::new(),
    });
}
