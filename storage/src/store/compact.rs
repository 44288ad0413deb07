//! Having a log compacted (S16): what wants it, one round of it by the housekeeper at a bounded
//! pace, and the switch to what the round has made.
//!
//! The shard's part is small: a plan, a message for each step, and the frame. Whatever happens to
//! the log meanwhile wins: a start that advances hides what the round still copied, a deleted topic
//! takes the round's files along, and files that the round reads stay until it is over.

use super::Store;
use crate::{
    commit::CommitError,
    compaction::{
        CompactionError, CompactionRules, Dirtiness, Outcome, Plan, Source, choose::groups_of,
        plan::LastOfProducer,
    },
    disk::{Clock, Disk},
    housekeeper::{CompactProgress, CompactStep, Job},
    journal::{frame::Sequence, row::FileRow, switch::Switch},
    partition::{Lease, Log, NextSwitch, Note, Partition, SegmentSlot},
    sabotage::{self, Sabotage},
    segment::{Generation, partition_dir},
    types::{Offset, TopicPartition},
};
use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    rc::Rc,
    task::{Poll, Waker},
    time::Duration,
};

/// The compaction that this shard has under way: one at a time.
#[derive(Default)]
pub(super) struct Pace {
    rounds: Cell<u64>,
    current: Cell<Option<u64>>,
    progress: RefCell<Option<CompactProgress>>,
    waker: RefCell<Option<Waker>>,
}

/// What a round has done to a log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Compacted {
    /// Up to where the log is clean now.
    pub clean_end: Offset,
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Records that are not there any more.
    pub records_removed: u64,
}

/// Why a log was not compacted.
#[derive(Debug, thiserror::Error)]
pub enum CompactError {
    /// Another is under way on this shard.
    #[error("another partition of the shard is being compacted")]
    Busy,
    /// There is nothing to compact.
    #[error("{tp} has no closed segment with anything to compact")]
    Nothing {
        /// Whose log.
        tp: TopicPartition,
    },
    /// The round was given up.
    #[error("{tp} was not compacted: {error}")]
    Failed {
        /// Whose log.
        tp: TopicPartition,
        /// Why.
        error: CompactionError,
    },
    /// The topic was deleted, or the disk failed.
    #[error(transparent)]
    Lost(#[from] CommitError),
}

impl<D: Disk, C: Clock> Store<D, C> {
    /// What of the log is dirty, if a round could do anything about it.
    pub fn dirtiness(&self, tp: TopicPartition, rules: &CompactionRules) -> Option<Dirtiness> {
        let partition = self.partition(tp)?;
        let log = partition.log.borrow();
        let cleaning = &log.cleaning;
        if cleaning.is_uncleanable || log.next_switch.is_some() {
            return None;
        }
        let now_ms = self.clock.wall_ms();
        let clean_end = cleaning.clean_end.max(log.start);
        let found = Dirtiness::of(&log.closed_files(), clean_end, now_ms, rules.min_lag_ms);
        let is_new = found.dirty_bytes > 0 && found.end != cleaning.idle_end;
        Some(found).filter(|_| is_new)
    }

    /// The timestamp of the oldest dirty Kafka segment's first batch: Kafka's measure for
    /// `max.compaction.lag.ms`. One block is read.
    pub async fn oldest_dirty_ms(&self, tp: TopicPartition) -> Option<i64> {
        let partition = self.partition(tp)?;
        let (at, from) = {
            let log = partition.log.borrow();
            let from = log.cleaning.clean_end.max(log.start);
            let closed = log.closed_files();
            let at = closed.iter().position(|file| file.first >= from)?;
            (at, closed[at].first)
        };
        let (file, _) = self.segment_file(&partition, at).await.ok()?;
        let entry = file.entries().first().copied()?;
        let block = self.block(tp, &file, entry, from).await.ok()?;
        let payload = block.payload();
        let (first, _) = crate::batch::batches(&payload).next()?;
        Some(first.max_timestamp)
    }

