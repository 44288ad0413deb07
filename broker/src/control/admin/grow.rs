//! CreatePartitions.
//!
//! Codes: 3 unknown name, 37 not more than now, 39 assignment, 42 twice in one request, 44 above
//! `max.partitions`.

use kacrab_protocol::generated::ErrorCode;
use spate_storage::types::TopicId;

use super::{Admin, Plan, duplicate, once, repeated};
use crate::control::{
    message::{ControlReply, MorePartitions, Refusal, TopicOutcome},
    metadata::record::Record,
};

impl Admin<'_> {
    pub(super) fn create_partitions(self, topics: &[MorePartitions], validate_only: bool) -> Plan {
        let repeated = repeated(topics.iter().map(|topic| topic.name.as_str()));
        let (mut records, mut outcomes) = (Vec::new(), Vec::new());
        let mut planned = 0;
        for topic in once(topics, |topic| &topic.name) {
            let checked = if repeated.contains(topic.name.as_str()) {
                Err(duplicate(&topic.name))
            } else {
                self.check_growth(topic, planned)
            };
            let outcome = checked.map(|(id, more)| {
                planned += i64::from(more);
                if !validate_only {
                    records.push(Record::PartitionsAdded {
                        id: id.0,
                        total: topic.total,
                    });
                }
            });
            let id = self.state.topic_id(&topic.name);
            outcomes.push(TopicOutcome {
                name: topic.name.clone(),
                id,
                outcome,
            });
        }
        Plan {
            records,
            reply: ControlReply::CreatePartitions(outcomes),
        }
    }

    fn check_growth(self, topic: &MorePartitions, planned: i64) -> Result<(TopicId, i32), Refusal> {
        let (name, total) = (&topic.name, topic.total);
        let found = self.state.topic_id(name);
        let Some((id, known)) = found.and_then(|id| Some((id, self.state.topic(id)?))) else {
            let text = format!("There is no topic {name:?}.");
            return Err(Refusal::new(ErrorCode::UnknownTopicOrPartition, text));
        };
        let present = known.partitions;
        let refuse = |text| Err(Refusal::new(ErrorCode::InvalidPartitions, text));
        if total == present {
            return refuse(format!("Topic already has {present} partition(s)."));
        }
        if total < present {
            return refuse(format!(
                "The topic {name} currently has {present} partition(s); {total} would not be an \
                 increase."
            ));
        }
        let more = total - present;
        self.check_room(planned, more)?;
        if let Some(assignments) = &topic.assignments {
            if usize::try_from(more) != Ok(assignments.len()) {
                let text = format!(
                    "Attempted to add {more} additional partition(s), but {} assignment(s) were \
                     specified.",
                    assignments.len()
                );
                return Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, text));
            }
            for (brokers, partition) in assignments.iter().zip(present..) {
                self.check_replicas(partition, brokers)?;
            }
        }
        Ok((id, more))
    }
}
