//! Joins, syncs, heartbeats and departures on their way to a group.

use std::rc::Rc;

use spate_net::kafka::{
    KafkaString,
    api::{
        heartbeat::HeartbeatRequest,
        join_group::JoinGroupRequest,
        leave_group::{LeaveGroupRequest, MemberIdentity, MemberResponse},
        sync_group::SyncGroupRequest,
    },
    error::ErrorCode,
    primitives::MAX_STRING_BYTES,
};

use super::{
    Coordinator, GroupId, Place,
    classic::{
        ClassicGroup, Event, JoinEvent, MemberId, UNKNOWN_MEMBER,
        member::{refused_join, refused_sync},
    },
    group::Kind,
    message::{GroupAnswer, JoinAsk},
};
use crate::{disk::wall_ms, shard::message::WatchKey};

/// From this version on a client without a member id comes back with the one that it is given.
const KNOWN_ID_FROM: i16 = 4;
/// From this version on a static leader can be told to keep its assignment.
const SKIP_ASSIGNMENT_FROM: i16 = 9;

impl Coordinator {
    pub(super) fn join(self: &Rc<Self>, join: JoinAsk) -> GroupAnswer {
        let refuse = |code| {
            let member_id = join.asked.member_id.as_str().to_owned();
            GroupAnswer::Joined(refused_join(member_id, code))
        };
        let (place, group_id) = match self.admit(&join.asked) {
            Ok(found) => found,
            Err(code) => return refuse(code),
        };
        let prefix = match &join.asked.group_instance_id {
            Some(instance) => instance.as_str().to_owned(),
            None => join.client_id.clone(),
        };
        let key = join.key;
        let event = JoinEvent {
            ticket: self.ticket(key),
            new_member_id: new_member_id(&prefix),
            must_know_its_id: join.version >= KNOWN_ID_FROM,
            may_skip_assignment: join.version >= SKIP_ASSIGNMENT_FROM,
            client_id: join.client_id.into(),
            client_host: join.client_host.into(),
            asked: join.asked,
        };
        self.serve(key, &place, &group_id, Event::Join(Box::new(event)))
    }

    /// Checks a join as far as it needs no member; makes the group of a first one.
    fn admit(&self, asked: &JoinGroupRequest) -> Result<(Place, GroupId), ErrorCode> {
        let group_id = asked.group_id.as_str();
        if group_id.is_empty() {
            return Err(ErrorCode::InvalidGroupId);
        }
        let place = self.place(group_id)?;
        let bounds = &self.settings.session_timeout_ms;
        if !bounds.contains(&asked.session_timeout_ms) {
            return Err(ErrorCode::InvalidSessionTimeout);
        }
        let is_known = place.groups.by_id().borrow().contains_key(group_id);
        let is_new_member = asked.member_id.as_str() == UNKNOWN_MEMBER;
        if !is_known && !is_new_member {
            return Err(ErrorCode::UnknownMemberId);
        }
        let protocols = asked.protocols.iter();
        let wanted: usize = protocols
            .map(|protocol| protocol.name.as_str().len() + protocol.metadata.len())
            .sum();
        let held = self.look(&place, group_id, |group| {
            group.protocol_bytes(asked.member_id.as_str())
        });
        let grown = wanted.saturating_sub(held);
        // A member that wants no more than before may always go on.
        if (is_new_member || grown > 0) && !self.has_room(grown) {
            return Err(ErrorCode::GroupMaxSizeReached);
        }
        let group_id = self.ensure(&place, group_id);
        Ok((place, group_id))
    }

    /// Lets the event of a connection happen; answers if that answers it.
    fn serve(
        self: &Rc<Self>,
        key: WatchKey,
        place: &Place,
        group_id: &GroupId,
        event: Event,
    ) -> GroupAnswer {
        self.serving.set(Some(key));
        self.step(place, group_id, event);
        self.serving.set(None);
        self.collect(key)
    }

