//! Moving a log's start (DeleteRecords, and later retention): a frame like any other change, and
//! nothing is answered, hidden or unlinked before it is durable (S6).

use super::{Store, error::StartError};
use crate::{
    disk::{Clock, Disk},
    hash::ChainHash,
    journal::fragment::{Fragment, Kind},
    partition::{Log, NextStart, Note},
    types::{Offset, TopicPartition},
};
use std::{future::poll_fn, task::Poll};

impl<D: Disk, C: Clock> Store<D, C> {
    /// Lets the log begin at `start`, which must not lie beyond the durable end; returns the start
    /// once that is durable. A start at or before the present one changes nothing.
    pub async fn advance_start(
        &self,
        tp: TopicPartition,
        start: Offset,
    ) -> Result<Offset, StartError> {
        let end = self.bounds(tp).high_watermark;
        let Some(partition) = self.partition(tp).filter(|_| start <= end) else {
            return Err(StartError::OutOfRange {
                tp,
                asked: start,
                end,
            });
        };
        plan_start(&mut partition.log.borrow_mut(), tp, start);
        self.mark_dirty(&partition);
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
}

fn plan_start<D: Disk>(log: &mut Log<D>, tp: TopicPartition, start: Offset) {
    let planned = log.next_start.map_or(log.start, |next| next.start);
    if start > planned {
        let boundary = boundary_of(log, start);
        log.next_start = Some(NextStart {
            start,
            boundary,
            sequence: None,
        });
        let mut fragment = Fragment::plain(Kind::Start, tp, start, boundary.0);
        fragment.chain_after = boundary.1;
        log.notes.push(Note {
            fragment,
            payload: Vec::new(),
        });
    }
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
