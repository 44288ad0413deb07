//! Offsets are committed and asked for.

use std::rc::Rc;

use spate_net::kafka::{KafkaString, error::ErrorCode};

use super::{
    Coordinator, GroupId, GroupReply, OFFSETS_TOPIC, Place,
    classic::Action,
    group::Kind,
    log::OffsetValue,
    message::{
        CommitAsk, CommitItem, FetchAsk, FetchTopic, FetchedOffset, FetchedTopic, GroupAnswer,
    },
};
use crate::disk::wall_ms;

/// From this version on an unknown group is told as such.
const UNKNOWN_GROUP_FROM: i16 = 9;

/// About what a new offset takes in memory.
const OFFSET_BYTES: usize = 256;

/// What a record takes beside its texts: numbers, times, the topic's id, and lengths.
const RECORD_BYTES: usize = 80;

/// How far a codec may make records smaller that repeat each other.
const COMPRESSION_AT_BEST: usize = 16;

/// What is written of one item.
pub(super) struct Accepted {
    pub(super) place: usize,
    pub(super) topic: String,
    pub(super) partition: i32,
    pub(super) value: OffsetValue,
}

impl Accepted {
    /// About what its record takes.
    pub(super) fn bytes(&self, group_id: &str) -> usize {
        RECORD_BYTES + group_id.len() + self.topic.len() + self.value.metadata.len()
    }
}

impl Coordinator {
    pub(super) fn commit(self: &Rc<Self>, asked: CommitAsk) -> GroupReply {
        let count = asked.items.len();
        let refuse = |code| GroupReply::Ready(GroupAnswer::Committed(vec![code; count]));
        if self.is_too_large(&asked) {
            return refuse(ErrorCode::InvalidCommitOffsetSize);
        }
        let (place, group_id, alarm) = match self.may_commit(&asked) {
            Ok(found) => found,
            Err(code) => return refuse(code),
        };
        self.act(&place, &group_id, alarm.into_iter().collect());
        let mut codes = Vec::with_capacity(count);
        let accepted = self.check_items(&place, &group_id, asked, &mut codes);
        if accepted.is_empty() {
            return GroupReply::Ready(GroupAnswer::Committed(codes));
        }
        let answer = self.gather(&place, &group_id, accepted, codes);
        GroupReply::Later(Box::pin(answer))
    }

    /// Whether no compression would make the records fit into one batch. Each of them repeats the
    /// group and the topic: a small request can ask for gigabytes.
    fn is_too_large(&self, asked: &CommitAsk) -> bool {
        let logs = self.logs.upgrade();
        let image = logs.map(|logs| logs.image());
        let topic = image.as_ref().and_then(|image| image.topic(OFFSETS_TOPIC));
        let batch_bytes = topic.map_or(0, |topic| topic.config.max_message_bytes as usize);
        let record_bytes = |item: &CommitItem| {
            let metadata = item.metadata.as_ref().map_or(0, |text| text.as_str().len());
            RECORD_BYTES + asked.group_id.as_str().len() + item.topic.len() + metadata
        };
        let bytes: usize = asked.items.iter().map(record_bytes).sum();
        bytes > batch_bytes.saturating_mul(COMPRESSION_AT_BEST)
    }

    /// Whether the group takes the commit; a group that is none yet is made for a simple consumer.
    fn may_commit(&self, asked: &CommitAsk) -> Result<(Place, GroupId, Option<Action>), ErrorCode> {
        let group_id = asked.group_id.as_str();
        let place = self.place(group_id)?;
        let is_known = place.groups.by_id().borrow().contains_key(group_id);
        if !is_known && asked.generation >= 0 {
            return Err(match asked.version {
                UNKNOWN_GROUP_FROM.. => ErrorCode::GroupIdNotFound,
                _ => ErrorCode::IllegalGeneration,
            });
        }
        if !is_known && !self.has_room(group_id.len() + OFFSET_BYTES) {
            return Err(ErrorCode::InvalidCommitOffsetSize);
        }
        let id = self.ensure(&place, group_id);
        let groups = place.groups.by_id().borrow();
        let group = groups.get(&id).ok_or(ErrorCode::CoordinatorNotAvailable)?;
        let Kind::Classic(classic) = &group.kind;
        let instance = asked.instance_id.as_ref().map(KafkaString::as_str);
        let alarm = classic.check_commit(asked.member_id.as_str(), instance, asked.generation);
        drop(groups);
        alarm.map(|alarm| (place, id, alarm))
    }

