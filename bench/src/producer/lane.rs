//! The stream's records in one partition, and the sequence numbers by which a broker knows them.
//!
//! A batch that is refused for good leaves a gap in those numbers, and everything behind it is
//! refused for that. As Kafka's own client does (KIP-360), the producer then goes on with the next
//! epoch, whose numbers begin at 0 again; but not before it is known of every request of the old
//! epoch whether it was written.

use std::io;
use std::ops::Range;

use spate_net::kafka::record_batch::ProducerStamp;

use super::{Run, State};
use crate::producer::maker::Wanted;
use crate::topic::ProducerIdentity;

/// The stream's records in one partition.
pub(super) struct Lane {
    pub partition: i32,
    /// The connection to its leader.
    pub link: usize,
    /// The stream's number for its next record.
    pub next_sequence: u64,
    /// The number behind the last acknowledged record.
    pub acknowledged: u64,
    /// Where the last of the stream lies; -1 if the broker did not say.
    pub last_offset: i64,
    /// How many of the acknowledged records were due in the measured window.
    pub measured: u64,
    /// The numbers of records that were refused, those that adjoin together.
    pub refused: Vec<Range<u64>>,
    /// A refused batch has left a gap in the epoch's numbers.
    pub is_broken: bool,
    identity: Option<ProducerIdentity>,
    /// An identity to go on with.
    next_identity: Option<ProducerIdentity>,
    /// The epoch's number for the next record.
    next_in_epoch: u64,
}

impl Lane {
    pub fn new(partition: i32, link: usize, identity: Option<ProducerIdentity>) -> Lane {
        Lane {
            partition,
            link,
            next_sequence: 0,
            acknowledged: 0,
            last_offset: -1,
            measured: 0,
            refused: Vec::new(),
            is_broken: false,
            identity,
            next_identity: None,
            next_in_epoch: 0,
        }
    }

    /// What makes the next batch, of so many records, idempotent.
    pub fn stamp(&mut self, records: usize) -> Option<ProducerStamp> {
        let identity = self.identity?;
        let base = self.next_in_epoch;
        self.next_in_epoch += records as u64;
        Some(ProducerStamp {
            producer_id: identity.id,
            producer_epoch: identity.epoch,
            // Kafka's sequence numbers wrap to 0 behind the largest.
            base_sequence: (base & i32::MAX as u64) as i32,
            is_transactional: false,
        })
    }

    /// Remembers that the records before that number are acknowledged, of which the last lies at
    /// that offset. Without idempotence those that were sent again come behind later ones.
    pub fn written(&mut self, end: u64, last_offset: i64) {
        if end > self.acknowledged {
            self.acknowledged = end;
            self.last_offset = last_offset;
        } else if self.last_offset >= 0 {
            self.last_offset = last_offset.max(self.last_offset);
        }
    }

    /// Remembers that these need not come.
    pub fn refused(&mut self, sequences: Range<u64>) {
        self.is_broken = self.identity.is_some();
        match self.refused.last_mut() {
            Some(last) if last.end == sequences.start => last.end = sequences.end,
            _ => self.refused.push(sequences),
        }
    }

    /// Goes on with an identity that the broker gave.
    pub fn take_identity(&mut self, identity: ProducerIdentity) {
        self.next_identity = Some(identity);
    }

    /// Begins a new epoch; false if there is none left and a new producer id is needed.
    fn begin_epoch(&mut self) -> bool {
        let next = |identity: ProducerIdentity| {
            let epoch = identity.epoch.checked_add(1)?;
            Some(ProducerIdentity { epoch, ..identity })
        };
        let Some(identity) = self.next_identity.take().or_else(|| next(self.identity?)) else {
            return false;
        };
        self.identity = Some(identity);
        self.next_in_epoch = 0;
        self.is_broken = false;
        true
    }
}

