//! DeleteTopics: by name, or from v6 on by either name or id.

use spate_net::kafka::{
    KafkaUuid,
    api::delete_topics::{DeletableTopicResult, DeleteTopicsRequest, DeleteTopicsResponse},
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
    let topics: Vec<TopicRef> = if version >= 6 {
        asked
            .topics
            .iter()
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
    let responses = match control.ask(request).await {
        Some(ControlReply::DeleteTopics(outcomes)) => outcomes.into_iter().map(told).collect(),
        _ => topics.into_iter().map(ending).collect(),
    };
    DeleteTopicsResponse::default().with_responses(responses)
}

fn told(topic: TopicOutcome<TopicId>) -> DeletableTopicResult {
    let id = topic.outcome.as_ref().ok().copied().or(topic.id);
    let result = DeletableTopicResult::default()
        .with_name(message(&topic.name))
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
