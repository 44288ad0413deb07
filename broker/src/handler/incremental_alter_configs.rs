//! IncrementalAlterConfigs: settings one by one. The checks and the change are the control
//! thread's, but for the levels of loggers, which are the process's.

use spate_net::kafka::{
    api::incremental_alter_configs::{
        AlterConfigsResource, AlterConfigsResourceResponse, IncrementalAlterConfigsRequest,
        IncrementalAlterConfigsResponse, operation,
    },
    error::ErrorCode,
};

use crate::{
    config::{Config, resource::ResourceKind},
    control::message::{Alteration, ConfigChange, Refusal, Step},
    handler::alter_configs::{alter, told},
    logging::levels::{self, LoggerError},
    shard::control::ControlClient,
};

/// Answers when the changes hold on every shard.
pub async fn answer(
    asked: IncrementalAlterConfigsRequest,
    control: &ControlClient,
    config: &Config,
) -> IncrementalAlterConfigsResponse {
    let validate_only = asked.validate_only;
    let others = asked.resources.iter().filter(|one| !is_loggers(one));
    let others: Vec<_> = others.map(wanted).collect();
    let outcomes = if others.is_empty() {
        Vec::new()
    } else {
        alter(others, validate_only, control).await
    };
    let mut outcomes = outcomes.into_iter();
    let mut responses = Vec::with_capacity(asked.resources.len());
    for resource in asked.resources {
        let outcome = if is_loggers(&resource) {
            set_levels(&resource, validate_only, config)
        } else {
            outcomes.next().expect("one outcome for each resource")
        };
        let (code, text) = told(outcome);
        let response = AlterConfigsResourceResponse::default()
            .with_error_code(code)
            .with_error_message(text)
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name);
        responses.push(response);
    }
    IncrementalAlterConfigsResponse::default().with_responses(responses)
}

fn is_loggers(resource: &AlterConfigsResource) -> bool {
    resource.resource_type == ResourceKind::BrokerLogger as i8
}

fn wanted(resource: &AlterConfigsResource) -> ConfigChange {
    let step = |config: &spate_net::kafka::api::incremental_alter_configs::AlterableConfig| Step {
        key: config.name.to_string(),
        operation: config.config_operation,
        value: config.value.as_ref().map(ToString::to_string),
    };
    ConfigChange {
        kind: resource.resource_type,
        name: resource.resource_name.to_string(),
        change: Alteration::Each(resource.configs.iter().map(step).collect()),
    }
}

/// All levels are checked before the first is set.
fn set_levels(
    resource: &AlterConfigsResource,
    validate_only: bool,
    config: &Config,
) -> Result<(), Refusal> {
    let invalid = |text: String| Refusal::new(ErrorCode::InvalidRequest, text);
    let name = resource.resource_name.as_str();
    let id: i32 = name
        .parse()
        .map_err(|_| invalid(format!("Node id must be an integer, but it is: {name}")))?;
    if !config.names_this_node(id) {
        let expected = config.node_id;
        let text = format!("Unexpected node id. Expected {expected}, but received {id}");
        return Err(invalid(text));
    }
    let mut levels = Vec::new();
    for step in &resource.configs {
        let level = match step.config_operation {
            operation::SET => Some(step.value.as_ref().map_or("", |value| value.as_str())),
            operation::DELETE => None,
            operation::APPEND => return Err(invalid(not_a_list("APPEND"))),
            operation::SUBTRACT => return Err(invalid(not_a_list("SUBTRACT"))),
            other => return Err(invalid(format!("Unknown config operation {other}"))),
        };
        levels.push((step.name.as_str(), level));
    }
    for (logger, level) in &levels {
        levels::check(logger, *level).map_err(refused)?;
    }
    if validate_only {
        return Ok(());
    }
    let mut levels = levels.into_iter();
    levels.try_for_each(|(logger, level)| levels::set(logger, level).map_err(refused))
}

fn not_a_list(operation: &str) -> String {
    format!("{operation} operation is not allowed for the BROKER_LOGGER resource")
}

fn refused(error: LoggerError) -> Refusal {
    let code = match error {
        LoggerError::Root => ErrorCode::InvalidRequest,
        LoggerError::Unknown(_) | LoggerError::Level { .. } => ErrorCode::InvalidConfig,
    };
    Refusal::new(code, error.to_string())
}
