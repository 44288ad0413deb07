//! Forgetting idempotent producers that are gone (Kafka's `producer.id.expiration.ms`), in steps
//! that a shard can afford: a partition may have a million of them, a shard ten thousand
//! partitions. What a row repeats at the next journal file is what is left then (S8), and a start
//! begins with a sweep, so that rows do not keep them alive.

use super::Store;
use crate::{
    disk::{Clock, Disk},
    partition::Partition,
};
use std::rc::Rc;

/// Producers looked at in one step: some 50 us.
const PRODUCERS_PER_STEP: usize = 512;

/// Partitions looked at in one step, however few producers they have.
const PARTITIONS_PER_STEP: usize = 512;

/// One walk over all partitions of a shard.
pub struct ProducerSweep<D: Disk> {
    left: Vec<Rc<Partition<D>>>,
    /// Producers of the last of them that this sweep has still to look at.
    unseen: Option<usize>,
    before_ms: i64,
}

impl<D: Disk, C: Clock> Store<D, C> {
    /// Begins a sweep over the partitions that there are now.
    pub fn sweep_producers(&self) -> ProducerSweep<D> {
        let expiry_ms = i64::try_from(self.config.producer_expiry.as_millis()).unwrap_or(i64::MAX);
        ProducerSweep {
            left: self.partitions.borrow().values().cloned().collect(),
            unseen: None,
            before_ms: self.clock.wall_ms().saturating_sub(expiry_ms),
        }
    }
}

impl<D: Disk> ProducerSweep<D> {
    /// Goes on for one step; false when the sweep is over.
    pub fn step(&mut self) -> bool {
        let mut budget = PRODUCERS_PER_STEP;
        for _ in 0..PARTITIONS_PER_STEP {
            let Some(partition) = self.left.last().cloned() else {
                return false;
            };
            let producers = &mut partition.log.borrow_mut().producers;
            let unseen = self.unseen.take().unwrap_or(producers.len());
            let step = unseen.min(budget);
            producers.expire(self.before_ms, step);
            budget -= step;
            if unseen > step {
                self.unseen = Some(unseen - step);
                return true;
            }
            self.left.pop();
        }
        true
    }
}
