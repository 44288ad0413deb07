//! Groups are listed, described and deleted.

use std::rc::Rc;

use spate_net::kafka::{
    KafkaString,
    api::{
        delete_groups::DeletableGroupResult, describe_groups::DescribedGroup,
        list_groups::ListedGroup,
    },
    error::ErrorCode,
};

use super::{
    Coordinator, GroupId, GroupReply, Place,
    append::{Write, commit_error},
    classic::State,
    commit::spawned,
    group::{Group, Kind},
    log::Key,
    message::GroupAnswer,
    partition::Standing,
};
use crate::disk::wall_ms;

/// Records of one batch of tombstones. A batch must stay below the topic's `max.message.bytes`,
/// whose default has room for four thousand of the longest names.
const TOMBSTONES_PER_BATCH: usize = 1000;

impl Coordinator {
    /// All groups of this shard, filtered by nobody.
    pub(super) fn list(&self) -> Result<Vec<ListedGroup>, ErrorCode> {
        let mut listed = Vec::new();
        for groups in self.partitions.borrow().values() {
            if groups.standing() == Standing::Loading {
                return Err(ErrorCode::CoordinatorLoadInProgress);
            }
            for (id, group) in groups.by_id().borrow().iter() {
                listed.push(
                    ListedGroup::default()
                        .with_group_id(id.to_string().into())
                        .with_protocol_type(group.protocol_type().to_owned().into())
                        .with_group_state(group.state_name().to_owned().into())
                        .with_group_type(group.type_name().to_owned().into()),
                );
            }
        }
        Ok(listed)
    }

    /// Each group by itself; one that is not there is dead.
    pub(super) fn describe(&self, asked: &[KafkaString]) -> Vec<DescribedGroup> {
        let one = |id: &KafkaString| {
            let failed = |code: ErrorCode| {
                DescribedGroup::default()
                    .with_group_id(id.as_str().to_owned().into())
                    .with_error_code(code.code())
            };
            let place = match self.place(id.as_str()) {
                Ok(place) => place,
                Err(code) => return failed(code),
            };
            let groups = place.groups.by_id().borrow();
            match groups.get(id.as_str()) {
                Some(Group {
                    kind: Kind::Classic(classic),
                    ..
                }) => classic.describe(id.as_str()),
                None => failed(ErrorCode::GroupIdNotFound)
                    .with_error_message(Some(format!("Group {} not found.", id.as_str()).into()))
                    .with_group_state(State::Dead.name().to_owned().into()),
            }
        };
        asked.iter().map(one).collect()
    }

    pub(super) fn delete(self: &Rc<Self>, asked: Vec<KafkaString>) -> GroupReply {
        let mut results = Vec::with_capacity(asked.len());
        let mut writes = Vec::new();
        for (index, id) in asked.into_iter().enumerate() {
            let code = match self.begin_delete(id.as_str()) {
                Ok((place, id)) => {
                    writes.push((index, self.bury(&place, &id), place, id));
                    ErrorCode::None
                }
                Err(code) => code,
            };
            results.push(
                DeletableGroupResult::default()
                    .with_group_id(id.as_str().to_owned().into())
                    .with_error_code(code.code()),
            );
        }
        let coordinator = Rc::clone(self);
        GroupReply::Later(Box::pin(spawned(async move {
            for (index, write, place, id) in writes {
                let settled = write.durable().await;
                match settled.outcome {
                    Ok(()) => coordinator.discard(&place, &id),
                    Err(code) => {
                        coordinator.with_group(&place, &id, revive);
                        results[index].error_code = commit_error(code).code();
                    }
                }
                settled.end();
            }
            GroupAnswer::Deleted(results)
        })))
    }

    fn begin_delete(self: &Rc<Self>, group_id: &str) -> Result<(Place, GroupId), ErrorCode> {
        let place = self.place(group_id)?;
        let groups = place.groups.by_id().borrow();
        let (id, group) = groups
            .get_key_value(group_id)
            .filter(|(_, group)| !group.is_dead())
            .ok_or(ErrorCode::GroupIdNotFound)?;
        if group.state_name() != State::Empty.name() {
            return Err(ErrorCode::NonEmptyGroup);
        }
        let id = Rc::clone(id);
        drop(groups);
        Ok((place, id))
    }

