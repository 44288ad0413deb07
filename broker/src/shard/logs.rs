//! The owner's side: what a shard does with requests for its partitions, its own connections' and
//! its neighbours' alike.

use std::{
    cell::{OnceCell, RefCell},
    collections::HashSet,
    future::Future,
    pin::Pin,
    rc::Rc,
    sync::Arc,
};

use futures_util::{StreamExt, stream};
use spate_net::{
    kafka::error::ErrorCode,
    reactor::{self, Notify},
};
use spate_storage::{
    commit::CommitError,
    store::{ReadError, StartError, Store},
    types::{LeaderEpoch, Offset, ShardId, TopicId, TopicPartition},
};

use crate::{
    control::message::Refusal,
    coordinator::{Coordinator, GroupReply, GroupSettings},
    disk::{ShardClock, ShardDisk},
    image::{Image, TopicImage},
    shard::{
        append::AppendQueue,
        message::{Answer, Ask, Lookup, ReadItem, RemoveItem, WatchKey},
        outcome::{Extent, Found, FoundOffset, Probed, ReadOutcome, Removed},
        record_at,
        sabotage::{self, Sabotage},
        wait::Watches,
    },
};

/// The log storage of one shard.
pub type ShardStore = Store<ShardDisk, ShardClock>;

/// Reads of one request that may be at the disk at once. Eight keep a device busy; more would let
/// one wide fetch queue before everybody else's.
const READS_AT_ONCE: usize = 8;

/// Removals of one request that may wait for their frame at once: they share it.
const REMOVALS_AT_ONCE: usize = 1024;

/// An answer that is there or will be.
pub enum Pending {
    /// There.
    Ready(Answer),
    /// To come.
    Later(Pin<Box<dyn Future<Output = Answer>>>),
}

/// A shard's partitions.
pub struct Logs {
    me: ShardId,
    store: Rc<ShardStore>,
    image: RefCell<Arc<Image>>,
    watches: Watches,
    appends: AppendQueue,
    /// Set right after the logs are made: each needs the other.
    groups: OnceCell<Rc<Coordinator>>,
    /// Watches of this shard's own connections that fired, to be woken; and those of neighbours.
    fired: RefCell<Vec<WatchKey>>,
    /// Notified for fired watches, and for room that appends wait for.
    has_news: Notify,
}

impl Logs {
    /// The logs of shard `me`, listening to the store's progress.
    pub fn new(
        me: ShardId,
        store: Rc<ShardStore>,
        image: Arc<Image>,
        groups: GroupSettings,
    ) -> Rc<Logs> {
        let logs = Rc::new(Logs {
            me,
            store: Rc::clone(&store),
            image: RefCell::new(image),
            watches: Watches::default(),
            appends: AppendQueue::default(),
            groups: OnceCell::new(),
            fired: RefCell::default(),
            has_news: Notify::new(),
        });
        let coordinator = Coordinator::new(me, &logs, groups);
        assert!(logs.groups.set(coordinator).is_ok(), "set once");
        let listener = Rc::downgrade(&logs);
        store.on_advance(Box::new(move |partition, _| {
            if let Some(logs) = listener.upgrade() {
                logs.advanced(partition);
            }
        }));
        let listener = Rc::downgrade(&logs);
        store.on_room(Box::new(move || {
            if let Some(logs) = listener.upgrade() {
                logs.has_news.notify_one();
            }
        }));
        logs
    }

    /// The store below.
    pub fn store(&self) -> &Rc<ShardStore> {
        &self.store
    }

    /// The image that answers come from now.
    pub fn image(&self) -> Arc<Image> {
        Arc::clone(&self.image.borrow())
    }

