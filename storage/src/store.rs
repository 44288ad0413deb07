//! One shard's logs: what the broker calls. Appends go to memory at once; one task, [`Store::run`],
//! turns what has gathered into journal writes, seals and direct writes, and moves durable ends.
//!
//! Single-threaded. State lives behind `RefCell`s that are borrowed for one synchronous step at a
//! time, never across an await and never while a listener runs.
//!
//! Rooms: [`append`](Store::append) here; `form` makes frames, `settle` takes completions, `seal`
//! writes segments, `reuse` walks the ring of journal files, `stock` talks to the housekeeper,
//! `read` and `lookup` answer fetches, `start` moves where a log begins, `compact` has it
//! compacted.

mod ahead;
mod compact;
mod config;
mod damage;
mod descriptors;
mod error;
mod expiry;
mod form;
mod gate;
mod lookup;
mod operation;
mod read;
mod reuse;
mod run;
mod scrub;
mod seal;
mod settle;
mod signal;
mod start;
mod stock;
mod survey;

pub use compact::{CompactError, Compacted};
pub(crate) use config::block_payload_bytes;
pub use config::{MemoryUse, StoreConfig, StoreCounters};
pub use error::{AppendError, ReadError, StartError};
pub use expiry::ProducerSweep;
pub use lookup::TimestampedOffset;
pub use read::ReadData;
pub use scrub::ScrubPace;
pub(crate) use seal::fill_block;
pub use survey::PartitionNumbers;

use crate::{
    batch::{BatchHeader, HEADER_BYTES, stamp, stamp_time},
    block::open::Incoming,
    cache::BlockCache,
    commit::{Commit, Progress},
    disk::{Clock, Disk, PAGE},
    hash::ChainHash,
    housekeeper::Chores,
    journal::{FIRST_FILE, Journal, JournalState, row::KafkaSegment, row::Row},
    partition::{Log, Note, Partition},
    producer::{Producer, Verdict},
    sabotage::{self, Sabotage},
    space::Level,
    types::{LeaderEpoch, Offset, ProducerId, ShardId, TopicId, TopicPartition},
};
use ahead::Ahead;
use bytes::Bytes;
use damage::Damages;
use descriptors::OpenFiles;
use operation::Operation;
use scrub::Scrub;
use signal::Signal;
use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, HashSet, VecDeque},
    rc::Rc,
    time::Duration,
};
use stock::Stock;

/// What the leader decides about a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stamp {
    /// The leader's epoch.
    pub epoch: LeaderEpoch,
    /// The largest timestamp of its records, where the header's is wrong.
    pub max_timestamp: Option<i64>,
    /// The append time, where the topic has it (`message.timestamp.type=LogAppendTime`).
    pub log_append_time: Option<i64>,
    /// A Kafka segment rolls when it would exceed this.
    pub segment_bytes: u64,
    /// A Kafka segment rolls when its first append is older than this.
    pub segment_ms: i64,
    /// The broker's own record, for which space is kept when the disk is full.
    pub is_internal: bool,
}

/// An append's answer.
#[derive(Clone, Debug)]
pub struct Appended {
    /// Offset of the first record.
    pub base_offset: Offset,
    /// Offset of the last record.
    pub last_offset: Offset,
    /// The append time, where the topic has it; of a duplicate the largest timestamp that it was
    /// stored with, whoever gave it, as in Kafka.
    pub log_append_time: Option<i64>,
    /// Where the log begins.
    pub log_start: Offset,
    /// Resolves when it is durable.
    pub commit: Commit,
}

/// A log's ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Bounds {
    /// The first offset.
    pub log_start: Offset,
    /// The durable end: on a single node the high watermark.
    pub high_watermark: Offset,
    /// The end of what was appended.
    pub log_end: Offset,
}

/// A partition as recovery found it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecoveredPartition {
    /// Whose log.
    pub tp: TopicPartition,
    /// What the fresh journal's row says.
    pub row: Row,
    /// The batches beyond the row's flushed end, contiguous.
    pub tail: Bytes,
    /// Where the log ends, and the chain there.
    pub end: (Offset, ChainHash),
}

