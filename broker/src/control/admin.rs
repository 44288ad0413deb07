//! What clients may do to topics: each request is checked against the state and becomes records
//! and, item by item, outcomes. Nothing is changed here, and what is refused leaves no record.

mod alter;
mod create;
mod delete;
mod grow;
mod internal;

use std::collections::BTreeSet;

use kacrab_protocol::generated::ErrorCode;
use spate_storage::types::TopicId;

use super::{
    message::{ControlReply, ControlRequest, ProducerIdBlock, Refusal, TopicOutcome},
    metadata::{record::Record, state::State},
};
use crate::config::{Config, layers::Layers};

/// Producer ids of one block: as many as Kafka reserves.
pub const PRODUCER_IDS_PER_BLOCK: i32 = 1000;

/// What requests are checked against.
#[derive(Clone, Copy)]
pub struct Admin<'a> {
    /// What there is.
    pub state: &'a State,
    /// What the settings allow.
    pub config: &'a Config,
    /// The same as far as they change while the broker runs.
    pub broker: &'a Layers,
}

/// What a request comes to.
#[derive(Debug)]
pub struct Plan {
    /// To be made durable before the reply goes out.
    pub records: Vec<Record>,
    /// The reply.
    pub reply: ControlReply,
}

impl Admin<'_> {
    /// Checks a request. `new_id` gives random ids: they are injected so that tests can name them.
    pub fn plan(self, request: ControlRequest, new_id: &mut dyn FnMut() -> TopicId) -> Plan {
        match request {
            ControlRequest::CreateTopics {
                topics,
                validate_only,
            } => self.create_topics(&topics, validate_only, new_id),
            ControlRequest::AutoCreate { names } => self.auto_create(&names, new_id),
            ControlRequest::DeleteTopics { topics } => self.delete_topics(topics),
            ControlRequest::CreatePartitions {
                topics,
                validate_only,
            } => self.create_partitions(&topics, validate_only),
            ControlRequest::InternalTopic(topic) => self.ensure_internal(topic, new_id),
            ControlRequest::ProducerIdBlock => self.reserve_producer_ids(),
            ControlRequest::AlterConfigs {
                resources,
                validate_only,
            } => self.alter_configs(&resources, validate_only),
        }
    }

    fn reserve_producer_ids(self) -> Plan {
        let first = self.state.next_producer_id();
        let count = PRODUCER_IDS_PER_BLOCK;
        match first.checked_add(i64::from(count)) {
            Some(next) => Plan {
                records: vec![Record::ProducerIdsReserved { next }],
                reply: ControlReply::ProducerIdBlock(Ok(ProducerIdBlock { first, count })),
            },
            None => Plan {
                records: Vec::new(),
                reply: ControlReply::ProducerIdBlock(Err(Refusal::new(
                    ErrorCode::UnknownServerError,
                    "all producer ids have been given out",
                ))),
            },
        }
    }

    /// Refuses what would take the node past `max.partitions`, `planned` more being under way.
    fn check_room(self, planned: i64, more: i32) -> Result<(), Refusal> {
        let present = self.state.partitions();
        let limit = i64::from(self.config.max_partitions);
        if present + planned + i64::from(more) <= limit {
            return Ok(());
        }
        let text = format!(
            "{more} more partitions would make {} of this node's {present}, above max.partitions \
             = {limit}",
            present + planned + i64::from(more)
        );
        Err(Refusal::new(ErrorCode::PolicyViolation, text))
    }

    /// Whether this node may hold a replica: so far it is the only one.
    fn check_broker(self, broker: i32) -> Result<(), Refusal> {
        if self.config.names_this_node(broker) {
            return Ok(());
        }
        let text = format!(
            "The manual partition assignment includes broker {broker}, but no such broker is \
             registered."
        );
        Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, text))
    }

    /// The replicas that one partition was given by hand.
    fn check_replicas(self, partition: i32, brokers: &[i32]) -> Result<(), Refusal> {
        let refuse = |text| Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, text));
        if brokers.is_empty() {
            return refuse(format!(
                "The manual partition assignment includes an empty replica list for partition \
                 {partition}."
            ));
        }
        brokers
            .iter()
            .try_for_each(|broker| self.check_broker(*broker))?;
        if brokers.iter().collect::<BTreeSet<_>>().len() < brokers.len() {
            return refuse(format!(
                "The manual partition assignment includes a broker twice for partition {partition}."
            ));
        }
        Ok(())
    }
}

impl Plan {
    /// The same reply after the records could not be made durable: what would have been done was
    /// not, as far as clients may know.
    #[must_use]
    pub fn refuse_all(self, refusal: &Refusal) -> ControlReply {
        fn all<T>(outcomes: Vec<TopicOutcome<T>>, refusal: &Refusal) -> Vec<TopicOutcome<T>> {
            let refuse = |outcome: TopicOutcome<T>| TopicOutcome {
                outcome: outcome.outcome.and_then(|_| Err(refusal.clone())),
                ..outcome
            };
            outcomes.into_iter().map(refuse).collect()
        }
        match self.reply {
            ControlReply::CreateTopics(items) => ControlReply::CreateTopics(all(items, refusal)),
            ControlReply::DeleteTopics(items) => ControlReply::DeleteTopics(all(items, refusal)),
            ControlReply::CreatePartitions(items) => {
                ControlReply::CreatePartitions(all(items, refusal))
            }
            ControlReply::AutoCreate(items) => ControlReply::AutoCreate(all(items, refusal)),
            ControlReply::InternalTopic(_) => ControlReply::InternalTopic(Err(refusal.clone())),
            ControlReply::ProducerIdBlock(_) => ControlReply::ProducerIdBlock(Err(refusal.clone())),
            ControlReply::AlterConfigs(items) => {
                let refuse = |item: Result<(), Refusal>| item.and(Err(refusal.clone()));
                ControlReply::AlterConfigs(items.into_iter().map(refuse).collect())
            }
        }
    }
}

/// The names that appear more than once in a request.
fn repeated<'a>(names: impl Iterator<Item = &'a str>) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    names.filter(|name| !seen.insert(*name)).collect()
}

/// The first item of each name: what is named twice is answered once.
fn once<T>(items: &[T], name: impl Fn(&T) -> &str) -> impl Iterator<Item = &T> {
    let mut seen = BTreeSet::new();
    items
        .iter()
        .filter(move |item| seen.insert(name(item).to_owned()))
}

fn duplicate(name: &str) -> Refusal {
    Refusal::new(
        ErrorCode::InvalidRequest,
        format!("Duplicate topic name: {name:?}."),
    )
}

#[cfg(test)]
mod tests;
