//! Idempotent producers of one partition (KIP-98): the last five batches of each, so that a batch
//! sent again is answered with its first offset, and a gap is refused.

use crate::{
    batch::{BatchHeader, advance_sequence},
    types::{Offset, ProducerEpoch, ProducerId},
};
use std::collections::{BTreeMap, VecDeque};

/// How many batches of a producer are remembered: what Kafka's clients may have in flight with
/// idempotence on (`max.in.flight.requests.per.connection` <= 5), so an unanswered one is always
/// among them. That also holds after a cut at recovery: what was cut was never answered.
pub const WINDOW: usize = 5;

/// Producers of a partition that are remembered at most; a store with small journal files remembers
/// fewer. Kafka remembers all for a day, in memory that nothing bounds, and every row of the
/// journal repeats them (S8): a million would be two hundred MiB for each of its files. One that
/// has not been seen for long makes room for a newcomer, as if it had expired: what it sends next
/// is accepted whatever its sequence is (KIP-360), and only a batch that it sends again after so
/// many others came is stored twice.
pub const PRODUCERS_MAX: usize = 20_000;

/// One remembered batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sent {
    /// Sequence of its first record.
    pub first_sequence: i32,
    /// Sequence of its last record.
    pub last_sequence: i32,
    /// Offset of its first record.
    pub base: Offset,
    /// Offset of its last record.
    pub last: Offset,
    /// Its max timestamp as stored: the append time where the topic has it.
    pub timestamp: i64,
}

/// One producer's state.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Producer {
    /// Its epoch.
    pub epoch: ProducerEpoch,
    /// Wall clock of its last append, for expiry.
    pub seen_ms: i64,
    sent: [Option<Sent>; WINDOW],
}

/// What a batch's sequence means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// New: append it.
    Fresh,
    /// Appended before, as this.
    Duplicate(Sent),
}

/// Why a batch is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SequenceError {
    /// Kafka's error 45.
    #[error(
        "producer {producer} (epoch {epoch}) sent sequence {found}, expected {expected}: a batch \
         before it is missing; the client must stop and start again with a new producer id"
    )]
    OutOfOrder {
        /// The producer.
        producer: ProducerId,
        /// Its epoch in the batch.
        epoch: ProducerEpoch,
        /// What should have come.
        expected: i32,
        /// What came.
        found: i32,
    },
    /// Kafka's error 47.
    #[error("producer {producer} sent epoch {found}, but {current} has been seen: it is fenced")]
    StaleEpoch {
        /// The producer.
        producer: ProducerId,
        /// The epoch that rules.
        current: ProducerEpoch,
        /// The epoch in the batch.
        found: ProducerEpoch,
    },
}

/// The producers of one partition.
#[derive(Clone, Debug)]
pub struct ProducerTable {
    /// In order: what is written must not depend on where a hash happens to put a producer.
    producers: BTreeMap<ProducerId, Producer>,
    /// All of them, in the order in which expiry looks at them, with when they were seen then.
    round: VecDeque<(ProducerId, i64)>,
    limit: usize,
}

impl Default for ProducerTable {
    fn default() -> ProducerTable {
        ProducerTable {
            producers: BTreeMap::new(),
            round: VecDeque::new(),
            limit: PRODUCERS_MAX,
        }
    }
}

impl PartialEq for ProducerTable {
    /// In whichever order expiry would look at them.
    fn eq(&self, other: &ProducerTable) -> bool {
        self.producers == other.producers
    }
}

impl Eq for ProducerTable {}

impl ProducerTable {
    /// Judges a batch by its sequence. Without state any first sequence is accepted (KIP-360): the
    /// state may have expired.
    pub fn check(&self, batch: &BatchHeader) -> Result<Verdict, SequenceError> {
        let Some(known) = self.producers.get(&batch.producer) else {
            return Ok(Verdict::Fresh);
        };
        if batch.producer_epoch < known.epoch {
            return Err(SequenceError::StaleEpoch {
                producer: batch.producer,
                current: known.epoch,
                found: batch.producer_epoch,
            });
        }
        let out_of_order = |expected| SequenceError::OutOfOrder {
            producer: batch.producer,
            epoch: batch.producer_epoch,
            expected,
            found: batch.first_sequence,
        };
        if batch.producer_epoch > known.epoch {
            return match batch.first_sequence {
                0 => Ok(Verdict::Fresh),
                _ => Err(out_of_order(0)),
            };
        }
        if let Some(sent) = known.find(batch.first_sequence, batch.last_sequence()) {
            return Ok(Verdict::Duplicate(sent));
        }
        match known.newest() {
            Some(sent) if advance_sequence(sent.last_sequence, 1) != batch.first_sequence => {
                Err(out_of_order(advance_sequence(sent.last_sequence, 1)))
            }
            _ => Ok(Verdict::Fresh),
        }
    }

