//! What all kinds of groups share: an id, offsets, and the kind's own state beside them.
//!
//! Another kind (KIP-848 consumer groups, KIP-932 share groups) is another file beside `classic`
//! and another variant here; the log, the timers and the offsets stay as they are.

use super::{
    classic::{ClassicGroup, State},
    offsets::{Expiry, Offsets},
};

/// A group costs about this much beside what is in it.
const GROUP_OVERHEAD_BYTES: usize = 640;

/// A group.
#[derive(Debug)]
pub struct Group {
    /// What kind it is, and how it stands.
    pub kind: Kind,
    /// How far it has come.
    pub offsets: Offsets,
}

/// The kinds of groups.
#[derive(Debug)]
pub enum Kind {
    /// Members agree among themselves; also consumers that assign partitions to themselves.
    Classic(ClassicGroup),
}

impl Group {
    /// A classic group without members.
    pub fn classic(now_ms: i64) -> Group {
        Group {
            kind: Kind::Classic(ClassicGroup::new(now_ms)),
            offsets: Offsets::default(),
        }
    }

    /// The kind's name, as ListGroups has it.
    pub fn type_name(&self) -> &'static str {
        match &self.kind {
            Kind::Classic(_) => "classic",
        }
    }

    /// The state's name.
    pub fn state_name(&self) -> &'static str {
        match &self.kind {
            Kind::Classic(classic) => classic.state().name(),
        }
    }

    /// How many members it has.
    pub fn member_count(&self) -> usize {
        match &self.kind {
            Kind::Classic(classic) => classic.member_count(),
        }
    }

    /// The members' protocol type; empty where there is none.
    pub fn protocol_type(&self) -> &str {
        match &self.kind {
            Kind::Classic(classic) => classic.protocol_type().unwrap_or_default(),
        }
    }

    /// Whether it is being deleted.
    pub fn is_dead(&self) -> bool {
        match &self.kind {
            Kind::Classic(classic) => classic.state() == State::Dead,
        }
    }

    /// Whether nobody is in it or about to be.
    pub fn is_deserted(&self) -> bool {
        match &self.kind {
            Kind::Classic(classic) => classic.is_deserted(),
        }
    }

    /// When its offsets may go.
    pub fn expiry(&self) -> Expiry<'_> {
        let Kind::Classic(classic) = &self.kind;
        match (classic.protocol_type(), classic.state(), classic.topics()) {
            (None, ..) => Expiry::SinceCommit,
            (Some(_), State::Empty, _) => Expiry::SinceEmpty(classic.state_since_ms()),
            (Some(_), State::Stable, Some(topics)) if classic.is_of_consumers() => {
                Expiry::Unread(topics)
            }
            _ => Expiry::Never,
        }
    }

    /// Memory that it takes, its id apart.
    pub fn bytes(&self) -> usize {
        let Kind::Classic(classic) = &self.kind;
        GROUP_OVERHEAD_BYTES + classic.bytes() + self.offsets.bytes()
    }
}
