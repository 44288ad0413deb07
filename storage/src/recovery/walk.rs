//! Walking one partition's map from its row's end: every step must link to the one before by its
//! chain hash; a gap is corruption (S14). What segments hold is stepped over unread (S15, S20); an
//! announced block that no frame confirms is read and verified, and adopted or cut there.

use super::{
    LostRange, LostRanges, RecoverError, RecoveryReport,
    replay::{Batches, Partition, Placed},
};
use crate::{
    batch::batches,
    disk::Disk,
    hash::ChainHash,
    journal::row::{FileRow, KafkaSegment, Row, UnreadableRange},
    segment::{BlockEntry, SegmentError, SegmentFile, partition_dir},
    types::{LeaderEpoch, Offset, Position, TopicPartition},
};
use bytes::{Bytes, BytesMut};
use std::path::Path;

/// Batches that no segment holds, contiguous.
#[derive(Debug)]
pub(super) struct Tail {
    pub base: Offset,
    pub chain: ChainHash,
    pub bytes: Bytes,
}

/// A partition as it will go on.
#[derive(Debug)]
pub(super) struct Walked {
    pub tp: TopicPartition,
    /// Its flushed end is where `tails` begin.
    pub row: Row,
    /// One, or more with unreadable ranges between them.
    pub tails: Vec<Tail>,
    /// The last tail reaches the end; else the log ends in an unreadable range.
    pub is_tail_last: bool,
    pub end: (Offset, ChainHash),
}

struct Walker<'a, D: Disk> {
    disk: &'a D,
    data: &'a Path,
    tp: TopicPartition,
    accept_loss: bool,
    partition: Partition,
    /// Where the walk is, and the chain there.
    at: (Offset, ChainHash),
    tails: Vec<Tail>,
    growing: BytesMut,
    growing_from: (Offset, ChainHash),
}

enum Step {
    Walked,
    /// A block that was announced, is not confirmed, and does not verify.
    Cut,
    End,
}

pub(super) async fn walk<D: Disk>(
    disk: &D,
    data: &Path,
    tp: TopicPartition,
    partition: Partition,
    accept_loss: bool,
    report: &mut RecoveryReport,
) -> Result<Walked, RecoverError> {
    let at = partition.row.begins();
    let (tails, growing) = (Vec::new(), BytesMut::new());
    let mut walker = Walker {
        disk,
        data,
        tp,
        accept_loss,
        partition,
        at,
        tails,
        growing,
        growing_from: at,
    };
    walker.partition.row.flushed = at;
    loop {
        match walker.step(report).await? {
            Step::Walked => {}
            Step::Cut => {
                report.cut_blocks += 1;
                walker.partition.placed.remove(&walker.at.0);
            }
            Step::End => match walker.next_beyond() {
                None => break,
                Some((found, _)) if !accept_loss => return Err(walker.gap(found)),
                Some(beyond) => walker.skip_to(beyond, report),
            },
        }
    }
    walker.check_end()?;
    Ok(walker.finish(report))
}