    /// Sorts out what cannot be kept; each item gets its code, in order.
    fn check_items(
        &self,
        place: &Place,
        group_id: &GroupId,
        asked: CommitAsk,
        codes: &mut Vec<ErrorCode>,
    ) -> Vec<Accepted> {
        let now_ms = wall_ms();
        let retention_ms = Some(asked.retention_ms).filter(|ms| *ms >= 0);
        let expire_ms = retention_ms.map(|ms| now_ms.saturating_add(ms));
        let accepted = self.with_group(place, group_id, |group| {
            let mut accepted = Vec::with_capacity(asked.items.len());
            let mut new_bytes = 0;
            for (place, item) in asked.items.into_iter().enumerate() {
                let metadata = item.metadata.as_ref().map_or("", |text| text.as_str());
                if metadata.len() > self.settings.metadata_max_bytes {
                    codes.push(ErrorCode::OffsetMetadataTooLarge);
                    continue;
                }
                let before = group.offsets.get(&item.topic, item.partition);
                let grown = match before {
                    Some(before) => metadata.len().saturating_sub(before.metadata.len()),
                    None => OFFSET_BYTES + metadata.len(),
                };
                new_bytes += grown;
                // What takes no more than before is taken in any case: a full shard goes on.
                if grown > 0 && !self.has_room(new_bytes) {
                    codes.push(ErrorCode::InvalidCommitOffsetSize);
                    continue;
                }
                codes.push(ErrorCode::None);
                group
                    .offsets
                    .begin(&item.topic, item.partition, item.topic_id);
                accepted.push(accept(place, item, now_ms, expire_ms));
            }
            accepted
        });
        accepted.unwrap_or_default()
    }

    pub(super) fn fetch(&self, asked: FetchAsk) -> Result<Vec<FetchedTopic>, ErrorCode> {
        let place = self.place(asked.group_id.as_str())?;
        let groups = place.groups.by_id().borrow();
        let group = groups
            .get(asked.group_id.as_str())
            .filter(|group| !group.is_dead());
        let offsets = group.map(|group| &group.offsets);
        let Some(topics) = asked.topics else {
            let all = offsets.into_iter().flat_map(|offsets| offsets.iter());
            let told = all.map(|(name, partitions)| FetchedTopic {
                name: name.to_owned().into(),
                id: spate_net::kafka::KafkaUuid::ZERO,
                partitions: partitions
                    .iter()
                    .map(|(partition, value)| fetched(*partition, Some(value)))
                    .collect(),
            });
            return Ok(told.collect());
        };
        let told = topics.into_iter().map(|topic| {
            let FetchTopic {
                name,
                id,
                partitions,
            } = topic;
            let one = |partition: &i32| {
                let value = offsets.and_then(|offsets| offsets.get(name.as_str(), *partition));
                fetched(*partition, value)
            };
            let partitions = partitions.iter().map(one).collect();
            FetchedTopic {
                name,
                id,
                partitions,
            }
        });
        Ok(told.collect())
    }
}

fn accept(place: usize, item: CommitItem, now_ms: i64, expire_ms: Option<i64>) -> Accepted {
    let metadata = item
        .metadata
        .map_or_else(String::new, |text| text.as_str().to_owned());
    Accepted {
        place,
        topic: item.topic,
        partition: item.partition,
        value: OffsetValue {
            offset: item.offset,
            leader_epoch: item.leader_epoch,
            metadata,
            commit_ms: now_ms,
            expire_ms,
            topic_id: Some(item.topic_id),
        },
    }
}

fn fetched(partition: i32, value: Option<&OffsetValue>) -> FetchedOffset {
    FetchedOffset {
        partition,
        offset: value.map_or(-1, |value| value.offset),
        leader_epoch: value.map_or(-1, |value| value.leader_epoch),
        metadata: value.map_or_else(String::new, |value| value.metadata.clone()),
    }
}

/// Runs to its end even if nobody waits for the answer any more: later writes wait for their turn
/// behind it.
pub(super) fn spawned(
    work: impl Future<Output = GroupAnswer> + 'static,
) -> impl Future<Output = GroupAnswer> {
    spate_net::reactor::spawn(work)
}
