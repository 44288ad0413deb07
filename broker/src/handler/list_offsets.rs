//! ListOffsets: the first, the last, or the offset for a time.

use std::collections::HashMap;

use spate_net::kafka::{
    KafkaString,
    api::{
        TopicRef,
        list_offsets::{
            EARLIEST_LOCAL_TIMESTAMP, EARLIEST_PENDING_UPLOAD_TIMESTAMP, EARLIEST_TIMESTAMP,
            LATEST_TIERED_TIMESTAMP, LATEST_TIMESTAMP, ListOffsetsPartition,
            ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse,
            ListOffsetsTopic, ListOffsetsTopicResponse, MAX_TIMESTAMP,
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

/// The isolation levels: read_uncommitted and read_committed.
const ISOLATION_LEVELS: std::ops::RangeInclusive<i8> = 0..=1;

/// What is asked of each partition of each topic, as often as it is asked.
type Asked<'a> = Vec<(&'a KafkaString, Vec<(&'a ListOffsetsPartition, usize)>)>;

/// Answers in the order of the request, each topic and each partition once.
pub async fn answer(
    version: i16,
    asked: ListOffsetsRequest,
    router: &Router,
) -> ListOffsetsResponse {
    let image = router.image();
    let distinct = distinct(&asked.topics);
    let mut questions = Vec::new();
    for (name, partitions) in &distinct {
        let known = locate::topic(&image, &TopicRef::Name((*name).clone()));
        for (partition, times) in partitions {
            questions.push(if !ISOLATION_LEVELS.contains(&asked.isolation_level) {
                Err(ErrorCode::UnknownServerError)
            } else if *times > 1 {
                // Which of the questions would the answer be to?
                Err(ErrorCode::InvalidRequest)
            } else {
                known.and_then(|topic| question(version, topic, partition))
            });
        }
    }
    let mut looked = find(router, questions).await.into_iter();
    let topics = distinct
        .into_iter()
        .map(|(name, partitions)| {
            let partitions = partitions
                .into_iter()
                .zip(&mut looked)
                .map(|((partition, _), looked)| told(version, partition, looked))
                .collect();
            ListOffsetsTopicResponse::default()
                .with_name(name.clone())
                .with_partitions(partitions)
        })
        .collect();
    ListOffsetsResponse::default().with_topics(topics)
}

/// Gathers what is asked by topic and partition; a topic without partitions is not asked about.
fn distinct(asked: &[ListOffsetsTopic]) -> Asked<'_> {
    let mut topics: Asked<'_> = Vec::new();
    let mut topic_places = HashMap::new();
    let mut places = HashMap::new();
    for topic in asked.iter().filter(|topic| !topic.partitions.is_empty()) {
        let place = *topic_places.entry(&topic.name).or_insert_with(|| {
            topics.push((&topic.name, Vec::new()));
            topics.len() - 1
        });
        let partitions = &mut topics[place].1;
        for partition in &topic.partitions {
            let key = (place, partition.partition_index);
            let at = *places.entry(key).or_insert_with(|| {
                partitions.push((partition, 0));
                partitions.len() - 1
            });
            partitions[at].1 += 1;
        }
    }
    topics
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
