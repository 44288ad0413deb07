//! The group coordinators of one shard: of every partition of `__consumer_offsets` that it owns.
//!
//! A request names a group, the group's id hashes to a partition, and the partition's owner decides
//! alone. What must survive is written to that partition first and takes effect in the order of its
//! log; after a start the groups are read back from it (`load`). Requests come in by
//! [`Coordinator::accept`], time by [`Coordinator::keep_time`].
//!
//! No borrow of the groups lives across an await, and nothing here waits: writes are tasks of their
//! own whose end is an event.

pub mod classic;
pub mod group;
pub mod log;
pub mod message;
pub mod offsets;

mod append;
mod commit;
mod expire;
mod gather;
mod load;
mod manage;
mod membership;
mod partition;
pub mod survey;
mod timer;

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, HashMap},
    pin::Pin,
    rc::{Rc, Weak},
    sync::Arc,
    time::{Duration, Instant},
};

use spate_net::{
    kafka::{error::ErrorCode, record_batch::Codec},
    reactor::{self, Notify},
};
use spate_storage::types::{PartitionIndex, ShardId, TopicId, TopicPartition};

use self::{
    classic::{Action, Alarm, Event, Rules, Ticket},
    group::{Group, Kind},
    message::{GroupAnswer, GroupAsk},
    partition::{GroupId, Groups, Standing},
    timer::Timers,
};
use crate::{
    config::Config,
    disk::wall_ms,
    image::{Image, TopicImage, shard_of},
    logging::WarnLimiter,
    shard::{logs::Logs, message::WatchKey},
};

/// The topic that holds groups and offsets.
pub const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// Alarms handled before other tasks of the shard get a turn: each may rebalance a group.
const ALARMS_PER_TURN: usize = 16;

/// What the settings say about groups.
#[derive(Clone, Debug)]
pub struct GroupSettings {
    /// Shards of the node.
    pub shards: u16,
    /// Of classic groups.
    pub rules: Rules,
    /// How long a silent member may be kept: least and most.
    pub session_timeout_ms: std::ops::RangeInclusive<i32>,
    /// Most bytes of a commit's metadata.
    pub metadata_max_bytes: usize,
    /// How long unused offsets are kept.
    pub offsets_retention_ms: i64,
    /// How often expired ones are looked for.
    pub retention_check: Duration,
    /// How records are compressed.
    pub codec: Codec,
    /// What groups, members and offsets may take of this shard's memory.
    pub memory_bytes: usize,
}

impl GroupSettings {
    /// Of these settings.
    pub fn of(config: &Config) -> GroupSettings {
        let groups = &config.groups;
        GroupSettings {
            shards: config.shards,
            rules: Rules {
                initial_rebalance_delay_ms: groups.initial_rebalance_delay_ms,
                group_max_size: groups.max_size as usize,
            },
            session_timeout_ms: groups.min_session_timeout_ms..=groups.max_session_timeout_ms,
            metadata_max_bytes: groups.metadata_max_bytes as usize,
            offsets_retention_ms: groups.retention_minutes * 60_000,
            retention_check: groups.retention_check,
            codec: groups.topic_codec,
            memory_bytes: groups.memory_bytes as usize,
        }
    }
}

/// A coordinator's answer: there, or to come when it is durable.
pub enum GroupReply {
    /// There.
    Ready(GroupAnswer),
    /// To come.
    Later(Pin<Box<dyn Future<Output = GroupAnswer>>>),
}

/// One deadline of one group.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct AlarmKey {
    partition: PartitionIndex,
    group: GroupId,
    alarm: Alarm,
}

/// A connection that waits for a join's or sync's answer.
enum Parked {
    Waiting,
    Done(GroupAnswer),
}

