//! Deals out the bytes of an answer, takes the memory for them, and reads.

use std::rc::Rc;

use bytes::Bytes;
use spate_net::kafka::api::fetch::FetchRequest;
use spate_storage::types::TopicPartition;

use crate::{
    budget::Grant,
    handler::{Context, fetch::plan::Plan},
    shard::{
        message::{Answer, Ask},
        outcome::ReadOutcome,
        scatter::Scatter,
    },
};

/// The first batch comes whole: it may be as large as the topic allows, and whatever the client's
/// limits are its memory must be there. What it does not need is given back after the read.
fn first_batch(context: &Context, target: TopicPartition, found: usize, asked: usize) -> usize {
    let image = context.router.image();
    let topic = image.topic_by_id(target.topic);
    let largest = topic.map_or(0, |topic| topic.config.max_message_bytes as usize);
    // Less than was asked for is all there is.
    if found < asked {
        found.min(largest)
    } else {
        largest
    }
}

/// Reads what the plan found, in its order and within the limits of client and broker; the first
/// partition with data gives at least one batch, however large. An answer takes half of the memory
/// that is free at most: a reader on a slow line keeps it for minutes, and others would wait.
///
/// ```text
/// max_bytes 100; found 80, 0, 50, 10 -> granted 80 (at least one batch), -, 20, -
/// ```
pub async fn read(
    context: &Rc<Context>,
    asked: &FetchRequest,
    plan: &Plan,
) -> (Vec<(usize, ReadOutcome)>, Grant) {
    let limit = usize::try_from(asked.max_bytes)
        .unwrap_or(0)
        .min(context.fetch.max_bytes)
        .min(context.fetch.memory.free() / 2);
    let mut left = limit;
    let mut granted = 0;
    let mut scatter = Scatter::new();
    let mut is_first = true;
    for (place, step) in plan.steps.iter().enumerate() {
        let (Ok(target), Some(probed)) = (step.target, &step.probed) else {
            continue;
        };
        let grant = probed.bytes.min(step.max_bytes()).min(left);
        if probed.bytes == 0 || (grant == 0 && !is_first) {
            continue;
        }
        scatter.add(
            context.router.owner(target),
            place,
            step.item(target, grant, is_first),
        );
        granted += if is_first {
            grant.max(first_batch(context, target, probed.bytes, step.max_bytes()))
        } else {
            grant
        };
        left -= grant;
        is_first = false;
    }
    let mut memory = context.fetch.memory.take(granted).await;
    let gather = scatter
        .send(&context.router, |items| Ask::Read { items })
        .await;
    let outcomes = gather
        .collect(|answer| match answer {
            Answer::Read(outcomes) => Some(outcomes),
            _ => None,
        })
        .await;
    let bytes = |outcome: &ReadOutcome| outcome.slices.iter().map(Bytes::len).sum::<usize>();
    let read = outcomes.iter().map(|(_, outcome)| bytes(outcome)).sum();
    memory.shrink_to(read);
    context.stats.batch_bytes_out.add(read as u64);
    (outcomes, memory)
}
