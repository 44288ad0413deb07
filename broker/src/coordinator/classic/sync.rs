//! The assignment: the leader brings it, the log keeps it, the members get their parts.

use std::{collections::HashMap, rc::Rc};

use bytes::Bytes;
use spate_net::kafka::{
    KafkaString,
    api::sync_group::{SyncGroupRequest, SyncGroupResponse},
    error::ErrorCode,
};

use super::{
    Action, AfterStore, Alarm, ClassicGroup, MemberId, Rules, State, Ticket, member::refused_sync,
};

impl ClassicGroup {
    pub(super) fn sync(
        &mut self,
        ticket: Ticket,
        asked: &SyncGroupRequest,
        actions: &mut Vec<Action>,
    ) {
        if let Err(code) = self.check_sync(asked) {
            return actions.push(Action::Synced(ticket, refused_sync(code)));
        }
        let id: MemberId = asked.member_id.as_str().into();
        self.pending_syncs.remove(&id);
        if self.pending_syncs.is_empty() {
            actions.push(Action::Disarm(Alarm::Sync));
        }
        let Some(member) = self.members.get_mut(&id) else {
            return;
        };
        if self.state == State::Stable {
            let assignment = member.assignment.clone();
            return actions.push(Action::Synced(ticket, self.synced(assignment)));
        }
        // Asked twice: the connection of the first is gone, or its client has given up on it.
        if let Some(before) = member.awaiting_sync.replace(ticket) {
            let code = ErrorCode::RebalanceInProgress;
            actions.push(Action::Synced(before, refused_sync(code)));
        }
        if self.leader.as_ref() == Some(&id) {
            let assignments = self.complete_assignments(asked);
            let value = self.value(&assignments);
            let after = AfterStore::Assignment {
                generation: self.generation,
                assignments,
            };
            actions.push(Action::Store(value, after));
        }
    }

    fn check_sync(&self, asked: &SyncGroupRequest) -> Result<(), ErrorCode> {
        if self.state == State::Dead {
            return Err(ErrorCode::CoordinatorNotAvailable);
        }
        let instance = asked.group_instance_id.as_ref().map(KafkaString::as_str);
        self.check_member(asked.member_id.as_str(), instance)?;
        if asked.generation_id != self.generation {
            return Err(ErrorCode::IllegalGeneration);
        }
        let differs = |given: &Option<KafkaString>, ours: &Option<Rc<str>>| match (given, ours) {
            (Some(given), Some(ours)) => *given.as_str() != **ours,
            _ => false,
        };
        if differs(&asked.protocol_type, &self.protocol_type)
            || differs(&asked.protocol_name, &self.protocol)
        {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        match self.state {
            State::Completing | State::Stable => Ok(()),
            State::Preparing => Err(ErrorCode::RebalanceInProgress),
            State::Empty | State::Dead => Err(ErrorCode::UnknownMemberId),
        }
    }

    /// Every member's part: nothing for those whom the leader left out.
    fn complete_assignments(&self, asked: &SyncGroupRequest) -> Vec<(MemberId, Bytes)> {
        let given: HashMap<&str, &Bytes> = asked
            .assignments
            .iter()
            .map(|part| (part.member_id.as_str(), &part.assignment))
            .collect();
        let part = |id: &MemberId| {
            let bytes = given.get(&**id).map_or(&[][..], |bytes| &bytes[..]);
            (Rc::clone(id), Bytes::copy_from_slice(bytes))
        };
        self.members.keys().map(part).collect()
    }

    pub(super) fn stored(
        &mut self,
        after: AfterStore,
        outcome: Result<(), ErrorCode>,
        rules: &Rules,
        now_ms: i64,
        actions: &mut Vec<Action>,
    ) {
        match after {
            AfterStore::Nothing => {}
            AfterStore::Replacement(replacement) => {
                self.replaced(*replacement, outcome, actions);
            }
            AfterStore::Assignment {
                generation,
                assignments,
            } => {
                // Another rebalance may have begun meanwhile: then the assignment is void.
                if self.state != State::Completing || generation != self.generation {
                    return;
                }
                match outcome {
                    Ok(()) => self.hand_out(assignments, now_ms, actions),
                    Err(code) => {
                        self.send_back(code, actions);
                        self.rebalance_or_go_on(rules, now_ms, actions);
                    }
                }
            }
        }
    }

    fn hand_out(
        &mut self,
        assignments: Vec<(MemberId, Bytes)>,
        now_ms: i64,
        actions: &mut Vec<Action>,
    ) {
        self.move_to(State::Stable, now_ms);
        for (id, assignment) in assignments {
            let answer = self.synced(assignment.clone());
            let Some(member) = self.members.get_mut(&id) else {
                continue;
            };
            self.assignment_bytes -= member.assignment.len();
            self.assignment_bytes += assignment.len();
            member.assignment = assignment;
            if let Some(ticket) = member.awaiting_sync.take() {
                actions.push(Action::Synced(ticket, answer));
                actions.push(member.heartbeat_alarm());
            }
        }
    }

    /// Takes the assignments back; who waits for one gets the error.
    pub(super) fn send_back(&mut self, code: ErrorCode, actions: &mut Vec<Action>) {
        self.assignment_bytes = 0;
        for member in self.members.values_mut() {
            member.assignment = Bytes::new();
            if let Some(ticket) = member.awaiting_sync.take() {
                actions.push(Action::Synced(ticket, refused_sync(code)));
                actions.push(member.heartbeat_alarm());
            }
        }
    }

    fn synced(&self, assignment: Bytes) -> Box<SyncGroupResponse> {
        let text = |text: &Option<Rc<str>>| text.as_deref().map(|text| text.to_owned().into());
        let answer = SyncGroupResponse::default()
            .with_protocol_type(text(&self.protocol_type))
            .with_protocol_name(text(&self.protocol))
            .with_assignment(assignment);
        Box::new(answer)
    }
}
