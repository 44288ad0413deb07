//! A group of the classic protocol: members join, their leader assigns, all follow, until somebody
//! comes, goes or falls silent.
//!
//! A pure state machine: [`ClassicGroup::step`] takes an event and gives actions. It knows no log,
//! no clock and no connection: tickets stand for who waits, alarms for deadlines, and what must be
//! durable first is an action whose outcome comes back as an event. The rules are Kafka's.
//!
//! ```text
//!            join                 all have joined           leader's sync is durable
//!   Empty ---------> Preparing ------------------> Completing ----------------> Stable
//!     ^                  ^  |                          |                          |
//!     +--- nobody left --|--+                          |                          |
//!                        +---- join, leave, silence, new subscription ------------+
//! ```

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    rc::Rc,
};

use bytes::Bytes;
use spate_net::kafka::{
    api::{
        join_group::{JoinGroupRequest, JoinGroupResponse},
        leave_group::{MemberIdentity, MemberResponse},
        sync_group::{SyncGroupRequest, SyncGroupResponse},
    },
    error::ErrorCode,
};

use crate::coordinator::{
    classic::member::Member,
    log::{GroupValue, MemberValue},
};

mod describe;
mod join;
mod leave;
pub mod member;
mod rebalance;
mod subscription;
mod sync;

/// A member's id. Shared: it names the member in several places.
pub type MemberId = Rc<str>;

/// The member id of who has none yet.
pub const UNKNOWN_MEMBER: &str = "";

/// The protocol type whose subscriptions the broker can read.
const CONSUMER_PROTOCOL: &str = "consumer";

/// How long a new member that does not come back for its answer is kept. It does not know its id
/// yet and cannot send heartbeats, so the session timeout does not apply (Kafka: 5 minutes).
const NEW_MEMBER_TIMEOUT_MS: i64 = 300_000;

/// Who waits for an answer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Ticket(pub u64);

/// What the settings say about classic groups.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// How long an empty group waits for more members after the first.
    pub initial_rebalance_delay_ms: i64,
    /// Most members of a group.
    pub group_max_size: usize,
}

/// Where a group stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// Nobody is in it; it may have offsets.
    Empty,
    /// Waiting for all members to join again.
    Preparing,
    /// Waiting for the leader's assignment.
    Completing,
    /// Everybody has its assignment.
    Stable,
    /// Deleted.
    Dead,
}

impl State {
    /// Kafka's name.
    pub fn name(self) -> &'static str {
        match self {
            State::Empty => "Empty",
            State::Preparing => "PreparingRebalance",
            State::Completing => "CompletingRebalance",
            State::Stable => "Stable",
            State::Dead => "Dead",
        }
    }
}

/// One of a group's deadlines; arming one again moves it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Alarm {
    /// The joining phase is over, whoever is missing.
    Join,
    /// Members that have not asked for their assignment by now are gone.
    Sync,
    /// The member has been silent for too long.
    Member(MemberId),
}

/// A member wants to join.
#[derive(Debug)]
pub struct JoinEvent {
    /// Who waits.
    pub ticket: Ticket,
    /// The id it gets if it is new.
    pub new_member_id: MemberId,
    /// Whether it must come back with the id (KIP-394).
    pub must_know_its_id: bool,
    /// Whether it can be told to keep its assignment (JoinGroup v9).
    pub may_skip_assignment: bool,
    /// What the client calls itself.
    pub client_id: Rc<str>,
    /// Where it comes from.
    pub client_host: Rc<str>,
    /// The request.
    pub asked: JoinGroupRequest,
}

/// What happens to a group.
#[derive(Debug)]
pub enum Event {
    /// A member joins.
    Join(Box<JoinEvent>),
    /// A member asks for its assignment, or the leader brings everybody's.
    Sync(Ticket, Box<SyncGroupRequest>),
    /// A deadline has passed.
    Alarm(Alarm),
    /// What [`Action::Store`] asked for is durable, or could not be made so.
    Stored(AfterStore, Result<(), ErrorCode>),
}

