//! Sorting a journal's fragments by partition, in the order of their frames (S14): batches into a
//! map by offset, where a copy replaces its originals and a truncation cuts; blocks that lie in
//! segments into another; and producers, epochs and Kafka segments as the batches come.

use super::{KnownTopics, RecoverError, RecoveryReport};
use crate::{
    batch::batches,
    hash::ChainHash,
    journal::{
        fragment::{BlockPlace, Fragment, Kind, PLACE_BYTES, Reader},
        frame::FrameView,
        row::{Delta, KafkaSegment, Row},
        switch::Switch,
    },
    types::{Offset, TopicPartition},
};
use bytes::Bytes;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::Path,
};

/// A run of batches from a frame.
#[derive(Clone, Debug)]
pub(super) struct Batches {
    pub next: Offset,
    pub chain_before: ChainHash,
    pub chain_after: ChainHash,
    pub bytes: Bytes,
}

/// A block that a frame names.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placed {
    pub next: Offset,
    pub chain_before: ChainHash,
    pub chain_after: ChainHash,
    pub place: BlockPlace,
    /// A frame says that it is flushed; else it is announced only (S5).
    pub is_flushed: bool,
    /// Wall clock of this start: when it was written nobody knows any more.
    pub read_ms: i64,
}

/// One partition as the frames have it.
#[derive(Debug, Default)]
pub(super) struct Partition {
    pub row: Row,
    pub batches: BTreeMap<Offset, Batches>,
    pub placed: BTreeMap<Offset, Placed>,
    pub rolls: BTreeSet<Offset>,
    /// The highest end that lost frames name (S19).
    pub lost_end: Offset,
    /// The highest durable end that a row tells, of whichever file: what recovery does not reach of
    /// it was acknowledged and is lost, though nothing that survives says how (S19).
    pub told_end: Offset,
    /// To here segments hold everything, by frames that follow one another from the row on.
    sealed: (Offset, ChainHash),
}

/// All partitions of a journal, being filled frame by frame.
pub(super) struct Replay<'a> {
    known: &'a KnownTopics,
    accept_loss: bool,
    now_ms: i64,
    /// Rows count only in the first file: later ones say what the frames between say too.
    is_in_head: bool,
    partitions: HashMap<TopicPartition, Partition>,
}