    /// Compacts the log's closed Kafka segments. Resolves when that is durable; dropped, the round
    /// is given up.
    pub async fn compact(
        self: &Rc<Self>,
        tp: TopicPartition,
        rules: &CompactionRules,
    ) -> Result<Compacted, CompactError> {
        if self.pace.current.get().is_some() {
            return Err(CompactError::Busy);
        }
        let partition = self.partition(tp).ok_or(CompactError::Nothing { tp })?;
        let plan = self.plan(&partition, rules);
        let plan = plan.ok_or(CompactError::Nothing { tp })?;
        let end = plan.end;
        let turn = Turn::begin(self, &partition);
        let outcome = match self.walk_round(&turn, plan, rules).await {
            Ok(outcome) => outcome,
            Err(error) => {
                self.count(|counters| counters.compactions_failed += 1);
                partition.log.borrow_mut().cleaning.is_uncleanable = !error.is_passing();
                self.report_round(tp, &error);
                return Err(CompactError::Failed { tp, error });
            }
        };
        let Some(outcome) = outcome else {
            partition.log.borrow_mut().cleaning.idle_end = end;
            return Err(CompactError::Nothing { tp });
        };
        self.switch(&partition, &outcome).await?;
        self.count(|counters| {
            counters.compactions += 1;
            counters.compaction_read_bytes += outcome.read_bytes;
            counters.compaction_written_bytes += outcome.written_bytes;
            counters.compaction_removed_records += outcome.records_removed;
        });
        Ok(Compacted {
            clean_end: outcome.clean_end,
            read_bytes: outcome.read_bytes,
            written_bytes: outcome.written_bytes,
            records_removed: outcome.records_removed,
        })
    }

    fn plan(&self, partition: &Partition<D>, rules: &CompactionRules) -> Option<Plan> {
        let now_ms = self.clock.wall_ms();
        let mut log = partition.log.borrow_mut();
        if log.next_switch.is_some() || log.cleaning.lease.is_some() {
            return None;
        }
        let clean_end = log.cleaning.clean_end.max(log.start);
        let mut files = log.closed_files();
        let found = Dirtiness::of(&files, clean_end, now_ms, rules.min_lag_ms);
        files.retain(|file| file.first < found.end);
        if found.dirty_bytes == 0 {
            return None;
        }
        let dir = partition_dir(&self.config.data, partition.tp);
        let groups = groups_of(&files, rules.segment_bytes);
        let source = |(row, group): (&FileRow, Offset)| Source {
            row: *row,
            path: dir.join(row.name.to_string()),
            group,
        };
        let sources: Vec<Source> = files.iter().zip(groups).map(source).collect();
        let generation = next_generation(&mut log);
        let read = files.iter().map(|file| file.incarnation).collect();
        log.cleaning.lease = Some(Lease {
            sources: read,
            given_up: Vec::new(),
        });
        Some(Plan {
            tp: partition.tp,
            generation,
            dir,
            sources,
            start: log.start,
            clean_end,
            compacted: log.cleaning.compacted,
            unreadable: log.unreadable.clone(),
            end: found.end,
            now_ms,
            delete_retention_ms: rules.delete_retention_ms,
            key_memory_bytes: rules.key_memory_bytes,
            key_load_permille: (rules.key_load * 1000.0) as u32,
            block_payload_bytes: self.config.block_payload_bytes(),
            producers: last_of_producers(&log),
        })
    }

    /// Takes the round's steps one after the other, no faster than the rules allow. Nothing if the
    /// round found nothing to do.
    async fn walk_round(
        &self,
        turn: &Turn<D, C>,
        plan: Plan,
        rules: &CompactionRules,
    ) -> Result<Option<Outcome>, CompactionError> {
        let begun = self.elapsed();
        let mut paid = Duration::ZERO;
        self.ask_step(turn, CompactStep::Begin(Box::new(plan)));
        loop {
            match self.progress(turn).await {
                CompactProgress::More(bytes) => {
                    let seconds = bytes as f64 / rules.bytes_per_second.max(1.0);
                    paid += Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
                    let ahead = (begun + paid).saturating_sub(self.elapsed());
                    if !ahead.is_zero() {
                        self.clock.sleep(ahead).await;
                    }
                    if turn.partition.is_dropped.get() {
                        return Err(CompactionError::Unknown);
                    }
                    self.ask_step(turn, CompactStep::Go);
                }
                CompactProgress::Finished(outcome) => {
                    turn.is_over.set(true);
                    return Ok(Some(*outcome));
                }
                CompactProgress::Nothing => {
                    turn.is_over.set(true);
                    return Ok(None);
                }
                CompactProgress::Failed(error) => {
                    turn.is_over.set(true);
                    return Err(error);
                }
            }
        }
    }

    fn ask_step(&self, turn: &Turn<D, C>, step: CompactStep) {
        let ticket = turn.ticket;
        self.ask(Job::Compact { ticket, step });
    }

    async fn progress(&self, turn: &Turn<D, C>) -> CompactProgress {
        debug_assert_eq!(self.pace.current.get(), Some(turn.ticket));
        poll_fn(|cx| match self.pace.progress.borrow_mut().take() {
            Some(progress) => Poll::Ready(progress),
            None => {
                *self.pace.waker.borrow_mut() = Some(cx.waker().clone());
                Poll::Pending
            }
        })
        .await
    }

