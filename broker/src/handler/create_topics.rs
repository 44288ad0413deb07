//! CreateTopics: the checks and the change are the control thread's; here only the wire's form.

use spate_net::kafka::{
    KafkaString,
    api::create_topics::{
        CreatableTopic, CreatableTopicConfigs, CreatableTopicResult, CreateTopicsRequest,
        CreateTopicsResponse,
    },
};

use crate::{
    control::message::{ControlReply, ControlRequest, CreatedTopic, NewTopic, TopicOutcome},
    handler::{ENDING, kafka_uuid, message},
    shard::control::ControlClient,
};

/// Answers when every shard knows the new topics.
pub async fn answer(asked: CreateTopicsRequest, control: &ControlClient) -> CreateTopicsResponse {
    let names: Vec<KafkaString> = asked
        .topics
        .iter()
        .map(|topic| topic.name.clone())
        .collect();
    let topics = asked.topics.into_iter().map(wanted).collect();
    let validate_only = asked.validate_only;
    let results = match control
        .ask(ControlRequest::CreateTopics {
            topics,
            validate_only,
        })
        .await
    {
        Some(ControlReply::CreateTopics(outcomes)) => outcomes.into_iter().map(told).collect(),
        _ => names
            .into_iter()
            .map(|name| {
                CreatableTopicResult::default()
                    .with_name(name)
                    .with_error_code(ENDING.0.code())
                    .with_error_message(message(ENDING.1))
            })
            .collect(),
    };
    CreateTopicsResponse::default().with_topics(results)
}

fn wanted(topic: CreatableTopic) -> NewTopic {
    NewTopic {
        name: topic.name.as_str().to_owned(),
        partitions: topic.num_partitions,
        replication_factor: topic.replication_factor,
        assignments: topic
            .assignments
            .into_iter()
            .map(|assignment| (assignment.partition_index, assignment.broker_ids))
            .collect(),
        configs: topic
            .configs
            .into_iter()
            .map(|config| {
                let value = config.value.map(|value| value.as_str().to_owned());
                (config.name.as_str().to_owned(), value)
            })
            .collect(),
    }
}

fn told(topic: TopicOutcome<CreatedTopic>) -> CreatableTopicResult {
    let result = CreatableTopicResult::default().with_name(topic.name.into());
    match topic.outcome {
        Ok(created) => result
            .with_topic_id(kafka_uuid(created.id))
            .with_num_partitions(created.partitions)
            .with_replication_factor(created.replication_factor)
            .with_configs(Some(created.configs.into_iter().map(config).collect())),
        Err(refusal) => result
            .with_error_code(refusal.code.code())
            .with_error_message(message(&refusal.message))
            .with_num_partitions(-1)
            .with_replication_factor(-1)
            .with_configs(Some(Vec::new())),
    }
}

fn config(row: crate::config::describe::ConfigRow) -> CreatableTopicConfigs {
    CreatableTopicConfigs::default()
        .with_name(row.key.into_owned().into())
        .with_value(row.value.map(KafkaString::from))
        .with_read_only(row.read_only)
        .with_config_source(row.source as i8)
        .with_is_sensitive(row.sensitive)
}
