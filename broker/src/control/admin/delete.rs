//! DeleteTopics.
//!
//! Codes: 3 unknown name, 100 unknown id, 42 twice in one request (and then one answer), 73
//! `delete.topic.enable` is false.

use std::collections::BTreeSet;

use kacrab_protocol::generated::ErrorCode;
use spate_storage::types::TopicId;

use super::{Admin, Plan};
use crate::control::{
    message::{ControlReply, Refusal, TopicOutcome, TopicRef},
    metadata::record::Record,
};

impl Admin<'_> {
    pub(super) fn delete_topics(self, topics: Vec<TopicRef>) -> Plan {
        let found: Vec<_> = topics.into_iter().map(|topic| self.find(topic)).collect();
        let mut seen = BTreeSet::new();
        let repeated: BTreeSet<_> = found
            .iter()
            .map(key)
            .filter(|key| !seen.insert(key.clone()))
            .collect();
        let mut records = Vec::new();
        let mut outcomes = Vec::new();
        for mut item in found {
            if repeated.contains(&key(&item)) {
                if !seen.remove(&key(&item)) {
                    continue;
                }
                let text = format!("Duplicate topic: {:?}.", item.name);
                item.outcome = Err(Refusal::new(ErrorCode::InvalidRequest, text));
                item.id = None;
            } else if !self.config.delete_topics {
                let text = "delete.topic.enable is false";
                item.outcome = Err(Refusal::new(ErrorCode::TopicDeletionDisabled, text));
            }
            if let Ok(id) = &item.outcome {
                records.push(Record::TopicDeleted { id: id.0 });
            }
            outcomes.push(item);
        }
        Plan {
            records,
            reply: ControlReply::DeleteTopics(outcomes),
        }
    }

    fn find(self, topic: TopicRef) -> TopicOutcome<TopicId> {
        match topic {
            TopicRef::Name(name) => {
                let id = self.state.topic_id(&name);
                let outcome = id.ok_or_else(|| {
                    let text = format!("There is no topic {name:?}.");
                    Refusal::new(ErrorCode::UnknownTopicOrPartition, text)
                });
                TopicOutcome { name, id, outcome }
            }
            TopicRef::Id(id) => {
                let topic = self.state.topic(id);
                let outcome = topic.map(|_| id).ok_or_else(|| {
                    Refusal::new(
                        ErrorCode::UnknownTopicId,
                        format!("There is no topic id {id}."),
                    )
                });
                let name = topic.map(|topic| topic.name.clone()).unwrap_or_default();
                TopicOutcome {
                    name,
                    id: Some(id),
                    outcome,
                }
            }
        }
    }
}

/// What makes two items of a request the same topic, known or not.
fn key(item: &TopicOutcome<TopicId>) -> (Option<TopicId>, String) {
    match item.id {
        Some(id) => (Some(id), String::new()),
        None => (None, item.name.clone()),
    }
}
