//! ListOffsets: the first, the last, or the offset for a time.

use std::collections::HashSet;

use spate_net::kafka::{
    api::{
        TopicRef,
        list_offsets::{
            EARLIEST_LOCAL_TIMESTAMP, EARLIEST_PENDING_UPLOAD_TIMESTAMP, EARLIEST_TIMESTAMP,
            LATEST_TIERED_TIMESTAMP, LATEST_TIMESTAMP, ListOffsetsPartition,
            ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse,
            ListOffsetsTopicResponse, MAX_TIMESTAMP,
        },
    },
    error::ErrorCode,
};
use spate_storage::types::TopicPartition;

use crate::{
    handler::{
        locate,
        lookup::{Looked, find},
    },
    image::TopicImage,
    shard::{message::Lookup, outcome::FoundOffset, route::Router},
};

/// The first version whose answer has leader epochs.
const EPOCHS_FROM: i16 = 4;

/// Answers in the order of the request.
pub async fn answer(
    version: i16,
    asked: ListOffsetsRequest,
    router: &Router,
) -> ListOffsetsResponse {
    let image = router.image();
    let mut seen = HashSet::new();
    let mut questions = Vec::new();
    for topic in &asked.topics {
        let named = TopicRef::Name(topic.name.clone());
        let known = locate::topic(&image, &named);
        for partition in &topic.partitions {
            let first_time = seen.insert((topic.name.clone(), partition.partition_index));
            questions.push(if first_time {
                known.and_then(|topic| question(version, topic, partition))
            } else {
                Err(ErrorCode::InvalidRequest)
            });
        }
    }
    let mut looked = find(router, questions).await.into_iter();
    let topics = asked
        .topics
        .into_iter()
        .map(|topic| {
            let partitions = topic
                .partitions
                .iter()
                .zip(&mut looked)
                .map(|(partition, looked)| told(version, partition, looked))
                .collect();
            ListOffsetsTopicResponse::default()
                .with_name(topic.name.clone())
                .with_partitions(partitions)
        })
        .collect();
    ListOffsetsResponse::default().with_topics(topics)
}

fn question(
    version: i16,
    topic: &TopicImage,
    asked: &ListOffsetsPartition,
) -> Result<(TopicPartition, Lookup), ErrorCode> {
    let target = locate::partition(topic, asked.partition_index, asked.current_leader_epoch)?;
    let lookup = match asked.timestamp {
        LATEST_TIMESTAMP => Lookup::Latest,
        EARLIEST_TIMESTAMP => Lookup::Earliest,
        MAX_TIMESTAMP if version >= 7 => Lookup::MaxTimestamp,
        EARLIEST_LOCAL_TIMESTAMP if version >= 8 => Lookup::Earliest,
        // Nothing is tiered: there is no such offset.
        LATEST_TIERED_TIMESTAMP if version >= 9 => Lookup::AtTimestamp(i64::MAX),
        EARLIEST_PENDING_UPLOAD_TIMESTAMP if version >= 11 => Lookup::AtTimestamp(i64::MAX),
        time if time < 0 => return Err(ErrorCode::UnsupportedVersion),
        time => Lookup::AtTimestamp(time),
    };
    Ok((target, lookup))
}

fn told(
    version: i16,
    asked: &ListOffsetsPartition,
    looked: Looked,
) -> ListOffsetsPartitionResponse {
    let (code, found) = match looked {
        Ok(found) => (ErrorCode::None, found),
        Err(code) => (code, FoundOffset::NONE),
    };
    ListOffsetsPartitionResponse::default()
        .with_partition_index(asked.partition_index)
        .with_error_code(code.code())
        .with_timestamp(found.timestamp)
        .with_offset(found.offset.0)
        .with_leader_epoch(if version >= EPOCHS_FROM {
            found.epoch.0
        } else {
            -1
        })
}
