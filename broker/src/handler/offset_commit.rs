//! OffsetCommit: how far a group has come. Answered when the offsets are durable; the next request
//! of the connection may be taken before that, if it is one that overlaps too.

use std::rc::Rc;

use spate_net::kafka::{
    api::{
        TopicRef,
        offset_commit::{
            OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
            OffsetCommitResponse, OffsetCommitResponsePartition, OffsetCommitResponseTopic,
        },
    },
    error::ErrorCode,
    header::{Request, RequestHeader},
};

use crate::{
    connection::{Closed, PendingAnswer},
    coordinator::message::{CommitAsk, CommitItem, GroupAnswer, GroupAsk},
    handler::{Answered, Context, coordinate, decode, locate, reply},
    image::{Image, TopicImage},
    shard::message::{Answer, Ask},
};

/// The first version that names topics by id.
const IDS_FROM: i16 = 10;

/// Gives the offsets to the group's coordinator; the future answers partition by partition, in the
/// order of the request.
pub async fn begin(context: &Rc<Context>, request: Request) -> Result<PendingAnswer, Closed> {
    let Request { header, body, .. } = request;
    let asked: OffsetCommitRequest = decode(&header, &body)?;
    drop(body);
    let router = &context.router;
    let image = router.image();
    let (mut items, mut places) = (Vec::new(), Vec::new());
    let mut codes = Vec::new();
    for topic in &asked.topics {
        let known = topic_of(&image, topic, header.version);
        for partition in &topic.partitions {
            codes.push(match known.and_then(|topic| item(topic, partition)) {
                Err(code) => code,
                Ok(item) => {
                    places.push(codes.len());
                    items.push(item);
                    ErrorCode::None
                }
            });
        }
    }
    let committing = match coordinate::partition(router, asked.group_id.as_str()) {
        _ if items.is_empty() => None,
        Ok(coordinator) => {
            let ask = Ask::Group(GroupAsk::Commit(Box::new(ask(&header, &asked, items))));
            Some(router.send(router.owner(coordinator), ask).await)
        }
        Err(code) => {
            places.iter().for_each(|place| codes[*place] = code);
            None
        }
    };
    Ok(Box::pin(async move {
        if let Some(committing) = committing {
            let committed = match committing.await {
                Answer::Group(GroupAnswer::Committed(committed)) => committed,
                _ => vec![ErrorCode::UnknownServerError; places.len()],
            };
            for (place, code) in places.into_iter().zip(committed) {
                codes[place] = code;
            }
        }
        let told = reply(&header, &told(asked, codes));
        told.unwrap_or_else(|closed| Answered::Close(closed.to_string()))
    }))
}

fn ask(header: &RequestHeader, asked: &OffsetCommitRequest, items: Vec<CommitItem>) -> CommitAsk {
    CommitAsk {
        version: header.version,
        group_id: asked.group_id.clone(),
        member_id: asked.member_id.clone(),
        instance_id: asked.group_instance_id.clone(),
        generation: asked.generation_id_or_member_epoch,
        retention_ms: asked.retention_time_ms,
        items,
    }
}

fn topic_of<'a>(
    image: &'a Image,
    topic: &OffsetCommitRequestTopic,
    version: i16,
) -> Result<&'a TopicImage, ErrorCode> {
    let named = if version >= IDS_FROM {
        TopicRef::Id(topic.topic_id)
    } else {
        TopicRef::Name(topic.name.clone())
    };
    locate::topic(image, &named)
}

fn item(topic: &TopicImage, asked: &OffsetCommitRequestPartition) -> Result<CommitItem, ErrorCode> {
    locate::partition(topic, asked.partition_index, locate::ANY_EPOCH)?;
    Ok(CommitItem {
        topic: topic.name.to_string(),
        topic_id: topic.id,
        partition: asked.partition_index,
        offset: asked.committed_offset,
        leader_epoch: asked.committed_leader_epoch,
        metadata: asked.committed_metadata.clone(),
    })
}

fn told(asked: OffsetCommitRequest, codes: Vec<ErrorCode>) -> OffsetCommitResponse {
    let mut codes = codes.into_iter();
    let topic = |topic: OffsetCommitRequestTopic| {
        let partitions = topic.partitions.iter().zip(&mut codes);
        let partitions = partitions.map(|(asked, code)| {
            OffsetCommitResponsePartition::default()
                .with_partition_index(asked.partition_index)
                .with_error_code(code.code())
        });
        OffsetCommitResponseTopic::default()
            .with_partitions(partitions.collect())
            .with_name(topic.name)
            .with_topic_id(topic.topic_id)
    };
    OffsetCommitResponse::default().with_topics(asked.topics.into_iter().map(topic).collect())
}