/// The coordinators of one shard.
pub struct Coordinator {
    me: ShardId,
    /// The logs hold the coordinator.
    logs: Weak<Logs>,
    settings: GroupSettings,
    topic: Cell<Option<TopicId>>,
    partitions: RefCell<BTreeMap<PartitionIndex, Rc<Groups>>>,
    timers: RefCell<Timers<AlarmKey>>,
    /// Notified when the first deadline has moved forward.
    sooner: Notify,
    tickets: RefCell<HashMap<Ticket, WatchKey>>,
    parked: RefCell<HashMap<WatchKey, Parked>>,
    next_ticket: Cell<u64>,
    /// The connection that is being answered: it need not be woken for that.
    serving: Cell<Option<WatchKey>>,
    /// Partitions that have gathered commits in this turn, and who writes them.
    gathering: RefCell<Vec<Place>>,
    has_gathered: Notify,
    /// Memory of all groups.
    bytes: Cell<usize>,
    /// Keeps clients that are refused from flooding the log.
    warnings: WarnLimiter,
}

/// A group's place.
#[derive(Clone)]
struct Place {
    partition: PartitionIndex,
    groups: Rc<Groups>,
}

impl Coordinator {
    /// The coordinators of the shard with these logs; knows no group until [`Self::adopt`].
    pub fn new(me: ShardId, logs: &Rc<Logs>, settings: GroupSettings) -> Rc<Coordinator> {
        Rc::new(Coordinator {
            me,
            logs: Rc::downgrade(logs),
            settings,
            topic: Cell::new(None),
            partitions: RefCell::default(),
            timers: RefCell::new(Timers::new()),
            sooner: Notify::new(),
            tickets: RefCell::default(),
            parked: RefCell::default(),
            next_ticket: Cell::new(0),
            serving: Cell::new(None),
            gathering: RefCell::default(),
            has_gathered: Notify::new(),
            bytes: Cell::new(0),
            warnings: WarnLimiter::default(),
        })
    }

    /// Takes a request. Its effects, and their order, are those of this call.
    pub fn accept(self: &Rc<Self>, ask: GroupAsk) -> GroupReply {
        use GroupReply::Ready;
        match ask {
            GroupAsk::Join(join) => Ready(self.join(*join)),
            GroupAsk::Sync(key, asked) => Ready(self.sync(key, asked)),
            GroupAsk::Collect(key) => Ready(self.collect(key)),
            GroupAsk::Heartbeat(asked) => Ready(GroupAnswer::Heard(self.heartbeat(&asked))),
            GroupAsk::Leave(asked) => Ready(GroupAnswer::Left(self.leave(&asked))),
            GroupAsk::Commit(asked) => self.commit(*asked),
            GroupAsk::Fetch(asked) => Ready(GroupAnswer::Fetched(self.fetch(*asked))),
            GroupAsk::List => Ready(GroupAnswer::Listed(self.list())),
            GroupAsk::Describe(groups) => Ready(GroupAnswer::Described(self.describe(&groups))),
            GroupAsk::Delete(groups) => self.delete(groups),
            GroupAsk::DeleteOffsets(group, items) => self.delete_offsets(&group, items),
        }
    }

    /// Learns of a new image: which partitions there are, and which topics are gone.
    pub fn adopt(self: &Rc<Self>, before: &Image, image: &Arc<Image>, dropped: &[TopicId]) {
        if self
            .topic
            .get()
            .is_some_and(|topic| dropped.contains(&topic))
        {
            self.drop_all();
        }
        self.take_up(image);
        for id in dropped {
            if let Some(topic) = before.topic_by_id(*id) {
                self.forget_topic(&topic.name, *id);
            }
        }
    }

    /// Begins with the partitions that this shard owns and does not know yet.
    pub fn take_up(self: &Rc<Self>, image: &Image) {
        let Some(topic) = image.topic(OFFSETS_TOPIC) else {
            return;
        };
        self.topic.set(Some(topic.id));
        for index in 0..topic.partitions {
            let partition = PartitionIndex(index);
            let known = self.partitions.borrow().contains_key(&partition);
            if !known && self.owns(topic, partition) {
                let groups = Rc::new(Groups::default());
                self.partitions
                    .borrow_mut()
                    .insert(partition, Rc::clone(&groups));
                self.load(partition, groups);
            }
        }
    }

    /// Rings alarms for ever.
    pub async fn keep_time(self: Rc<Self>) {
        loop {
            let now = reactor::now();
            let next = self.timers.borrow().next();
            match next {
                None => self.sooner.notified().await,
                Some(due) if due > now => {
                    let _or_sooner = reactor::timeout(due - now, self.sooner.notified()).await;
                }
                Some(_) => {
                    self.ring(now);
                    reactor::yield_now().await;
                }
            }
        }
    }

