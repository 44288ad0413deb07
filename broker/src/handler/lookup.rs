//! Asks the owners of many partitions for offsets: what ListOffsets and OffsetForLeaderEpoch share.

use spate_net::kafka::error::ErrorCode;
use spate_storage::types::TopicPartition;

use crate::shard::{
    message::{Answer, Ask, Lookup},
    outcome::FoundOffset,
    route::Router,
    scatter::Scatter,
};

/// What became of one question.
pub type Looked = Result<FoundOffset, ErrorCode>;

/// Answers the questions in their order; those that were refused before stay so.
pub async fn find(
    router: &Router,
    questions: Vec<Result<(TopicPartition, Lookup), ErrorCode>>,
) -> Vec<Looked> {
    let mut scatter = Scatter::new();
    let mut looked: Vec<Looked> = Vec::with_capacity(questions.len());
    for (place, question) in questions.into_iter().enumerate() {
        looked.push(question.map(|(target, lookup)| {
            scatter.add(router.owner(target), place, (target, lookup));
            FoundOffset::NONE
        }));
    }
    let gather = scatter.send(router, |items| Ask::Find { items }).await;
    let found = gather.collect(|answer| match answer {
        Answer::Find(found) => Some(found),
        _ => None,
    });
    for (place, found) in found.await {
        looked[place] = found.map_err(|refusal| refusal.code);
    }
    looked
}
