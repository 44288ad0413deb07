//! A member joins: new or known, dynamic or static.

use std::rc::Rc;

use bytes::Bytes;
use spate_net::kafka::{
    api::join_group::{JoinGroupRequest, JoinGroupResponse},
    error::ErrorCode,
};

use super::{
    Action, AfterStore, Alarm, ClassicGroup, JoinAlarm, JoinEvent, Member, NEW_MEMBER_TIMEOUT_MS,
    Replacement, Rules, State, Ticket, UNKNOWN_MEMBER,
    member::{detached, refused_join},
};

impl ClassicGroup {
    pub(super) fn join(
        &mut self,
        join: JoinEvent,
        rules: &Rules,
        now_ms: i64,
        actions: &mut Vec<Action>,
    ) {
        let asked = &join.asked;
        let member_id = asked.member_id.as_str();
        let is_new = member_id == UNKNOWN_MEMBER;
        let refuse = |code| Action::Joined(join.ticket, refused_join(member_id.to_owned(), code));
        if !self.has_place_for(member_id, rules) {
            let _gone = self.remove(member_id, actions);
            let code = ErrorCode::GroupMaxSizeReached;
            actions.push(Action::Joined(
                join.ticket,
                refused_join(String::new(), code),
            ));
        } else if self.state == State::Dead {
            actions.push(refuse(ErrorCode::CoordinatorNotAvailable));
        } else if !self.speaks_with(asked) {
            actions.push(refuse(ErrorCode::InconsistentGroupProtocol));
        } else if is_new {
            self.join_new(join, rules, now_ms, actions);
        } else {
            self.join_known(join, rules, now_ms, actions);
        }
    }

    /// Members that joined already count in a rebalance, all members otherwise: so that a limit
    /// that was lowered turns away who comes last.
    fn has_place_for(&self, member_id: &str, rules: &Rules) -> bool {
        let known = self.members.get(member_id);
        match self.state {
            State::Empty | State::Dead => true,
            State::Preparing => {
                known.is_some_and(|member| member.awaiting_join.is_some())
                    || self.joining < rules.group_max_size
            }
            State::Completing | State::Stable => {
                known.is_some() || self.members.len() < rules.group_max_size
            }
        }
    }

    /// Whether one of the protocols is spoken by everybody.
    fn speaks_with(&self, asked: &JoinGroupRequest) -> bool {
        let kind = asked.protocol_type.as_str();
        if self.state == State::Empty {
            return !kind.is_empty() && !asked.protocols.is_empty();
        }
        self.protocol_type.as_deref() == Some(kind)
            && asked.protocols.iter().any(|protocol| {
                self.supporters.get(protocol.name.as_str()) == Some(&self.members.len())
            })
    }

    fn join_new(&mut self, join: JoinEvent, rules: &Rules, now_ms: i64, actions: &mut Vec<Action>) {
        let new_id = Rc::clone(&join.new_member_id);
        let instance = join.asked.group_instance_id.as_ref();
        let holder = instance.and_then(|instance| self.instances.get(instance.as_str()).cloned());
        if let Some(holder) = holder {
            return self.replace_static(join, &holder, rules, now_ms, actions);
        }
        if instance.is_none() && join.must_know_its_id {
            // Else a client that gives up on a slow join and tries again would leave a member
            // behind each time.
            self.pending_joins.insert(Rc::clone(&new_id));
            let alarm = Alarm::Member(Rc::clone(&new_id));
            actions.push(Action::Arm(alarm, join.asked.session_timeout_ms.into()));
            let code = ErrorCode::MemberIdRequired;
            let answer = refused_join(new_id.to_string(), code);
            return actions.push(Action::Joined(join.ticket, answer));
        }
        self.add(new_id, join, rules, now_ms, actions);
    }

