//! AlterConfigs and IncrementalAlterConfigs: the same checks and records for both. What each kind
//! of thing asks of its settings is in a file of its own.
//!
//! Codes: 40 a value, an unknown key or a list operation on what is no list; 42 an unknown kind, a
//! thing or key named twice, null, a bad name, a broker's setting that needs a restart; 3 and 17
//! topics.

mod broker;
mod client_metrics;
mod group;
pub mod topic;

use std::collections::BTreeSet;

use kacrab_protocol::generated::ErrorCode;
use spate_storage::types::TopicId;

use super::{Admin, Plan};
use crate::{
    config::{
        layers::Texts,
        resource::ResourceKind,
        value::{Setting, list_items},
    },
    control::{
        message::{Alteration, ConfigChange, ControlReply, Refusal, Step},
        metadata::record::Record,
    },
};

/// Kafka's `AlterConfigOp.OpType`.
mod operation {
    pub const SET: i8 = 0;
    pub const DELETE: i8 = 1;
    pub const APPEND: i8 = 2;
    pub const SUBTRACT: i8 = 3;
}

/// The thing whose settings change.
enum Target {
    Topic(TopicId),
    Other(ResourceKind, String),
}

impl Admin<'_> {
    pub(super) fn alter_configs(self, resources: &[ConfigChange], validate_only: bool) -> Plan {
        let mut seen = BTreeSet::new();
        let repeated: BTreeSet<_> = resources
            .iter()
            .map(|resource| (resource.kind, resource.name.as_str()))
            .filter(|resource| !seen.insert(*resource))
            .collect();
        let (mut records, mut outcomes) = (Vec::new(), Vec::new());
        for resource in resources {
            let checked = if repeated.contains(&(resource.kind, resource.name.as_str())) {
                Err(invalid("Each resource must appear at most once."))
            } else {
                self.alter(resource)
            };
            outcomes.push(checked.map(|changes| {
                if !validate_only {
                    records.extend(changes);
                }
            }));
        }
        Plan {
            records,
            reply: ControlReply::AlterConfigs(outcomes),
        }
    }

    fn alter(self, resource: &ConfigChange) -> Result<Vec<Record>, Refusal> {
        check_form(&resource.change)?;
        let target = self.target(resource)?;
        let nothing = Texts::new();
        let before = match &target {
            Target::Topic(id) => self.state.topic(*id).map(|topic| &topic.settings),
            Target::Other(kind, name) => self.state.config(*kind, name),
        };
        let before = before.unwrap_or(&nothing);
        let after = match &resource.change {
            Alteration::Replace(pairs) => pairs
                .iter()
                .map(|(key, value)| (key.clone(), value.clone().unwrap_or_default()))
                .collect(),
            Alteration::Each(steps) => self.stepped(&target, before, steps)?,
        };
        let after = match &target {
            Target::Topic(_) => topic::check(&after, before, self.broker.effective())?,
            Target::Other(ResourceKind::Broker, name) => self.check_broker_config(after, name)?,
            Target::Other(ResourceKind::Group, _) => group::check(&after, before)?,
            Target::Other(..) => client_metrics::check(&after)?,
        };
        Ok(difference(&target, before, &after))
    }

    /// The thing that is meant, if there is such a one.
    fn target(self, resource: &ConfigChange) -> Result<Target, Refusal> {
        let ConfigChange { kind, name, .. } = resource;
        match ResourceKind::of(*kind) {
            Some(ResourceKind::Topic) => topic::find(self.state, name).map(Target::Topic),
            Some(kind @ ResourceKind::Broker) => {
                let name = broker::find(self.config, name)?;
                Ok(Target::Other(kind, name))
            }
            Some(ResourceKind::Group) if name.is_empty() => {
                Err(invalid("Default group resources are not allowed."))
            }
            Some(ResourceKind::ClientMetrics) if name.is_empty() => {
                Err(invalid("Subscription name can't be empty"))
            }
            Some(kind @ (ResourceKind::Group | ResourceKind::ClientMetrics)) => {
                Ok(Target::Other(kind, name.clone()))
            }
            // The levels of loggers are the process's and not the metadata's.
            Some(ResourceKind::BrokerLogger) | None => {
                Err(invalid(format!("Unknown resource type {kind}")))
            }
        }
    }

    /// The settings after all steps; only those that a step touched can have become wrong.
    fn stepped(self, target: &Target, before: &Texts, steps: &[Step]) -> Result<Texts, Refusal> {
        let mut after = before.clone();
        for step in steps {
            let given = step.value.as_deref().unwrap_or_default();
            match step.operation {
                operation::SET => {
                    after.insert(step.key.clone(), given.to_owned());
                }
                operation::DELETE => {
                    after.remove(&step.key);
                }
                operation::APPEND | operation::SUBTRACT => {
                    let present = self.present_list(target, before, step)?;
                    let value = combined(&present, given, step.operation);
                    after.insert(step.key.clone(), value);
                }
                other => return Err(invalid(format!("Unknown config operation {other}"))),
            }
        }
        Ok(after)
    }

    /// The list that a step adds to or takes from.
    fn present_list(self, target: &Target, before: &Texts, step: &Step) -> Result<String, Refusal> {
        let setting = match target {
            Target::Topic(_) => topic::list(&step.key),
            Target::Other(ResourceKind::Broker, _) => broker::list(&step.key),
            // Kafka knows of no lists among them.
            Target::Other(..) => None,
        };
        let Some(setting) = setting else {
            return Err(not_a_list(target, step));
        };
        let own = before.get(&step.key).cloned();
        Ok(own.unwrap_or_else(|| self.default_of(setting)))
    }

    fn default_of(self, setting: &'static Setting) -> String {
        match crate::config::table::broker_setting(setting.key) {
            Some(row) => self.broker.effective().value(row.key).to_string(),
            None => setting.default.to_string(),
        }
    }
}