    fn ring(self: &Rc<Self>, now: Instant) {
        let due = self.timers.borrow_mut().take_due(now, ALARMS_PER_TURN);
        for key in due {
            let groups = self.partitions.borrow().get(&key.partition).cloned();
            let Some(groups) = groups else { continue };
            let place = Place {
                partition: key.partition,
                groups,
            };
            self.step(&place, &key.group, Event::Alarm(key.alarm));
        }
    }

    /// Forgets a connection that is gone.
    pub fn forget(&self, key: WatchKey) {
        self.parked.borrow_mut().remove(&key);
    }

    /// Memory of this shard's groups.
    pub fn bytes(&self) -> usize {
        self.bytes.get()
    }

    /// Deadlines of this shard's groups.
    pub fn alarm_count(&self) -> usize {
        self.timers.borrow().len()
    }

    /// Groups of this shard.
    pub fn group_count(&self) -> usize {
        let partitions = self.partitions.borrow();
        let counts = partitions
            .values()
            .map(|groups| groups.by_id().borrow().len());
        counts.sum()
    }

    fn owns(&self, topic: &TopicImage, partition: PartitionIndex) -> bool {
        let target = TopicPartition {
            topic: topic.id,
            partition,
        };
        shard_of(target, self.settings.shards) == self.me
    }

    /// Where a group lives, if that is here and known.
    ///
    /// # Errors
    /// 14, 15, 16.
    fn place(&self, group_id: &str) -> Result<Place, ErrorCode> {
        let image = self.logs.upgrade().map(|logs| logs.image());
        let topic = image.as_ref().and_then(|image| image.topic(OFFSETS_TOPIC));
        let topic = topic.ok_or(ErrorCode::NotCoordinator)?;
        let partition = partition_of(group_id, topic.partitions);
        let groups = self.partitions.borrow().get(&partition).cloned();
        let groups = groups.ok_or(ErrorCode::NotCoordinator)?;
        groups.check()?;
        Ok(Place { partition, groups })
    }

    /// Lets an event happen to a classic group; one that is gone is fine.
    fn step(self: &Rc<Self>, place: &Place, group_id: &GroupId, event: Event) {
        let rules = &self.settings.rules;
        let actions = self.with_group(place, group_id, |group| {
            let Kind::Classic(classic) = &mut group.kind;
            classic.step(event, rules, wall_ms())
        });
        self.act(place, group_id, actions.unwrap_or_default());
    }

    /// Changes a group, and accounts for the memory.
    fn with_group<R>(
        &self,
        place: &Place,
        group_id: &str,
        change: impl FnOnce(&mut Group) -> R,
    ) -> Option<R> {
        let mut groups = place.groups.by_id().borrow_mut();
        let group = groups.get_mut(group_id)?;
        let before = group.bytes();
        let outcome = change(group);
        self.charge(before, group.bytes());
        Some(outcome)
    }

    fn charge(&self, before: usize, after: usize) {
        self.bytes.set(self.bytes.get() + after - before);
    }

    /// Makes a group that is not there, and gives its id as the map holds it.
    fn ensure(&self, place: &Place, group_id: &str) -> GroupId {
        let mut groups = place.groups.by_id().borrow_mut();
        if let Some((id, _)) = groups.get_key_value(group_id) {
            return Rc::clone(id);
        }
        let id: GroupId = group_id.into();
        let group = Group::classic(wall_ms());
        self.charge(0, group.bytes() + id.len());
        groups.insert(Rc::clone(&id), group);
        id
    }

    /// Takes a group out for good.
    fn discard(&self, place: &Place, group_id: &str) {
        if let Some(group) = place.groups.by_id().borrow_mut().remove(group_id) {
            self.charge(group.bytes() + group_id.len(), 0);
        }
    }

    /// Whether so much more may be kept.
    fn has_room(&self, bytes: usize) -> bool {
        let has_room = self.bytes.get() + bytes <= self.settings.memory_bytes;
        if !has_room && let Some(suppressed) = self.warnings.admit() {
            tracing::warn!(
                suppressed,
                used = self.bytes.get(),
                limit = self.settings.memory_bytes,
                "no memory for more groups and offsets on this shard: raise memory.groups.bytes"
            );
        }
        has_room
    }

