//! AlterPartitionReassignments: with one node a partition can only stay where it is. To ask for
//! that is no error, as in Kafka.

use std::collections::BTreeSet;

use spate_net::kafka::{
    KafkaString,
    api::alter_partition_reassignments::{
        AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse,
        ReassignablePartition, ReassignablePartitionResponse, ReassignableTopicResponse,
    },
    error::ErrorCode,
};
use spate_storage::types::PartitionIndex;

use crate::{handler::message, image::Image};

/// Answers in the order of the request.
pub fn answer(
    asked: &AlterPartitionReassignmentsRequest,
    image: &Image,
) -> AlterPartitionReassignmentsResponse {
    let responses = asked.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            let (code, text) = judge(image, topic.name.as_str(), partition);
            ReassignablePartitionResponse::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(code.code())
                .with_error_message(message(&text))
        });
        ReassignableTopicResponse::default()
            .with_name(KafkaString::clone(&topic.name))
            .with_partitions(partitions.collect())
    });
    AlterPartitionReassignmentsResponse::default()
        .with_allow_replication_factor_change(asked.allow_replication_factor_change)
        .with_responses(responses.collect())
}

fn judge(image: &Image, topic: &str, asked: &ReassignablePartition) -> (ErrorCode, String) {
    let unknown = ErrorCode::UnknownTopicOrPartition;
    let index = asked.partition_index;
    let Some(found) = image.topic(topic) else {
        return (unknown, format!("Unable to find a topic named {topic}."));
    };
    if !found.has_partition(PartitionIndex(index)) {
        return (
            unknown,
            format!("Unable to find partition {topic}:{index}."),
        );
    }
    let refused = |what: String| {
        let text = format!("The manual partition assignment includes {what}.");
        (ErrorCode::InvalidReplicaAssignment, text)
    };
    let Some(replicas) = &asked.replicas else {
        return (ErrorCode::NoReassignmentInProgress, String::new());
    };
    if replicas.is_empty() {
        return refused("an empty replica list".into());
    }
    let mut seen = BTreeSet::new();
    if let Some(twice) = replicas.iter().find(|broker| !seen.insert(**broker)) {
        return refused(format!("the broker {twice} more than once"));
    }
    if let Some(broker) = replicas.iter().find(|broker| !image.is_this_node(**broker)) {
        return refused(format!("broker {broker}, but no such broker is registered"));
    }
    // Several shards are still one node.
    if replicas.len() > 1 {
        return refused(format!("the broker {} more than once", image.node.node_id));
    }
    (ErrorCode::None, String::new())
}
