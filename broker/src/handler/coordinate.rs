//! The way from a group's id to its coordinator and back: what all group APIs share.

use std::{cell::Cell, collections::HashMap, pin::pin, rc::Rc};

use futures_util::future::{Either, join_all, select};
use spate_net::kafka::{KafkaString, error::ErrorCode};
use spate_storage::types::{ShardId, TopicPartition};

use crate::{
    connection::{Client, Memory},
    control::message::{ControlReply, ControlRequest, InternalTopic, Refusal},
    coordinator::{
        OFFSETS_TOPIC,
        message::{GroupAnswer, GroupAsk},
        partition_of,
    },
    handler::{Context, ENDING},
    shard::{
        control::ControlClient,
        message::{Answer, Ask, WatchKey},
        route::Router,
    },
};

/// The partition that a group's coordinator leads.
///
/// # Errors
/// 16 before the first coordinator was looked for: the topic is not there yet.
pub fn partition(router: &Router, group_id: &str) -> Result<TopicPartition, ErrorCode> {
    let image = router.image();
    let topic = image.topic(OFFSETS_TOPIC);
    let topic = topic.ok_or(ErrorCode::NotCoordinator)?;
    Ok(TopicPartition {
        topic: topic.id,
        partition: partition_of(group_id, topic.partitions),
    })
}

/// Makes the topic of groups and offsets if it is not there.
///
/// # Errors
/// Why it cannot be.
pub async fn ensure_topic(router: &Router, control: &ControlClient) -> Result<(), Refusal> {
    if router.image().topic(OFFSETS_TOPIC).is_some() {
        return Ok(());
    }
    let request = ControlRequest::InternalTopic(InternalTopic::ConsumerOffsets);
    match control.ask(request).await {
        Some(ControlReply::InternalTopic(outcome)) => outcome.map(drop),
        _ => Err(Refusal::new(ENDING.0, ENDING.1)),
    }
}

/// Groups to ask about, each once: however often a request names one, it is told once, or a small
/// request could ask for gigabytes.
pub fn once(names: Vec<KafkaString>) -> (Vec<KafkaString>, HashMap<KafkaString, usize>) {
    let mut places = HashMap::with_capacity(names.len());
    let mut order = Vec::with_capacity(names.len());
    for name in names {
        if !places.contains_key(&name) {
            places.insert(name.clone(), order.len());
            order.push(name);
        }
    }
    (order, places)
}

/// Asks a group's coordinator.
///
/// # Errors
/// 16 if there is none.
pub async fn ask(router: &Router, group_id: &str, ask: GroupAsk) -> Result<GroupAnswer, ErrorCode> {
    let owner = router.owner(partition(router, group_id)?);
    Ok(ask_shard(router, owner, ask).await)
}

/// Asks the coordinators of one shard.
pub async fn ask_shard(router: &Router, shard: ShardId, ask: GroupAsk) -> GroupAnswer {
    match router.send(shard, Ask::Group(ask)).await.await {
        Answer::Group(answer) => answer,
        other => unreachable!("a coordinator answers what it was asked, not {other:?}"),
    }
}

/// Asks about many groups: each coordinator's shard once. The answers come by shard; groups
/// without a coordinator are given to `without`.
pub async fn ask_all<I>(
    router: &Router,
    items: Vec<I>,
    group_of: impl Fn(&I) -> &str,
    ask: impl Fn(Vec<I>) -> GroupAsk,
    mut without: impl FnMut(I, ErrorCode),
) -> Vec<GroupAnswer> {
    let mut by_shard: Vec<(ShardId, Vec<I>)> = Vec::new();
    for item in items {
        match partition(router, group_of(&item)) {
            Err(code) => without(item, code),
            Ok(target) => {
                let owner = router.owner(target);
                match by_shard.iter_mut().find(|(shard, _)| *shard == owner) {
                    Some((_, items)) => items.push(item),
                    None => by_shard.push((owner, vec![item])),
                }
            }
        }
    }
    let asked = by_shard
        .into_iter()
        .map(|(shard, items)| ask_shard(router, shard, ask(items)));
    join_all(asked).await
}

/// Asks what may have to wait for other members: the coordinator wakes the connection when the
/// answer can be collected. Before a wait the request's memory is given back: the coordinator has
/// copied what it keeps, and charges it by itself.
///
/// # Errors
/// 16 if there is no coordinator, 15 if the shard ends before there is an answer.
pub async fn ask_and_wait(
    context: &Rc<Context>,
    client: Client,
    group_id: &str,
    make: impl FnOnce(WatchKey) -> GroupAsk,
    memory: &Cell<Option<Memory>>,
) -> Result<GroupAnswer, ErrorCode> {
    let router = &context.router;
    let owner = router.owner(partition(router, group_id)?);
    let key = router.watch_key(client.number);
    let fired = router.listen(key);
    let mut answer = ask_shard(router, owner, make(key)).await;
    while matches!(answer, GroupAnswer::Parked) {
        drop(memory.take());
        let (woken, stopping) = (pin!(fired.notified()), pin!(context.stopping.wait()));
        match select(woken, stopping).await {
            Either::Left(_) => {
                answer = ask_shard(router, owner, GroupAsk::Collect(key)).await;
            }
            Either::Right(_) => return Err(ErrorCode::CoordinatorNotAvailable),
        }
    }
    Ok(answer)
}