/// A shard as recovery found it: everything a store begins with. It is in the fresh journal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ShardState {
    /// Whose it is.
    pub shard: ShardId,
    /// The fresh journal.
    pub journal: JournalState,
    /// The partitions with data.
    pub partitions: Vec<RecoveredPartition>,
}

type Listener<T> = RefCell<Option<Rc<T>>>;

/// What waits for the next frames.
struct Queues<D: Disk> {
    /// Partitions with fresh batches or notes.
    dirty: VecDeque<Rc<Partition<D>>>,
    /// Partitions whose open block is to be copied forward.
    copies: VecDeque<Rc<Partition<D>>>,
    /// Partitions whose row the current file still lacks (S8), and how many it has.
    rows: VecDeque<Rc<Partition<D>>>,
    rows_written: i64,
    is_head_open: bool,
    /// Notes of no partition.
    notes: Vec<Note>,
    /// Partitions with held blocks and no segment write in flight.
    sealing: VecDeque<Rc<Partition<D>>>,
}

/// One shard's logs.
pub struct Store<D: Disk, C: Clock> {
    config: StoreConfig,
    disk: D,
    clock: C,
    shard: ShardId,
    /// In order: what is written must not depend on where a hash happens to put a partition.
    partitions: RefCell<BTreeMap<TopicPartition, Rc<Partition<D>>>>,
    first_file: JournalState,
    journal: RefCell<Journal<D>>,
    queues: RefCell<Queues<D>>,
    stock: RefCell<Stock<D>>,
    chores: Box<dyn Chores>,
    cache: RefCell<BlockCache>,
    open_files: RefCell<OpenFiles<D>>,
    damages: RefCell<Damages>,
    ahead: RefCell<Ahead>,
    reads: gate::Gate,
    scrub: RefCell<Scrub>,
    /// Operations begun in this turn, for [`Store::run`] to drive.
    begun: RefCell<Vec<Operation<D>>>,
    /// The compaction under way.
    pace: compact::Pace,
    signal: Signal,
    charged_bytes: Cell<usize>,
    counters: Cell<StoreCounters>,
    rhythm: run::Rhythm,
    on_advance: Listener<dyn Fn(TopicPartition, Offset)>,
    on_room: Listener<dyn Fn()>,
}

impl<D: Disk, C: Clock> Store<D, C> {
    /// The store of a shard, as recovery left it. Nothing is written before [`Store::run`].
    pub fn open(
        config: StoreConfig,
        disk: D,
        clock: C,
        recovered: ShardState,
        chores: Box<dyn Chores>,
    ) -> Rc<Store<D, C>> {
        let store = Rc::new(Store {
            cache: RefCell::new(BlockCache::new(config.cache_bytes)),
            config: config.checked(),
            disk,
            clock,
            shard: recovered.shard,
            partitions: RefCell::default(),
            journal: RefCell::new(Journal::new(&recovered.journal)),
            first_file: recovered.journal,
            queues: RefCell::new(Queues::new()),
            stock: RefCell::new(Stock::new()),
            chores,
            open_files: RefCell::default(),
            damages: RefCell::default(),
            ahead: RefCell::default(),
            reads: gate::Gate::default(),
            scrub: RefCell::default(),
            begun: RefCell::default(),
            pace: compact::Pace::default(),
            signal: Signal::default(),
            charged_bytes: Cell::new(0),
            counters: Cell::default(),
            rhythm: run::Rhythm::default(),
            on_advance: RefCell::default(),
            on_room: RefCell::default(),
        });
        for partition in recovered.partitions {
            store.restore(&partition);
        }
        store
    }

