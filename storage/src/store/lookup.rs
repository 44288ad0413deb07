//! Finding a batch by timestamp: files by their largest, blocks by theirs, index entries by theirs,
//! then the batch. At most two block reads: the block and, where its file was never opened, its
//! index.
//!
//! Storage knows batches, not records: the answer carries the batch, and the caller, who can
//! decompress it, finds the record in it.

use super::{
    ReadError, Store,
    read::{damaged, has_moved},
};
use crate::{
    batch::{BatchHeader, batches, record_count},
    disk::{Clock, Disk},
    hash::Incarnation,
    partition::{Log, Partition, Place},
    segment::{BlockEntry, SegmentFile},
    types::{LeaderEpoch, Offset, TopicPartition},
};
use bytes::Bytes;
use std::rc::Rc;

/// The batch that was looked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TimestampedOffset {
    /// Its first offset, or the log's start if that lies inside it.
    pub offset: Offset,
    /// Its largest timestamp.
    pub timestamp: i64,
    /// Its epoch.
    pub epoch: LeaderEpoch,
    /// The batch, as stored.
    pub batch: Bytes,
}

/// Which batches a lookup may give.
#[derive(Clone, Copy)]
enum Reach {
    /// Those that reach beyond the log's start and this offset.
    Visible(Offset),
    /// All that are there: DeleteRecords hides what lies before the log's start, and the largest
    /// timestamp is that of the stored batches all the same, as in Kafka.
    Stored,
}

impl Reach {
    fn least(self, start: Offset) -> Offset {
        match self {
            Reach::Visible(floor) => start.max(floor),
            Reach::Stored => Offset(0),
        }
    }
}

impl<D: Disk, C: Clock> Store<D, C> {
    /// The first batch that has a record at or after `timestamp_ms`.
    pub async fn offset_at_timestamp(
        &self,
        tp: TopicPartition,
        timestamp_ms: i64,
    ) -> Result<Option<TimestampedOffset>, ReadError> {
        self.offset_at_timestamp_from(tp, timestamp_ms, Offset(0))
            .await
    }

    /// The same of batches that reach beyond `floor`: for a caller who found that of the batch
    /// before it only records below the log's start are late enough.
    pub async fn offset_at_timestamp_from(
        &self,
        tp: TopicPartition,
        timestamp_ms: i64,
        floor: Offset,
    ) -> Result<Option<TimestampedOffset>, ReadError> {
        match self.partition(tp) {
            Some(partition) => {
                self.first_at(&partition, timestamp_ms, Reach::Visible(floor))
                    .await
            }
            None => Ok(None),
        }
    }

    async fn first_at(
        &self,
        partition: &Rc<Partition<D>>,
        timestamp_ms: i64,
        reach: Reach,
    ) -> Result<Option<TimestampedOffset>, ReadError> {
        let mut from = reach.least(partition.log.borrow().start);
        // Usually the first place has it; its match may lie before the log's start, though, or
        // behind the durable end. Blocks move and files go while one is read, so the next place is
        // looked for only then, by where the last one ended.
        loop {
            let is_late =
                |(_, next, max): &(Place, Offset, i64)| *next > from && *max >= timestamp_ms;
            let late = partition.log.borrow().places().find(is_late);
            let Some((place, next, _)) = late else {
                return Ok(None);
            };
            let file = match place {
                Place::File(at) => file_of(partition, at),
                _ => None,
            };
            match self.find_in(partition, place, timestamp_ms, reach).await {
                Ok(None) => from = next,
                found => {
                    let reached = from.max(partition.log.borrow().start);
                    let is_gone = file.is_some_and(|file| has_moved(partition, file, reached));
                    if found.is_ok() || !is_gone {
                        return found;
                    }
                    // Compaction took the file away: the log is looked at again.
                }
            }
        }
    }

    /// The batch with the largest timestamp, also where it lies before the log's start and is still
    /// there; the first of several.
    pub async fn max_timestamp(
        &self,
        tp: TopicPartition,
    ) -> Result<Option<TimestampedOffset>, ReadError> {
        let Some(partition) = self.partition(tp) else {
            return Ok(None);
        };
        let mut maxima: Vec<i64> = {
            let log = partition.log.borrow();
            log.places()
                .map(|(_, _, max)| max)
                .filter(|max| *max >= 0)
                .collect()
        };
        maxima.sort_unstable_by_key(|max| std::cmp::Reverse(*max));
        maxima.dedup();
        // The largest may belong to a batch that is not durable yet: then the next one below it.
        for max in maxima {
            if let Some(found) = self.first_at(&partition, max, Reach::Stored).await? {
                return Ok(Some(found));
            }
        }
        self.max_of_durable(&partition).await
    }

    /// When the open block's maximum is not durable yet and nothing before it has another: the
    /// largest of the batches that are.
    async fn max_of_durable(
        &self,
        partition: &Rc<Partition<D>>,
    ) -> Result<Option<TimestampedOffset>, ReadError> {
        let max = durable_max(
            &mut partition.log.borrow_mut(),
            partition.progress.durable_end(),
        );
        match max {
            Some(max) => {
                let reach = Reach::Stored;
                self.find_in(partition, Place::Open, max, reach).await
            }
            None => Ok(None),
        }
    }

