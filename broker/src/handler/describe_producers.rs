//! DescribeProducers: the idempotent producers that each partition remembers.

use spate_net::kafka::{
    KafkaString,
    api::{
        TopicRef,
        describe_producers::{
            DescribeProducersRequest, DescribeProducersResponse, PartitionResponse, ProducerState,
            TopicResponse,
        },
    },
    error::ErrorCode,
};
use spate_storage::{producer::Producer, types::ProducerId};

use crate::{
    control::{message::Refusal, name},
    handler::locate,
    shard::{
        message::{Answer, Ask},
        route::Router,
        scatter::Scatter,
    },
};

type Outcome = Result<Vec<(ProducerId, Producer)>, Refusal>;

/// Answers in the order of the request.
pub async fn answer(asked: DescribeProducersRequest, router: &Router) -> DescribeProducersResponse {
    let image = router.image();
    let mut scatter = Scatter::new();
    let mut outcomes: Vec<Outcome> = Vec::new();
    for topic in &asked.topics {
        let named = TopicRef::Name(topic.name.clone());
        let known = match name::check(topic.name.as_str()) {
            Ok(()) => locate::topic(&image, &named).map_err(refused),
            Err(text) => Err(Refusal::new(ErrorCode::InvalidTopicException, text)),
        };
        for index in &topic.partition_indexes {
            let target = known.clone().and_then(|topic| {
                locate::partition(topic, *index, locate::ANY_EPOCH).map_err(refused)
            });
            outcomes.push(target.map(|target| {
                scatter.add(router.owner(target), outcomes.len(), target);
                Vec::new()
            }));
        }
    }
    let gather = scatter.send(router, |items| Ask::Producers { items }).await;
    let found = gather.collect(|answer| match answer {
        Answer::Producers(found) => Some(found),
        _ => None,
    });
    for (place, producers) in found.await {
        outcomes[place] = Ok(producers);
    }
    let mut outcomes = outcomes.into_iter();
    let topics = asked.topics.into_iter().map(|topic| {
        let partitions = topic.partition_indexes.iter().zip(&mut outcomes);
        let partitions = partitions.map(|(index, outcome)| told(*index, outcome));
        TopicResponse::default()
            .with_partitions(partitions.collect())
            .with_name(topic.name)
    });
    DescribeProducersResponse::default().with_topics(topics.collect())
}

fn told(index: i32, outcome: Outcome) -> PartitionResponse {
    let response = PartitionResponse::default().with_partition_index(index);
    match outcome {
        Ok(producers) => {
            response.with_active_producers(producers.into_iter().map(producer).collect())
        }
        Err(refusal) => response
            .with_error_code(refusal.code.code())
            .with_error_message(Some(KafkaString::from(refusal.message))),
    }
}

fn refused(code: ErrorCode) -> Refusal {
    Refusal::new(code, code.to_string())
}

/// Without transactions there is no coordinator and no open one.
fn producer((id, producer): (ProducerId, Producer)) -> ProducerState {
    let last = producer.sent().last();
    ProducerState::default()
        .with_producer_id(id.0)
        .with_producer_epoch(i32::from(producer.epoch.0))
        .with_last_sequence(last.map_or(-1, |sent| sent.last_sequence))
        .with_last_timestamp(last.map_or(-1, |sent| sent.timestamp))
        .with_coordinator_epoch(-1)
        .with_current_txn_start_offset(-1)
}
