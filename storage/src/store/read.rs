//! Reading: slices of open blocks, of cached blocks, or of blocks read from disk, as stored. Only
//! the durable prefix is ever given (S3), damage is reported for its own range only (S19).

use super::{ReadError, Store};
use crate::{
    block::SealedBlock,
    disk::{Clock, Disk},
    hash::Incarnation,
    partition::{Partition, Place, SegmentSlot},
    segment::{BlockEntry, Found, SegmentFile},
    types::{Offset, TopicPartition},
};
use bytes::{Bytes, BytesMut};
use std::rc::Rc;

/// Pieces shorter than this are joined by copying: a vectored send of many small pieces costs more
/// than the copy.
const PIECE_BYTES_MIN: usize = 2 << 10;

/// What a read gives: whole batches, as stored.
#[derive(Clone, Debug, Default)]
pub struct ReadData {
    /// The batches, one after the other; cuts mean nothing.
    pub slices: Vec<Bytes>,
    /// Their bytes.
    pub bytes: usize,
}

/// One read on its way through the log.
struct Cursor {
    from: Offset,
    until: Offset,
    bytes_left: usize,
    at_least_one: bool,
    data: ReadData,
}

impl Cursor {
    /// Takes what one block gave; false if the read ends with it.
    fn take(&mut self, slices: Vec<Bytes>, bytes: usize, next: Option<Offset>) -> bool {
        self.data.slices.extend(slices);
        self.data.bytes += bytes;
        self.bytes_left = self.bytes_left.saturating_sub(bytes);
        self.at_least_one &= bytes == 0;
        match next {
            Some(next) if next > self.from => self.from = next,
            _ => return false,
        }
        self.from < self.until && self.bytes_left > 0
    }
}

/// A partition and its durable end.
type Readable<D> = (Rc<Partition<D>>, Offset);

/// What a segment file has for an offset.
enum Sealed<D: Disk> {
    Block(Rc<SegmentFile<D>>, BlockEntry),
    /// Nothing here: go on at this offset.
    Gap(Offset),
}

impl<D: Disk, C: Clock> Store<D, C> {
    /// Bytes that a read from `from` would find, up to `limit`, without reading: exact to a few KiB
    /// in memory, to a block on disk.
    pub fn readable_bytes(
        &self,
        tp: TopicPartition,
        from: Offset,
        limit: usize,
    ) -> Result<usize, ReadError> {
        let Some((partition, until)) = self.readable(tp, from)? else {
            return Ok(0);
        };
        let log = partition.log.borrow();
        let mut bytes = 0;
        if from < log.flushed.0
            && let Some(first) = log.segments.find(from)
        {
            for slot in &log.segments.slots[first..] {
                bytes += slot.readable_bytes(from);
                if bytes >= limit {
                    return Ok(limit);
                }
            }
        }
        for block in log.held.iter().map(|held| &held.block).chain([&log.open]) {
            if block.next > from && block.base < until {
                let behind = if until < block.next {
                    block.bytes_from(until)
                } else {
                    0
                };
                bytes += block.bytes_from(from).saturating_sub(behind).max(1);
            }
        }
        Ok(bytes.min(limit))
    }

    /// The batches from the one that holds `from`, whole, at most `max_bytes` of them but the first
    /// in any case if `at_least_one`; nothing at the durable end.
    pub async fn read(
        &self,
        tp: TopicPartition,
        from: Offset,
        max_bytes: usize,
        at_least_one: bool,
    ) -> Result<ReadData, ReadError> {
        let Some((partition, until)) = self.readable(tp, from)? else {
            return Ok(ReadData::default());
        };
        let data = ReadData::default();
        let mut cursor = Cursor {
            from,
            until,
            bytes_left: max_bytes,
            at_least_one,
            data,
        };
        loop {
            let file = file_at(&partition, cursor.from);
            match self.read_step(&partition, &mut cursor).await {
                Ok(true) => {}
                // Compaction took the file away: the log says where to look now.
                Err(_) if file.is_some_and(|file| has_moved(&partition, file, cursor.from)) => {}
                // Damage further on is the next read's answer: what was found first is good.
                Err(error) if cursor.data.bytes == 0 => {
                    return Err(self.explained(&partition, cursor.from, error));
                }
                Ok(false) | Err(_) => return Ok(joined(cursor.data)),
            }
        }
    }

    /// The log may have come to begin behind `from` while a file was being opened or read, and the
    /// file be gone, or in another use: then that is what happened, not damage.
    pub(super) fn explained(
        &self,
        partition: &Partition<D>,
        from: Offset,
        error: ReadError,
    ) -> ReadError {
        let start = partition.log.borrow().start;
        if from >= start && !partition.is_dropped.get() {
            self.report(&error);
            return error;
        }
        ReadError::OutOfRange {
            tp: partition.tp,
            asked: from,
            start,
            end: partition.progress.durable_end(),
        }
    }