    /// Does what a group wants.
    fn act(self: &Rc<Self>, place: &Place, group_id: &GroupId, actions: Vec<Action>) {
        let key = |alarm| AlarmKey {
            partition: place.partition,
            group: Rc::clone(group_id),
            alarm,
        };
        for action in actions {
            match action {
                Action::Joined(ticket, answer) => self.tell(ticket, GroupAnswer::Joined(answer)),
                Action::Synced(ticket, answer) => self.tell(ticket, GroupAnswer::Synced(answer)),
                Action::Arm(alarm, after_ms) => {
                    let after = Duration::from_millis(after_ms.try_into().unwrap_or(0));
                    let deadline = reactor::now() + after;
                    if self.timers.borrow_mut().arm(key(alarm), deadline) {
                        self.sooner.notify_one();
                    }
                }
                Action::Disarm(alarm) => self.timers.borrow_mut().disarm(&key(alarm)),
                Action::Store(value, after) => self.store(place, group_id, &value, after),
            }
        }
    }

    fn ticket(&self, key: WatchKey) -> Ticket {
        let ticket = Ticket(self.next_ticket.replace(self.next_ticket.get() + 1));
        self.tickets.borrow_mut().insert(ticket, key);
        self.parked.borrow_mut().insert(key, Parked::Waiting);
        ticket
    }

    /// Puts an answer where its connection collects it; one that is gone gets none.
    fn tell(&self, ticket: Ticket, answer: GroupAnswer) {
        let Some(key) = self.tickets.borrow_mut().remove(&ticket) else {
            return;
        };
        if let Some(parked) = self.parked.borrow_mut().get_mut(&key) {
            *parked = Parked::Done(answer);
            if self.serving.get() != Some(key)
                && let Some(logs) = self.logs.upgrade()
            {
                logs.fire(key);
            }
        }
    }

    fn collect(&self, key: WatchKey) -> GroupAnswer {
        let mut parked = self.parked.borrow_mut();
        match parked.remove(&key) {
            Some(Parked::Done(answer)) => answer,
            Some(Parked::Waiting) => {
                parked.insert(key, Parked::Waiting);
                GroupAnswer::Parked
            }
            // The asker has forgotten the connection and asks all the same: a bug, told as what a
            // client can bear.
            None => GroupAnswer::Heard(ErrorCode::UnknownServerError),
        }
    }

    /// The topic is gone, and every group with it: all look for their coordinator anew.
    fn drop_all(self: &Rc<Self>) {
        self.topic.set(None);
        let partitions = std::mem::take(&mut *self.partitions.borrow_mut());
        for (partition, groups) in partitions {
            groups.set_standing(Standing::Dropped);
            let all = std::mem::take(&mut *groups.by_id().borrow_mut());
            let place = Place { partition, groups };
            for (id, mut group) in all {
                self.charge(group.bytes() + id.len(), 0);
                let Kind::Classic(classic) = &mut group.kind;
                let actions = classic.kill();
                self.act(&place, &id, actions);
            }
        }
    }
}

/// The partition of a group: Java's `Math.abs(groupId.hashCode()) % partitions`.
pub fn partition_of(group_id: &str, partitions: i32) -> PartitionIndex {
    let units = group_id.encode_utf16();
    let hash = units.fold(0_i32, |hash, unit| {
        hash.wrapping_mul(31).wrapping_add(i32::from(unit))
    });
    // Kafka's abs takes the smallest number to zero.
    let positive = if hash == i32::MIN { 0 } else { hash.abs() };
    PartitionIndex(positive % partitions.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_hash_to_kafkas_partitions() {
        // As Apache Kafka 4.3.0 placed them.
        assert_eq!(partition_of("groups-probe-g", 50), PartitionIndex(39));
        assert_eq!(partition_of("", 50), PartitionIndex(0));
        // "polygenelubricants".hashCode() is Integer.MIN_VALUE.
        assert_eq!(partition_of("polygenelubricants", 50), PartitionIndex(0));
    }
}