    /// Kills a group and writes the tombstones of all that the log has of it.
    pub(super) fn bury(self: &Rc<Self>, place: &Place, id: &GroupId) -> Write {
        let killed = self.with_group(place, id, |group| {
            let Kind::Classic(classic) = &mut group.kind;
            (classic.kill(), group.offsets.keys())
        });
        let (actions, keys) = killed.unwrap_or_default();
        self.act(place, id, actions);
        let offset = |(topic, partition)| Key::Offset {
            group: id.to_string(),
            topic,
            partition,
        };
        let group = Key::Group {
            group: id.to_string(),
        };
        let keys: Vec<Key> = keys.into_iter().map(offset).chain([group]).collect();
        self.tombstones(place, &keys)
    }

    /// Writes tombstones; the last batch is durable when all are, since they are in order.
    pub(super) fn tombstones(self: &Rc<Self>, place: &Place, keys: &[Key]) -> Write {
        let mut parts = keys.chunks(TOMBSTONES_PER_BATCH).peekable();
        loop {
            let part = parts.next().unwrap_or_default();
            let records: Vec<_> = part.iter().map(Key::tombstone).collect();
            let write = self.append(place, &records);
            if parts.peek().is_none() {
                return write;
            }
            // An earlier part takes effect by itself: nothing is to be done for it.
            let _detached = spate_net::reactor::spawn(async move { write.durable().await.end() });
        }
    }

    pub(super) fn delete_offsets(
        self: &Rc<Self>,
        group_id: &KafkaString,
        items: Vec<(KafkaString, i32)>,
    ) -> GroupReply {
        let refuse = |code| GroupReply::Ready(GroupAnswer::OffsetsDeleted(Err(code)));
        let (place, id) = match self.may_delete_offsets(group_id.as_str()) {
            Ok(found) => found,
            Err(code) => return refuse(code),
        };
        let mut codes = Vec::with_capacity(items.len());
        let mut doomed = Vec::new();
        self.with_group(&place, &id, |group| {
            let Kind::Classic(classic) = &group.kind;
            let reads = |topic: &str| {
                classic
                    .topics()
                    .is_some_and(|topics| topics.contains(topic))
            };
            for (topic, partition) in &items {
                if classic.is_of_consumers() && reads(topic.as_str()) {
                    codes.push(ErrorCode::GroupSubscribedToTopic);
                    continue;
                }
                codes.push(ErrorCode::None);
                if group.offsets.has(topic.as_str(), *partition) {
                    doomed.push((topic.as_str().to_owned(), *partition));
                }
            }
        });
        if doomed.is_empty() {
            return GroupReply::Ready(GroupAnswer::OffsetsDeleted(Ok(codes)));
        }
        let done = self.remove_offsets(&place, &id, doomed);
        GroupReply::Later(Box::pin(async move {
            GroupAnswer::OffsetsDeleted(done.await.map(|()| codes))
        }))
    }

    /// A group whose members' subscriptions the broker cannot read might be using any offset.
    fn may_delete_offsets(&self, group_id: &str) -> Result<(Place, GroupId), ErrorCode> {
        let place = self.place(group_id)?;
        let groups = place.groups.by_id().borrow();
        let (id, group) = groups
            .get_key_value(group_id)
            .filter(|(_, group)| !group.is_dead())
            .ok_or(ErrorCode::GroupIdNotFound)?;
        let Kind::Classic(classic) = &group.kind;
        if classic.state() != State::Empty && !classic.is_of_consumers() {
            return Err(ErrorCode::NonEmptyGroup);
        }
        let id = Rc::clone(id);
        drop(groups);
        Ok((place, id))
    }

    /// Removes offsets from the log, then from memory.
    pub(super) fn remove_offsets(
        self: &Rc<Self>,
        place: &Place,
        id: &GroupId,
        doomed: Vec<(String, i32)>,
    ) -> impl Future<Output = Result<(), ErrorCode>> + use<> {
        let key = |(topic, partition): &(String, i32)| Key::Offset {
            group: id.to_string(),
            topic: topic.clone(),
            partition: *partition,
        };
        let keys: Vec<Key> = doomed.iter().map(key).collect();
        let write = self.tombstones(place, &keys);
        let coordinator = Rc::clone(self);
        let (place, id) = (place.clone(), Rc::clone(id));
        spate_net::reactor::spawn(async move {
            let settled = write.durable().await;
            if settled.outcome.is_ok() {
                coordinator.with_group(&place, &id, |group| {
                    for (topic, partition) in &doomed {
                        group.offsets.remove(topic, *partition);
                    }
                });
            }
            let outcome = settled.outcome.map_err(commit_error);
            settled.end();
            outcome
        })
    }
}

/// Undoes a death that could not be written.
pub(super) fn revive(group: &mut Group) {
    group.kind = Group::classic(wall_ms()).kind;
}