/// What can be wrong whatever the kind: keys named twice, null without meaning.
fn check_form(change: &Alteration) -> Result<(), Refusal> {
    let (keys, nulls): (Vec<&str>, Vec<&str>) = match change {
        Alteration::Replace(pairs) => {
            let nulls = pairs.iter().filter(|(_, value)| value.is_none());
            (
                pairs.iter().map(|(key, _)| key.as_str()).collect(),
                nulls.map(|(key, _)| key.as_str()).collect(),
            )
        }
        Alteration::Each(steps) => {
            let is_null =
                |step: &&Step| step.operation != operation::DELETE && step.value.is_none();
            (
                steps.iter().map(|step| step.key.as_str()).collect(),
                steps
                    .iter()
                    .filter(is_null)
                    .map(|step| step.key.as_str())
                    .collect(),
            )
        }
    };
    if keys.iter().collect::<BTreeSet<_>>().len() < keys.len() {
        return Err(invalid("Error due to duplicate config keys"));
    }
    if nulls.is_empty() {
        return Ok(());
    }
    let text = format!("Null value not supported for : {}", nulls.join(","));
    Err(invalid(text))
}

fn not_a_list(target: &Target, step: &Step) -> Refusal {
    let (verb, noun) = match step.operation {
        operation::APPEND => ("APPEND to", "append"),
        _ => ("SUBTRACT from", "subtract"),
    };
    let key = &step.key;
    let text = match target {
        Target::Other(ResourceKind::Broker, _) => {
            format!("Config value {noun} is not allowed for config key: {key}")
        }
        _ => format!("Can't {verb} key {key} because its type is not LIST."),
    };
    Refusal::new(ErrorCode::InvalidConfig, text)
}

fn combined(present: &str, given: &str, operation: i8) -> String {
    let given = list_items(given);
    let mut items = list_items(present);
    if operation == operation::SUBTRACT {
        items.retain(|item| !given.contains(item));
    } else {
        items.extend(given);
    }
    list_items(&items.join(",")).join(",")
}

/// The records that make the one the other.
fn difference(target: &Target, before: &Texts, after: &Texts) -> Vec<Record> {
    let record = |key: &String, value: Option<&String>| match target {
        Target::Topic(id) => Record::TopicSettingChanged {
            id: id.0,
            key: key.clone(),
            value: value.cloned(),
        },
        Target::Other(kind, name) => Record::ConfigChanged {
            kind: *kind as i8,
            name: name.clone(),
            key: key.clone(),
            value: value.cloned(),
        },
    };
    let gone = before.keys().filter(|key| !after.contains_key(*key));
    let gone = gone.map(|key| record(key, None));
    let new = after
        .iter()
        .filter(|(key, value)| before.get(*key) != Some(value));
    gone.chain(new.map(|(key, value)| record(key, Some(value))))
        .collect()
}

fn invalid(text: impl Into<String>) -> Refusal {
    Refusal::new(ErrorCode::InvalidRequest, text)
}

#[cfg(test)]
mod tests;
