//! DescribeConfigs: every setting of a topic, this broker, a group and so on, with where its value
//! comes from.

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
        describe::{self, ConfigRow, ConfigSource, ConfigType},
        layers::Texts,
        resource::ResourceKind,
    },
    control::{message::Refusal, name as topic_name},
    image::Image,
    logging::levels,
};

/// What groups and client metrics that need not exist may take in one answer.
const CONJURED_BYTES_MAX: usize = 16 << 20;
/// What a row takes beside its texts.
const ROW_BYTES: usize = 64;

/// Answers in the order of the request.
pub fn answer(asked: DescribeConfigsRequest, image: &Image) -> DescribeConfigsResponse {
    // Each once: a topic named a thousand times is not a thousand times the documentation.
    let mut seen = HashSet::new();
    let mut conjured_bytes = 0;
    let results = asked
        .resources
        .iter()
        .filter(|resource| seen.insert((resource.resource_type, &resource.resource_name)))
        .map(|resource| {
            let is_conjured = is_of_any_name(resource);
            if is_conjured && conjured_bytes > CONJURED_BYTES_MAX {
                return refused(resource, too_many());
            }
            let result = match rows(resource, image) {
                Ok(rows) => described(resource, rows, &asked),
                Err(refusal) => refused(resource, refusal),
            };
            conjured_bytes += if is_conjured { bytes(&result) } else { 0 };
            result
        })
        .collect();
    DescribeConfigsResponse::default().with_results(results)
}

/// Whether it is described whatever its name: of groups and client metrics Kafka knows only those
/// that have settings, and tells of all others the defaults. Each takes some bytes to ask and some
/// kilobytes to answer.
fn is_of_any_name(resource: &DescribeConfigsResource) -> bool {
    let kind = ResourceKind::of(resource.resource_type);
    matches!(
        kind,
        Some(ResourceKind::Group | ResourceKind::ClientMetrics)
    )
}

fn too_many() -> Refusal {
    invalid(format!(
        "The groups and client metrics before this one take {} MiB to describe: ask for the \
         others in another request",
        CONJURED_BYTES_MAX >> 20
    ))
}

fn refused(resource: &DescribeConfigsResource, refusal: Refusal) -> DescribeConfigsResult {
    DescribeConfigsResult::default()
        .with_error_code(refusal.code.code())
        .with_error_message(Some(refusal.message.into()))
        .with_resource_type(resource.resource_type)
        .with_resource_name(resource.resource_name.clone())
}

/// About what a result takes, in memory and on the wire.
fn bytes(result: &DescribeConfigsResult) -> usize {
    let row = |row: &DescribeConfigsResourceResult| {
        let texts = [&row.value, &row.documentation];
        let texts = texts.into_iter().flatten().map(|text| text.as_str().len());
        let synonyms = row.synonyms.iter();
        let synonyms = synonyms.map(|synonym| ROW_BYTES + synonym.name.as_str().len());
        ROW_BYTES + row.name.as_str().len() + texts.sum::<usize>() + synonyms.sum::<usize>()
    };
    result.configs.iter().map(row).sum()
}

fn rows(resource: &DescribeConfigsResource, image: &Image) -> Result<Vec<ConfigRow>, Refusal> {
    let name = resource.resource_name.as_str();
    let configs = &image.configs;
    let nothing = Texts::new();
    match ResourceKind::of(resource.resource_type) {
        Some(ResourceKind::Topic) => {
            topic_name::check(name)
                .map_err(|text| Refusal::new(ErrorCode::InvalidTopicException, text))?;
            let topic = image.topic(name).ok_or_else(|| {
                let text = format!("The topic '{name}' does not exist.");
                Refusal::new(ErrorCode::UnknownTopicOrPartition, text)
            })?;
            Ok(describe::describe_topic(&configs.broker, &topic.overrides))
        }
        Some(ResourceKind::Broker) if name.is_empty() => {
            Ok(describe::describe_cluster(&configs.broker))
        }
        Some(ResourceKind::Broker) => {
            check_broker(name, "expected {} or empty string,", image)?;
            Ok(describe::describe_broker(&configs.broker))
        }
        Some(ResourceKind::BrokerLogger) if name.is_empty() => {
            Err(invalid("Broker id must not be empty"))
        }
        Some(ResourceKind::BrokerLogger) => {
            check_broker(name, "expected {}", image)?;
            Ok(levels::all().into_iter().map(logger).collect())
        }
        Some(ResourceKind::ClientMetrics) if name.is_empty() => Err(invalid(
            "Client metrics subscription name must not be empty",
        )),
        Some(ResourceKind::ClientMetrics) => {
            let own = configs.client_metrics.get(name).unwrap_or(&nothing);
            Ok(describe::describe_client_metrics(own))
        }
        Some(ResourceKind::Group) if name.is_empty() => {
            Err(invalid("Group name must not be empty"))
        }
        Some(ResourceKind::Group) => {
            let own = configs.groups.get(name).unwrap_or(&nothing);
            Ok(describe::describe_group(own))
        }
        None => {
            let kind = resource.resource_type;
            Err(invalid(format!("Unknown resource type {kind}")))
        }
    }
}

