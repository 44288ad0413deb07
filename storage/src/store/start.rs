//! Moving a log's start, for DeleteRecords and for retention: a frame like any other change, and
//! nothing is answered, hidden or unlinked before it is durable (S6).

use super::{Store, error::StartError};
use crate::{
    disk::{Clock, Disk},
    hash::ChainHash,
    journal::{
        fragment::{Fragment, Kind},
        row::KafkaSegment,
    },
    partition::{Log, NextStart, Note, Partition},
    retention::{Ends, Retention, Retired, start_after},
    sabotage::{self, Sabotage},
    types::{Offset, TopicPartition},
};
use std::{future::poll_fn, rc::Rc, task::Poll};

impl<D: Disk, C: Clock> Store<D, C> {
    /// Lets the log begin at `start`, which must not lie beyond the durable end; returns the start
    /// once that is durable. A start at or before the present one changes nothing.
    pub async fn advance_start(
        &self,
        tp: TopicPartition,
        start: Offset,
    ) -> Result<Offset, StartError> {
        let bounds = self.bounds(tp);
        if start > bounds.high_watermark {
            let (asked, end) = (start, bounds.high_watermark);
            return Err(StartError::OutOfRange { tp, asked, end });
        }
        let Some(partition) = self.partition(tp) else {
            return Ok(bounds.log_start);
        };
        self.plan_start(&partition, start);
        poll_fn(|cx| {
            let now = partition.log.borrow().start;
            if now >= start {
                return Poll::Ready(Ok(now));
            }
            match partition.progress.await_start(start, cx.waker()) {
                Ok(()) => Poll::Pending,
                Err(error) => Poll::Ready(Err(error.into())),
            }
        })
        .await
    }

    /// Begins to forget what a topic's limits no longer keep; says what. Nothing waits for it, and
    /// the next check finds it done.
    pub fn retain(&self, tp: TopicPartition, limits: Retention) -> Retired {
        let Some(partition) = self.partition(tp) else {
            return Retired::default();
        };
        let planned = {
            let log = partition.log.borrow();
            // One at a time: what is on its way would be counted again.
            let is_fenced = self.config.fence.check().is_err();
            if is_fenced || !log.next_starts.is_empty() {
                return Retired::default();
            }
            let ends = Ends {
                durable: partition.progress.durable_end(),
                appended: log.end.0,
            };
            start_after(&log.extents(), ends, limits, self.clock.wall_ms())
        };
        match planned {
            Some((start, retired)) if self.plan_start(&partition, start) => retired,
            _ => Retired::default(),
        }
    }

    /// The partitions that have data, in no particular order.
    pub fn partitions(&self) -> Vec<TopicPartition> {
        self.partitions.borrow().keys().copied().collect()
    }

    /// Has the next frame say that the log begins at `start`; false if it does already.
    fn plan_start(&self, partition: &Rc<Partition<D>>, start: Offset) -> bool {
        let mut log = partition.log.borrow_mut();
        let planned = log.next_starts.back().map_or(log.start, |next| next.start);
        if start <= planned {
            return false;
        }
        // With nothing fresh and nothing direct on its way all of the log is in frames.
        let clears = start == log.end.0 && start == partition.progress.durable_end();
        if clears {
            roll_at_end(&mut log, partition.tp, self.clock.wall_ms());
        }
        let boundary = boundary_of(&log, start);
        log.next_starts.push_back(NextStart {
            start,
            boundary,
            clears,
            sequence: None,
        });
        if sabotage::is(Sabotage::StartActedOnEarly) {
            log.start = start;
        }
        let mut fragment = Fragment::plain(Kind::Start, partition.tp, start, boundary.0);
        fragment.chain_after = boundary.1;
        log.notes.push(Note {
            fragment,
            payload: Vec::new(),
        });
        drop(log);
        self.mark_dirty(partition);
        true
    }
}

/// Begins an empty Kafka segment at the log's end, so that all of its files may go: Kafka's active
/// segment is rolled before it is deleted.
fn roll_at_end<D: Disk>(log: &mut Log<D>, tp: TopicPartition, now_ms: i64) {
    let end = log.end.0;
    assert!(
        log.fresh.is_empty() && log.direct.is_none(),
        "a log that is durable to its end has nothing on its way there"
    );
    log.freeze();
    if log.journaled.base == end {
        return;
    }
    log.journaled = KafkaSegment::new(end, now_ms);
    log.appended = log.journaled;
    log.notes.push(Note {
        fragment: Fragment::plain(Kind::Roll, tp, end, end),
        payload: Vec::new(),
    });
}

/// The last block boundary known in memory at or before `start`, and the chain there. Within the
/// flushed part recovery walks from the flushed end, so the old boundary does.
fn boundary_of<D: Disk>(log: &Log<D>, start: Offset) -> (Offset, ChainHash) {
    let held = log
        .held
        .iter()
        .map(|held| (held.block.base, held.block.chain_before));
    let open = (log.open.base, log.open.chain_before);
    let known = held.chain([open]).rfind(|(base, _)| *base <= start);
    let flushed = Some(log.flushed).filter(|(end, _)| *end <= start);
    known.or(flushed).unwrap_or(log.boundary)
}