    /// Remembers a stored batch.
    pub fn note(&mut self, batch: &BatchHeader, seen_ms: i64) {
        let sent = Sent {
            first_sequence: batch.first_sequence,
            last_sequence: batch.last_sequence(),
            base: batch.base,
            last: batch.last(),
            timestamp: batch.max_timestamp,
        };
        self.note_sent(batch.producer, batch.producer_epoch, seen_ms, sent);
    }

    /// Remembers a batch known from a row or an announcement.
    pub fn note_sent(&mut self, id: ProducerId, epoch: ProducerEpoch, seen_ms: i64, sent: Sent) {
        if self.producers.len() >= self.limit && !self.producers.contains_key(&id) {
            // Before it comes: it was seen last of all, whatever has become of the others.
            self.forget_down_to(self.limit.saturating_sub(1));
        }
        let round = &mut self.round;
        let known = self.producers.entry(id).or_insert_with(|| {
            round.push_back((id, seen_ms));
            Producer {
                epoch,
                seen_ms,
                sent: [None; WINDOW],
            }
        });
        if known.epoch != epoch {
            *known = Producer {
                epoch,
                seen_ms,
                sent: [None; WINDOW],
            };
        }
        known.seen_ms = seen_ms;
        known.sent.rotate_left(1);
        known.sent[WINDOW - 1] = Some(sent);
    }

    /// An empty table with another limit.
    #[must_use]
    pub fn with_limit(limit: usize) -> ProducerTable {
        ProducerTable {
            limit,
            ..ProducerTable::default()
        }
    }

    /// Remembers no more than `limit` from now on.
    pub fn bound(&mut self, limit: usize) {
        self.limit = limit;
        // A row has them by their ids.
        let producers = &self.producers;
        for (id, seen_ms) in &mut self.round {
            *seen_ms = producers.get(id).map_or(0, |known| known.seen_ms);
        }
        let round = self.round.make_contiguous();
        round.sort_by_key(|(_, seen_ms)| *seen_ms);
        self.forget_down_to(limit);
    }

    /// Forgets those not seen for longest, by second chance: one that was seen since it was looked
    /// at goes round once more. So an append moves nothing in any order.
    fn forget_down_to(&mut self, count: usize) {
        while self.producers.len() > count {
            let Some((id, looked_ms)) = self.round.pop_front() else {
                return;
            };
            match self.producers.get(&id) {
                Some(known) if known.seen_ms > looked_ms => {
                    self.round.push_back((id, known.seen_ms));
                }
                _ => drop(self.producers.remove(&id)),
            }
        }
    }

    /// Forgets batches at or after `end`: the log was cut there. A producer without any left is
    /// forgotten, so whatever it sends next is accepted.
    pub fn truncate(&mut self, end: Offset) {
        for producer in self.producers.values_mut() {
            let kept = producer
                .sent
                .iter()
                .flatten()
                .filter(|s| s.base < end)
                .copied();
            let kept: Vec<Sent> = kept.collect();
            producer.sent = [None; WINDOW];
            for (slot, sent) in producer.sent.iter_mut().rev().zip(kept.into_iter().rev()) {
                *slot = Some(sent);
            }
        }
        self.producers
            .retain(|_, producer| producer.newest().is_some());
        let producers = &self.producers;
        self.round.retain(|(id, _)| producers.contains_key(id));
    }

    /// Looks at the next `count` producers in turn, and forgets those not seen since `before_ms`.
    pub fn expire(&mut self, before_ms: i64, count: usize) {
        for _ in 0..count.min(self.round.len()) {
            let Some((id, looked_ms)) = self.round.pop_front() else {
                return;
            };
            let is_gone = |producer: &Producer| producer.seen_ms < before_ms;
            if self.producers.get(&id).is_some_and(is_gone) {
                self.producers.remove(&id);
            } else {
                self.round.push_back((id, looked_ms));
            }
        }
    }

    /// How many producers are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.producers.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.producers.is_empty()
    }

    /// All producers, by id.
    pub fn iter(&self) -> impl Iterator<Item = (ProducerId, &Producer)> {
        self.producers.iter().map(|(id, producer)| (*id, producer))
    }
}

