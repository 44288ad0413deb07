//! AlterConfigs: all settings of a thing at once. The checks and the change are the control
//! thread's.

use spate_net::kafka::{
    KafkaString,
    api::alter_configs::{AlterConfigsRequest, AlterConfigsResourceResponse, AlterConfigsResponse},
};

use crate::{
    control::message::{Alteration, ConfigChange, ControlReply, ControlRequest, Refusal},
    handler::{ENDING, message},
    shard::control::ControlClient,
};

/// Answers when the changes hold on every shard.
pub async fn answer(asked: AlterConfigsRequest, control: &ControlClient) -> AlterConfigsResponse {
    let resources: Vec<_> = asked
        .resources
        .iter()
        .map(|resource| {
            let pairs = resource.configs.iter().map(|config| {
                let value = config.value.as_ref().map(ToString::to_string);
                (config.name.to_string(), value)
            });
            ConfigChange {
                kind: resource.resource_type,
                name: resource.resource_name.to_string(),
                change: Alteration::Replace(pairs.collect()),
            }
        })
        .collect();
    let outcomes = alter(resources, asked.validate_only, control).await;
    let responses = asked.resources.into_iter().zip(outcomes);
    let responses = responses.map(|(resource, outcome)| {
        let (code, text) = told(outcome);
        AlterConfigsResourceResponse::default()
            .with_error_code(code)
            .with_error_message(text)
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name)
    });
    AlterConfigsResponse::default().with_responses(responses.collect())
}

/// Asks the control thread; one outcome for each resource.
pub async fn alter(
    resources: Vec<ConfigChange>,
    validate_only: bool,
    control: &ControlClient,
) -> Vec<Result<(), Refusal>> {
    let count = resources.len();
    let request = ControlRequest::AlterConfigs {
        resources,
        validate_only,
    };
    match control.ask(request).await {
        Some(ControlReply::AlterConfigs(outcomes)) => outcomes,
        _ => vec![Err(Refusal::new(ENDING.0, ENDING.1)); count],
    }
}

/// An outcome's code and text.
pub fn told(outcome: Result<(), Refusal>) -> (i16, Option<KafkaString>) {
    match outcome {
        Ok(()) => (0, None),
        Err(refusal) => (refusal.code.code(), message(&refusal.message)),
    }
}
