//! The broker's own topics, made when a coordinator is first asked for.
//!
//! Codes: 44 above `max.partitions`.

use std::collections::BTreeMap;

use spate_storage::types::TopicId;

use super::{Admin, Plan};
use crate::{
    control::{
        message::{ControlReply, InternalTopic},
        metadata::record::{Record, Setting, Topic},
    },
    coordinator::OFFSETS_TOPIC,
};

impl Admin<'_> {
    pub(super) fn ensure_internal(
        self,
        topic: InternalTopic,
        new_id: &mut dyn FnMut() -> TopicId,
    ) -> Plan {
        let (name, partitions, settings) = match topic {
            InternalTopic::ConsumerOffsets => (
                OFFSETS_TOPIC,
                self.config.groups.topic_partitions,
                [
                    ("cleanup.policy", "compact".to_owned()),
                    ("compression.type", "producer".to_owned()),
                    (
                        "segment.bytes",
                        self.config.groups.topic_segment_bytes.to_string(),
                    ),
                ],
            ),
        };
        let reply = |outcome| ControlReply::InternalTopic(outcome);
        if let Some(id) = self.state.topic_id(name) {
            return Plan {
                records: Vec::new(),
                reply: reply(Ok(id)),
            };
        }
        if let Err(refusal) = self.check_room(0, partitions) {
            tracing::warn!("no consumer group can be served: {refusal}");
            return Plan {
                records: Vec::new(),
                reply: reply(Err(refusal)),
            };
        }
        let id = new_id();
        let setting = |(key, value): (&str, String)| Setting {
            key: key.to_owned(),
            value,
        };
        let settings = BTreeMap::from(settings).into_iter().map(setting);
        let record = Record::TopicCreated(Topic {
            id: id.0,
            name: name.to_owned(),
            partitions,
            internal: true,
            created_at_start: self.state.present_start().0,
            settings: settings.collect(),
        });
        Plan {
            records: vec![record],
            reply: reply(Ok(id)),
        }
    }
}