    pub(super) fn sync(
        self: &Rc<Self>,
        key: WatchKey,
        asked: Box<SyncGroupRequest>,
    ) -> GroupAnswer {
        let refuse = |code| GroupAnswer::Synced(refused_sync(code));
        let (place, group_id) = match self.find(asked.group_id.as_str()) {
            Ok(found) => found,
            Err(code) => return refuse(code),
        };
        let parts = asked.assignments.iter();
        let wanted: usize = parts.map(|part| part.assignment.len()).sum();
        let held = self.look(&place, &group_id, ClassicGroup::assignment_bytes);
        let grown = wanted.saturating_sub(held);
        if grown > 0 && !self.has_room(grown) {
            // As of an assignment that is too large for the log.
            return refuse(ErrorCode::UnknownServerError);
        }
        let event = Event::Sync(self.ticket(key), asked);
        self.serve(key, &place, &group_id, event)
    }

    /// What a group takes of something; nothing if it is not there.
    fn look(
        &self,
        place: &Place,
        group_id: &str,
        bytes: impl FnOnce(&ClassicGroup) -> usize,
    ) -> usize {
        let groups = place.groups.by_id().borrow();
        groups.get(group_id).map_or(0, |group| {
            let Kind::Classic(classic) = &group.kind;
            bytes(classic)
        })
    }

    /// A group that must be there for its members.
    fn find(&self, group_id: &str) -> Result<(Place, GroupId), ErrorCode> {
        if group_id.is_empty() {
            return Err(ErrorCode::InvalidGroupId);
        }
        let place = self.place(group_id)?;
        let known = place.groups.by_id().borrow();
        let id = known.get_key_value(group_id).map(|(id, _)| Rc::clone(id));
        drop(known);
        Ok((place, id.ok_or(ErrorCode::UnknownMemberId)?))
    }

    pub(super) fn heartbeat(self: &Rc<Self>, asked: &HeartbeatRequest) -> ErrorCode {
        let (place, group_id) = match self.find(asked.group_id.as_str()) {
            Ok(found) => found,
            Err(code) => return code,
        };
        let groups = place.groups.by_id().borrow();
        let Some(group) = groups.get(&group_id) else {
            return ErrorCode::UnknownMemberId;
        };
        let Kind::Classic(classic) = &group.kind;
        let instance = asked.group_instance_id.as_ref().map(KafkaString::as_str);
        let (code, actions) =
            classic.heartbeat(asked.member_id.as_str(), instance, asked.generation_id);
        drop(groups);
        self.act(&place, &group_id, actions);
        code
    }

    pub(super) fn leave(
        self: &Rc<Self>,
        asked: &LeaveGroupRequest,
    ) -> Result<Vec<MemberResponse>, ErrorCode> {
        let members = &asked.members;
        let (place, group_id) = match self.find(asked.group_id.as_str()) {
            Ok(found) => found,
            // Each member is as unknown as the group.
            Err(ErrorCode::UnknownMemberId) => return Ok(all_unknown(members)),
            Err(code) => return Err(code),
        };
        let rules = &self.settings.rules;
        let outcome = self.with_group(&place, &group_id, |group| {
            let Kind::Classic(classic) = &mut group.kind;
            classic.leave(members, rules, wall_ms())
        });
        let (answers, actions) = outcome.ok_or(ErrorCode::UnknownMemberId)?;
        self.act(&place, &group_id, actions);
        Ok(answers)
    }
}

/// An id that nobody has. It goes into answers and into the log, where a text has a 16-bit length:
/// of a name that is as long as a name can be it bears the front.
fn new_member_id(name: &str) -> MemberId {
    let unique = uuid::Uuid::new_v4();
    let room = MAX_STRING_BYTES - uuid::fmt::Hyphenated::LENGTH - "-".len();
    let front = &name[..name.floor_char_boundary(room)];
    format!("{front}-{unique}").into()
}

fn all_unknown(members: &[MemberIdentity]) -> Vec<MemberResponse> {
    let unknown = |member: &MemberIdentity| {
        MemberResponse::default()
            .with_member_id(member.member_id.clone())
            .with_group_instance_id(member.group_instance_id.clone())
            .with_error_code(ErrorCode::UnknownMemberId.code())
    };
    members.iter().map(unknown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_id_fits_its_field_whatever_the_client_calls_itself() {
        let long = "ü".repeat(MAX_STRING_BYTES / 2);
        let id = new_member_id(&long);
        assert!(id.len() <= MAX_STRING_BYTES, "{}", id.len());
        assert!(id.starts_with("üü"));
        assert!(new_member_id("client").starts_with("client-"));
    }
}
