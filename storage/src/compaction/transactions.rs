//! Which batches of the dirty part belong to aborted transactions, and when the marker that ended a
//! transaction may go: not before all of its batches have gone.
//!
//! A marker comes after its batches, so a round that meets a transaction collects the markers
//! first. A batch whose marker has not come yet is undecided, and ends what the round may clean:
//! Kafka's last stable offset.

use crate::{
    batch::BatchHeader,
    types::{Offset, ProducerId},
};
use std::collections::{BTreeMap, HashMap, HashSet};

/// What became of a transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fate {
    Committed,
    Aborted,
    Undecided,
}

/// The markers of a part of a log.
#[derive(Default)]
pub(super) struct Markers {
    by_producer: HashMap<ProducerId, BTreeMap<Offset, Fate>>,
}

/// The type of a transaction marker, from its record's key: version i16, type i16.
pub(super) fn marker_of(key: Option<&[u8]>) -> Option<Fate> {
    match key?.get(2..4)? {
        [0, 0] => Some(Fate::Aborted),
        [0, 1] => Some(Fate::Committed),
        _ => None,
    }
}

impl Markers {
    pub(super) fn note(&mut self, producer: ProducerId, at: Offset, fate: Fate) {
        self.by_producer
            .entry(producer)
            .or_default()
            .insert(at, fate);
    }

    /// What the first marker of the batch's producer behind it says.
    pub(super) fn fate(&self, batch: &BatchHeader) -> Fate {
        let markers = self.by_producer.get(&batch.producer);
        let first = markers.and_then(|markers| markers.range(batch.base..).next());
        first.map_or(Fate::Undecided, |(_, fate)| *fate)
    }
}

/// What the walk through the log has seen of transactions that have not ended.
#[derive(Default)]
pub(super) struct Ongoing {
    committed: HashSet<ProducerId>,
    aborted: HashSet<ProducerId>,
}

impl Ongoing {
    /// Notes a transactional batch of data; true if it is to be discarded.
    pub(super) fn data(&mut self, batch: &BatchHeader, fate: Fate) -> bool {
        match fate {
            Fate::Aborted => {
                self.aborted.insert(batch.producer);
                true
            }
            Fate::Committed | Fate::Undecided => {
                self.committed.insert(batch.producer);
                false
            }
        }
    }

    /// Notes a marker; true if nothing of its transaction was there any more. One without a record
    /// was emptied by an earlier round.
    pub(super) fn marker(
        &mut self,
        batch: &BatchHeader,
        fate: Option<Fate>,
        is_empty: bool,
    ) -> bool {
        match fate {
            Some(Fate::Aborted) => !self.aborted.remove(&batch.producer),
            Some(Fate::Committed) => !self.committed.remove(&batch.producer),
            _ => is_empty,
        }
    }
}