    /// Answers from this image from now on, in which `dropped` are gone; says which topics'
    /// settings it changes.
    pub fn adopt(&self, image: Arc<Image>, dropped: &[TopicId]) -> Vec<TopicId> {
        let before = self.image.replace(Arc::clone(&image));
        self.groups().adopt(&before, &image, dropped);
        let is_changed = |topic: &&Arc<TopicImage>| {
            let old = before.topic_by_id(topic.id);
            old.is_some_and(|old| !Arc::ptr_eq(old, topic) && old.config != topic.config)
        };
        let changed = image.topics().filter(is_changed);
        changed.map(|topic| topic.id).collect()
    }

    /// The coordinators of the groups whose partitions are here.
    pub fn groups(&self) -> &Rc<Coordinator> {
        self.groups.get().expect("set when the logs are made")
    }

    /// The watches over this shard's partitions.
    pub fn watches(&self) -> &Watches {
        &self.watches
    }

    /// The queue before the logs.
    pub fn appends(&self) -> &AppendQueue {
        &self.appends
    }

    /// Goes on with appends that waited for memory.
    pub fn resume_appends(&self) {
        if self.appends.is_stalled() {
            self.appends.resume(&self.store, &self.image());
        }
    }

    /// Waits until watches have fired or memory came free, and takes the fired watches.
    pub async fn fired(&self) -> Vec<WatchKey> {
        self.has_news.notified().await;
        self.fired.take()
    }

    /// Takes a request. Its effects on the logs, and their order, are those of this call; only the
    /// answer may come later.
    pub fn accept(self: &Rc<Self>, ask: Ask) -> Pending {
        match ask {
            Ask::Append {
                items,
                wait_for_durable,
            } => {
                let image = self.image();
                let outcomes = self
                    .appends
                    .append(&self.store, &image, items, wait_for_durable);
                Pending::Later(Box::pin(async move { Answer::Append(outcomes.await) }))
            }
            Ask::Probe { items, watch } => {
                let sizes = items.iter().map(|item| self.probe(item)).collect();
                if let Some(key) = watch {
                    self.watches
                        .arm(key, items.iter().map(|item| item.target).collect());
                }
                Pending::Ready(Answer::Probe(sizes))
            }
            Ask::Read { items } => {
                let logs = Rc::clone(self);
                Pending::Later(Box::pin(async move {
                    let reads = stream::iter(items).map(|item| logs.read(item));
                    Answer::Read(reads.buffered(READS_AT_ONCE).collect().await)
                }))
            }
            Ask::Find { items } => {
                let logs = Rc::clone(self);
                Pending::Later(Box::pin(async move {
                    let finds = stream::iter(items).map(|(target, what)| logs.find(target, what));
                    Answer::Find(finds.buffered(READS_AT_ONCE).collect().await)
                }))
            }
            Ask::Remove { items } => {
                let logs = Rc::clone(self);
                Pending::Later(Box::pin(async move {
                    let removals = stream::iter(items).map(|item| logs.remove(item));
                    Answer::Remove(removals.buffered(REMOVALS_AT_ONCE).collect().await)
                }))
            }
            Ask::Measure { items } => {
                let sizes = items.iter().map(|target| self.store.size_bytes(*target));
                Pending::Ready(Answer::Measure(sizes.collect()))
            }
            Ask::Producers { items } => {
                let producers = items.into_iter().map(|target| self.store.producers(target));
                Pending::Ready(Answer::Producers(producers.collect()))
            }
            Ask::Unwatch(key) => {
                self.watches.disarm(key);
                self.groups().forget(key);
                Pending::Ready(Answer::Unwatched)
            }
            Ask::Group(ask) => match self.groups().accept(ask) {
                GroupReply::Ready(answer) => Pending::Ready(Answer::Group(answer)),
                GroupReply::Later(answer) => {
                    Pending::Later(Box::pin(async move { Answer::Group(answer.await) }))
                }
            },
        }
    }

    /// Drops deleted topics' logs. Fetches that wait for them look again, and so do appends: memory
    /// came free.
    pub fn drop_topics(&self, topics: &HashSet<TopicId>) {
        self.store.drop_topics(topics);
        self.fired
            .borrow_mut()
            .extend(self.watches.fire_topics(topics));
        self.has_news.notify_one();
    }

