//! One member of a classic group.

use std::rc::Rc;

use bytes::Bytes;
use spate_net::kafka::{
    api::{
        join_group::{JoinGroupRequestProtocol, JoinGroupResponse},
        sync_group::SyncGroupResponse,
    },
    error::ErrorCode,
};

use super::{Action, Alarm, MemberId, Ticket};
use crate::coordinator::log::MemberValue;

/// A member costs about this much beside its strings: the maps' nodes and its own fields.
const MEMBER_OVERHEAD_BYTES: usize = 512;

/// A protocol that a member speaks, and what it wants under it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Protocol {
    /// Its name, such as `range`.
    pub name: Rc<str>,
    /// Opaque to the broker but for consumers' subscriptions.
    pub metadata: Bytes,
}

/// A member.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its id.
    pub id: MemberId,
    /// The instance id of a static member.
    pub instance: Option<Rc<str>>,
    /// What its client calls itself.
    pub client_id: Rc<str>,
    /// Where it comes from.
    pub client_host: Rc<str>,
    /// How long a rebalance waits for it.
    pub rebalance_timeout_ms: i32,
    /// How long it may be silent.
    pub session_timeout_ms: i32,
    /// In the order of its preference.
    pub protocols: Vec<Protocol>,
    /// What it was assigned in the last generation that it got.
    pub assignment: Bytes,
    /// Who waits for the joining phase to end.
    pub awaiting_join: Option<Ticket>,
    /// Who waits for the leader's assignment.
    pub awaiting_sync: Option<Ticket>,
    /// It has not been told its id: it cannot send heartbeats.
    pub is_new: bool,
}

/// Protocols in memory of their own: a request's are slices of its frame.
pub fn detached(asked: &[JoinGroupRequestProtocol]) -> Vec<Protocol> {
    asked
        .iter()
        .map(|protocol| Protocol {
            name: protocol.name.as_str().into(),
            metadata: Bytes::copy_from_slice(&protocol.metadata),
        })
        .collect()
}

impl Member {
    /// The member of a record; of its protocols the log keeps only the one in use.
    pub fn restore(value: MemberValue, protocol: &Rc<str>) -> Member {
        let metadata = value.subscription;
        Member {
            id: value.member_id.as_str().into(),
            instance: value.instance_id.as_deref().map(Rc::from),
            client_id: value.client_id.as_str().into(),
            client_host: value.client_host.as_str().into(),
            rebalance_timeout_ms: match value.rebalance_timeout_ms {
                -1 => value.session_timeout_ms,
                given => given,
            },
            session_timeout_ms: value.session_timeout_ms,
            protocols: vec![Protocol {
                name: Rc::clone(protocol),
                metadata,
            }],
            assignment: value.assignment,
            awaiting_join: None,
            awaiting_sync: None,
            is_new: false,
        }
    }

    /// Its part of the group's record.
    pub fn value(&self, protocol: &str) -> MemberValue {
        MemberValue {
            member_id: self.id.to_string(),
            instance_id: self.instance.as_deref().map(str::to_owned),
            client_id: self.client_id.to_string(),
            client_host: self.client_host.to_string(),
            rebalance_timeout_ms: self.rebalance_timeout_ms,
            session_timeout_ms: self.session_timeout_ms,
            subscription: self.metadata(protocol),
            assignment: self.assignment.clone(),
        }
    }

    /// What it wants under a protocol.
    pub fn metadata(&self, protocol: &str) -> Bytes {
        let mut protocols = self.protocols.iter();
        let found = protocols.find(|known| *known.name == *protocol);
        found.map_or_else(Bytes::new, |known| known.metadata.clone())
    }

    /// Whether it asks for the same as before.
    pub fn wants(&self, asked: &[JoinGroupRequestProtocol]) -> bool {
        self.protocols.len() == asked.len()
            && self.protocols.iter().zip(asked).all(|(known, asked)| {
                *known.name == *asked.name.as_str() && known.metadata == asked.metadata
            })
    }

    /// It has just been heard of.
    pub fn heartbeat_alarm(&self) -> Action {
        let alarm = Alarm::Member(Rc::clone(&self.id));
        Action::Arm(alarm, self.session_timeout_ms.into())
    }

    /// Answers whoever waits for this member with an error.
    pub fn turn_away(mut self, code: ErrorCode, actions: &mut Vec<Action>) {
        if let Some(ticket) = self.awaiting_join.take() {
            let told = if code == ErrorCode::FencedInstanceId {
                self.id.to_string()
            } else {
                String::new()
            };
            actions.push(Action::Joined(ticket, refused_join(told, code)));
        }
        if let Some(ticket) = self.awaiting_sync.take() {
            actions.push(Action::Synced(ticket, refused_sync(code)));
        }
    }

    /// Memory of what it speaks.
    pub fn protocol_bytes(&self) -> usize {
        let protocols = self.protocols.iter();
        protocols
            .map(|protocol| protocol.name.len() + protocol.metadata.len())
            .sum()
    }

    /// Memory that it takes, its assignment apart.
    pub fn bytes(&self) -> usize {
        MEMBER_OVERHEAD_BYTES
            + self.id.len()
            + self.instance.as_ref().map_or(0, |id| id.len())
            + self.client_id.len()
            + self.client_host.len()
            + self.protocol_bytes()
    }
}

/// The answer to a join that failed.
pub fn refused_join(member_id: String, code: ErrorCode) -> Box<JoinGroupResponse> {
    let answer = JoinGroupResponse::default()
        .with_error_code(code.code())
        .with_member_id(member_id.into());
    Box::new(answer)
}

/// The answer to a sync that failed.
pub fn refused_sync(code: ErrorCode) -> Box<SyncGroupResponse> {
    Box::new(SyncGroupResponse::default().with_error_code(code.code()))
}
