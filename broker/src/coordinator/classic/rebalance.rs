//! The joining phase: who has to come back, how long they are waited for, and the next generation.

use std::{collections::HashMap, rc::Rc};

use spate_net::kafka::{api::join_group::JoinGroupResponseMember, error::ErrorCode};

use super::{
    Action, AfterStore, Alarm, ClassicGroup, JoinAlarm, Member, MemberId, Rules, State,
    subscription,
};

/// The least time between two looks for static members. With a rebalance timeout of zero, which a
/// client may ask for, the alarm would ring all the time until their sessions end.
const WAIT_AGAIN_MS: i64 = 1000;

impl ClassicGroup {
    /// Begins a rebalance, or goes on with the one under way.
    pub(super) fn rebalance_or_go_on(
        &mut self,
        rules: &Rules,
        now_ms: i64,
        actions: &mut Vec<Action>,
    ) {
        match self.state {
            State::Empty | State::Completing | State::Stable => {
                self.prepare(rules, now_ms, actions);
            }
            State::Preparing => self.go_on(now_ms, actions),
            State::Dead => {}
        }
    }

    pub(super) fn prepare(&mut self, rules: &Rules, now_ms: i64, actions: &mut Vec<Action>) {
        if self.state == State::Completing {
            self.send_back(ErrorCode::RebalanceInProgress, actions);
        }
        self.pending_syncs.clear();
        actions.push(Action::Disarm(Alarm::Sync));
        let is_first = self.state == State::Empty;
        self.move_to(State::Preparing, now_ms);
        if !is_first {
            return self.wait_for_all(now_ms, actions);
        }
        // A group that starts gets its members within seconds of each other: waiting for them
        // spares it a rebalance for each.
        let delay_ms = rules.initial_rebalance_delay_ms;
        self.join_alarm = JoinAlarm::Initial {
            delay_ms,
            left_ms: (self.rebalance_timeout_ms() - delay_ms).max(0),
            newcomers: false,
        };
        if delay_ms == 0 {
            self.complete(now_ms, actions);
        } else {
            actions.push(Action::Arm(Alarm::Join, delay_ms));
        }
    }

    /// Somebody joined or left while the group waits.
    pub(super) fn go_on(&mut self, now_ms: i64, actions: &mut Vec<Action>) {
        if self.state == State::Preparing && self.rebalanced_from != State::Empty {
            self.wait_for_all(now_ms, actions);
        }
    }

    fn wait_for_all(&mut self, now_ms: i64, actions: &mut Vec<Action>) {
        if self.joining == self.members.len() && self.pending_joins.is_empty() {
            self.complete(now_ms, actions);
        } else if self.join_alarm == JoinAlarm::Off {
            self.join_alarm = JoinAlarm::Final;
            actions.push(Action::Arm(Alarm::Join, self.rebalance_timeout_ms()));
        }
    }

    pub(super) fn join_alarm_rang(&mut self, now_ms: i64, actions: &mut Vec<Action>) {
        if self.state != State::Preparing {
            return;
        }
        if let JoinAlarm::Initial {
            delay_ms,
            left_ms,
            newcomers: true,
        } = self.join_alarm
            && left_ms > 0
        {
            let next_ms = delay_ms.min(left_ms);
            self.join_alarm = JoinAlarm::Initial {
                delay_ms: next_ms,
                left_ms: (left_ms - delay_ms).max(0),
                newcomers: false,
            };
            return actions.push(Action::Arm(Alarm::Join, next_ms));
        }
        self.join_alarm = JoinAlarm::Off;
        self.complete(now_ms, actions);
    }