    fn restore(&self, recovered: &RecoveredPartition) {
        let RecoveredPartition { tp, row, tail, .. } = recovered;
        let mut log = Log::from_row(row);
        log.producers.bound(self.config.producers_max());
        let full = self.config.block_payload_bytes();
        let charged_bytes = log.restore(tail, &row.rolls, FIRST_FILE, full);
        self.charge(charged_bytes as isize);
        let progress = Progress::new(log.end.0, self.config.fence.clone());
        let has_held = !log.held.is_empty();
        let partition = Partition::new(*tp, progress, log);
        if has_held {
            self.queue_seal(&partition);
        }
        self.partitions.borrow_mut().insert(*tp, partition);
    }

    /// Appends one whole v2 batch, validated by the caller (CRC, counts), in memory: visible and
    /// acknowledged when its [`Commit`] resolves. A batch that was appended before is answered as
    /// it was then.
    pub fn append(
        &self,
        tp: TopicPartition,
        batch: &[u8],
        how: Stamp,
    ) -> Result<Appended, AppendError> {
        self.take_in(tp, Incoming::Lent(batch), how)
    }

    /// The same for a batch whose memory the log may keep: a large one that nobody shares is not
    /// copied. `batch` is left as it was by an error.
    pub fn append_given(
        &self,
        tp: TopicPartition,
        batch: &mut Bytes,
        how: Stamp,
    ) -> Result<Appended, AppendError> {
        self.take_in(tp, Incoming::Given(batch), how)
    }

    fn take_in(
        &self,
        tp: TopicPartition,
        batch: Incoming<'_>,
        how: Stamp,
    ) -> Result<Appended, AppendError> {
        self.config.fence.check()?;
        let size_bytes = batch.bytes().len();
        let header = BatchHeader::parse(batch.bytes())
            .filter(|header| header.size_bytes == size_bytes)
            .ok_or(AppendError::NotABatch {
                size_bytes,
                least: HEADER_BYTES,
            })?;
        if size_bytes > self.config.batch_bytes_max() {
            let limit = self.config.batch_bytes_max();
            return Err(AppendError::TooLarge { size_bytes, limit });
        }
        let partition = self.partition_or_new(tp, how);
        let mut log = partition.log.borrow_mut();
        if header.is_idempotent()
            && let Verdict::Duplicate(sent) = log.producers.check(&header)?
        {
            self.count(|counters| counters.duplicates += 1);
            let end = match sabotage::is(Sabotage::DuplicateAnsweredEarly) {
                true => log.start,
                false => sent.last.next(),
            };
            return Ok(Appended {
                base_offset: sent.base,
                last_offset: sent.last,
                log_append_time: Some(sent.timestamp),
                log_start: log.start,
                commit: Commit::new(partition.progress.clone(), end),
            });
        }
        self.admit(size_bytes, how.is_internal)?;
        let stored = self.push(&mut log, batch, &header, how);
        drop(log);
        self.mark_dirty(&partition);
        let commit = Commit::new(partition.progress.clone(), stored.next());
        let log_start = partition.log.borrow().start;
        Ok(Appended {
            base_offset: stored.base,
            last_offset: stored.last(),
            log_append_time: how.log_append_time,
            log_start,
            commit,
        })
    }

    fn push(
        &self,
        log: &mut Log<D>,
        batch: Incoming<'_>,
        header: &BatchHeader,
        how: Stamp,
    ) -> BatchHeader {
        let now_ms = self.clock.wall_ms();
        let batch_bytes = batch.bytes().len() as u64;
        let base = log.end.0;
        let segment = log.appended;
        let is_begun = base > segment.base;
        let is_full = segment.bytes + batch_bytes > how.segment_bytes;
        let timestamp = how.log_append_time.or(how.max_timestamp);
        let timestamp = timestamp.unwrap_or(header.max_timestamp);
        let is_old = segment.age_ms(now_ms, timestamp) > how.segment_ms;
        if is_begun && (is_full || is_old) {
            log.appended = KafkaSegment::new(base, now_ms);
        } else if !is_begun && segment.bytes == 0 {
            log.appended.opened_ms = now_ms;
        }
        log.appended_ms = now_ms;
        let full = self.config.block_payload_bytes();
        let (stored, taken_bytes) = log.push(batch, full, |copy| {
            stamp(copy, base, how.epoch);
            match (how.log_append_time, how.max_timestamp) {
                (Some(time), _) => stamp_time(copy, time, true),
                (None, Some(time)) => stamp_time(copy, time, false),
                (None, None) => {}
            }
        });
        log.epochs.note(how.epoch, base);
        if stored.is_idempotent() {
            log.producers.note(&stored, now_ms);
        }
        self.charge(taken_bytes as isize);
        self.count(|counters| {
            counters.appends += 1;
            counters.appended_bytes += batch_bytes;
        });
        stored
    }