/// What a group wants done.
#[derive(Debug)]
pub enum Action {
    /// Answer a join.
    Joined(Ticket, Box<JoinGroupResponse>),
    /// Answer a sync.
    Synced(Ticket, Box<SyncGroupResponse>),
    /// Send [`Event::Alarm`] after so many ms.
    Arm(Alarm, i64),
    /// Forget an alarm.
    Disarm(Alarm),
    /// Make the group's metadata durable, then send [`Event::Stored`].
    Store(Box<GroupValue>, AfterStore),
}

/// Why metadata was stored, and what is to follow.
#[derive(Debug)]
pub enum AfterStore {
    /// Only so that it is known.
    Nothing,
    /// The leader's assignment of this generation: hand it out.
    Assignment {
        /// The generation that it is for.
        generation: i32,
        /// Every member's part.
        assignments: Vec<(MemberId, Bytes)>,
    },
    /// A static member came back under another id: tell it.
    Replacement(Box<Replacement>),
}

/// A static member's return, to be undone if it cannot be stored.
#[derive(Debug)]
pub struct Replacement {
    ticket: Ticket,
    old_id: MemberId,
    new_id: MemberId,
    /// The leader before.
    leader: Option<MemberId>,
    may_skip_assignment: bool,
    /// The member as it was.
    before: Member,
}

/// A classic group.
#[derive(Debug)]
pub struct ClassicGroup {
    state: State,
    /// The state from which the present rebalance began.
    rebalanced_from: State,
    generation: i32,
    protocol_type: Option<Rc<str>>,
    protocol: Option<Rc<str>>,
    leader: Option<MemberId>,
    /// By id: any order that is the same on every run would do.
    members: BTreeMap<MemberId, Member>,
    /// Memory of the members and, apart, of what they were assigned.
    member_bytes: usize,
    assignment_bytes: usize,
    /// Instance ids of static members.
    instances: HashMap<Rc<str>, MemberId>,
    /// Members that were given an id and have not come back with it.
    pending_joins: BTreeSet<MemberId>,
    /// Members that have not asked for the present generation's assignment.
    pending_syncs: BTreeSet<MemberId>,
    /// How many members each protocol has.
    supporters: HashMap<Rc<str>, usize>,
    /// Members that wait for the joining phase to end.
    joining: usize,
    join_alarm: JoinAlarm,
    /// The wall clock at the last change of state, as far as it is known.
    state_since_ms: Option<i64>,
    /// Topics that the members read; `None` if the broker cannot know.
    topics: Option<BTreeSet<String>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum JoinAlarm {
    Off,
    /// The phase ends when it rings.
    Final,
    /// The phase may be drawn out while new members come.
    Initial {
        delay_ms: i64,
        left_ms: i64,
        newcomers: bool,
    },
}

impl ClassicGroup {
    /// An empty group.
    pub fn new(now_ms: i64) -> ClassicGroup {
        ClassicGroup {
            state: State::Empty,
            rebalanced_from: State::Empty,
            generation: 0,
            protocol_type: None,
            protocol: None,
            leader: None,
            members: BTreeMap::new(),
            member_bytes: 0,
            assignment_bytes: 0,
            instances: HashMap::new(),
            pending_joins: BTreeSet::new(),
            pending_syncs: BTreeSet::new(),
            supporters: HashMap::new(),
            joining: 0,
            join_alarm: JoinAlarm::Off,
            state_since_ms: Some(now_ms),
            topics: None,
        }
    }

    /// The group that a record in the log describes.
    pub fn restore(value: GroupValue) -> ClassicGroup {
        let is_empty = value.members.is_empty();
        let mut group = ClassicGroup {
            state: if is_empty {
                State::Empty
            } else {
                State::Stable
            },
            generation: value.generation,
            protocol_type: Some(value.protocol_type.as_str().into())
                .filter(|name: &Rc<str>| !name.is_empty()),
            protocol: value.protocol.as_deref().map(Rc::from),
            leader: value.leader.as_deref().map(Rc::from),
            state_since_ms: value.state_since_ms,
            ..ClassicGroup::new(0)
        };
        let protocol = group.protocol.clone().unwrap_or_else(|| "".into());
        for member in value.members {
            group.insert(Member::restore(member, &protocol));
        }
        group.topics = group.subscribed();
        group
    }

