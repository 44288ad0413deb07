//! The metadata state machine: records in, state out. Deterministic and without I/O, clock or
//! randomness, so that the same log makes the same state on every node, whoever carries the log.

use std::collections::BTreeMap;

use spate_storage::types::TopicId;

use super::record::{self, Record, ResourceConfig, Snapshot, Tombstone};
use crate::{
    config::{layers::Texts, resource::ResourceKind},
    image::StartNumber,
};

/// A topic as the metadata knows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// How many partitions it has.
    pub partitions: i32,
    /// Whether the broker keeps it for itself.
    pub internal: bool,
    /// The start in which it was created.
    pub created_at_start: StartNumber,
    /// Its own settings, by topic key.
    pub settings: BTreeMap<String, String>,
}

/// A record that does not fit the state: the log is damaged, or a program wrote nonsense.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ApplyError {
    /// About a topic that is not there.
    #[error("is about topic {0}, which does not exist")]
    NoSuchTopic(TopicId),
    /// A topic whose name or id is taken.
    #[error("creates topic {name:?} with id {id}, but the name or the id is taken")]
    Taken {
        /// The name.
        name: String,
        /// The id.
        id: TopicId,
    },
    /// A kind of thing that has no settings.
    #[error("is about a thing of kind {0}, which has no settings")]
    NoSuchKind(i8),
    /// A number that must grow and does not.
    #[error("sets {what} to {given}, which is not above {present}")]
    NotAbove {
        /// What must grow.
        what: &'static str,
        /// The record's number.
        given: i64,
        /// The state's.
        present: i64,
    },
}

/// What all records so far make.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct State {
    starts: i32,
    next_producer_id: i64,
    topics: BTreeMap<TopicId, Topic>,
    ids_by_name: BTreeMap<String, TopicId>,
    tombstones: BTreeMap<TopicId, StartNumber>,
    /// Topic names with every `.` as `_`: two that collide there would collide in metrics.
    folded_names: BTreeMap<String, u32>,
    partitions: i64,
    /// Settings of what is no topic; never an empty map.
    configs: BTreeMap<ResourceKind, BTreeMap<String, Texts>>,
    applied: i64,
}

impl State {
    /// How many starts there were, this one included.
    #[must_use]
    pub fn starts(&self) -> i32 {
        self.starts
    }

    /// The number of the present start.
    #[must_use]
    pub fn present_start(&self) -> StartNumber {
        StartNumber(self.starts - 1)
    }

    /// The first producer id that nobody has.
    #[must_use]
    pub fn next_producer_id(&self) -> i64 {
        self.next_producer_id
    }

    /// All topics in the order of their ids.
    pub fn topics(&self) -> impl ExactSizeIterator<Item = (TopicId, &Topic)> {
        self.topics.iter().map(|(id, topic)| (*id, topic))
    }