fn invalid(text: impl Into<String>) -> Refusal {
    Refusal::new(ErrorCode::InvalidRequest, text)
}

fn check_broker(name: &str, expected: &str, image: &Image) -> Result<(), Refusal> {
    let id: i32 = name
        .parse()
        .map_err(|_| invalid(format!("Broker id must be an integer, but it is: {name}")))?;
    if image.is_this_node(id) {
        return Ok(());
    }
    let expected = expected.replace("{}", &image.node.node_id.to_string());
    let text = format!("Unexpected broker id, {expected} but received {id}");
    Err(invalid(text))
}

fn logger((logger, level): (&'static str, String)) -> ConfigRow {
    ConfigRow {
        key: logger.into(),
        value: Some(level),
        source: ConfigSource::BrokerLogger,
        synonyms: Vec::new(),
        kind: ConfigType::Unknown,
        documentation: String::new(),
        read_only: false,
        sensitive: false,
    }
}

fn described(
    resource: &DescribeConfigsResource,
    rows: Vec<ConfigRow>,
    asked: &DescribeConfigsRequest,
) -> DescribeConfigsResult {
    // No keys at all mean every key, as null does.
    let wanted = |row: &ConfigRow| {
        resource
            .configuration_keys
            .as_ref()
            .filter(|keys| !keys.is_empty())
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
        // Kafka's, where no text is no null.
        .with_error_message(Some(KafkaString::from_static("")))
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
                .with_name(synonym.key.into_owned().into())
                .with_value(synonym.value.map(KafkaString::from))
                .with_source(synonym.source as i8)
        })
        .collect();
    DescribeConfigsResourceResult::default()
        .with_name(row.key.into_owned().into())
        .with_value(row.value.map(KafkaString::from))
        .with_read_only(row.read_only)
        .with_config_source(row.source as i8)
        .with_is_sensitive(row.sensitive)
        .with_synonyms(synonyms)
        .with_config_type(row.kind as i8)
        .with_documentation(if asked.include_documentation {
            Some(row.documentation.into())
        } else {
            None
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{ImageVersion, NodeInfo};

    #[test]
    fn groups_of_any_name_do_not_make_an_answer_without_bound() {
        let group = |number: usize| {
            DescribeConfigsResource::default()
                .with_resource_type(32)
                .with_resource_name(format!("group-{number}").into())
        };
        let asked = DescribeConfigsRequest::default()
            .with_include_documentation(true)
            .with_include_synonyms(true)
            .with_resources((0..100_000).map(group).collect());
        let node = NodeInfo {
            node_id: 1,
            host: "host".into(),
            port: 9092,
            rack: None,
        };
        let image = Image::new(ImageVersion(1), "c".into(), node, []);
        let answer = answer(asked, &image);
        assert_eq!(answer.results.len(), 100_000, "each is told of");
        assert_eq!(answer.results[0].error_code, 0);
        let last = &answer.results[99_999];
        assert_eq!(last.error_code, ErrorCode::InvalidRequest.code());
        let all: usize = answer.results.iter().map(bytes).sum();
        assert!(all < 2 * CONJURED_BYTES_MAX, "{all}");
    }
}