impl<'a> Replay<'a> {
    pub(super) fn new(known: &'a KnownTopics, accept_loss: bool, now_ms: i64) -> Replay<'a> {
        Replay {
            known,
            accept_loss,
            now_ms,
            is_in_head: true,
            partitions: HashMap::new(),
        }
    }

    pub(super) fn accepts_loss(&self) -> bool {
        self.accept_loss
    }

    /// What the tables of lost frames say: their offsets are never used again.
    pub(super) fn note_lost(&mut self, named: &[Fragment]) {
        for fragment in named {
            let tells_end = matches!(fragment.kind, Kind::Batches | Kind::Announced | Kind::Row);
            if tells_end && self.known.known.contains(&fragment.tp.topic) {
                let partition = self.partitions.entry(fragment.tp).or_default();
                partition.lost_end = partition.lost_end.max(fragment.next);
            }
        }
    }

    pub(super) fn frame(
        &mut self,
        (path, position): (&Path, u64),
        view: &FrameView<'_>,
        report: &mut RecoveryReport,
    ) -> Result<(), RecoverError> {
        let nonsense = |expected: &str, found: String| RecoverError::Nonsense {
            path: path.to_owned(),
            position,
            expected: expected.to_owned(),
            found,
        };
        let Some(fragments) = view.fragments() else {
            return Err(nonsense(
                "fragments",
                "lengths or kinds of another release".to_owned(),
            ));
        };
        for (fragment, payload) in fragments {
            let topic = fragment.tp.topic;
            match fragment.kind {
                Kind::RowsEnd => self.is_in_head = false,
                Kind::NextFile => {}
                Kind::Drop => self.partitions.retain(|tp, _| tp.topic != topic),
                _ if self.known.known.contains(&topic) => {
                    report.replayed_bytes += payload.len() as u64;
                    let applied = self.apply(&fragment, payload);
                    applied.ok_or_else(|| nonsense("a fragment", format!("{fragment:?}")))?;
                }
                _ if self.known.deleted.contains(&topic) || self.accept_loss => {}
                _ => {
                    let path = path.to_owned();
                    return Err(RecoverError::UnknownTopic {
                        path,
                        position,
                        topic,
                    });
                }
            }
        }
        Ok(())
    }

    fn apply(&mut self, fragment: &Fragment, payload: &[u8]) -> Option<()> {
        let partition = self.partitions.entry(fragment.tp).or_default();
        if fragment.kind == Kind::Row {
            partition.told_end = partition.told_end.max(fragment.next);
        }
        match fragment.kind {
            Kind::Row if self.is_in_head => Row::decode(payload).map(|row| {
                partition.rolls.extend(&row.rolls);
                partition.sealed = row.begins();
                partition.row = row;
            }),
            Kind::Batches | Kind::Copy => {
                partition.take_batches(fragment, payload, self.now_ms);
                Some(())
            }
            Kind::Sealed | Kind::Announced | Kind::Confirmed => {
                partition.take_block(fragment, payload, self.now_ms)
            }
            Kind::Roll => {
                partition.roll(fragment.base, self.now_ms);
                Some(())
            }
            Kind::Start => {
                partition.row.start = fragment.base;
                partition.row.boundary = (fragment.next, fragment.chain_after);
                Some(())
            }
            Kind::Truncate => {
                partition.truncate(fragment.next, fragment.chain_after);
                Some(())
            }
            Kind::Switch => Switch::decode(fragment, payload).map(|s| partition.switch(&s)),
            Kind::Row | Kind::Drop | Kind::RowsEnd | Kind::NextFile => Some(()),
        }
    }

    /// The partitions in an order that does not depend on the map's.
    pub(super) fn partitions(self) -> Vec<(TopicPartition, Partition)> {
        let mut all: Vec<_> = self.partitions.into_iter().collect();
        all.sort_unstable_by_key(|(tp, _)| *tp);
        all
    }
}

impl Partition {
    fn take_batches(&mut self, fragment: &Fragment, bytes: &[u8], now_ms: i64) {
        // A copy is empty when its block left for a segment in the same frame, ahead of a direct
        // write. It lies where that one ends, and must not make a gap of one that is cut.
        if bytes.is_empty() {
            return;
        }
        for (header, _) in batches(bytes) {
            // The row's tables are ahead of its frame, and a copy comes a second time.
            if header.base >= self.row.noted_end {
                self.row.epochs.note(header.epoch, header.base);
                if header.is_idempotent() {
                    self.row.producers.note(&header, now_ms);
                }
                self.row.noted_end = header.next();
                self.row.appended_ms = now_ms;
            }
            let (bytes, timestamp) = (header.size_bytes as u64, header.max_timestamp);
            self.count((header.base, header.next()), bytes, timestamp);
        }
        let Fragment {
            base,
            next,
            chain_before,
            chain_after,
            ..
        } = *fragment;
        let covered = self
            .batches
            .range(base..next)
            .filter(|(_, b)| b.next <= next);
        let covered: Vec<Offset> = covered.map(|(base, _)| *base).collect();
        covered
            .iter()
            .for_each(|base| drop(self.batches.remove(base)));
        if next <= self.sealed.0 {
            return;
        }
        // Copied: a slice would keep the whole of what was read with it.
        let bytes = Bytes::copy_from_slice(bytes);
        self.batches.insert(
            base,
            Batches {
                next,
                chain_before,
                chain_after,
                bytes,
            },
        );
    }

    /// Forgets the batches that segments hold from the row's end on without a break: the walk steps
    /// over their blocks unread. So a start holds no more of a partition than the process that
    /// stopped did, whatever its journals do.
    fn forget_sealed(&mut self) {
        let follows = |sealed: &(Offset, ChainHash), placed: &&Placed| {
            placed.is_flushed && placed.chain_before == sealed.1 && placed.next > sealed.0
        };
        while let Some(placed) = self.placed.get(&self.sealed.0) {
            if !follows(&self.sealed, &placed) {
                break;
            }
            self.sealed = (placed.next, placed.chain_after);
        }
        while let Some(first) = self.batches.first_entry() {
            if first.get().next > self.sealed.0 {
                break;
            }
            first.remove();
        }
    }