impl<D: Disk> Walker<'_, D> {
    async fn step(&mut self, report: &mut RecoveryReport) -> Result<Step, RecoverError> {
        let (offset, chain) = self.at;
        let placed = self.partition.placed.get(&offset).copied();
        if let Some(placed) = placed.filter(|placed| placed.is_flushed && self.growing.is_empty()) {
            if placed.chain_before != chain {
                return Err(self.broken(placed.chain_before));
            }
            self.note_placed(offset, &placed);
            self.at = (placed.next, placed.chain_after);
            self.partition.row.flushed = self.at;
            self.growing_from = self.at;
            return Ok(Step::Walked);
        }
        if let Some(found) = self.batches_at(offset) {
            self.link(&found)?;
            return Ok(Step::Walked);
        }
        let Some(placed) = placed else {
            return Ok(Step::End);
        };
        let Some(bytes) = self.verified(offset, &placed).await? else {
            if placed.is_flushed {
                return Err(self.broken(placed.chain_before));
            }
            return Ok(Step::Cut);
        };
        report.adopted_blocks += 1;
        let Placed {
            next,
            chain_before,
            chain_after,
            ..
        } = placed;
        self.link(&Batches {
            next,
            chain_before,
            chain_after,
            bytes,
        })?;
        Ok(Step::Walked)
    }

    /// The batches from `offset` on, cut free from what comes before in the same fragment.
    fn batches_at(&self, offset: Offset) -> Option<Batches> {
        let (base, found) = self.partition.batches.range(..=offset).next_back()?;
        if found.next <= offset {
            return None;
        }
        if *base == offset {
            return Some(found.clone());
        }
        let mut chain_before = found.chain_before;
        let mut skipped = 0;
        for (header, batch) in batches(&found.bytes).take_while(|(h, _)| h.next() <= offset) {
            chain_before = chain_before.then(batch);
            skipped += header.size_bytes;
        }
        let bytes = found.bytes.slice(skipped..);
        Some(Batches {
            chain_before,
            bytes,
            ..found.clone()
        })
    }

    /// Adds batches that must link to what came before, batch by batch.
    fn link(&mut self, found: &Batches) -> Result<(), RecoverError> {
        if found.chain_before != self.at.1 {
            return Err(self.broken(found.chain_before));
        }
        let (mut next, mut chain, mut bytes) = (self.at.0, self.at.1, 0);
        for (header, batch) in batches(&found.bytes) {
            if header.base != next {
                return Err(self.gap(header.base));
            }
            (next, chain) = (header.next(), chain.then(batch));
            bytes += header.size_bytes;
        }
        if (next, chain, bytes) != (found.next, found.chain_after, found.bytes.len()) {
            return Err(self.broken(chain));
        }
        self.growing.extend_from_slice(&found.bytes);
        self.at = (next, chain);
        Ok(())
    }

    /// An announced block's batches, if the block is whole and what was announced (S15). Its file
    /// was there, whole and named, before it was announced: one that is not, or cannot be read, is
    /// no torn write, and to cut there would lose what was acknowledged.
    async fn verified(&self, base: Offset, placed: &Placed) -> Result<Option<Bytes>, RecoverError> {
        match self.announced(base, placed).await {
            Ok(bytes) => Ok(bytes),
            Err(SegmentError::Block { .. } | SegmentError::Misplaced { .. }) => Ok(None),
            Err(_) if self.accept_loss => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn announced(
        &self,
        base: Offset,
        placed: &Placed,
    ) -> Result<Option<Bytes>, SegmentError> {
        let place = placed.place;
        let name = place.segment.to_string();
        let path = partition_dir(self.data, self.tp).join(name);
        let start = Some(Position(crate::disk::PAGE as u64));
        let file = SegmentFile::open(self.disk, &path, place.incarnation, self.tp, start).await?;
        let entry = BlockEntry {
            position: place.position,
            len: place.block_bytes,
            base,
            next: placed.next,
            max_timestamp: place.max_timestamp,
            epoch: LeaderEpoch(-1),
            chain_after: placed.chain_after,
        };
        // Its bytes may have reached the disk's cache only; what is adopted must be durable. They
        // are written again to the fresh set, and still: a repeated start must find the same.
        let position = place.position;
        let failed = |error| SegmentError::Io {
            path,
            position,
            error,
        };
        self.disk.sync(file.file()).await.map_err(failed)?;
        let block = file.read_block(entry).await?;
        let is_same = block.view().is_ok_and(|view| {
            let chain = (placed.chain_before, placed.chain_after);
            view.tp() == self.tp && view.next() == placed.next && view.chain() == chain
        });
        Ok(is_same.then(|| block.payload()))
    }

    fn note_placed(&mut self, base: Offset, placed: &Placed) {
        let place = placed.place;
        let files = &mut self.partition.row.files;
        let is_known = files
            .last()
            .is_some_and(|file| file.incarnation == place.incarnation);
        if !is_known {
            files.push(FileRow {
                name: place.segment,
                incarnation: place.incarnation,
                file_bytes: place.file_bytes,
                first: base,
                next: base,
                end: place.position,
                max_timestamp: -1,
                batch_bytes: 0,
                written_ms: placed.read_ms,
            });
        }
        if let Some(file) = files.last_mut() {
            file.next = placed.next;
            file.end = Position(place.position.0 + u64::from(place.block_bytes));
            file.max_timestamp = file.max_timestamp.max(place.max_timestamp);
            file.batch_bytes += u64::from(place.payload_bytes);
            file.written_ms = placed.read_ms;
        }
    }

    /// What the journal has beyond where the walk ended: nothing, unless something is missing.
    fn next_beyond(&self) -> Option<(Offset, ChainHash)> {
        let after = self.at.0.next()..;
        let batches = self.partition.batches.range(after.clone());
        let batches = batches
            .map(|(base, found)| (*base, found.chain_before))
            .next();
        let flushed = self
            .partition
            .placed
            .range(after)
            .filter(|(_, placed)| placed.is_flushed);
        let flushed = flushed
            .map(|(base, placed)| (*base, placed.chain_before))
            .next();
        [batches, flushed]
            .into_iter()
            .flatten()
            .min_by_key(|(base, _)| *base)
    }

    /// Goes on behind lost records, by the operator's leave (S19).
    fn skip_to(&mut self, to: (Offset, ChainHash), report: &mut RecoveryReport) {
        self.end_tail();
        let range = UnreadableRange {
            base: self.at.0,
            next: to.0,
        };
        // Behind what an earlier start gave up it is the same hole to whoever reads around it.
        match self.partition.row.unreadable.last_mut() {
            Some(last) if last.next == range.base => last.next = range.next,
            _ => self.partition.row.unreadable.push(range),
        }
        report.unreadable.push(LostRange { tp: self.tp, range });
        self.at = to;
        self.growing_from = to;
        if self.tails.is_empty() {
            self.partition.row.flushed = to;
        }
    }

    fn end_tail(&mut self) {
        if !self.growing.is_empty() {
            let (base, chain) = self.growing_from;
            let bytes = self.growing.split().freeze();
            self.tails.push(Tail { base, chain, bytes });
        }
    }

    /// A log that ends before what a row called its durable end has lost its newest records, and
    /// nothing else tells (S19).
    fn check_end(&self) -> Result<(), RecoverError> {
        let (found, told) = (self.at.0, self.partition.told_end);
        if found >= told || self.accept_loss {
            return Ok(());
        }
        let (tp, lost) = (self.tp, LostRanges::default());
        Err(RecoverError::EndsEarly {
            tp,
            found,
            told,
            lost,
        })
    }

    fn finish(mut self, report: &mut RecoveryReport) -> Walked {
        let lost_end = self.partition.lost_end.max(self.partition.told_end);
        if lost_end > self.at.0 {
            // Its offsets are never used again; the chain goes on from where it broke.
            self.skip_to((lost_end, self.at.1), report);
        }
        let is_tail_last = !self.growing.is_empty();
        self.end_tail();
        let end = self.at;
        let Partition { mut row, rolls, .. } = self.partition;
        row.epochs.truncate(end.0);
        row.producers.truncate(end.0);
        // Files below the start went when it was durable, the last one perhaps too (S6). Where it
        // did not it goes now: no name is in use before the sweep.
        let below = row.files.partition_point(|file| file.next <= row.start);
        row.files.drain(..below);
        (row.noted_end, row.counted_end) = (end.0, end.0);
        row.rolls = rolls.into_iter().filter(|base| *base <= end.0).collect();
        if row.segment.base > end.0 {
            let base = row.rolls.last().copied().unwrap_or(end.0);
            row.segment = KafkaSegment::new(base, row.segment.opened_ms);
        }
        Walked {
            tp: self.tp,
            row,
            tails: self.tails,
            is_tail_last,
            end,
        }
    }

    fn gap(&self, found: Offset) -> RecoverError {
        let (expected, chain) = self.at;
        let found = format!("offset {found}");
        RecoverError::Gap {
            tp: self.tp,
            expected,
            chain,
            found,
            lost: LostRanges::default(),
        }
    }

    fn broken(&self, found: ChainHash) -> RecoverError {
        let (expected, chain) = self.at;
        let found = format!("that offset with chain {found}");
        RecoverError::Gap {
            tp: self.tp,
            expected,
            chain,
            found,
            lost: LostRanges::default(),
        }
    }
}
