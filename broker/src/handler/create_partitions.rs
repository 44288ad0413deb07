//! CreatePartitions: more partitions for existing topics.

use spate_net::kafka::{
    KafkaString,
    api::create_partitions::{
        CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopicResult,
    },
};

use crate::{
    control::message::{ControlReply, ControlRequest, MorePartitions},
    handler::{ENDING, message},
    shard::control::ControlClient,
};

/// Answers when every shard knows the new partitions.
pub async fn answer(
    asked: CreatePartitionsRequest,
    control: &ControlClient,
) -> CreatePartitionsResponse {
    let names: Vec<KafkaString> = asked
        .topics
        .iter()
        .map(|topic| topic.name.clone())
        .collect();
    let topics = asked
        .topics
        .into_iter()
        .map(|topic| MorePartitions {
            name: topic.name.as_str().to_owned(),
            total: topic.count,
            assignments: topic.assignments.map(|assignments| {
                assignments
                    .into_iter()
                    .map(|assignment| assignment.broker_ids)
                    .collect()
            }),
        })
        .collect();
    let validate_only = asked.validate_only;
    let request = ControlRequest::CreatePartitions {
        topics,
        validate_only,
    };
    let results = match control.ask(request).await {
        Some(ControlReply::CreatePartitions(outcomes)) => outcomes
            .into_iter()
            .map(|topic| {
                let refusal = topic.outcome.err();
                result(
                    topic.name.into(),
                    refusal.map(|refusal| (refusal.code, refusal.message)),
                )
            })
            .collect(),
        _ => names
            .into_iter()
            .map(|name| result(name, Some((ENDING.0, ENDING.1.to_owned()))))
            .collect(),
    };
    CreatePartitionsResponse::default().with_results(results)
}

fn result(
    name: KafkaString,
    refusal: Option<(spate_net::kafka::error::ErrorCode, String)>,
) -> CreatePartitionsTopicResult {
    let result = CreatePartitionsTopicResult::default().with_name(name);
    match refusal {
        None => result,
        Some((code, text)) => result
            .with_error_code(code.code())
            .with_error_message(message(&text)),
    }
}
