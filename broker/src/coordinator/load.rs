//! Groups are read back from the log: after a start, and when a partition is new, which is quick.

use std::{collections::HashMap, rc::Rc};

use spate_net::{
    kafka::record_batch::{BatchError, Batches, DecompressionLimits, Records, Scratch},
    reactor,
};
use spate_storage::{
    store::ReadError,
    types::{Offset, PartitionIndex, TopicPartition},
};

use super::{
    Coordinator, OFFSETS_TOPIC, Place,
    classic::ClassicGroup,
    group::{Group, Kind},
    log::{GroupValue, Key, OffsetValue},
    partition::{Groups, Standing},
};
use crate::{
    disk::wall_ms,
    shard::logs::{Logs, ShardStore},
};

/// Bytes of the log that are read at once.
const READ_BYTES: usize = 1 << 20;

/// Why a partition cannot be loaded.
#[derive(Debug, thiserror::Error)]
enum LoadError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Batch(#[from] BatchError),
}

/// What the log says so far.
#[derive(Default)]
struct Replay {
    groups: HashMap<String, Replayed>,
    records: u64,
}

#[derive(Default)]
struct Replayed {
    value: Option<GroupValue>,
    group: Option<Group>,
}

impl Coordinator {
    /// Begins to load a partition. One without a record is there at once: a client that has just
    /// caused the topic to be made need not come back.
    pub(super) fn load(self: &Rc<Self>, partition: PartitionIndex, groups: Rc<Groups>) {
        let (Some(logs), Some(topic)) = (self.logs.upgrade(), self.topic.get()) else {
            return;
        };
        let target = TopicPartition { topic, partition };
        let bounds = logs.store().bounds(target);
        if bounds.log_start == bounds.high_watermark {
            return groups.set_standing(Standing::Loaded);
        }
        let coordinator = Rc::clone(self);
        let place = Place { partition, groups };
        let _detached = reactor::spawn(async move {
            let read = read(logs.store(), target).await;
            if place.groups.standing() != Standing::Loading {
                return;
            }
            match read {
                Ok(replay) => coordinator.settle_in(&place, replay, &logs),
                Err(error) => {
                    tracing::error!(
                        partition = partition.0,
                        "the groups in {OFFSETS_TOPIC} cannot be read and are not served: {error}; \
                         restore the data directory, or delete the topic to start without them"
                    );
                    place.groups.set_standing(Standing::Unreadable);
                }
            }
        });
    }

    fn settle_in(self: &Rc<Self>, place: &Place, replay: Replay, logs: &Logs) {
        let (records, mut offsets) = (replay.records, 0);
        let mut restored = Vec::new();
        for (id, replayed) in replay.groups {
            let Some(mut group) = replayed.into_group() else {
                continue;
            };
            let id: Rc<str> = id.into();
            offsets += group.offsets.keys().len();
            let Kind::Classic(classic) = &mut group.kind;
            let actions = classic.resume(&self.settings.rules, wall_ms());
            self.charge(0, group.bytes() + id.len());
            place
                .groups
                .by_id()
                .borrow_mut()
                .insert(Rc::clone(&id), group);
            restored.push((id, actions));
        }
        place.groups.set_standing(Standing::Loaded);
        tracing::debug!(
            partition = place.partition.0,
            groups = restored.len(),
            offsets,
            records,
            "groups loaded"
        );
        for (id, actions) in restored {
            self.act(place, &id, actions);
        }
        self.forget_missing_topics(place, &logs.image());
    }
}

async fn read(store: &ShardStore, target: TopicPartition) -> Result<Replay, LoadError> {
    let mut replay = Replay::default();
    let mut scratch = Scratch::new();
    let limits = DecompressionLimits::default();
    let mut from = store.bounds(target).log_start;
    loop {
        let data = store.read(target, from, READ_BYTES, true).await?;
        let before = from;
        for slice in data.slices {
            for batch in Batches::new(slice) {
                let records = Records::open(&batch?, &limits, &mut scratch)?;
                from = Offset(records.last_offset()).next();
                if !records.is_control() {
                    replay.apply(&records)?;
                }
            }
            reactor::yield_now().await;
        }
        if from == before {
            return Ok(replay);
        }
    }
}

impl Replay {
    fn apply(&mut self, records: &Records) -> Result<(), BatchError> {
        for record in records.iter() {
            let record = record?;
            self.records += 1;
            let Some(key) = record.key else { continue };
            let applied = match Key::decode(key) {
                Ok(key) => self.apply_one(key, record.value),
                Err(error) => Err(error),
            };
            if let Err(error) = applied {
                // Only we write here: a record that is none is somebody else's version of it.
                tracing::warn!(offset = record.offset, %error, "a record of {OFFSETS_TOPIC} is \
                    not understood and left out");
            }
        }
        Ok(())
    }

    fn apply_one(
        &mut self,
        key: Key,
        value: Option<&[u8]>,
    ) -> Result<(), spate_net::kafka::error::WireError> {
        match key {
            Key::Group { group } => {
                let replayed = self.groups.entry(group).or_default();
                replayed.value = value.map(GroupValue::decode).transpose()?;
            }
            Key::Offset {
                group,
                topic,
                partition,
            } => {
                let value = value.map(OffsetValue::decode).transpose()?;
                let replayed = self.groups.entry(group).or_default();
                let group = replayed.group.get_or_insert_with(|| Group::classic(0));
                match value {
                    Some(value) => group.offsets.set(&topic, partition, value),
                    None => group.offsets.remove(&topic, partition),
                }
            }
            Key::Other(_) => {}
        }
        Ok(())
    }
}

impl Replayed {
    /// The group, unless all that the log has of it are tombstones.
    fn into_group(self) -> Option<Group> {
        let offsets = self.group.map(|group| group.offsets).unwrap_or_default();
        let kind = match self.value {
            Some(value) => Kind::Classic(ClassicGroup::restore(value)),
            None if offsets.is_empty() => return None,
            None => Group::classic(wall_ms()).kind,
        };
        Some(Group { kind, offsets })
    }
}