    fn join_known(
        &mut self,
        join: JoinEvent,
        rules: &Rules,
        now_ms: i64,
        actions: &mut Vec<Action>,
    ) {
        let ticket = join.ticket;
        let asked = &join.asked;
        let refuse = |code| {
            let member_id = asked.member_id.as_str().to_owned();
            Action::Joined(ticket, refused_join(member_id, code))
        };
        let instance = asked.group_instance_id.as_ref().map(|id| id.as_str());
        if instance.is_none() && self.pending_joins.contains(asked.member_id.as_str()) {
            let id: Rc<str> = asked.member_id.as_str().into();
            return self.add(id, join, rules, now_ms, actions);
        }
        let member = match self.check_member(asked.member_id.as_str(), instance) {
            Ok(member) => member,
            Err(code) => return actions.push(refuse(code)),
        };
        let id = Rc::clone(&member.id);
        let is_leader = self.leader.as_ref() == Some(&id);
        let same = member.wants(&asked.protocols);
        match self.state {
            State::Preparing => self.update(&id, ticket, asked, rules, now_ms, actions),
            // It has lost the answer, and nothing has changed: it gets the same again.
            State::Completing if same => {
                let answer = self.joined(&id, is_leader);
                actions.push(Action::Joined(ticket, Box::new(answer)));
            }
            // The leader may know of changes that its subscription does not show.
            State::Stable if same && !is_leader => {
                let answer = self.joined(&id, false);
                actions.push(Action::Joined(ticket, Box::new(answer)));
            }
            State::Completing | State::Stable => {
                self.update(&id, ticket, asked, rules, now_ms, actions);
            }
            State::Empty | State::Dead => actions.push(refuse(ErrorCode::UnknownMemberId)),
        }
    }

    fn add(
        &mut self,
        id: Rc<str>,
        join: JoinEvent,
        rules: &Rules,
        now_ms: i64,
        actions: &mut Vec<Action>,
    ) {
        let asked = &join.asked;
        let member = Member {
            id: Rc::clone(&id),
            instance: asked
                .group_instance_id
                .as_ref()
                .map(|id| id.as_str().into()),
            client_id: join.client_id,
            client_host: join.client_host,
            rebalance_timeout_ms: rebalance_timeout_ms(asked),
            session_timeout_ms: asked.session_timeout_ms,
            protocols: detached(&asked.protocols),
            assignment: Bytes::new(),
            awaiting_join: Some(join.ticket),
            awaiting_sync: None,
            is_new: true,
        };
        if self.members.is_empty() {
            self.protocol_type = Some(asked.protocol_type.as_str().into());
        }
        if let JoinAlarm::Initial { newcomers, .. } = &mut self.join_alarm {
            *newcomers = true;
        }
        if self.leader.is_none() {
            self.leader = Some(Rc::clone(&id));
        }
        self.pending_joins.remove(&id);
        self.insert(member);
        actions.push(Action::Arm(Alarm::Member(id), NEW_MEMBER_TIMEOUT_MS));
        self.rebalance_or_go_on(rules, now_ms, actions);
    }

    fn update(
        &mut self,
        id: &Rc<str>,
        ticket: Ticket,
        asked: &JoinGroupRequest,
        rules: &Rules,
        now_ms: i64,
        actions: &mut Vec<Action>,
    ) {
        self.change(id, Some(ticket), asked, actions);
        self.rebalance_or_go_on(rules, now_ms, actions);
    }

    /// Gives a member what it asks for now. One that already waited on another connection is told
    /// to go by the newer one.
    fn change(
        &mut self,
        id: &Rc<str>,
        ticket: Option<Ticket>,
        asked: &JoinGroupRequest,
        actions: &mut Vec<Action>,
    ) {
        let Some(mut member) = self.take(id) else {
            return;
        };
        member.protocols = detached(&asked.protocols);
        member.rebalance_timeout_ms = rebalance_timeout_ms(asked);
        member.session_timeout_ms = asked.session_timeout_ms;
        if let Some(before) = std::mem::replace(&mut member.awaiting_join, ticket) {
            let answer = refused_join(id.to_string(), ErrorCode::UnknownMemberId);
            actions.push(Action::Joined(before, answer));
        }
        self.insert(member);
    }

    /// A static member is back, under a new id: the old one is fenced. In a stable group that is
    /// all, so that a restart does not move partitions.
    fn replace_static(
        &mut self,
        join: JoinEvent,
        old_id: &Rc<str>,
        rules: &Rules,
        now_ms: i64,
        actions: &mut Vec<Action>,
    ) {
        let new_id = Rc::clone(&join.new_member_id);
        let leader = self.leader.clone();
        let Some(before) = self.rename(old_id, &new_id, actions) else {
            return;
        };
        if let Some(mut member) = self.take(&new_id) {
            member.client_id = Rc::clone(&join.client_id);
            member.client_host = Rc::clone(&join.client_host);
            self.insert(member);
        }
        self.change(&new_id, Some(join.ticket), &join.asked, actions);
        if let Some(member) = self.members.get(&new_id) {
            actions.push(member.heartbeat_alarm());
        }
        match self.state {
            State::Stable if self.elected_protocol().as_deref() == self.protocol.as_deref() => {
                let replacement = Replacement {
                    ticket: join.ticket,
                    old_id: Rc::clone(old_id),
                    new_id,
                    leader,
                    may_skip_assignment: join.may_skip_assignment,
                    before,
                };
                let after = AfterStore::Replacement(Box::new(replacement));
                actions.push(Action::Store(self.value(&[]), after));
            }
            State::Stable | State::Completing => self.prepare(rules, now_ms, actions),
            State::Preparing => self.go_on(now_ms, actions),
            State::Empty | State::Dead => unreachable!("a group without members has no instances"),
        }
    }