    /// Topics whose logs are gone and which journals may still mention.
    pub fn tombstones(&self) -> impl ExactSizeIterator<Item = (TopicId, StartNumber)> + '_ {
        self.tombstones.iter().map(|(id, start)| (*id, *start))
    }

    /// A topic by id.
    #[must_use]
    pub fn topic(&self, id: TopicId) -> Option<&Topic> {
        self.topics.get(&id)
    }

    /// A topic's id by name.
    #[must_use]
    pub fn topic_id(&self, name: &str) -> Option<TopicId> {
        self.ids_by_name.get(name).copied()
    }

    /// Partitions of all topics.
    #[must_use]
    pub fn partitions(&self) -> i64 {
        self.partitions
    }

    /// A topic whose name differs from this one only in `.` against `_`.
    #[must_use]
    pub fn colliding_name(&self, name: &str) -> Option<&str> {
        let folded = fold(name);
        self.folded_names.get(&folded)?;
        let found = self
            .ids_by_name
            .keys()
            .find(|other| fold(other) == folded && *other != name);
        found.map(String::as_str)
    }

    /// The settings of one thing of a kind (topics have theirs with them).
    #[must_use]
    pub fn config(&self, kind: ResourceKind, name: &str) -> Option<&Texts> {
        self.configs.get(&kind)?.get(name)
    }

    /// All things of a kind that have settings of their own.
    pub fn configs(&self, kind: ResourceKind) -> impl Iterator<Item = (&String, &Texts)> {
        self.configs.get(&kind).into_iter().flatten()
    }

    /// How many records made this state: the offset of the next.
    #[must_use]
    pub fn applied(&self) -> i64 {
        self.applied
    }

    /// Applies one record.
    ///
    /// # Errors
    /// [`ApplyError`] if it does not fit; the state is as it was.
    pub fn apply(&mut self, record: &Record) -> Result<(), ApplyError> {
        self.change(record)?;
        self.applied += 1;
        Ok(())
    }

    fn change(&mut self, record: &Record) -> Result<(), ApplyError> {
        match record {
            Record::NodeStarted { start } => {
                above(
                    "the start number",
                    i64::from(*start),
                    i64::from(self.starts) - 1,
                )?;
                self.starts = start + 1;
            }
            Record::TopicCreated(topic) => self.create(topic)?,
            Record::TopicDeleted { id } => self.delete(TopicId(*id))?,
            Record::PartitionsAdded { id, total } => {
                let topic = self.topic_mut(TopicId(*id))?;
                let (given, present) = (i64::from(*total), i64::from(topic.partitions));
                above("the number of partitions", given, present)?;
                topic.partitions = *total;
                self.partitions += given - present;
            }
            Record::TopicSettingChanged { id, key, value } => {
                let topic = self.topic_mut(TopicId(*id))?;
                match value {
                    Some(value) => topic.settings.insert(key.clone(), value.clone()),
                    None => topic.settings.remove(key),
                };
            }
            Record::ProducerIdsReserved { next } => {
                above("the next producer id", *next, self.next_producer_id)?;
                self.next_producer_id = *next;
            }
            Record::TombstonesForgotten { ids } => {
                for id in ids {
                    self.tombstones.remove(&TopicId(*id));
                }
            }
            Record::ConfigChanged {
                kind,
                name,
                key,
                value,
            } => self.configure(*kind, name, key, value.as_deref())?,
        }
        Ok(())
    }

    fn configure(
        &mut self,
        kind: i8,
        name: &str,
        key: &str,
        value: Option<&str>,
    ) -> Result<(), ApplyError> {
        let kind = ResourceKind::of(kind).ok_or(ApplyError::NoSuchKind(kind))?;
        let things = self.configs.entry(kind).or_default();
        let settings = things.entry(name.to_owned()).or_default();
        match value {
            Some(value) => settings.insert(key.to_owned(), value.to_owned()),
            None => settings.remove(key),
        };
        if settings.is_empty() {
            things.remove(name);
        }
        Ok(())
    }

    fn topic_mut(&mut self, id: TopicId) -> Result<&mut Topic, ApplyError> {
        self.topics.get_mut(&id).ok_or(ApplyError::NoSuchTopic(id))
    }

    fn create(&mut self, topic: &record::Topic) -> Result<(), ApplyError> {
        let id = TopicId(topic.id);
        let taken = self.ids_by_name.contains_key(&topic.name)
            || self.topics.contains_key(&id)
            || self.tombstones.contains_key(&id);
        if taken {
            return Err(ApplyError::Taken {
                name: topic.name.clone(),
                id,
            });
        }
        let pairs = topic.settings.iter();
        let settings = pairs
            .map(|pair| (pair.key.clone(), pair.value.clone()))
            .collect();
        let created = Topic {
            name: topic.name.clone(),
            partitions: topic.partitions,
            internal: topic.internal,
            created_at_start: StartNumber(topic.created_at_start),
            settings,
        };
        self.partitions += i64::from(topic.partitions);
        self.ids_by_name.insert(topic.name.clone(), id);
        *self.folded_names.entry(fold(&topic.name)).or_default() += 1;
        self.topics.insert(id, created);
        Ok(())
    }

    fn delete(&mut self, id: TopicId) -> Result<(), ApplyError> {
        let topic = self.topics.remove(&id).ok_or(ApplyError::NoSuchTopic(id))?;
        self.ids_by_name.remove(&topic.name);
        self.partitions -= i64::from(topic.partitions);
        let folded = fold(&topic.name);
        let names = self
            .folded_names
            .get_mut(&folded)
            .expect("every topic's name is counted");
        *names -= 1;
        if *names == 0 {
            self.folded_names.remove(&folded);
        }
        self.tombstones.insert(id, self.present_start());
        Ok(())
    }

    /// All of it, to begin from without the records.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let setting = |(key, value): (&String, &String)| record::Setting {
            key: key.clone(),
            value: value.clone(),
        };
        let topic = |(id, topic): (&TopicId, &Topic)| record::Topic {
            id: id.0,
            name: topic.name.clone(),
            partitions: topic.partitions,
            internal: topic.internal,
            created_at_start: topic.created_at_start.0,
            settings: topic.settings.iter().map(setting).collect(),
        };
        let tombstone = |(id, start): (&TopicId, &StartNumber)| Tombstone {
            id: id.0,
            deleted_at_start: start.0,
        };
        let configs = self.configs.iter().flat_map(|(kind, things)| {
            things.iter().map(|(name, settings)| ResourceConfig {
                kind: *kind as i8,
                name: name.clone(),
                settings: settings.iter().map(setting).collect(),
            })
        });
        Snapshot {
            starts: self.starts,
            next_producer_id: self.next_producer_id,
            topics: self.topics.iter().map(topic).collect(),
            tombstones: self.tombstones.iter().map(tombstone).collect(),
            configs: configs.collect(),
            applied: self.applied,
        }
    }

    /// The state of a snapshot.
    ///
    /// # Errors
    /// [`ApplyError`] if the snapshot contradicts itself.
    pub fn restore(snapshot: &Snapshot) -> Result<State, ApplyError> {
        let mut state = State {
            starts: snapshot.starts,
            next_producer_id: snapshot.next_producer_id,
            applied: snapshot.applied,
            ..State::default()
        };
        snapshot
            .topics
            .iter()
            .try_for_each(|topic| state.create(topic))?;
        for tombstone in &snapshot.tombstones {
            state.tombstones.insert(
                TopicId(tombstone.id),
                StartNumber(tombstone.deleted_at_start),
            );
        }
        for config in &snapshot.configs {
            for record::Setting { key, value } in &config.settings {
                state.configure(config.kind, &config.name, key, Some(value))?;
            }
        }
        Ok(state)
    }
}

