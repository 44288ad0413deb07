//! OffsetFetch: how far groups had come.

use std::collections::HashSet;

use futures_util::future::join_all;
use spate_net::kafka::{
    KafkaString, KafkaUuid,
    api::offset_fetch::{
        OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchResponse, OffsetFetchResponseGroup,
        OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic,
        OffsetFetchResponseTopics,
    },
    error::ErrorCode,
};

use crate::{
    coordinator::message::{
        FetchAsk, FetchTopic, FetchedOffset, FetchedTopic, GroupAnswer, GroupAsk,
    },
    handler::{coordinate, kafka_uuid, topic_id},
    image::Image,
    shard::route::Router,
};

/// The first version that asks about many groups.
const GROUPS_FROM: i16 = 8;
/// The first version that names topics by id.
const IDS_FROM: i16 = 10;
/// The first version that has an error for all.
const TOP_ERROR_FROM: i16 = 2;

/// One group's offsets, or why there are none.
type Outcome = Result<Vec<FetchedTopic>, ErrorCode>;

/// Answers.
pub async fn answer(
    version: i16,
    asked: OffsetFetchRequest,
    router: &Router,
) -> OffsetFetchResponse {
    if version >= GROUPS_FROM {
        let mut seen = HashSet::new();
        let (mut sound, mut repeated) = (Vec::new(), Vec::new());
        for group in asked.groups {
            if seen.insert(group.group_id.clone()) {
                sound.push(one_group(version, group, router));
            } else {
                repeated.push(refused(group.group_id, ErrorCode::InvalidRequest));
            }
        }
        let mut groups = join_all(sound).await;
        groups.extend(repeated);
        return OffsetFetchResponse::default().with_groups(groups);
    }
    let partitions_of = |topics: &[_]| topics.iter().map(own_topic).collect::<Vec<_>>();
    let topics = asked.topics.as_deref().map(partitions_of);
    let named: Vec<_> = topics.iter().flatten().map(unanswered).collect();
    let (code, topics) = match fetch(router, &asked.group_id, topics).await {
        Ok(topics) => (ErrorCode::None, topics),
        Err(code) => (code, named),
    };
    // Before there was an error for all, each partition bears it; later it is told alone.
    let topics = match code {
        ErrorCode::None => topics,
        _ if version < TOP_ERROR_FROM => topics,
        _ => Vec::new(),
    };
    let partition_code = if version < TOP_ERROR_FROM {
        code
    } else {
        ErrorCode::None
    };
    let told = topics.into_iter().map(|topic| told(topic, partition_code));
    let answer = OffsetFetchResponse::default().with_topics(told.collect());
    if version < TOP_ERROR_FROM {
        return answer;
    }
    answer.with_error_code(code.code())
}

fn own_topic(topic: &spate_net::kafka::api::offset_fetch::OffsetFetchRequestTopic) -> FetchTopic {
    FetchTopic {
        name: topic.name.clone(),
        id: KafkaUuid::ZERO,
        partitions: topic.partition_indexes.clone(),
    }
}

async fn one_group(
    version: i16,
    asked: OffsetFetchRequestGroup,
    router: &Router,
) -> OffsetFetchResponseGroup {
    let image = router.image();
    let mut unknown = Vec::new();
    let topics = asked.topics.map(|topics| {
        let mut known = Vec::with_capacity(topics.len());
        for topic in topics {
            let mut wanted = FetchTopic {
                name: topic.name,
                id: topic.topic_id,
                partitions: topic.partition_indexes,
            };
            if version >= IDS_FROM {
                match image.topic_by_id(topic_id(topic.topic_id)) {
                    Some(topic) => wanted.name = topic.name.to_string().into(),
                    None => {
                        unknown.push(told_of_many(unanswered(&wanted), ErrorCode::UnknownTopicId));
                        continue;
                    }
                }
            }
            known.push(wanted);
        }
        known
    });
    let answer = OffsetFetchResponseGroup::default().with_group_id(asked.group_id.clone());
    match fetch(router, &asked.group_id, topics).await {
        Err(code) => answer.with_error_code(code.code()),
        Ok(topics) => {
            let told = topics
                .into_iter()
                .filter_map(|topic| in_version(version, topic, &image))
                .map(|topic| told_of_many(topic, ErrorCode::None));
            answer.with_topics(told.chain(unknown).collect())
        }
    }
}

/// From v10 on topics have ids and no names. One that was deleted has none any more.
fn in_version(version: i16, mut topic: FetchedTopic, image: &Image) -> Option<FetchedTopic> {
    if version >= IDS_FROM {
        let known = image.topic(topic.name.as_str())?;
        topic.id = kafka_uuid(known.id);
        topic.name = KafkaString::default();
    }
    Some(topic)
}

async fn fetch(
    router: &Router,
    group_id: &KafkaString,
    mut topics: Option<Vec<FetchTopic>>,
) -> Outcome {
    // Each offset is told once: its metadata is a thousand times as long as the question.
    let mut seen = HashSet::new();
    for topic in topics.iter_mut().flatten() {
        let name = &topic.name;
        let is_first = |partition: &i32| seen.insert((name.clone(), *partition));
        topic.partitions.retain(is_first);
    }
    let ask = FetchAsk {
        group_id: group_id.clone(),
        topics,
    };
    let ask = GroupAsk::Fetch(Box::new(ask));
    match coordinate::ask(router, group_id.as_str(), ask).await? {
        GroupAnswer::Fetched(outcome) => outcome,
        _ => Err(ErrorCode::UnknownServerError),
    }
}

fn refused(group_id: KafkaString, code: ErrorCode) -> OffsetFetchResponseGroup {
    OffsetFetchResponseGroup::default()
        .with_group_id(group_id)
        .with_error_code(code.code())
}

/// A topic of which nothing is told.
fn unanswered(topic: &FetchTopic) -> FetchedTopic {
    let none = |partition: &i32| FetchedOffset {
        partition: *partition,
        offset: -1,
        leader_epoch: -1,
        metadata: String::new(),
    };
    FetchedTopic {
        name: topic.name.clone(),
        id: topic.id,
        partitions: topic.partitions.iter().map(none).collect(),
    }
}

fn told(topic: FetchedTopic, code: ErrorCode) -> OffsetFetchResponseTopic {
    let partition = |found: FetchedOffset| {
        OffsetFetchResponsePartition::default()
            .with_partition_index(found.partition)
            .with_committed_offset(found.offset)
            .with_committed_leader_epoch(found.leader_epoch)
            .with_metadata(Some(found.metadata.into()))
            .with_error_code(code.code())
    };
    OffsetFetchResponseTopic::default()
        .with_name(topic.name)
        .with_partitions(topic.partitions.into_iter().map(partition).collect())
}

fn told_of_many(topic: FetchedTopic, code: ErrorCode) -> OffsetFetchResponseTopics {
    let partition = |found: FetchedOffset| {
        OffsetFetchResponsePartitions::default()
            .with_partition_index(found.partition)
            .with_committed_offset(found.offset)
            .with_committed_leader_epoch(found.leader_epoch)
            .with_metadata(Some(found.metadata.into()))
            .with_error_code(code.code())
    };
    OffsetFetchResponseTopics::default()
        .with_name(topic.name)
        .with_topic_id(topic.id)
        .with_partitions(topic.partitions.into_iter().map(partition).collect())
}
