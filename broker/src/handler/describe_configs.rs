//! DescribeConfigs: every setting of a topic or of this broker, with where its value comes from.

use std::collections::HashSet;

use spate_net::kafka::{
    KafkaString,
    api::describe_configs::{
        DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult,
        DescribeConfigsResponse, DescribeConfigsResult, DescribeConfigsSynonym,
    },
    error::ErrorCode,
};

use crate::{
    config::{
        describe::{self, ConfigRow},
        source::Settings,
    },
    control::message::Refusal,
    handler::message,
    image::Image,
};

/// Kafka's `ConfigResource.Type`.
const TOPIC: i8 = 2;
const BROKER: i8 = 4;

/// Answers in the order of the request.
pub fn answer(
    asked: DescribeConfigsRequest,
    image: &Image,
    settings: &Settings,
) -> DescribeConfigsResponse {
    // Each once: a topic named a thousand times is not a thousand times the documentation.
    let mut seen = HashSet::new();
    let results = asked
        .resources
        .iter()
        .filter(|resource| seen.insert((resource.resource_type, &resource.resource_name)))
        .map(|resource| match rows(resource, image, settings) {
            Ok(rows) => described(resource, rows, &asked),
            Err(refusal) => DescribeConfigsResult::default()
                .with_error_code(refusal.code.code())
                .with_error_message(message(&refusal.message))
                .with_resource_type(resource.resource_type)
                .with_resource_name(resource.resource_name.clone()),
        })
        .collect();
    DescribeConfigsResponse::default().with_results(results)
}

fn rows(
    resource: &DescribeConfigsResource,
    image: &Image,
    settings: &Settings,
) -> Result<Vec<ConfigRow>, Refusal> {
    let name = resource.resource_name.as_str();
    match resource.resource_type {
        TOPIC => match image.topic(name) {
            Some(topic) => Ok(describe::describe_topic(settings, &topic.overrides)),
            None => Err(Refusal::new(
                ErrorCode::UnknownTopicOrPartition,
                format!("topic {name:?} does not exist"),
            )),
        },
        // The empty name asks for settings that hold for all brokers by a dynamic change: none.
        BROKER if name.is_empty() => Ok(Vec::new()),
        // Shards that are brokers of their own have the node's settings.
        BROKER if name.parse().is_ok_and(|id| image.is_this_node(id)) => {
            Ok(describe::describe_broker(settings))
        }
        BROKER => Err(Refusal::new(
            ErrorCode::InvalidRequest,
            format!("this broker's id is {}, not {name:?}", image.node.node_id),
        )),
        other => Err(Refusal::new(
            ErrorCode::InvalidRequest,
            format!("configs of resource type {other} are not served: topics (2), brokers (4) are"),
        )),
    }
}

fn described(
    resource: &DescribeConfigsResource,
    rows: Vec<ConfigRow>,
    asked: &DescribeConfigsRequest,
) -> DescribeConfigsResult {
    let wanted = |row: &ConfigRow| {
        resource
            .configuration_keys
            .as_ref()
            .is_none_or(|keys| keys.iter().any(|key| key.as_str() == row.key))
    };
    let configs = rows
        .into_iter()
        .filter(wanted)
        .map(|row| told(row, asked))
        .collect();
    DescribeConfigsResult::default()
        .with_resource_type(resource.resource_type)
        .with_resource_name(resource.resource_name.clone())
        .with_configs(configs)
}

fn told(row: ConfigRow, asked: &DescribeConfigsRequest) -> DescribeConfigsResourceResult {
    let synonyms = if asked.include_synonyms {
        row.synonyms
    } else {
        Vec::new()
    };
    let synonyms = synonyms
        .into_iter()
        .map(|synonym| {
            DescribeConfigsSynonym::default()
                .with_name(synonym.key.to_owned().into())
                .with_value(synonym.value.map(KafkaString::from))
                .with_source(synonym.source as i8)
        })
        .collect();
    DescribeConfigsResourceResult::default()
        .with_name(row.key.to_owned().into())
        .with_value(row.value.map(KafkaString::from))
        .with_read_only(row.read_only)
        .with_config_source(row.source as i8)
        .with_is_sensitive(row.sensitive)
        .with_synonyms(synonyms)
        .with_config_type(row.kind as i8)
        .with_documentation(if asked.include_documentation {
            message(&row.documentation)
        } else {
            None
        })
}
