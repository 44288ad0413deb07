//! CreateTopics, and the creation of topics that Metadata asks for.
//!
//! Codes: 17 name, 36 exists, 37 partitions, 38 replication factor, 39 assignment, 40 setting,
//! 42 twice in one request or contradictory, 44 above `max.partitions`.

use std::collections::{BTreeMap, BTreeSet};

use kacrab_protocol::generated::ErrorCode;
use spate_storage::types::TopicId;

use super::{Admin, Plan, alter::topic, duplicate, once, repeated};
use crate::{
    config::{describe::describe_topic, layers::Texts, source::Settings},
    control::{
        message::{ControlReply, CreatedTopic, NewTopic, Refusal, TopicOutcome},
        metadata::record::{Record, Setting, Topic},
        name,
    },
};

/// A topic that passed every check.
struct Accepted {
    partitions: i32,
    replication_factor: i16,
    settings: BTreeMap<String, String>,
}

/// What the topics before it in the same request take.
#[derive(Default)]
struct Taken {
    folded_names: BTreeSet<String>,
    partitions: i64,
}

impl Admin<'_> {
    pub(super) fn create_topics(
        self,
        topics: &[NewTopic],
        validate_only: bool,
        new_id: &mut dyn FnMut() -> TopicId,
    ) -> Plan {
        let repeated = repeated(topics.iter().map(|topic| topic.name.as_str()));
        let (mut records, mut outcomes) = (Vec::new(), Vec::new());
        let mut taken = Taken::default();
        for topic in once(topics, |topic| &topic.name) {
            let accepted = if repeated.contains(topic.name.as_str()) {
                Err(duplicate(&topic.name))
            } else {
                self.check_new(topic, &taken)
            };
            let outcome = accepted.map(|accepted| {
                taken.add(&topic.name, accepted.partitions);
                let id = if validate_only {
                    TopicId::default()
                } else {
                    new_id()
                };
                let created = CreatedTopic {
                    id,
                    partitions: accepted.partitions,
                    replication_factor: accepted.replication_factor,
                    configs: describe_topic(self.broker, &accepted.settings),
                };
                if !validate_only {
                    records.push(self.record(id, &topic.name, accepted));
                }
                created
            });
            let id = outcome.as_ref().ok().map(|created| created.id);
            outcomes.push(TopicOutcome {
                name: topic.name.clone(),
                id,
                outcome,
            });
        }
        Plan {
            records,
            reply: ControlReply::CreateTopics(outcomes),
        }
    }

    pub(super) fn auto_create(self, names: &[String], new_id: &mut dyn FnMut() -> TopicId) -> Plan {
        let (mut records, mut outcomes) = (Vec::new(), Vec::new());
        let mut taken = Taken::default();
        let mut created = BTreeMap::new();
        for name in names {
            let known = self
                .state
                .topic_id(name)
                .or_else(|| created.get(name).copied());
            let outcome = known.map_or_else(|| self.check_auto(name, &taken), |id| Ok((id, None)));
            let outcome = outcome.map(|(id, accepted)| {
                let Some(accepted) = accepted else { return id };
                let id = new_id();
                taken.add(name, accepted.partitions);
                created.insert(name.clone(), id);
                records.push(self.record(id, name, accepted));
                id
            });
            let id = outcome.as_ref().ok().copied();
            outcomes.push(TopicOutcome {
                name: name.clone(),
                id,
                outcome,
            });
        }
        Plan {
            records,
            reply: ControlReply::AutoCreate(outcomes),
        }
    }

    /// The broker's own topics come with their coordinators, which choose their partitions; a
    /// client that only asks after one must not.
    fn check_auto(self, name: &str, taken: &Taken) -> Result<(TopicId, Option<Accepted>), Refusal> {
        let unknown = |text: &str| Err(Refusal::new(ErrorCode::UnknownTopicOrPartition, text));
        if !self.config.auto_create_topics {
            return unknown("auto.create.topics.enable is false");
        }
        if name::is_internal(name) {
            return unknown("this name is kept for a topic of the broker's own");
        }
        let topic = NewTopic {
            name: name.to_owned(),
            partitions: -1,
            replication_factor: -1,
            assignments: Vec::new(),
            configs: Vec::new(),
        };
        self.check_new(&topic, taken)
            .map(|accepted| (TopicId::default(), Some(accepted)))
    }

    fn check_new(self, topic: &NewTopic, taken: &Taken) -> Result<Accepted, Refusal> {
        self.check_name(&topic.name, taken)?;
        let settings = check_settings(&topic.configs, self.broker.effective())?;
        let (partitions, replication_factor) = if topic.assignments.is_empty() {
            (
                self.count(topic.partitions)?,
                self.replicas(topic.replication_factor)?,
            )
        } else {
            self.check_assignments(topic)?
        };
        self.check_room(taken.partitions, partitions)?;
        Ok(Accepted {
            partitions,
            replication_factor,
            settings,
        })
    }

    fn check_name(self, name: &str, taken: &Taken) -> Result<(), Refusal> {
        let invalid = |text| Refusal::new(ErrorCode::InvalidTopicException, text);
        name::check(name).map_err(invalid)?;
        if name == name::METADATA {
            let text = format!("Creation of internal topic {name} is prohibited.");
            return Err(Refusal::new(ErrorCode::InvalidRequest, text));
        }
        if self.state.topic_id(name).is_some() {
            let text = format!("Topic '{name}' already exists.");
            return Err(Refusal::new(ErrorCode::TopicAlreadyExists, text));
        }
        let other = self.state.colliding_name(name);
        if other.is_some() || taken.folded_names.contains(&fold(name)) {
            let other = other.unwrap_or("another of this request");
            return Err(invalid(format!(
                "Topic '{name}' collides with existing topic: {other} ('.' and '_' count as the \
                 same in metric names)"
            )));
        }
        Ok(())
    }

    fn count(self, given: i32) -> Result<i32, Refusal> {
        match given {
            -1 => Ok(self.config.num_partitions),
            1.. => Ok(given),
            _ => Err(Refusal::new(
                ErrorCode::InvalidPartitions,
                format!("Number of partitions was set to an invalid non-positive value: {given}."),
            )),
        }
    }

    fn replicas(self, given: i16) -> Result<i16, Refusal> {
        let wanted = if given == -1 {
            self.config.default_replication_factor
        } else {
            i32::from(given)
        };
        let refuse = |text| Err(Refusal::new(ErrorCode::InvalidReplicationFactor, text));
        match wanted {
            1 => Ok(1),
            2.. => refuse(format!(
                "The target replication factor of {wanted} cannot be reached because only 1 \
                 broker(s) are registered."
            )),
            _ => refuse(
                "Replication factor must be larger than 0, or -1 to use the default value.".into(),
            ),
        }
    }

    /// Assignments by hand: partitions 0 up to some number, each on known brokers.
    fn check_assignments(self, topic: &NewTopic) -> Result<(i32, i16), Refusal> {
        let contradictory = |what| {
            let text =
                format!("A manual partition assignment was specified, but {what} was not -1.");
            Err(Refusal::new(ErrorCode::InvalidRequest, text))
        };
        if topic.replication_factor != -1 {
            return contradictory("the replication factor");
        }
        if topic.partitions != -1 {
            return contradictory("the number of partitions");
        }
        let refuse = |text| Refusal::new(ErrorCode::InvalidReplicaAssignment, text);
        let mut partitions = BTreeSet::new();
        for (partition, brokers) in &topic.assignments {
            if !partitions.insert(*partition) {
                return Err(refuse(format!(
                    "Found multiple manual partition assignments for partition {partition}"
                )));
            }
            self.check_replicas(*partition, brokers)?;
        }
        let count = i32::try_from(partitions.len()).unwrap_or(i32::MAX);
        if !partitions.into_iter().eq(0..count) {
            let text = "partitions should be a consecutive 0-based integer sequence";
            return Err(refuse(text.into()));
        }
        Ok((count, 1))
    }

    fn record(self, id: TopicId, name: &str, accepted: Accepted) -> Record {
        let setting = |(key, value)| Setting { key, value };
        Record::TopicCreated(Topic {
            id: id.0,
            name: name.to_owned(),
            partitions: accepted.partitions,
            internal: name::is_internal(name),
            created_at_start: self.state.present_start().0,
            settings: accepted.settings.into_iter().map(setting).collect(),
        })
    }
}

impl Taken {
    fn add(&mut self, name: &str, partitions: i32) {
        self.folded_names.insert(fold(name));
        self.partitions += i64::from(partitions);
    }
}

fn fold(name: &str) -> String {
    name.replace('.', "_")
}

/// The settings of a new topic in their normal form, or why one cannot be.
pub(super) fn check_settings(
    given: &[(String, Option<String>)],
    broker: &Settings,
) -> Result<Texts, Refusal> {
    let refuse = |text| Refusal::new(ErrorCode::InvalidConfig, text);
    let mut checked = Texts::new();
    for (key, value) in given {
        let Some(value) = value else {
            let text = format!("Null value not supported for topic configs: {key}");
            return Err(refuse(text));
        };
        let value = topic::value(key, value)?;
        if checked.insert(key.clone(), value).is_some() {
            return Err(refuse(format!("Setting given twice: {key}")));
        }
    }
    topic::check_whole(&checked, broker)?;
    Ok(checked)
}