    /// Alarms that a restored group needs, and a rebalance if it is larger than now allowed.
    pub fn resume(&mut self, rules: &Rules, now_ms: i64) -> Vec<Action> {
        let mut actions = Vec::new();
        for member in self.members.values() {
            actions.push(member.heartbeat_alarm());
        }
        if self.members.len() > rules.group_max_size {
            self.prepare(rules, now_ms, &mut actions);
        }
        actions
    }

    /// Lets an event happen.
    pub fn step(&mut self, event: Event, rules: &Rules, now_ms: i64) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Join(join) => self.join(*join, rules, now_ms, &mut actions),
            Event::Sync(ticket, asked) => self.sync(ticket, &asked, &mut actions),
            Event::Alarm(Alarm::Join) => self.join_alarm_rang(now_ms, &mut actions),
            Event::Alarm(Alarm::Sync) => self.sync_alarm_rang(rules, now_ms, &mut actions),
            Event::Alarm(Alarm::Member(id)) => self.silent(&id, rules, now_ms, &mut actions),
            Event::Stored(after, outcome) => {
                self.stored(after, outcome, rules, now_ms, &mut actions);
            }
        }
        actions
    }

    /// A member shows that it lives.
    pub fn heartbeat(
        &self,
        member: &str,
        instance: Option<&str>,
        generation: i32,
    ) -> (ErrorCode, Vec<Action>) {
        let checked = self.check_member(member, instance);
        let found = match checked {
            Err(code) => return (code, Vec::new()),
            Ok(found) => found,
        };
        if generation != self.generation {
            return (ErrorCode::IllegalGeneration, Vec::new());
        }
        let alarm = vec![found.heartbeat_alarm()];
        match self.state {
            State::Dead => (ErrorCode::CoordinatorNotAvailable, Vec::new()),
            State::Empty => (ErrorCode::UnknownMemberId, Vec::new()),
            State::Preparing => (ErrorCode::RebalanceInProgress, alarm),
            State::Completing | State::Stable => (ErrorCode::None, alarm),
        }
    }

    /// Members leave. The answers come in the order of the request.
    pub fn leave(
        &mut self,
        members: &[MemberIdentity],
        rules: &Rules,
        now_ms: i64,
    ) -> (Vec<MemberResponse>, Vec<Action>) {
        let mut actions = Vec::new();
        let answers = self.leave_all(members, rules, now_ms, &mut actions);
        (answers, actions)
    }

    /// Whether a commit of offsets may be taken; it also counts as a sign of life.
    ///
    /// # Errors
    /// 22, 25, 27, 82, 15: see OffsetCommit.
    pub fn check_commit(
        &self,
        member: &str,
        instance: Option<&str>,
        generation: i32,
    ) -> Result<Option<Action>, ErrorCode> {
        if self.state == State::Dead {
            return Err(ErrorCode::CoordinatorNotAvailable);
        }
        // An administrator, or a consumer that assigns partitions to itself.
        if generation < 0 && self.state == State::Empty {
            return Ok(None);
        }
        if generation < 0 && member.is_empty() && instance.is_none() {
            return Err(ErrorCode::UnknownMemberId);
        }
        let found = self.check_member(member, instance)?;
        if generation != self.generation {
            return Err(ErrorCode::IllegalGeneration);
        }
        // It knows its generation and not yet its assignment: what it commits may be another's.
        if self.state == State::Completing {
            return Err(ErrorCode::RebalanceInProgress);
        }
        Ok(Some(found.heartbeat_alarm()))
    }

    /// The member of this id, if it is the one that bears the instance id.
    ///
    /// # Errors
    /// 25 for an unknown member, 82 for one that was replaced.
    fn check_member(&self, member: &str, instance: Option<&str>) -> Result<&Member, ErrorCode> {
        if let Some(instance) = instance {
            match self.instances.get(instance) {
                None => return Err(ErrorCode::UnknownMemberId),
                Some(holder) if **holder != *member => return Err(ErrorCode::FencedInstanceId),
                Some(_) => {}
            }
        }
        self.members.get(member).ok_or(ErrorCode::UnknownMemberId)
    }

    /// Deletes the group; who waits is told to find its coordinator again.
    pub fn kill(&mut self) -> Vec<Action> {
        let mut actions = vec![Action::Disarm(Alarm::Join), Action::Disarm(Alarm::Sync)];
        let ids: Vec<MemberId> = self.members.keys().cloned().collect();
        for id in ids {
            if let Some(member) = self.remove(&id, &mut actions) {
                member.turn_away(ErrorCode::NotCoordinator, &mut actions);
            }
        }
        let pending = std::mem::take(&mut self.pending_joins);
        actions.extend(pending.into_iter().map(Alarm::Member).map(Action::Disarm));
        self.state = State::Dead;
        actions
    }

    /// Where it stands.
    pub fn state(&self) -> State {
        self.state
    }

    /// Whether nobody is in it or about to be.
    pub fn is_deserted(&self) -> bool {
        self.state == State::Empty && self.pending_joins.is_empty()
    }

    /// The protocol type; `None` before the first member, and of simple consumers.
    pub fn protocol_type(&self) -> Option<&str> {
        self.protocol_type.as_deref()
    }

    /// When the state last changed.
    pub fn state_since_ms(&self) -> Option<i64> {
        self.state_since_ms
    }

    /// How many members it has.
    pub fn member_count(&self) -> usize {
        self.members.len()
    }

    /// Whether the broker understands what its members subscribe to.
    pub fn is_of_consumers(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER_PROTOCOL)
    }

    /// The topics that its members read, if it is known.
    pub fn topics(&self) -> Option<&BTreeSet<String>> {
        self.topics.as_ref()
    }

    fn move_to(&mut self, state: State, now_ms: i64) {
        if state == State::Preparing {
            self.rebalanced_from = self.state;
        }
        self.state = state;
        self.state_since_ms = Some(now_ms);
    }

    fn insert(&mut self, member: Member) {
        for protocol in &member.protocols {
            *self
                .supporters
                .entry(Rc::clone(&protocol.name))
                .or_default() += 1;
        }
        if let Some(instance) = &member.instance {
            self.instances
                .insert(Rc::clone(instance), Rc::clone(&member.id));
        }
        self.joining += usize::from(member.awaiting_join.is_some());
        self.member_bytes += member.bytes();
        self.assignment_bytes += member.assignment.len();
        self.members.insert(Rc::clone(&member.id), member);
    }

    /// Takes a member out, and its alarm with it.
    fn remove(&mut self, id: &str, actions: &mut Vec<Action>) -> Option<Member> {
        self.pending_syncs.remove(id);
        let member = self.take(id)?;
        actions.push(Action::Disarm(Alarm::Member(Rc::clone(&member.id))));
        if let Some(instance) = &member.instance
            && self
                .instances
                .get(instance)
                .is_some_and(|holder| **holder == *id)
        {
            self.instances.remove(instance);
        }
        if self.leader.as_deref() == Some(id) {
            self.leader = self.members.keys().next().cloned();
        }
        Some(member)
    }

    fn take(&mut self, id: &str) -> Option<Member> {
        let member = self.members.remove(id)?;
        self.member_bytes -= member.bytes();
        self.assignment_bytes -= member.assignment.len();
        for protocol in &member.protocols {
            if let Some(count) = self.supporters.get_mut(&protocol.name) {
                *count -= 1;
            }
        }
        self.supporters.retain(|_, count| *count > 0);
        self.joining -= usize::from(member.awaiting_join.is_some());
        Some(member)
    }

    /// The record that describes the group with these assignments.
    fn value(&self, assignments: &[(MemberId, Bytes)]) -> Box<GroupValue> {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        let by_member: HashMap<&str, &Bytes> = assignments
            .iter()
            .map(|(id, assignment)| (&**id, assignment))
            .collect();
        let member = |member: &Member| MemberValue {
            assignment: by_member
                .get(&*member.id)
                .map_or_else(|| member.assignment.clone(), |given| (*given).clone()),
            ..member.value(protocol)
        };
        Box::new(GroupValue {
            protocol_type: self.protocol_type.as_deref().unwrap_or_default().to_owned(),
            generation: self.generation,
            protocol: self.protocol.as_deref().map(str::to_owned),
            leader: self.leader.as_deref().map(str::to_owned),
            state_since_ms: self.state_since_ms,
            members: self.members.values().map(member).collect(),
        })
    }
}

#[cfg(test)]
mod tests;