    /// The partition and its durable end, if `from` lies before that.
    pub(super) fn readable(
        &self,
        tp: TopicPartition,
        from: Offset,
    ) -> Result<Option<Readable<D>>, ReadError> {
        let partition = self.partition(tp);
        let bounds = self.bounds(tp);
        let (start, end) = (bounds.log_start, bounds.high_watermark);
        if from < start || from > end {
            return Err(ReadError::OutOfRange {
                tp,
                asked: from,
                start,
                end,
            });
        }
        Ok(partition
            .filter(|_| from < end)
            .map(|partition| (partition, end)))
    }

    async fn read_step(
        &self,
        partition: &Rc<Partition<D>>,
        cursor: &mut Cursor,
    ) -> Result<bool, ReadError> {
        let (from, until) = (cursor.from, cursor.until);
        let (bytes_left, at_least_one) = (cursor.bytes_left, cursor.at_least_one);
        let place = {
            let log = partition.log.borrow();
            // The start may have moved while a block was read, and files gone: the next batch that
            // is there does not follow the last one that was taken.
            if from < log.start || partition.is_dropped.get() {
                return Err(ReadError::OutOfRange {
                    tp: partition.tp,
                    asked: from,
                    start: log.start,
                    end: until,
                });
            }
            log.place_of(from)
        };
        match place {
            Place::File(at) => match self.sealed(partition, at, from).await? {
                Sealed::Gap(next) => Ok(cursor.take(Vec::new(), 0, Some(next))),
                Sealed::Block(file, entry) => {
                    if cursor.data.bytes > 0 && self.is_for_later(&file, entry, bytes_left) {
                        return Ok(false);
                    }
                    let block = self.block(partition.tp, &file, entry, from).await?;
                    // Not before: it would have its turn at the disk first.
                    self.read_ahead(&file, entry);
                    let slice = block.slice(from, until, bytes_left, at_least_one);
                    let slice =
                        slice.map_err(|error| damaged(partition.tp, &file, entry, error))?;
                    let is_whole = slice.as_ptr_range().end == block.payload().as_ptr_range().end;
                    let bytes = slice.len();
                    Ok(cursor.take(vec![slice], bytes, is_whole.then_some(entry.next)))
                }
            },
            Place::Held(_) | Place::Open => {
                let mut log = partition.log.borrow_mut();
                let Some(block) = log.block_mut(place) else {
                    return Ok(false);
                };
                let read = block.read(from, until, bytes_left, at_least_one);
                Ok(cursor.take(read.slices, read.bytes, read.next))
            }
            Place::Unreadable(range) => Err(ReadError::Lost {
                tp: partition.tp,
                range,
            }),
            Place::Nowhere => Ok(false),
        }
    }

    /// The block with `offset` in the partition's file `at`, which is opened if it was not yet.
    async fn sealed(
        &self,
        partition: &Rc<Partition<D>>,
        at: usize,
        offset: Offset,
    ) -> Result<Sealed<D>, ReadError> {
        let tp = partition.tp;
        let (file, next) = self.segment_file(partition, at).await?;
        // Only a compaction leaves gaps. Elsewhere a block that verifies in another's place, where
        // a misdirected write put it, must not hide the other's loss.
        let is_whole = offset >= partition.log.borrow().cleaning.compacted.0;
        let lost = |position| ReadError::Unreadable {
            tp,
            asked: offset,
            path: file.path().to_owned(),
            position,
            reason: "another block stands where its own was written".to_owned(),
        };
        match file.find(offset) {
            Found::Block(entry) if is_whole && entry.base > offset => Err(lost(entry.position)),
            Found::Beyond if is_whole => Err(lost(file.end())),
            Found::Block(entry) => Ok(Sealed::Block(file, entry)),
            Found::Unreadable(damage) => Err(ReadError::Unreadable {
                tp,
                asked: offset,
                path: file.path().to_owned(),
                position: damage.start,
                reason: damage.reason,
            }),
            Found::Beyond => Ok(Sealed::Gap(next)),
        }
    }

