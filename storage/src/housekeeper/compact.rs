//! The rounds of compaction that shards have under way here, at most one each: a step is a job, so
//! rounds take turns with everything else, and a shard that stops asking stops its round.

use std::{cell::RefCell, collections::HashMap, sync::Arc};

use super::{CompactProgress, CompactStep};
use crate::{
    compaction::{CompactionError, Ground, Records, Round, Step},
    disk::Disk,
    hash::Incarnation,
};

/// Rounds under way, by ticket.
pub(super) struct Rounds<D: Disk> {
    records: Option<Arc<dyn Records>>,
    /// Nothing while a step of it is done: given up meanwhile, it is not there when the step ends.
    under_way: RefCell<HashMap<u64, Option<Round<D>>>>,
}

impl<D: Disk> Default for Rounds<D> {
    fn default() -> Rounds<D> {
        Rounds {
            records: None,
            under_way: RefCell::default(),
        }
    }
}

impl<D: Disk> Rounds<D> {
    pub(super) fn open_by(&mut self, records: Arc<dyn Records>) {
        self.records = Some(records);
    }

    /// Does what a shard wants of a round. A round that is over, for whatever reason, is forgotten.
    pub(super) async fn step(
        &self,
        ground: &Ground<'_, D>,
        ticket: u64,
        step: &CompactStep,
        incarnations: &dyn Fn() -> Incarnation,
    ) -> CompactProgress {
        if let CompactStep::Begin(plan) = step {
            let (seed, first) = (incarnations().0, incarnations());
            let round = Round::new(ground, (**plan).clone(), seed, first);
            self.under_way.borrow_mut().insert(ticket, Some(round));
            return CompactProgress::More(0);
        }
        if *step == CompactStep::Abandon {
            let round = self.under_way.borrow_mut().remove(&ticket).flatten();
            if let Some(round) = round {
                round.abandon().await;
            }
            return CompactProgress::Nothing;
        }
        let known = self
            .under_way
            .borrow_mut()
            .get_mut(&ticket)
            .and_then(Option::take);
        let (Some(mut round), Some(records)) = (known, &self.records) else {
            return CompactProgress::Failed(CompactionError::Unknown);
        };
        let stepped = round.step(&**records, incarnations).await;
        let place = self.under_way.borrow_mut().remove(&ticket);
        match stepped {
            Ok(Step::More(bytes)) if place.is_some() => {
                self.under_way.borrow_mut().insert(ticket, Some(round));
                CompactProgress::More(bytes)
            }
            Ok(Step::Finished(outcome)) if place.is_some() => CompactProgress::Finished(outcome),
            Ok(Step::Nothing) => CompactProgress::Nothing,
            stepped => {
                round.abandon().await;
                CompactProgress::Failed(stepped.err().unwrap_or(CompactionError::Unknown))
            }
        }
    }
}
