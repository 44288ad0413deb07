//! OffsetForLeaderEpoch: where a leader epoch ended (KIP-101), so that a client can tell whether
//! what it has read is still in the log.

use spate_net::kafka::{
    api::{
        TopicRef,
        offset_for_leader_epoch::{
            EpochEndOffset, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
            OffsetForLeaderTopicResult,
        },
    },
    error::ErrorCode,
};
use spate_storage::types::LeaderEpoch;

use crate::{
    handler::{
        locate,
        lookup::{Looked, find},
    },
    shard::{message::Lookup, outcome::FoundOffset, route::Router},
};

/// Answers in the order of the request.
pub async fn answer(
    asked: OffsetForLeaderEpochRequest,
    router: &Router,
) -> OffsetForLeaderEpochResponse {
    let image = router.image();
    let mut questions = Vec::new();
    for topic in &asked.topics {
        let named = TopicRef::Name(topic.topic.clone());
        let known = locate::topic(&image, &named);
        for partition in &topic.partitions {
            questions.push(known.and_then(|topic| {
                let target =
                    locate::partition(topic, partition.partition, partition.current_leader_epoch)?;
                Ok((
                    target,
                    Lookup::EpochEnd(LeaderEpoch(partition.leader_epoch)),
                ))
            }));
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
                .map(|(partition, looked)| told(partition.partition, looked))
                .collect();
            OffsetForLeaderTopicResult::default()
                .with_topic(topic.topic)
                .with_partitions(partitions)
        })
        .collect();
    OffsetForLeaderEpochResponse::default().with_topics(topics)
}

fn told(partition: i32, looked: Looked) -> EpochEndOffset {
    let (code, found) = match looked {
        Ok(found) => (ErrorCode::None, found),
        Err(code) => (code, FoundOffset::NONE),
    };
    EpochEndOffset::default()
        .with_partition(partition)
        .with_error_code(code.code())
        .with_leader_epoch(found.epoch.0)
        .with_end_offset(found.offset.0)
}
