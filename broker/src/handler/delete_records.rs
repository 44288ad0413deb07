//! DeleteRecords: logs that begin later. Answered when that is durable.

use std::collections::HashSet;

use spate_net::kafka::{
    api::{
        TopicRef,
        delete_records::{
            DeleteRecordsPartition, DeleteRecordsPartitionResult, DeleteRecordsRequest,
            DeleteRecordsResponse, DeleteRecordsTopic, DeleteRecordsTopicResult, HIGH_WATERMARK,
            NO_LOW_WATERMARK,
        },
    },
    error::ErrorCode,
};
use spate_storage::types::Offset;

use crate::{
    handler::locate,
    image::TopicImage,
    shard::{
        message::{Answer, Ask, RemoveItem},
        route::Router,
        scatter::Scatter,
    },
};

/// Where a partition's log begins now, or why it does not begin later.
type Outcome = Result<Offset, ErrorCode>;

/// Answers in the order of the request; of a partition named twice the last offset counts.
pub async fn answer(mut asked: DeleteRecordsRequest, router: &Router) -> DeleteRecordsResponse {
    asked.topics.iter_mut().for_each(keep_last);
    let image = router.image();
    let mut scatter = Scatter::new();
    let mut outcomes: Vec<Outcome> = Vec::new();
    for topic in &asked.topics {
        let named = TopicRef::Name(topic.name.clone());
        let known = locate::topic(&image, &named);
        for partition in &topic.partitions {
            let item = known.and_then(|topic| item(topic, partition));
            outcomes.push(item.map(|item| {
                scatter.add(router.owner(item.target), outcomes.len(), item);
                Offset(NO_LOW_WATERMARK)
            }));
        }
    }
    let gather = scatter.send(router, |items| Ask::Remove { items }).await;
    let removed = gather.collect(|answer| match answer {
        Answer::Remove(removed) => Some(removed),
        _ => None,
    });
    for (place, outcome) in removed.await {
        outcomes[place] = outcome.map_err(|refusal| refusal.code);
    }
    let mut outcomes = outcomes.into_iter();
    let topics = asked.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().zip(&mut outcomes);
        let partitions = partitions.map(|(partition, outcome)| told(partition, outcome));
        DeleteRecordsTopicResult::default()
            .with_name(topic.name)
            .with_partitions(partitions.collect())
    });
    DeleteRecordsResponse::default().with_topics(topics.collect())
}

fn keep_last(topic: &mut DeleteRecordsTopic) {
    let mut seen = HashSet::new();
    topic.partitions.reverse();
    let is_last = |partition: &DeleteRecordsPartition| seen.insert(partition.partition_index);
    topic.partitions.retain(is_last);
    topic.partitions.reverse();
}

fn item(topic: &TopicImage, asked: &DeleteRecordsPartition) -> Result<RemoveItem, ErrorCode> {
    let target = locate::partition(topic, asked.partition_index, locate::ANY_EPOCH)?;
    if topic.internal {
        return Err(ErrorCode::InvalidTopicException);
    }
    if !topic.config.cleanup.delete {
        return Err(ErrorCode::PolicyViolation);
    }
    let before = match asked.offset {
        HIGH_WATERMARK => None,
        offset if offset < 0 => return Err(ErrorCode::OffsetOutOfRange),
        offset => Some(Offset(offset)),
    };
    Ok(RemoveItem { target, before })
}

fn told(asked: &DeleteRecordsPartition, outcome: Outcome) -> DeleteRecordsPartitionResult {
    let (code, low_watermark) = match outcome {
        Ok(start) => (ErrorCode::None, start.0),
        Err(code) => (code, NO_LOW_WATERMARK),
    };
    DeleteRecordsPartitionResult::default()
        .with_partition_index(asked.partition_index)
        .with_low_watermark(low_watermark)
        .with_error_code(code.code())
}
