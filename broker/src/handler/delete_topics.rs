//! DeleteTopics: by name, or from v6 on by either name or id; by both or neither is refused (42).

use spate_net::kafka::{
    KafkaUuid,
    api::delete_topics::{
        DeletableTopicResult, DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse,
    },
    error::ErrorCode,
};

use crate::{
    control::message::{ControlReply, ControlRequest, TopicOutcome, TopicRef},
    handler::{ENDING, kafka_uuid, message, topic_id},
    shard::control::ControlClient,
};
use spate_storage::types::TopicId;

/// Answers when no shard serves the topics any more.
pub async fn answer(
    version: i16,
    asked: DeleteTopicsRequest,
    control: &ControlClient,
) -> DeleteTopicsResponse {
    let mut refused = Vec::new();
    let topics: Vec<TopicRef> = if version >= 6 {
        let (clear, unclear): (Vec<_>, Vec<_>) = asked
            .topics
            .iter()
            .partition(|topic| topic.name.is_some() == (topic.topic_id == KafkaUuid::ZERO));
        refused.extend(unclear.into_iter().map(unclear_topic));
        clear
            .into_iter()
            .map(|topic| match &topic.name {
                Some(name) => TopicRef::Name(name.as_str().to_owned()),
                None => TopicRef::Id(topic_id(topic.topic_id)),
            })
            .collect()
    } else {
        asked
            .topic_names
            .iter()
            .map(|name| TopicRef::Name(name.as_str().to_owned()))
            .collect()
    };
    let request = ControlRequest::DeleteTopics {
        topics: topics.clone(),
    };
    let mut responses: Vec<_> = match control.ask(request).await {
        Some(ControlReply::DeleteTopics(outcomes)) => outcomes.into_iter().map(told).collect(),
        _ => topics.into_iter().map(ending).collect(),
    };
    responses.append(&mut refused);
    DeleteTopicsResponse::default().with_responses(responses)
}

/// Deleting is final: what does not say clearly which topic it means deletes none.
fn unclear_topic(topic: &DeleteTopicState) -> DeletableTopicResult {
    let text = if topic.name.is_some() {
        "Topic name and topic id can not be specified at the same time."
    } else {
        "Neither topic name nor topic id is specified."
    };
    DeletableTopicResult::default()
        .with_name(topic.name.clone())
        .with_topic_id(topic.topic_id)
        .with_error_code(ErrorCode::InvalidRequest.code())
        .with_error_message(message(text))
}

fn told(topic: TopicOutcome<TopicId>) -> DeletableTopicResult {
    let id = topic.outcome.as_ref().ok().copied().or(topic.id);
    // An id that nobody knows has no name; without an id even the empty one is a name.
    let name = (!topic.name.is_empty() || topic.id.is_none()).then(|| topic.name.clone().into());
    let result = DeletableTopicResult::default()
        .with_name(name)
        .with_topic_id(id.map_or(KafkaUuid::ZERO, kafka_uuid));
    match topic.outcome {
        Ok(_) => result,
        Err(refusal) => result
            .with_error_code(refusal.code.code())
            .with_error_message(message(&refusal.message)),
    }
}

fn ending(topic: TopicRef) -> DeletableTopicResult {
    let (name, id) = match topic {
        TopicRef::Name(name) => (Some(name.into()), KafkaUuid::ZERO),
        TopicRef::Id(id) => (None, kafka_uuid(id)),
    };
    DeletableTopicResult::default()
        .with_name(name)
        .with_topic_id(id)
        .with_error_code(ENDING.0.code())
        .with_error_message(message(ENDING.1))
}
