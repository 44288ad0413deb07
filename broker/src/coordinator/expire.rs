//! Offsets that nobody uses go (KIP-211), those of deleted topics go, and groups without members
//! and offsets go.

use std::{rc::Rc, sync::Arc};

use spate_net::reactor;
use spate_storage::types::TopicId;

use super::{Coordinator, GroupId, Place, group::Group, manage::revive};
use crate::{disk::wall_ms, image::Image};

/// Groups looked at before other tasks of the shard get a turn.
const GROUPS_PER_TURN: usize = 256;

impl Coordinator {
    /// Looks for expired offsets for ever.
    pub async fn expire(self: Rc<Self>) {
        loop {
            reactor::sleep(self.settings.retention_check).await;
            for place in self.places() {
                for ids in self.ids(&place).chunks(GROUPS_PER_TURN) {
                    for id in ids {
                        self.expire_one(&place, id);
                    }
                    reactor::yield_now().await;
                }
            }
        }
    }

    /// The partitions whose groups are known.
    fn places(&self) -> Vec<Place> {
        let partitions = self.partitions.borrow();
        let known = partitions
            .iter()
            .filter(|(_, groups)| groups.check().is_ok());
        let place = |(partition, groups): (&_, &Rc<_>)| Place {
            partition: *partition,
            groups: Rc::clone(groups),
        };
        known.map(place).collect()
    }

    fn ids(&self, place: &Place) -> Vec<GroupId> {
        place.groups.by_id().borrow().keys().cloned().collect()
    }

    fn expire_one(self: &Rc<Self>, place: &Place, id: &GroupId) {
        let retention_ms = self.settings.offsets_retention_ms;
        let look = |group: &mut Group| {
            let expired = group
                .offsets
                .expired(group.expiry(), retention_ms, wall_ms());
            let all = expired.len() == group.offsets.keys().len();
            (expired, all && group.is_deserted())
        };
        let Some((expired, is_over)) = self.with_group(place, id, look) else {
            return;
        };
        if is_over {
            tracing::info!(group = %id, offsets = expired.len(), "a group has expired");
            self.end_group(place, id);
        } else if !expired.is_empty() {
            tracing::info!(group = %id, offsets = expired.len(), "offsets have expired");
            let _detached = reactor::spawn(self.remove_offsets(place, id, expired));
        }
    }

    fn end_group(self: &Rc<Self>, place: &Place, id: &GroupId) {
        let write = self.bury(place, id);
        let coordinator = Rc::clone(self);
        let (place, id) = (place.clone(), Rc::clone(id));
        let _detached = reactor::spawn(async move {
            let settled = write.durable().await;
            match settled.outcome {
                Ok(()) => coordinator.discard(&place, &id),
                Err(_) => {
                    coordinator.with_group(&place, &id, revive);
                }
            }
            settled.end();
        });
    }

    /// A topic is gone, and every group's offsets in it.
    pub(super) fn forget_topic(self: &Rc<Self>, topic: &Arc<str>, topic_id: TopicId) {
        let coordinator = Rc::clone(self);
        let topic = Arc::clone(topic);
        let _detached = reactor::spawn(async move {
            for place in coordinator.places() {
                for ids in coordinator.ids(&place).chunks(GROUPS_PER_TURN) {
                    for id in ids {
                        coordinator.forget_offsets(&place, id, &topic, topic_id);
                    }
                    reactor::yield_now().await;
                }
            }
        });
    }

    fn forget_offsets(self: &Rc<Self>, place: &Place, id: &GroupId, topic: &str, of: TopicId) {
        let doomed = self.with_group(place, id, |group| group.offsets.forget(topic, of));
        let doomed: Vec<_> = doomed
            .unwrap_or_default()
            .into_iter()
            .map(|partition| (topic.to_owned(), partition))
            .collect();
        if !doomed.is_empty() {
            let _detached = reactor::spawn(self.remove_offsets(place, id, doomed));
        }
    }

    /// Offsets read back from the log whose topic was deleted before their tombstones were written.
    pub(super) fn forget_missing_topics(self: &Rc<Self>, place: &Place, image: &Image) {
        for id in self.ids(place) {
            let mut doomed = Vec::new();
            self.with_group(place, &id, |group| {
                for (topic, partitions) in group.offsets.iter() {
                    let known = image.topic(topic).map(|topic| topic.id);
                    let is_gone = |was: Option<TopicId>| match known {
                        None => true,
                        Some(known) => was.is_some_and(|was| was != known),
                    };
                    let gone = partitions
                        .iter()
                        .filter(|(_, value)| is_gone(value.topic_id));
                    doomed.extend(gone.map(|(partition, _)| (topic.to_owned(), *partition)));
                }
            });
            if !doomed.is_empty() {
                let _detached = reactor::spawn(self.remove_offsets(place, &id, doomed));
            }
        }
    }
}