    /// Puts a static member under another id; gives it as it was.
    fn rename(
        &mut self,
        old_id: &Rc<str>,
        new_id: &Rc<str>,
        actions: &mut Vec<Action>,
    ) -> Option<Member> {
        let before = self.take(old_id)?;
        actions.push(Action::Disarm(Alarm::Member(Rc::clone(old_id))));
        before
            .clone()
            .turn_away(ErrorCode::FencedInstanceId, actions);
        let member = Member {
            id: Rc::clone(new_id),
            awaiting_join: None,
            awaiting_sync: None,
            ..before.clone()
        };
        if self.leader.as_ref() == Some(old_id) {
            self.leader = Some(Rc::clone(new_id));
        }
        if self.pending_syncs.remove(old_id) {
            self.pending_syncs.insert(Rc::clone(new_id));
        }
        self.insert(member);
        Some(before)
    }

    pub(super) fn replaced(
        &mut self,
        replacement: Replacement,
        outcome: Result<(), ErrorCode>,
        actions: &mut Vec<Action>,
    ) {
        let Replacement {
            ticket,
            old_id,
            new_id,
            leader,
            ..
        } = &replacement;
        let waits = |member: &Member| member.awaiting_join == Some(*ticket);
        // A rebalance that came in between answers it at its end.
        if self.state != State::Stable || !self.members.get(new_id).is_some_and(waits) {
            return;
        }
        if let Some(mut member) = self.take(new_id) {
            member.awaiting_join = None;
            self.insert(member);
        }
        if let Err(code) = outcome {
            let answer = self.joined(new_id, false);
            let answer = answer
                .with_member_id(UNKNOWN_MEMBER.to_owned().into())
                .with_leader(leader.as_deref().unwrap_or_default().to_owned().into())
                .with_error_code(code.code());
            actions.push(Action::Joined(*ticket, Box::new(answer)));
            let _renamed = self.rename(new_id, old_id, actions);
            if let Some(_renamed) = self.take(old_id) {
                let before = Member {
                    awaiting_join: None,
                    awaiting_sync: None,
                    ..replacement.before.clone()
                };
                actions.push(before.heartbeat_alarm());
                self.insert(before);
            }
            return;
        }
        let is_leader = self.leader.as_ref() == Some(new_id);
        let skips = replacement.may_skip_assignment && is_leader;
        let mut answer = self.joined(new_id, skips).with_skip_assignment(skips);
        // Without the flag, a leader that learns that it is would assign anew. The former leader's
        // id makes it a follower, which asks for the assignment that there is.
        if !replacement.may_skip_assignment {
            answer.leader = leader.as_deref().unwrap_or_default().to_owned().into();
        }
        actions.push(Action::Joined(*ticket, Box::new(answer)));
    }

    /// The answer to a join that succeeded.
    pub(super) fn joined(&self, id: &Rc<str>, with_members: bool) -> JoinGroupResponse {
        let text = |text: &Option<Rc<str>>| text.as_deref().map(|text| text.to_owned().into());
        JoinGroupResponse::default()
            .with_generation_id(self.generation)
            .with_protocol_type(text(&self.protocol_type))
            .with_protocol_name(text(&self.protocol))
            .with_leader(text(&self.leader).unwrap_or_default())
            .with_member_id(id.to_string().into())
            .with_members(if with_members {
                self.members_for_leader()
            } else {
                Vec::new()
            })
    }
}

/// Before v1 there was none, and the session timeout stood for it.
fn rebalance_timeout_ms(asked: &JoinGroupRequest) -> i32 {
    match asked.rebalance_timeout_ms {
        ..0 => asked.session_timeout_ms,
        given => given,
    }
}