impl State {
    /// The first request to be sent again that may go now, and its lane. In a broken lane only
    /// those may whose fate is unknown: with their old numbers they are written once at most.
    pub(super) fn first_again(&self) -> Option<(usize, usize)> {
        let may_go =
            |pending: &super::Pending| pending.is_unknown || !self.lanes[pending.lane].is_broken;
        let index = self.again.iter().position(may_go)?;
        Some((index, self.again[index].lane))
    }

    /// The lane of the next new request, if that may go now.
    pub(super) fn next_lane(&self) -> Option<usize> {
        let next = self.drafts.next_lane();
        next.filter(|lane| !self.lanes[*lane].is_broken)
    }

    /// Whether the fate of a request of the lane is open.
    fn is_open(&self, lane: usize) -> bool {
        let under_way = self.links.iter().flat_map(|link| &link.pending);
        let unknown = self.again.iter().filter(|pending| pending.is_unknown);
        under_way.chain(unknown).any(|pending| pending.lane == lane)
    }
}

impl Run {
    /// Begins a new epoch in broken lanes of which nothing is open, and makes what is to be sent
    /// again anew. Says which lane needs a new producer id first.
    pub(super) fn mend_lanes(&self, state: &mut State) -> io::Result<Option<usize>> {
        if !state.has_broken {
            return Ok(None);
        }
        for lane in 0..state.lanes.len() {
            if !state.lanes[lane].is_broken || state.is_open(lane) {
                continue;
            }
            if !state.lanes[lane].begin_epoch() {
                return Ok(Some(lane));
            }
            let State {
                again,
                lanes,
                maker,
                ..
            } = state;
            again
                .make_contiguous()
                .sort_by_key(|pending| pending.number);
            let timestamp_ms = (self.clock.unix_ns(self.clock.now()) / 1_000_000) as i64;
            for pending in again.iter_mut().filter(|pending| pending.lane == lane) {
                let wanted = Wanted {
                    correlation_id: pending.correlation_id,
                    partition: lanes[lane].partition,
                    sequence: pending.sequence,
                    timestamp_ms,
                    producer: lanes[lane].stamp(pending.records.len()),
                    records: &pending.records,
                };
                pending.frame = maker.make(self.clock, None, &wanted)?;
            }
        }
        state.has_broken = state.lanes.iter().any(|lane| lane.is_broken);
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequence_numbers_wrap_as_kafkas_do() {
        let mut lane = Lane::new(0, 0, Some(ProducerIdentity { id: 1, epoch: 0 }));
        lane.next_in_epoch = i32::MAX as u64;
        let mut next = || lane.stamp(1).map(|stamp| stamp.base_sequence);
        assert_eq!((next(), next()), (Some(i32::MAX), Some(0)));
    }

    #[test]
    fn what_was_sent_again_does_not_undo_what_followed_it() {
        let mut lane = Lane::new(0, 0, None);
        lane.written(20, 9);
        lane.written(10, 19);
        assert_eq!((lane.acknowledged, lane.last_offset), (20, 19));
        lane.written(30, -1);
        lane.written(10, 29);
        assert_eq!((lane.acknowledged, lane.last_offset), (30, -1));
    }

    #[test]
    fn epochs_end_and_then_another_id_is_needed() {
        let last = ProducerIdentity {
            id: 1,
            epoch: i16::MAX - 1,
        };
        let mut lane = Lane::new(0, 0, Some(last));
        lane.stamp(5);
        lane.refused(0..5);
        assert!(lane.is_broken);
        assert!(lane.begin_epoch());
        assert!(!lane.is_broken);
        assert_eq!(lane.stamp(5).map(|stamp| stamp.base_sequence), Some(0));
        lane.refused(5..10);
        assert!(!lane.begin_epoch() && lane.is_broken);
        lane.take_identity(ProducerIdentity { id: 2, epoch: 0 });
        assert!(lane.begin_epoch());
        assert_eq!(lane.stamp(1).map(|stamp| stamp.producer_id), Some(2));
        lane.refused(12..13);
        assert_eq!(lane.refused, [0..10, 12..13]);
    }
}