    /// Lets a log begin later.
    async fn remove(&self, item: RemoveItem) -> Removed {
        self.current_epoch(item.target)?;
        let end = || self.store.bounds(item.target).high_watermark;
        let before = item.before.unwrap_or_else(end);
        let advanced = self.store.advance_start(item.target, before).await;
        advanced.map_err(|error| {
            let code = match &error {
                StartError::OutOfRange { .. } => ErrorCode::OffsetOutOfRange,
                StartError::Lost(CommitError::Dropped { .. }) => ErrorCode::UnknownTopicOrPartition,
                StartError::Lost(CommitError::Fenced(_)) => ErrorCode::KafkaStorageError,
            };
            Refusal::new(code, error.to_string())
        })
    }

    /// Wakes a connection that waits for something of this shard.
    pub fn fire(&self, key: WatchKey) {
        self.fired.borrow_mut().push(key);
        self.has_news.notify_one();
    }

    fn advanced(&self, partition: TopicPartition) {
        let mut keys = self.watches.fire(partition);
        if sabotage::is(Sabotage::WatchLost) {
            keys.truncate(1);
        }
        if !keys.is_empty() {
            self.fired.borrow_mut().extend(keys);
            self.has_news.notify_one();
        }
    }

    fn extent(&self, target: TopicPartition) -> Extent {
        let bounds = self.store.bounds(target);
        Extent {
            log_start: bounds.log_start,
            high_watermark: bounds.high_watermark,
        }
    }

    fn probe(&self, item: &ReadItem) -> Probed {
        let (bytes, failure, diverging) = match self.diverging(item) {
            Ok(None) => {
                let readable = self
                    .store
                    .readable_bytes(item.target, item.from, item.max_bytes);
                match readable {
                    Ok(bytes) => (bytes, None, None),
                    Err(error) => (0, Some(refused(&error)), None),
                }
            }
            Ok(diverging) => (0, None, diverging),
            Err(refusal) => (0, Some(refusal), None),
        };
        Probed {
            bytes,
            failure,
            extent: self.extent(item.target),
            diverging,
        }
    }

    fn diverging(&self, item: &ReadItem) -> Result<Option<(LeaderEpoch, Offset)>, Refusal> {
        let current = self.current_epoch(item.target)?;
        let Some(asked) = item.last_fetched_epoch else {
            return Ok(None);
        };
        match self.epoch_end(item.target, current, asked) {
            Some((epoch, end)) if epoch == asked && end >= item.from => Ok(None),
            Some(divergence) => Ok(Some(divergence)),
            None => {
                let text = format!("epoch {asked:?} is not known here, {current:?} is the latest");
                Err(Refusal::new(ErrorCode::OffsetOutOfRange, text))
            }
        }
    }

    /// The epoch of our leadership, if the topic was not deleted meanwhile.
    fn current_epoch(&self, target: TopicPartition) -> Result<LeaderEpoch, Refusal> {
        let image = self.image.borrow();
        match image.topic_by_id(target.topic) {
            Some(topic) => Ok(topic.leader_epoch()),
            None => {
                let text = format!("topic id {} is not known here", target.topic);
                Err(Refusal::new(ErrorCode::UnknownTopicOrPartition, text))
            }
        }
    }

    /// Where an epoch ends. Kafka's table has the present epoch from the moment of leadership on,
    /// ours from its first append: a reader of an empty or freshly started log must be told all the
    /// same that it stands right, or it resets its position and misses what comes next.
    fn epoch_end(
        &self,
        target: TopicPartition,
        current: LeaderEpoch,
        asked: LeaderEpoch,
    ) -> Option<(LeaderEpoch, Offset)> {
        let bounds = self.store.bounds(target);
        if asked == current {
            return Some((asked, bounds.high_watermark));
        }
        // An epoch before the first that is known ends where that one begins.
        let before_all = (asked, bounds.log_start);
        (LeaderEpoch(0)..current)
            .contains(&asked)
            .then(|| self.store.epoch_end(target, asked).unwrap_or(before_all))
    }

