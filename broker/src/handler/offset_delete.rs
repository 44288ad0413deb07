//! OffsetDelete: some offsets of a group go. Answered when that is durable.

use spate_net::kafka::{
    api::{
        TopicRef,
        offset_delete::{
            OffsetDeleteRequest, OffsetDeleteResponse, OffsetDeleteResponsePartition,
            OffsetDeleteResponseTopic,
        },
    },
    error::ErrorCode,
};

use crate::{
    coordinator::message::{GroupAnswer, GroupAsk},
    handler::{coordinate, locate},
    shard::route::Router,
};

/// Answers partition by partition, in the order of the request.
pub async fn answer(asked: OffsetDeleteRequest, router: &Router) -> OffsetDeleteResponse {
    let image = router.image();
    let (mut items, mut places) = (Vec::new(), Vec::new());
    let mut codes = Vec::new();
    for topic in &asked.topics {
        let known = locate::topic(&image, &TopicRef::Name(topic.name.clone()));
        for partition in &topic.partitions {
            let index = partition.partition_index;
            let found = known.and_then(|topic| locate::partition(topic, index, locate::ANY_EPOCH));
            codes.push(found.err().unwrap_or(ErrorCode::None));
            if found.is_ok() {
                places.push(codes.len() - 1);
                items.push((topic.name.clone(), index));
            }
        }
    }
    let ask = GroupAsk::DeleteOffsets(asked.group_id.clone(), items);
    let deleted = match coordinate::ask(router, asked.group_id.as_str(), ask).await {
        Ok(GroupAnswer::OffsetsDeleted(deleted)) => deleted,
        Ok(_) => Err(ErrorCode::UnknownServerError),
        Err(code) => Err(code),
    };
    match deleted {
        Err(code) => return OffsetDeleteResponse::default().with_error_code(code.code()),
        Ok(deleted) => {
            for (place, code) in places.into_iter().zip(deleted) {
                codes[place] = code;
            }
        }
    }
    let mut codes = codes.into_iter();
    let topics = asked.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().zip(&mut codes);
        let partitions = partitions.map(|(asked, code)| {
            OffsetDeleteResponsePartition::default()
                .with_partition_index(asked.partition_index)
                .with_error_code(code.code())
        });
        OffsetDeleteResponseTopic::default()
            .with_partitions(partitions.collect())
            .with_name(topic.name)
    });
    OffsetDeleteResponse::default().with_topics(topics.collect())
}