    fn take_block(&mut self, fragment: &Fragment, payload: &[u8], now_ms: i64) -> Option<()> {
        let (place_bytes, rest) = payload.split_at_checked(PLACE_BYTES)?;
        let place = BlockPlace::decode(&mut Reader(place_bytes))?;
        if fragment.kind == Kind::Announced {
            let delta = Delta::decode(&mut Reader(rest))?;
            self.take_delta(&delta, fragment.next, now_ms);
            let (bytes, timestamp) = (u64::from(place.payload_bytes), place.max_timestamp);
            self.count((fragment.base, fragment.next), bytes, timestamp);
        }
        let Fragment {
            base,
            next,
            chain_before,
            chain_after,
            ..
        } = *fragment;
        let is_flushed = fragment.kind != Kind::Announced;
        let placed = Placed {
            next,
            chain_before,
            chain_after,
            place,
            is_flushed,
            read_ms: now_ms,
        };
        self.placed.insert(base, placed);
        self.forget_sealed();
        Some(())
    }

    fn take_delta(&mut self, delta: &Delta, next: Offset, now_ms: i64) {
        for (epoch, base) in delta.epochs.entries() {
            self.row.epochs.note(*epoch, *base);
        }
        for (id, producer) in delta.producers.iter() {
            for sent in producer
                .sent()
                .filter(|sent| sent.base >= self.row.noted_end)
            {
                self.row
                    .producers
                    .note_sent(id, producer.epoch, producer.seen_ms, sent);
            }
        }
        if self.row.noted_end < next {
            self.row.noted_end = next;
            self.row.appended_ms = now_ms;
        }
    }

    fn count(&mut self, (base, next): (Offset, Offset), bytes: u64, max_timestamp: i64) {
        if base >= self.row.counted_end {
            self.row.segment.count(bytes, max_timestamp);
            self.row.counted_end = next;
        }
    }

    fn roll(&mut self, base: Offset, now_ms: i64) {
        self.rolls.insert(base);
        if base >= self.row.counted_end {
            self.row.segment = KafkaSegment::new(base, now_ms);
        }
    }

    /// Takes a compacted generation: what frames say of offsets below its end is of files that are
    /// gone, or about to be (S16).
    fn switch(&mut self, switch: &Switch) {
        let end = switch.end.0;
        self.batches.retain(|_, batches| batches.next > end);
        self.placed.retain(|_, placed| placed.next > end);
        switch.apply(&mut self.row);
        if self.sealed.0 < end {
            self.sealed = switch.end;
            self.forget_sealed();
        }
    }

    /// Forgets everything from `end` on; the chain there is `chain`. No release writes such a frame
    /// yet: one that does must not cut what a seal before it let this replay forget.
    fn truncate(&mut self, end: Offset, chain: ChainHash) {
        self.row.epochs.truncate(end);
        self.row.producers.truncate(end);
        self.row.noted_end = self.row.noted_end.min(end);
        self.row.counted_end = self.row.counted_end.min(end);
        self.rolls.retain(|base| *base < end);
        self.batches.retain(|base, _| *base < end);
        if let Some((_, last)) = self.batches.iter_mut().next_back()
            && last.next > end
        {
            let kept: usize = batches(&last.bytes)
                .take_while(|(header, _)| header.next() <= end)
                .map(|(header, _)| header.size_bytes)
                .sum();
            last.bytes.truncate(kept);
            (last.next, last.chain_after) = (end, chain);
        }
        self.placed.retain(|_, placed| placed.next <= end);
        if self.row.flushed.0 > end {
            self.row.flushed = (end, chain);
            self.row.files.retain(|file| file.first < end);
            if let Some(last) = self.row.files.last_mut() {
                last.next = last.next.min(end);
            }
        }
    }
}
