//! ElectLeaders: the one node leads every partition and is the preferred replica of each, so there
//! is never anything to elect.

use std::sync::Arc;

use spate_net::kafka::{
    KafkaString,
    api::elect_leaders::{
        ElectLeadersRequest, ElectLeadersResponse, PartitionResult, ReplicaElectionResult,
    },
    error::ErrorCode,
};
use spate_storage::types::PartitionIndex;

use crate::{
    handler::message,
    image::{Image, TopicImage},
};

/// Preferred (0) and unclean (1) elections; version 0 knows the first only.
const ELECTION_TYPES: std::ops::RangeInclusive<i8> = 0..=1;

/// Answers in the order of the request; null partitions mean all, of which none needs an election
/// and only the topics are named.
pub fn answer(version: i16, asked: &ElectLeadersRequest, image: &Image) -> ElectLeadersResponse {
    let is_known = version == 0 || ELECTION_TYPES.contains(&asked.election_type);
    if is_known && asked.topic_partitions.is_none() {
        let topic = |topic: &Arc<TopicImage>| {
            ReplicaElectionResult::default().with_topic(topic.name.to_string().into())
        };
        let results = image.topics().map(topic).collect();
        return ElectLeadersResponse::default().with_replica_election_results(results);
    }
    let results = asked.topic_partitions.iter().flatten().map(|topic| {
        let results = topic.partitions.iter().map(|index| {
            let (code, text) = if is_known {
                judge(image, topic.topic.as_str(), *index)
            } else {
                unknown_type(asked.election_type)
            };
            PartitionResult::default()
                .with_partition_id(*index)
                .with_error_code(code.code())
                .with_error_message(message(&text))
        });
        ReplicaElectionResult::default()
            .with_topic(KafkaString::clone(&topic.topic))
            .with_partition_result(results.collect())
    });
    let code = if is_known {
        ErrorCode::None
    } else {
        ErrorCode::InvalidRequest
    };
    ElectLeadersResponse::default()
        .with_replica_election_results(results.collect())
        .with_error_code(if version == 0 { 0 } else { code.code() })
}

fn judge(image: &Image, topic: &str, index: i32) -> (ErrorCode, String) {
    let unknown = ErrorCode::UnknownTopicOrPartition;
    match image.topic(topic) {
        None => (unknown, format!("No such topic as {topic}")),
        Some(found) if !found.has_partition(PartitionIndex(index)) => {
            (unknown, format!("No such partition as {topic}-{index}"))
        }
        Some(_) => (
            ErrorCode::ElectionNotNeeded,
            "Leader election not needed for topic partition.".into(),
        ),
    }
}

fn unknown_type(election_type: i8) -> (ErrorCode, String) {
    let text = format!("Unknown election type {election_type}");
    (ErrorCode::InvalidRequest, text)
}