    /// Takes the housekeeper's answer; that of a round given up is nobody's.
    pub(super) fn take_progress(&self, ticket: u64, progress: CompactProgress) {
        if self.pace.current.get() != Some(ticket) {
            return;
        }
        *self.pace.progress.borrow_mut() = Some(progress);
        if let Some(waker) = self.pace.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Makes a generation the log: by a frame (S6). It takes effect when that is durable.
    async fn switch(
        &self,
        partition: &Rc<Partition<D>>,
        outcome: &Outcome,
    ) -> Result<(), CompactError> {
        let end = outcome.end.0;
        if partition.is_dropped.get() {
            return Err(CommitError::Dropped { end }.into());
        }
        note_switch(partition, outcome);
        if sabotage::is(Sabotage::SwitchUnwritten) {
            let replaced = switch_now(partition);
            self.discard(partition, replaced);
        }
        self.mark_dirty(partition);
        poll_fn(|cx| {
            if partition.log.borrow().next_switch.is_none() {
                return Poll::Ready(Ok(()));
            }
            match partition.progress.await_start(end, cx.waker()) {
                Ok(()) => Poll::Pending,
                Err(error) => Poll::Ready(Err(error.into())),
            }
        })
        .await
    }
}

/// Has the next frame say that the generation is the log.
fn note_switch<D: Disk>(partition: &Partition<D>, outcome: &Outcome) {
    let switch = Switch {
        files: outcome.files.clone(),
        end: outcome.end,
        clean_end: outcome.clean_end,
    };
    let (fragment, payload) = switch.encode(partition.tp);
    let sequence = None;
    let mut log = partition.log.borrow_mut();
    log.next_switch = Some(NextSwitch { switch, sequence });
    log.notes.push(Note { fragment, payload });
}

/// Lets a switch take effect without a frame that says so: only on purpose.
fn switch_now<D: Disk>(partition: &Partition<D>) -> Vec<SegmentSlot<D>> {
    let never = Sequence(0);
    let mut log = partition.log.borrow_mut();
    log.notes.pop();
    if let Some(next) = &mut log.next_switch {
        next.sequence = Some(never);
    }
    log.apply_switch(never)
}

/// A number above that of every file the partition has or may have had left behind.
fn next_generation<D: Disk>(log: &mut Log<D>) -> Generation {
    let slots = log.segments.slots.iter();
    let known = slots.map(|slot| slot.row.name.generation).max();
    let last = known.unwrap_or_default().max(log.cleaning.tried);
    log.cleaning.tried = Generation(last.0 + 1);
    log.cleaning.tried
}

fn last_of_producers<D: Disk>(log: &Log<D>) -> Vec<LastOfProducer> {
    let producers = log.producers.iter();
    producers
        .map(|(producer, state)| LastOfProducer {
            producer,
            epoch: state.epoch,
            last: state.sent().last().map(|sent| sent.last),
        })
        .collect()
}

/// A round's turn: when it ends, in whatever way, the files it read are the log's again.
struct Turn<D: Disk, C: Clock> {
    store: Rc<Store<D, C>>,
    partition: Rc<Partition<D>>,
    ticket: u64,
    /// The housekeeper knows nothing of it any more.
    is_over: Cell<bool>,
}

impl<D: Disk, C: Clock> Turn<D, C> {
    fn begin(store: &Rc<Store<D, C>>, partition: &Rc<Partition<D>>) -> Turn<D, C> {
        let pace = &store.pace;
        pace.rounds.set(pace.rounds.get() + 1);
        // All shards' rounds are under way in one housekeeper.
        let ticket = (u64::from(store.shard.0) << 48) | pace.rounds.get();
        pace.current.set(Some(ticket));
        pace.progress.borrow_mut().take();
        Turn {
            store: Rc::clone(store),
            partition: Rc::clone(partition),
            ticket,
            is_over: Cell::new(false),
        }
    }
}

impl<D: Disk, C: Clock> Drop for Turn<D, C> {
    fn drop(&mut self) {
        let (store, partition) = (&self.store, &self.partition);
        store.pace.current.set(None);
        if !self.is_over.get() {
            store.ask_step(self, CompactStep::Abandon);
        }
        if partition.is_dropped.get() {
            // Placing the round's files may have made the topic's directory anew.
            let topic = partition.tp.topic;
            store.ask(Job::RemoveTopic { topic });
        }
        let lease = partition.log.borrow_mut().cleaning.lease.take();
        let given_up = lease.map(|lease| lease.given_up).unwrap_or_default();
        if !partition.is_dropped.get() {
            store.discard(partition, given_up);
        }
    }
}