fn fold(name: &str) -> String {
    name.replace('.', "_")
}

fn above(what: &'static str, given: i64, present: i64) -> Result<(), ApplyError> {
    if given > present {
        Ok(())
    } else {
        Err(ApplyError::NotAbove {
            what,
            given,
            present,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn created(id: u8, name: &str, partitions: i32) -> Record {
        Record::TopicCreated(record::Topic {
            id: [id; 16],
            name: name.into(),
            partitions,
            internal: false,
            created_at_start: 0,
            settings: Vec::new(),
        })
    }

    fn state(records: &[Record]) -> State {
        let mut state = State::default();
        for record in records {
            state.apply(record).expect("a record that fits");
        }
        state
    }

    #[test]
    fn a_deleted_topic_leaves_a_tombstone_and_frees_its_name() {
        let started = Record::NodeStarted { start: 0 };
        let mut state = state(&[
            started,
            created(1, "a", 2),
            Record::TopicDeleted { id: [1; 16] },
        ]);
        assert_eq!(state.topic_id("a"), None);
        assert_eq!(state.partitions(), 0);
        assert_eq!(
            state.tombstones().collect::<Vec<_>>(),
            [(TopicId([1; 16]), StartNumber(0))]
        );
        assert!(
            state.apply(&created(1, "b", 1)).is_err(),
            "an id is never used again"
        );
        state.apply(&created(2, "a", 1)).expect("the name is free");
    }

    #[test]
    fn what_does_not_fit_changes_nothing() {
        let mut state = state(&[Record::NodeStarted { start: 4 }, created(1, "a", 2)]);
        let before = state.clone();
        for record in [
            created(1, "b", 1),
            created(2, "a", 1),
            Record::NodeStarted { start: 4 },
            Record::TopicDeleted { id: [9; 16] },
            Record::PartitionsAdded {
                id: [1; 16],
                total: 2,
            },
            Record::ProducerIdsReserved { next: 0 },
        ] {
            assert!(state.apply(&record).is_err(), "{record:?}");
            assert_eq!(state, before);
        }
    }

    fn configured(name: &str, value: Option<&str>) -> Record {
        Record::ConfigChanged {
            kind: ResourceKind::Group as i8,
            name: name.into(),
            key: "k".into(),
            value: value.map(str::to_owned),
        }
    }

    #[test]
    fn settings_of_groups_outlive_a_snapshot_and_go_with_the_last_of_them() {
        let mut state = state(&[configured("g", Some("1")), configured("h", Some("2"))]);
        state = State::restore(&state.snapshot()).expect("a good snapshot");
        assert_eq!(state.applied(), 2);
        state.apply(&configured("g", None)).expect("it fits");
        let left: Vec<_> = state.configs(ResourceKind::Group).collect();
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].1["k"], "2");
        assert_eq!(state.config(ResourceKind::Group, "g"), None);
        let mut nonsense = configured("g", Some("1"));
        if let Record::ConfigChanged { kind, .. } = &mut nonsense {
            *kind = 3;
        }
        assert!(state.apply(&nonsense).is_err());
        assert_eq!(state.applied(), 3);
    }

    #[test]
    fn names_collide_when_only_dots_and_underscores_differ() {
        let mut state = state(&[created(1, "a.b", 1), created(2, "a_c", 1)]);
        assert_eq!(state.colliding_name("a_b"), Some("a.b"));
        assert_eq!(state.colliding_name("a.c"), Some("a_c"));
        assert_eq!(state.colliding_name("a.b"), None);
        assert_eq!(state.colliding_name("ab"), None);
        state
            .apply(&Record::TopicDeleted { id: [1; 16] })
            .expect("it exists");
        assert_eq!(state.colliding_name("a_b"), None);
    }
}
