//! DescribeTopicPartitions: topics and their partitions page by page, in the order of names.

use std::{collections::BTreeSet, sync::Arc};

use spate_net::kafka::{
    KafkaString,
    api::describe_topic_partitions::{
        Cursor, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse,
        DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
    },
    error::ErrorCode,
};
use spate_storage::types::{PartitionIndex, TopicPartition};

use crate::{
    control::name,
    handler::{kafka_uuid, metadata::TOPIC_OPERATIONS},
    image::{
        Image, TopicImage,
        brokers::{Brokers, Listener},
    },
};

/// Partitions of one answer at most: Kafka's `max.request.partition.size.limit`.
const PARTITIONS_MAX: usize = 2000;

/// Answers; what does not fit is where the next cursor points.
pub fn answer(
    asked: &DescribeTopicPartitionsRequest,
    image: &Image,
    listener: Listener,
) -> DescribeTopicPartitionsResponse {
    let named: BTreeSet<&str> = asked
        .topics
        .iter()
        .map(|topic| topic.name.as_str())
        .collect();
    let (first, first_partition) = match &asked.cursor {
        None => ("", 0),
        Some(cursor) => (cursor.topic_name.as_str(), cursor.partition_index),
    };
    let is_lost = !first.is_empty() && !named.is_empty() && !named.contains(first);
    if is_lost || first_partition < 0 {
        return refused(asked);
    }
    let names: BTreeSet<&str> = match named.is_empty() {
        true => image.topics().map(|topic| &*topic.name).collect(),
        false => named,
    };
    let limit = usize::try_from(asked.response_partition_limit).unwrap_or(0);
    let mut left = limit.clamp(1, PARTITIONS_MAX);
    let mut topics = Vec::new();
    let mut next = None;
    for name in names.range(first..) {
        let Some(topic) = image.topic(name) else {
            topics.push(unknown(name));
            continue;
        };
        let from = if *name == first { first_partition } else { 0 };
        if left == 0 {
            next = Some(cursor(name, from));
            break;
        }
        let page = i32::try_from(left).unwrap_or(i32::MAX);
        let to = topic.partitions.min(from.saturating_add(page));
        topics.push(found(topic, from..to, image.brokers(listener)));
        left = left.saturating_sub(usize::try_from(to - from).unwrap_or(0));
        if to < topic.partitions {
            next = Some(cursor(name, to));
            break;
        }
    }
    DescribeTopicPartitionsResponse::default()
        .with_topics(topics)
        .with_next_cursor(next.map(Box::new))
}

fn cursor(name: &str, partition: i32) -> Cursor {
    Cursor::default()
        .with_topic_name(name.to_owned().into())
        .with_partition_index(partition)
}

/// A cursor that points nowhere: every topic is told so.
fn refused(asked: &DescribeTopicPartitionsRequest) -> DescribeTopicPartitionsResponse {
    let topic = |name: &KafkaString| {
        DescribeTopicPartitionsResponseTopic::default()
            .with_error_code(ErrorCode::InvalidRequest.code())
            .with_name(Some(name.clone()))
    };
    let names: BTreeSet<_> = asked
        .topics
        .iter()
        .map(|topic| topic.name.as_str())
        .collect();
    let names = names.into_iter().map(|name| topic(&name.to_owned().into()));
    DescribeTopicPartitionsResponse::default().with_topics(names.collect())
}

fn unknown(topic: &str) -> DescribeTopicPartitionsResponseTopic {
    let code = match name::check(topic) {
        Ok(()) => ErrorCode::UnknownTopicOrPartition,
        Err(_) => ErrorCode::InvalidTopicException,
    };
    DescribeTopicPartitionsResponseTopic::default()
        .with_error_code(code.code())
        .with_name(Some(topic.to_owned().into()))
        .with_topic_authorized_operations(TOPIC_OPERATIONS)
}

fn found(
    topic: &Arc<TopicImage>,
    partitions: std::ops::Range<i32>,
    brokers: Brokers<'_>,
) -> DescribeTopicPartitionsResponseTopic {
    let partitions = partitions.map(|index| {
        let leader = brokers.owner_of(TopicPartition {
            topic: topic.id,
            partition: PartitionIndex(index),
        });
        DescribeTopicPartitionsResponsePartition::default()
            .with_partition_index(index)
            .with_leader_id(leader.node_id)
            .with_leader_epoch(topic.leader_epoch().0)
            .with_replica_nodes(vec![leader.node_id])
            .with_isr_nodes(vec![leader.node_id])
            .with_eligible_leader_replicas(Some(Vec::new()))
            .with_last_known_elr(Some(Vec::new()))
    });
    DescribeTopicPartitionsResponseTopic::default()
        .with_name(Some(topic.name.to_string().into()))
        .with_topic_id(kafka_uuid(topic.id))
        .with_is_internal(topic.internal)
        .with_partitions(partitions.collect())
        .with_topic_authorized_operations(TOPIC_OPERATIONS)
}
