//! What the world is told of a classic group.

use spate_net::kafka::api::describe_groups::{DescribedGroup, DescribedGroupMember};

use super::{ClassicGroup, Member, State};

impl ClassicGroup {
    /// The group with its members. What they want is told of a stable group only; what they have
    /// is, during a rebalance, what they had.
    pub fn describe(&self, group_id: &str) -> DescribedGroup {
        let protocol = match self.state {
            State::Stable => self.protocol.as_deref(),
            _ => None,
        };
        let member = |member: &Member| {
            let instance = member.instance.as_deref();
            let metadata = protocol.map(|protocol| member.metadata(protocol));
            DescribedGroupMember::default()
                .with_member_id(member.id.to_string().into())
                .with_group_instance_id(instance.map(|id| id.to_owned().into()))
                .with_client_id(member.client_id.to_string().into())
                .with_client_host(member.client_host.to_string().into())
                .with_member_metadata(metadata.unwrap_or_default())
                .with_member_assignment(member.assignment.clone())
        };
        DescribedGroup::default()
            .with_group_id(group_id.to_owned().into())
            .with_group_state(self.state.name().to_owned().into())
            .with_protocol_type(self.protocol_type().unwrap_or_default().to_owned().into())
            .with_protocol_data(protocol.unwrap_or_default().to_owned().into())
            .with_members(self.members.values().map(member).collect())
    }

    /// Memory of what a member speaks; nothing if it is none.
    pub fn protocol_bytes(&self, member_id: &str) -> usize {
        self.members
            .get(member_id)
            .map_or(0, Member::protocol_bytes)
    }

    /// Memory of what the members have.
    pub fn assignment_bytes(&self) -> usize {
        self.assignment_bytes
    }

    /// Memory that it takes.
    pub fn bytes(&self) -> usize {
        let pending = self.pending_joins.iter().map(|id| id.len() + 64);
        let topics = self.topics.iter().flatten().map(|topic| topic.len() + 48);
        let members = self.member_bytes + self.assignment_bytes;
        members + pending.sum::<usize>() + topics.sum::<usize>()
    }
}