    /// A partition's file, opened if it was not yet, and the offset after its last block.
    pub(super) async fn segment_file(
        &self,
        partition: &Rc<Partition<D>>,
        at: usize,
    ) -> Result<(Rc<SegmentFile<D>>, Offset), ReadError> {
        let (tp, mut at) = (partition.tp, at);
        loop {
            let (row, path, is_last, known) = {
                let log = partition.log.borrow();
                let slot = &log.segments.slots[at];
                let path = self.segment_path(partition, slot);
                let is_last = at + 1 == log.segments.slots.len();
                (slot.row, path, is_last, slot.file.clone())
            };
            if let Some(file) = known {
                return Ok((file, row.next));
            }
            // A file system that failed may be read-only by now: what is verified is read all the
            // same.
            let opened = if is_last && self.config.fence.check().is_ok() {
                let flushed = Some(row.end);
                SegmentFile::open(&self.disk, &path, row.incarnation, tp, flushed).await
            } else {
                let extent = (row.end, row.next);
                SegmentFile::open_closed(&self.disk, &path, row.incarnation, tp, extent).await
            };
            let file = Rc::new(opened.map_err(|e| ReadError::Damaged {
                tp,
                error: Rc::new(e),
            })?);
            let mut log = partition.log.borrow_mut();
            let slots = &mut log.segments.slots;
            let same = |slot: &SegmentSlot<D>| slot.row.incarnation == row.incarnation;
            let found = slots.iter().position(same);
            // A deleted topic's files are not kept open.
            let Some(found) = found.filter(|_| !partition.is_dropped.get()) else {
                return Ok((file, row.next));
            };
            let slot = &mut slots[found];
            // Somebody else may have opened it meanwhile, and written to it: that one knows more.
            // If it was closed again this one must not take its place: what comes next would be
            // written over what it does not know of.
            match &slot.file {
                Some(kept) => return Ok((Rc::clone(kept), row.next)),
                None if slot.row.end != row.end => at = found,
                None => {
                    slot.file = Some(Rc::clone(&file));
                    drop(log);
                    self.count_open(partition, row.incarnation);
                    self.close_excess();
                    return Ok((file, row.next));
                }
            }
        }
    }

    /// A block, from the cache or by one read, for someone who reads it from `from` on.
    pub(super) async fn block(
        &self,
        tp: TopicPartition,
        file: &SegmentFile<D>,
        entry: BlockEntry,
        from: Offset,
    ) -> Result<SealedBlock, ReadError> {
        let key = (file.incarnation(), entry.position);
        if let Some(block) = self.cache.borrow_mut().get(key, from) {
            return Ok(block);
        }
        if self.await_ahead(key).await
            && let Some(block) = self.cache.borrow_mut().get(key, from)
        {
            return Ok(block);
        }
        let failed = |error| ReadError::Damaged {
            tp,
            error: Rc::new(error),
        };
        let turn = self.reads.enter(entry.len as usize, || self.is_writing());
        let turn = turn.await;
        // Another reader of the same block may have had his turn first.
        if self.cache.borrow().contains(key)
            && let Some(block) = self.cache.borrow_mut().get(key, from)
        {
            return Ok(block);
        }
        let read = file.read_raw(entry).await;
        drop(turn);
        let buf = read.map_err(failed)?;
        self.count(|counters| counters.block_reads += 1);
        let bytes = self.cache.borrow().lease(buf);
        let block = file.verify(entry, bytes).map_err(failed)?;
        self.cache.borrow_mut().insert(key, from, block.clone());
        Ok(block)
    }
}

/// The file that holds `from`, if it is in one.
pub(super) fn file_at<D: Disk>(partition: &Partition<D>, from: Offset) -> Option<Incarnation> {
    let log = partition.log.borrow();
    match log.place_of(from) {
        Place::File(at) => log.segments.slots.get(at).map(|slot| slot.row.incarnation),
        _ => None,
    }
}

/// Whether the log has another file in place of this one, for someone who reads from `from` on.
pub(super) fn has_moved<D: Disk>(
    partition: &Partition<D>,
    file: Incarnation,
    from: Offset,
) -> bool {
    let log = partition.log.borrow();
    let mut slots = log.segments.slots.iter();
    let is_there = slots.any(|slot| slot.row.incarnation == file);
    !is_there && from >= log.start && !partition.is_dropped.get()
}

pub(super) fn damaged<D: Disk>(
    tp: TopicPartition,
    file: &SegmentFile<D>,
    entry: BlockEntry,
    error: crate::block::BlockError,
) -> ReadError {
    let (path, position) = (file.path().to_owned(), entry.position);
    let (base, next) = (entry.base, entry.next);
    let error = crate::segment::SegmentError::Block {
        path,
        position,
        base,
        next,
        error,
    };
    ReadError::Damaged {
        tp,
        error: Rc::new(error),
    }
}

/// The same bytes with runs of small pieces joined.
fn joined(data: ReadData) -> ReadData {
    if data.slices.len() <= 1
        || data
            .slices
            .iter()
            .all(|piece| piece.len() >= PIECE_BYTES_MIN)
    {
        return data;
    }
    let mut slices = Vec::new();
    let mut small = BytesMut::new();
    for piece in data.slices {
        if piece.len() < PIECE_BYTES_MIN {
            small.extend_from_slice(&piece);
            continue;
        }
        if !small.is_empty() {
            slices.push(small.split().freeze());
        }
        slices.push(piece);
    }
    if !small.is_empty() {
        slices.push(small.freeze());
    }
    ReadData {
        slices,
        bytes: data.bytes,
    }
}
