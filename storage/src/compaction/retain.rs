//! Which batches and records stay: Kafka's rules, as its cleaner has them.
//!
//! A record stays if it is its key's newest, and if it is no tombstone whose time has come. A
//! tombstone's time begins when it becomes clean: then its batch is given a delete horizon. A batch
//! that lost all records goes, but for two kinds, whose header stays: the last of a producer that
//! is still active, for its sequence, and the last of the round, so that the log's end is not lost.

use super::{
    keys::KeyMap,
    plan::{LastOfProducer, Plan},
    records::{Records, UnreadableBatch},
    transactions::{Fate, Markers, Ongoing, marker_of},
};
use crate::{
    batch::{BatchHeader, delete_horizon_ms, emptied, record_count},
    types::{Offset, ProducerId},
};
use bytes::Bytes;
use std::collections::HashMap;

/// What the first pass found out.
pub(super) struct Known {
    pub keys: KeyMap,
    /// The last offset whose keys are in `keys`: what comes after stays as it is.
    pub latest: Offset,
    pub markers: Markers,
}

/// Decides batch after batch.
pub(super) struct Filter {
    known: Known,
    ongoing: Ongoing,
    producers: HashMap<ProducerId, LastOfProducer>,
    clean_end: Offset,
    /// Where the rewritten part ends.
    end: Offset,
    now_ms: i64,
    horizon_ms: i64,
    keep: Vec<bool>,
    pub records_removed: u64,
}

/// What is known of a batch before its records are looked at.
struct Verdict {
    /// All of its records go.
    discards: bool,
    /// It is a marker whose transaction has nothing left.
    is_spent_marker: bool,
    /// Its header stays if its records go.
    keeps_header: bool,
}

impl Filter {
    pub(super) fn new(plan: &Plan, known: Known, end: Offset) -> Filter {
        let producers = plan.producers.iter().map(|last| (last.producer, *last));
        Filter {
            known,
            ongoing: Ongoing::default(),
            producers: producers.collect(),
            clean_end: plan.clean_end,
            end,
            now_ms: plan.now_ms,
            horizon_ms: plan.now_ms.saturating_add(plan.delete_retention_ms),
            keep: Vec::new(),
            records_removed: 0,
        }
    }

    /// Where the rewritten part ends.
    pub(super) fn end(&self) -> Offset {
        self.end
    }

    /// Up to where the log is clean with this.
    pub(super) fn clean_to(&self) -> Offset {
        self.known.latest.next()
    }

    /// What of the batch is written; nothing if it goes.
    pub(super) fn apply(
        &mut self,
        header: &BatchHeader,
        batch: &Bytes,
        records: &dyn Records,
    ) -> Result<Option<Bytes>, UnreadableBatch> {
        let verdict = self.judge(header, batch, records)?;
        let horizon = delete_horizon_ms(batch);
        let mut tombstones = false;
        self.keep.clear();
        if verdict.discards {
            self.records_removed += u64::from(record_count(batch));
        } else {
            tombstones = self.look(header, batch, horizon, records)?;
        }
        if !self.keep.contains(&true) {
            return Ok(verdict.keeps_header.then(|| emptied(batch)));
        }
        let wants_horizon = (tombstones || verdict.is_spent_marker) && horizon.is_none();
        if !wants_horizon && !self.keep.contains(&false) {
            return Ok(Some(batch.clone()));
        }
        let horizon = wants_horizon.then_some(self.horizon_ms);
        records.filter(batch, &self.keep, horizon).map(Some)
    }

    fn judge(
        &mut self,
        header: &BatchHeader,
        batch: &Bytes,
        records: &dyn Records,
    ) -> Result<Verdict, UnreadableBatch> {
        let has_passed = |horizon: Option<i64>| horizon.is_some_and(|ms| ms <= self.now_ms);
        let (discards, is_spent_marker) = if header.is_control() {
            let is_due = has_passed(delete_horizon_ms(batch));
            let (fate, is_empty) = (marker(batch, records)?, record_count(batch) == 0);
            let is_spent = self.ongoing.marker(header, fate, is_empty);
            (is_spent && is_due, is_spent)
        } else if header.is_transactional() {
            // What is clean was decided by the round that cleaned it.
            let fate = match header.base < self.clean_end {
                true => Fate::Committed,
                false => self.known.markers.fate(header),
            };
            (self.ongoing.data(header, fate), false)
        } else {
            (false, false)
        };
        Ok(Verdict {
            discards,
            is_spent_marker,
            keeps_header: self.is_last_of_producer(header) || header.next() == self.end,
        })
    }

    fn is_last_of_producer(&self, header: &BatchHeader) -> bool {
        let known = self.producers.get(&header.producer);
        header.is_idempotent()
            && known.is_some_and(|known| match known.last {
                Some(last) => header.last() == last,
                None => header.is_control() && header.producer_epoch == known.epoch,
            })
    }

    /// Notes in `keep` which records stay; true if tombstones are among them.
    fn look(
        &mut self,
        header: &BatchHeader,
        batch: &Bytes,
        horizon: Option<i64>,
        records: &dyn Records,
    ) -> Result<bool, UnreadableBatch> {
        let Filter { known, keep, .. } = self;
        let keeps_tombstones = horizon.is_none_or(|ms| self.now_ms < ms);
        let is_marker = header.is_control();
        let mut tombstones = false;
        records.visit(batch, &mut |record| {
            let is_dirty = record.offset > known.latest.0;
            let stays = is_marker
                || is_dirty
                || record.key.is_some_and(|key| {
                    let newest = known.keys.get(key).is_none_or(|at| record.offset >= at.0);
                    newest && (record.has_value || keeps_tombstones)
                });
            tombstones |= stays && !record.has_value;
            keep.push(stays);
        })?;
        let removed = self.keep.iter().filter(|stays| !**stays).count();
        self.records_removed += removed as u64;
        Ok(tombstones)
    }
}

/// What a control batch's record says.
pub(super) fn marker(
    batch: &Bytes,
    records: &dyn Records,
) -> Result<Option<Fate>, UnreadableBatch> {
    let mut fate = None;
    if record_count(batch) > 0 {
        records.visit(batch, &mut |record| fate = fate.or(marker_of(record.key)))?;
    }
    Ok(fate)
}