    async fn find_in(
        &self,
        partition: &Rc<Partition<D>>,
        place: Place,
        timestamp_ms: i64,
        reach: Reach,
    ) -> Result<Option<TimestampedOffset>, ReadError> {
        let start = reach.least(partition.log.borrow().start);
        let until = partition.progress.durable_end();
        let is_match = |header: &BatchHeader| {
            let is_inside = header.last() >= start && header.next() <= until;
            is_inside && header.max_timestamp >= timestamp_ms
        };
        if let Place::File(at) = place {
            return self
                .find_in_file(partition, at, timestamp_ms, (start, is_match))
                .await;
        }
        Ok(find_in_memory(
            &mut partition.log.borrow_mut(),
            place,
            timestamp_ms,
            (start, is_match),
        ))
    }

    async fn find_in_file(
        &self,
        partition: &Rc<Partition<D>>,
        at: usize,
        timestamp_ms: i64,
        (start, is_match): (Offset, impl Fn(&BatchHeader) -> bool),
    ) -> Result<Option<TimestampedOffset>, ReadError> {
        let next = partition.log.borrow().segments.slots[at].row.next;
        // A file that retention took while it was being opened holds no answer any more.
        let is_gone = || next <= partition.log.borrow().start || partition.is_dropped.get();
        let (file, _) = match self.segment_file(partition, at).await {
            Err(_) if is_gone() => return Ok(None),
            other => other?,
        };
        let is_late =
            |entry: &BlockEntry| entry.next > start && entry.max_timestamp >= timestamp_ms;
        for entry in file.entries().into_iter().filter(is_late) {
            // What is damaged before it may have held an earlier one (S19).
            self.check_whole(partition, &file, (start, entry.base))?;
            let block = self.block(partition.tp, &file, entry, entry.base).await?;
            let view = block.view();
            let view = view.map_err(|error| damaged(partition.tp, &file, entry, error))?;
            let from = view.seek_timestamp(timestamp_ms).unwrap_or(0);
            let payload = block.payload();
            let found = batches(&payload[from..])
                .find(|(header, batch)| is_match(header) && record_count(batch) > 0);
            if let Some((header, batch)) = found {
                let batch = payload.slice_ref(batch);
                return Ok(Some(TimestampedOffset::of(&header, batch, start)));
            }
        }
        self.check_whole(partition, &file, (start, next))?;
        Ok(None)
    }

    /// Whether the file has all blocks with offsets of that range.
    fn check_whole(
        &self,
        partition: &Partition<D>,
        file: &SegmentFile<D>,
        range: (Offset, Offset),
    ) -> Result<(), ReadError> {
        let log = partition.log.borrow();
        // What lies before the log's start may have gone without ever being sealed.
        let (from, until) = (range.0.max(log.start), range.1);
        let compacted = log.cleaning.compacted.0;
        let Some(found) = file.first_break((from, until), compacted, &log.unreadable) else {
            return Ok(());
        };
        drop(log);
        let error = ReadError::Unreadable {
            tp: partition.tp,
            asked: found.base.unwrap_or(from),
            path: file.path().to_owned(),
            position: found.start,
            reason: found.reason,
        };
        self.report(&error);
        Err(error)
    }
}

fn file_of<D: Disk>(partition: &Partition<D>, at: usize) -> Option<Incarnation> {
    let log = partition.log.borrow();
    log.segments.slots.get(at).map(|slot| slot.row.incarnation)
}

/// The largest timestamp of the open block's batches below `until`.
fn durable_max<D: Disk>(log: &mut Log<D>, until: Offset) -> Option<i64> {
    let mut max = None;
    log.open.walk(0, |header| {
        let is_durable = header.next() <= until;
        if is_durable {
            max = max.max(Some(header.max_timestamp));
        }
        !is_durable
    });
    max
}

fn find_in_memory<D: Disk>(
    log: &mut Log<D>,
    place: Place,
    timestamp_ms: i64,
    (start, is_match): (Offset, impl Fn(&BatchHeader) -> bool),
) -> Option<TimestampedOffset> {
    let block = log.block_mut(place)?;
    let entry = block
        .index
        .iter()
        .find(|entry| entry.max_timestamp >= timestamp_ms);
    let from = entry.map_or(0, |entry| entry.position as usize);
    let (position, header) = block.walk(from, is_match)?;
    let piece = block.pieces_from(position).next()?;
    Some(TimestampedOffset::of(
        &header,
        piece.slice(..header.size_bytes),
        start,
    ))
}

impl TimestampedOffset {
    /// The offset after the batch.
    #[must_use]
    pub fn next(&self) -> Offset {
        let header = BatchHeader::parse(&self.batch);
        header.map_or(self.offset.next(), |header| header.next())
    }

    fn of(header: &BatchHeader, batch: Bytes, start: Offset) -> TimestampedOffset {
        TimestampedOffset {
            offset: header.base.max(start),
            timestamp: header.max_timestamp,
            epoch: header.epoch,
            batch,
        }
    }
}