    /// Ends the joining phase: who did not come back is out, static members excepted.
    fn complete(&mut self, now_ms: i64, actions: &mut Vec<Action>) {
        if self.join_alarm != JoinAlarm::Off {
            self.join_alarm = JoinAlarm::Off;
            actions.push(Action::Disarm(Alarm::Join));
        }
        let is_missing =
            |member: &&Member| member.awaiting_join.is_none() && member.instance.is_none();
        let missing = self.members.values().filter(is_missing);
        let missing: Vec<MemberId> = missing.map(|member| Rc::clone(&member.id)).collect();
        for id in missing {
            let _gone = self.remove(&id, actions);
        }
        if !self.elect_leader() && !self.members.is_empty() {
            // Only static members are left and none of them is back: their sessions' end decides.
            self.join_alarm = JoinAlarm::Final;
            let again_ms = self.rebalance_timeout_ms().max(WAIT_AGAIN_MS);
            return actions.push(Action::Arm(Alarm::Join, again_ms));
        }
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        self.pending_syncs.clear();
        if self.members.is_empty() {
            self.protocol = None;
            self.topics = self.subscribed();
            self.move_to(State::Empty, now_ms);
            return actions.push(Action::Store(self.value(&[]), AfterStore::Nothing));
        }
        self.protocol = self.elected_protocol();
        self.topics = self.subscribed();
        self.move_to(State::Completing, now_ms);
        self.answer_joins(actions);
        actions.push(Action::Arm(Alarm::Sync, self.rebalance_timeout_ms()));
    }

    fn answer_joins(&mut self, actions: &mut Vec<Action>) {
        let ids: Vec<MemberId> = self.members.keys().cloned().collect();
        for id in ids {
            let is_leader = self.leader.as_ref() == Some(&id);
            let answer = self.joined(&id, is_leader);
            let Some(member) = self.members.get_mut(&id) else {
                continue;
            };
            if let Some(ticket) = member.awaiting_join.take() {
                self.joining -= 1;
                actions.push(Action::Joined(ticket, Box::new(answer)));
            }
            member.is_new = false;
            actions.push(member.heartbeat_alarm());
            self.pending_syncs.insert(id);
        }
    }

    /// Makes sure that the leader is one who is here.
    fn elect_leader(&mut self) -> bool {
        let is_here = |member: &Member| member.awaiting_join.is_some();
        let leader = self.leader.as_ref().and_then(|id| self.members.get(id));
        if leader.is_some_and(is_here) {
            return true;
        }
        let found = self.members.values().find(|member| is_here(member));
        let Some(found) = found.map(|member| Rc::clone(&member.id)) else {
            return false;
        };
        self.leader = Some(found);
        true
    }

    /// The protocol that most members prefer among those that all of them speak.
    pub(super) fn elected_protocol(&self) -> Option<Rc<str>> {
        let everybody = self.members.len();
        let is_spoken = |name: &Rc<str>| self.supporters.get(name) == Some(&everybody);
        let mut votes: HashMap<&Rc<str>, usize> = HashMap::new();
        for member in self.members.values() {
            let mut names = member.protocols.iter().map(|protocol| &protocol.name);
            if let Some(choice) = names.find(|name| is_spoken(name)) {
                *votes.entry(choice).or_default() += 1;
            }
        }
        // By name among equals, so that the choice does not depend on a map's order.
        let winner = votes
            .into_iter()
            .max_by_key(|(name, count)| (*count, Rc::clone(name)));
        winner.map(|(name, _)| Rc::clone(name))
    }

    /// The topics that the members read; `None` where the broker cannot read their metadata.
    pub(super) fn subscribed(&self) -> Option<std::collections::BTreeSet<String>> {
        self.protocol_type.as_ref()?;
        if self.members.is_empty() {
            return Some(std::collections::BTreeSet::new());
        }
        let protocol = self.protocol.as_ref().filter(|_| self.is_of_consumers())?;
        let mut topics = std::collections::BTreeSet::new();
        for member in self.members.values() {
            topics.extend(subscription::topics(&member.metadata(protocol))?);
        }
        Some(topics)
    }

    pub(super) fn members_for_leader(&self) -> Vec<JoinGroupResponseMember> {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        let member = |member: &Member| {
            let instance = member.instance.as_deref();
            JoinGroupResponseMember::default()
                .with_member_id(member.id.to_string().into())
                .with_group_instance_id(instance.map(|id| id.to_owned().into()))
                .with_metadata(member.metadata(protocol))
        };
        self.members.values().map(member).collect()
    }

    /// The longest that any member may take.
    fn rebalance_timeout_ms(&self) -> i64 {
        let timeouts = self
            .members
            .values()
            .map(|member| member.rebalance_timeout_ms);
        timeouts.max().unwrap_or(0).into()
    }
}
