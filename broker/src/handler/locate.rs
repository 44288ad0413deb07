//! From what a client names (a topic by name or id, a partition, the leader epoch it believes in)
//! to a partition of ours, or the error that makes it refresh its metadata.

use spate_net::kafka::{api::TopicRef, error::ErrorCode};
use spate_storage::types::{PartitionIndex, TopicPartition};

use crate::{
    handler::topic_id,
    image::{Image, TopicImage},
};

/// The epoch of a client that does not care.
pub const ANY_EPOCH: i32 = -1;

/// The topic that a client named.
///
/// # Errors
/// 3 for an unknown name, 100 for an unknown id.
pub fn topic<'a>(image: &'a Image, named: &TopicRef) -> Result<&'a TopicImage, ErrorCode> {
    let (found, missing) = match named {
        TopicRef::Name(name) => (
            image.topic(name.as_str()),
            ErrorCode::UnknownTopicOrPartition,
        ),
        TopicRef::Id(id) => (image.topic_by_id(topic_id(*id)), ErrorCode::UnknownTopicId),
    };
    found.map(|topic| &**topic).ok_or(missing)
}

/// The error of an owner as the client is to see it: a topic that was deleted after it was found is
/// an unknown id for whoever named it by id.
pub fn told(named: &TopicRef, code: ErrorCode) -> ErrorCode {
    match (named, code) {
        (TopicRef::Id(_), ErrorCode::UnknownTopicOrPartition) => ErrorCode::UnknownTopicId,
        _ => code,
    }
}

/// A partition of the topic.
///
/// # Errors
/// 3 if it has no such partition, 74 or 75 if the client's epoch is older or newer than ours.
pub fn partition(
    topic: &TopicImage,
    index: i32,
    leader_epoch: i32,
) -> Result<TopicPartition, ErrorCode> {
    let partition = PartitionIndex(index);
    if !topic.has_partition(partition) {
        return Err(ErrorCode::UnknownTopicOrPartition);
    }
    let ours = topic.leader_epoch().0;
    match leader_epoch {
        ANY_EPOCH => {}
        theirs if theirs < ours => return Err(ErrorCode::FencedLeaderEpoch),
        theirs if theirs > ours => return Err(ErrorCode::UnknownLeaderEpoch),
        _ => {}
    }
    Ok(TopicPartition {
        topic: topic.id,
        partition,
    })
}
