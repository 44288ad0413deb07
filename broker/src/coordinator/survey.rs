//! Numbers of the groups, for the metrics: nothing here decides anything.

use std::rc::Rc;

use super::{
    Coordinator,
    partition::{GroupId, Groups},
};
use crate::control::survey::GroupNumbers;

/// A group that was there when its shard's groups were counted.
pub struct Surveyed {
    id: GroupId,
    groups: Rc<Groups>,
}

impl Coordinator {
    /// All groups of this shard that are known by now, in no order.
    pub fn surveyed(&self) -> Vec<Surveyed> {
        let mut known = Vec::new();
        for groups in self.partitions.borrow().values() {
            for id in groups.by_id().borrow().keys() {
                known.push(Surveyed {
                    id: Rc::clone(id),
                    groups: Rc::clone(groups),
                });
            }
        }
        known
    }
}

impl Surveyed {
    /// Its numbers now; none if it has gone meanwhile.
    pub fn numbers(&self) -> Option<GroupNumbers> {
        let groups = self.groups.by_id().borrow();
        let group = groups.get(&self.id)?;
        let offsets = group.offsets.iter().flat_map(|(topic, partitions)| {
            let of_topic = partitions.iter();
            of_topic.map(|(index, value)| (topic.to_owned(), *index, value.offset))
        });
        Some(GroupNumbers {
            group: self.id.to_string(),
            state: group.state_name(),
            members: group.member_count(),
            offsets: offsets.collect(),
        })
    }
}