impl Producer {
    /// The remembered batches, oldest first.
    pub fn sent(&self) -> impl Iterator<Item = Sent> + '_ {
        self.sent.iter().flatten().copied()
    }

    fn newest(&self) -> Option<Sent> {
        self.sent[WINDOW - 1]
    }

    fn find(&self, first: i32, last: i32) -> Option<Sent> {
        self.sent()
            .find(|s| s.first_sequence == first && s.last_sequence == last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::LeaderEpoch;

    fn batch(epoch: i16, sequence: i32, base: i64, count: i32) -> BatchHeader {
        BatchHeader {
            base: Offset(base),
            size_bytes: 100,
            epoch: LeaderEpoch(0),
            attributes: 0,
            last_delta: count - 1,
            max_timestamp: 0,
            producer: ProducerId(7),
            producer_epoch: ProducerEpoch(epoch),
            first_sequence: sequence,
        }
    }

    fn table_of(count: i32) -> ProducerTable {
        let mut table = ProducerTable::default();
        for n in 0..count {
            table.note(&batch(0, n, i64::from(n), 1), 0);
        }
        table
    }

    #[test]
    fn duplicate_among_the_last_five_gives_its_first_offset() {
        let verdict = table_of(7).check(&batch(0, 2, 99, 1));
        assert!(matches!(verdict, Ok(Verdict::Duplicate(sent)) if sent.base == Offset(2)));
        let verdict = table_of(7).check(&batch(0, 1, 99, 1));
        assert!(matches!(
            verdict,
            Err(SequenceError::OutOfOrder { expected: 7, .. })
        ));
    }

    #[test]
    fn gap_is_refused_and_the_end_wraps() {
        assert!(table_of(3).check(&batch(0, 4, 9, 1)).is_err());
        let mut table = ProducerTable::default();
        table.note(&batch(0, i32::MAX - 1, 0, 2), 0);
        assert_eq!(table.check(&batch(0, 0, 2, 1)), Ok(Verdict::Fresh));
    }

    #[test]
    fn old_epoch_is_fenced_and_a_new_one_begins_at_zero() {
        let mut table = ProducerTable::default();
        table.note(&batch(3, 10, 0, 1), 0);
        let stale = table.check(&batch(2, 11, 1, 1));
        assert!(matches!(stale, Err(SequenceError::StaleEpoch { .. })));
        assert!(table.check(&batch(4, 5, 1, 1)).is_err());
        assert_eq!(table.check(&batch(4, 0, 1, 1)), Ok(Verdict::Fresh));
    }

    #[test]
    fn expiry_goes_round_in_steps() {
        let mut table = ProducerTable::default();
        for id in 0..10 {
            let batch = BatchHeader {
                producer: ProducerId(id),
                ..batch(0, 0, id, 1)
            };
            table.note(&batch, id);
        }
        let left = |table: &ProducerTable| {
            let mut ids: Vec<_> = table.iter().map(|(id, _)| id.0).collect();
            ids.sort_unstable();
            ids
        };
        table.expire(5, 3);
        assert_eq!(left(&table), [3, 4, 5, 6, 7, 8, 9]);
        table.expire(5, 3);
        assert_eq!(left(&table), [5, 6, 7, 8, 9]);
        table.expire(8, 100);
        assert_eq!(left(&table), [8, 9]);
        let again = BatchHeader {
            producer: ProducerId(3),
            ..batch(0, 77, 10, 1)
        };
        assert_eq!(table.check(&again), Ok(Verdict::Fresh), "its state is gone");
    }

    fn seen(table: &mut ProducerTable, id: i64, sequence: i32, ms: i64) {
        let batch = BatchHeader {
            producer: ProducerId(id),
            ..batch(0, sequence, ms, 1)
        };
        table.note(&batch, ms);
    }

    fn ids(table: &ProducerTable) -> Vec<i64> {
        table.iter().map(|(id, _)| id.0).collect()
    }

    #[test]
    fn the_one_not_seen_for_longest_makes_room() {
        let mut table = ProducerTable::with_limit(3);
        for id in 0..3 {
            seen(&mut table, id, 0, id);
        }
        seen(&mut table, 0, 1, 10);
        seen(&mut table, 3, 0, 11);
        assert_eq!(ids(&table), [0, 2, 3]);
        table.bound(1);
        assert_eq!(ids(&table), [3]);
    }

    /// It went itself, in the call that noted its batch, if all others had been seen once more.
    #[test]
    fn a_newcomer_is_remembered_among_busy_producers() {
        let mut table = ProducerTable::with_limit(3);
        for ms in [0, 10] {
            for id in 0..3 {
                seen(&mut table, id, ms as i32 / 10, ms + id);
            }
        }
        seen(&mut table, 3, 0, 20);
        assert_eq!(ids(&table), [1, 2, 3]);
    }

    /// A table that is just full came back in the order of its ids.
    #[test]
    fn a_full_table_forgets_the_oldest_after_a_start_too() {
        let mut table = ProducerTable::with_limit(usize::MAX);
        for (id, ms) in [(0, 30), (1, 10), (2, 20)] {
            seen(&mut table, id, 0, ms);
        }
        let rows: Vec<(ProducerId, Producer)> = table
            .iter()
            .map(|(id, known)| (id, known.clone()))
            .collect();
        let mut again = ProducerTable::with_limit(usize::MAX);
        for (id, known) in rows {
            let sent = known.newest().unwrap();
            again.note_sent(id, known.epoch, known.seen_ms, sent);
        }
        again.bound(3);
        seen(&mut again, 3, 0, 40);
        assert_eq!(ids(&again), [0, 2, 3]);
    }

    #[test]
    fn a_cut_forgets_what_it_cut() {
        let mut table = table_of(6);
        table.truncate(Offset(4));
        assert_eq!(table.check(&batch(0, 4, 4, 1)), Ok(Verdict::Fresh));
        assert!(matches!(
            table.check(&batch(0, 3, 4, 1)),
            Ok(Verdict::Duplicate(_))
        ));
        table.truncate(Offset(0));
        assert!(table.is_empty());
    }
}