    async fn read(&self, item: ReadItem) -> ReadOutcome {
        let extent = self.extent(item.target);
        let read = self
            .store
            .read(item.target, item.from, item.max_bytes, item.at_least_one);
        let (slices, failure) = match self.current_epoch(item.target) {
            Ok(_) => match read.await {
                Ok(data) => (data.slices, None),
                // The topic may have been deleted meanwhile.
                Err(error) => {
                    let deleted = self.current_epoch(item.target).err();
                    (Vec::new(), Some(deleted.unwrap_or_else(|| refused(&error))))
                }
            },
            Err(refusal) => (Vec::new(), Some(refusal)),
        };
        ReadOutcome {
            slices,
            failure,
            extent,
        }
    }

    async fn find(&self, target: TopicPartition, what: Lookup) -> Found {
        let bounds = self.store.bounds(target);
        let current = self.current_epoch(target)?;
        if matches!(what, Lookup::AtTimestamp(_) | Lookup::MaxTimestamp) {
            // Each may decompress a batch, and a request may ask for thousands.
            reactor::yield_now().await;
        }
        let of_record = match what {
            Lookup::Earliest => {
                let start = bounds.log_start;
                let epoch = self.store.epoch_at(target, start).unwrap_or(current);
                return Ok(at_end(epoch, start));
            }
            Lookup::Latest => return Ok(at_end(current, bounds.high_watermark)),
            Lookup::EpochEnd(asked) => {
                let end = self.epoch_end(target, current, asked);
                return Ok(end.map_or(FoundOffset::NONE, |(epoch, end)| at_end(epoch, end)));
            }
            Lookup::AtTimestamp(time) => return self.at_timestamp(target, time).await,
            Lookup::MaxTimestamp => self
                .store
                .max_timestamp(target)
                .await
                .map(|batch| batch.map(|batch| record_at::at_maximum(&batch))),
        };
        match of_record {
            Ok(found) => found.unwrap_or(Ok(FoundOffset::NONE)),
            Err(error) => Err(refused(&error)),
        }
    }

    /// The first record at or after `time`. The batch that the log begins in may have none but
    /// before the log's start: then it is in a later one.
    async fn at_timestamp(&self, target: TopicPartition, time: i64) -> Found {
        let mut floor = Offset(0);
        loop {
            let look = self.store.offset_at_timestamp_from(target, time, floor);
            let Some(batch) = look.await.map_err(|error| refused(&error))? else {
                return Ok(FoundOffset::NONE);
            };
            let found = record_at::at_or_after(&batch, time)?;
            if found != FoundOffset::NONE {
                return Ok(found);
            }
            floor = batch.next();
            reactor::yield_now().await;
        }
    }

    /// This shard's number.
    pub fn me(&self) -> ShardId {
        self.me
    }
}

fn at_end(epoch: LeaderEpoch, offset: Offset) -> FoundOffset {
    FoundOffset {
        offset,
        timestamp: -1,
        epoch,
    }
}

fn refused(error: &ReadError) -> Refusal {
    let code = match error {
        ReadError::OutOfRange { .. } => ErrorCode::OffsetOutOfRange,
        // Clients ask again after KAFKA_STORAGE_ERROR and say nothing to their user, so it is for
        // what may pass. Of damage the user must hear: after CORRUPT_MESSAGE Java's consumer throws
        // and librdkafka tells the application, which can seek behind it.
        error if error.is_passing() => ErrorCode::KafkaStorageError,
        _ => ErrorCode::CorruptMessage,
    };
    Refusal::new(code, error.to_string())
}