    /// Back-pressure: memory of open blocks is planned and never exceeded by more than a batch, and
    /// a disk that is nearly full takes nothing but what the broker needs to go on.
    fn admit(&self, size_bytes: usize, is_internal: bool) -> Result<(), AppendError> {
        if self.config.space.level() == Level::Full && !is_internal {
            self.count(|counters| counters.refused_for_space += 1);
            return Err(AppendError::DiskFull {
                usable_bytes: self.config.space.file_system().usable_bytes,
                full_bytes: self.config.space.watermarks().full_bytes,
            });
        }
        let (used_bytes, budget_bytes) = (
            self.charged_bytes.get(),
            self.config.open_block_budget_bytes,
        );
        if used_bytes + size_bytes <= budget_bytes || used_bytes == 0 {
            return Ok(());
        }
        self.count(|counters| counters.refused_for_memory += 1);
        self.rhythm.is_short.set(true);
        self.signal.wake();
        Err(AppendError::NoMemory {
            used_bytes,
            budget_bytes,
        })
    }

    fn partition(&self, tp: TopicPartition) -> Option<Rc<Partition<D>>> {
        self.partitions.borrow().get(&tp).cloned()
    }

    fn partition_or_new(&self, tp: TopicPartition, how: Stamp) -> Rc<Partition<D>> {
        let mut partitions = self.partitions.borrow_mut();
        let partition = partitions.entry(tp).or_insert_with(|| {
            debug_assert!(how.segment_bytes > 0, "a segment holds at least a batch");
            let progress = Progress::new(Offset(0), self.config.fence.clone());
            let mut log = Log::from_row(&Row::default());
            log.producers.bound(self.config.producers_max());
            Partition::new(tp, progress, log)
        });
        Rc::clone(partition)
    }

    fn mark_dirty(&self, partition: &Rc<Partition<D>>) {
        if !partition.is_dirty.replace(true) {
            self.queues
                .borrow_mut()
                .dirty
                .push_back(Rc::clone(partition));
        }
        self.signal.wake();
    }

    /// The log's ends; all zero for a partition nothing was appended to.
    pub fn bounds(&self, tp: TopicPartition) -> Bounds {
        self.partition(tp)
            .map_or_else(Bounds::default, |partition| {
                let log = partition.log.borrow();
                Bounds {
                    log_start: log.start,
                    high_watermark: partition.progress.durable_end(),
                    log_end: log.end.0,
                }
            })
    }

    /// Bytes of the partition's log: its blocks on disk, and what is in memory only.
    pub fn size_bytes(&self, tp: TopicPartition) -> u64 {
        self.partition(tp).map_or(0, |partition| {
            let log = partition.log.borrow();
            let slots = log.segments.slots.iter();
            let on_disk: u64 = slots.map(|slot| slot.row.end.0 - PAGE as u64).sum();
            let held: usize = log.held.iter().map(|held| held.block.len()).sum();
            let in_memory = held + log.open.len() + log.fresh_bytes;
            on_disk + in_memory as u64
        })
    }

    /// The largest leader epoch at or below `epoch` and where it ends, within the durable part.
    pub fn epoch_end(
        &self,
        tp: TopicPartition,
        epoch: LeaderEpoch,
    ) -> Option<(LeaderEpoch, Offset)> {
        let partition = self.partition(tp)?;
        let end = partition.progress.durable_end();
        let (found, found_end) = partition.log.borrow().epochs.end_of(epoch, end)?;
        Some((found, found_end.min(end)))
    }

    /// The epoch of the batch at `offset`; none at or beyond the durable end.
    pub fn epoch_at(&self, tp: TopicPartition, offset: Offset) -> Option<LeaderEpoch> {
        let partition = self.partition(tp)?;
        let is_there = offset < partition.progress.durable_end();
        is_there.then(|| partition.log.borrow().epochs.at(offset))?
    }

    /// Bytes of all batches of the log: what Kafka calls its size.
    pub fn log_bytes(&self, tp: TopicPartition) -> u64 {
        self.partition(tp)
            .map_or(0, |partition| partition.log.borrow().batch_bytes())
    }

    /// The epoch of the last append.
    pub fn latest_epoch(&self, tp: TopicPartition) -> Option<LeaderEpoch> {
        self.partition(tp)?.log.borrow().epochs.latest()
    }

    /// The idempotent producers that a partition remembers, in no order.
    pub fn producers(&self, tp: TopicPartition) -> Vec<(ProducerId, Producer)> {
        let Some(partition) = self.partition(tp) else {
            return Vec::new();
        };
        let log = partition.log.borrow();
        let producers = log.producers.iter();
        producers
            .map(|(id, producer)| (id, producer.clone()))
            .collect()
    }

    /// Calls `listener` whenever a durable end has moved.
    pub fn on_advance(&self, listener: Box<dyn Fn(TopicPartition, Offset)>) {
        *self.on_advance.borrow_mut() = Some(Rc::from(listener));
    }

    /// Partitions with data, or with data to come.
    #[must_use]
    pub fn partition_count(&self) -> usize {
        self.partitions.borrow().len()
    }

    /// Calls `listener` when memory came free after an append was refused for want of it.
    pub fn on_room(&self, listener: Box<dyn Fn()>) {
        *self.on_room.borrow_mut() = Some(Rc::from(listener));
    }

    /// Forgets deleted topics' partitions; their files go when that is durable (S6). The caller
    /// has made the deletion durable in the metadata (S17).
    pub fn drop_topics(&self, topics: &HashSet<TopicId>) {
        let mut gone: BTreeMap<TopicId, Vec<Rc<Partition<D>>>> = BTreeMap::new();
        self.partitions.borrow_mut().retain(|tp, partition| {
            let is_gone = topics.contains(&tp.topic);
            if is_gone {
                gone.entry(tp.topic).or_default().push(Rc::clone(partition));
            }
            !is_gone
        });
        for (topic, partitions) in gone {
            self.forget(topic, &partitions);
        }
    }

    /// Everything counted since the start.
    pub fn counters(&self) -> StoreCounters {
        self.counters.get()
    }

    /// Memory in use now.
    pub fn memory(&self) -> MemoryUse {
        let cache = self.cache.borrow();
        MemoryUse {
            open_block_bytes: self.charged_bytes.get(),
            cached_bytes: cache.cached_bytes(),
            held_bytes: cache.held_bytes(),
        }
    }

    /// The shard this is.
    pub fn shard(&self) -> ShardId {
        self.shard
    }

    /// Lets [`Store::run`] end once everything appended so far is durable.
    pub fn shutdown(&self) {
        self.rhythm.is_ending.set(true);
        self.signal.wake();
    }

    fn charge(&self, bytes: isize) {
        self.charged_bytes
            .set(self.charged_bytes.get().saturating_add_signed(bytes));
    }

    fn count(&self, change: impl FnOnce(&mut StoreCounters)) {
        let mut counters = self.counters.get();
        change(&mut counters);
        self.counters.set(counters);
    }

    fn elapsed(&self) -> Duration {
        self.clock.elapsed()
    }
}

impl<D: Disk> Queues<D> {
    fn new() -> Queues<D> {
        Queues {
            dirty: VecDeque::new(),
            copies: VecDeque::new(),
            rows: VecDeque::new(),
            rows_written: 0,
            is_head_open: false,
            notes: Vec::new(),
            sealing: VecDeque::new(),
        }
    }
}
