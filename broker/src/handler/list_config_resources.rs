//! ListConfigResources: which topics, brokers, groups and subscriptions to clients' metrics there
//! are to be described. Groups and subscriptions are those that have settings of their own.

use spate_net::kafka::{
    api::list_config_resources::{
        ConfigResource, ListConfigResourcesRequest, ListConfigResourcesResponse,
    },
    error::ErrorCode,
};

use crate::{
    config::resource::ResourceKind::{self, Broker, BrokerLogger, ClientMetrics, Group, Topic},
    image::Image,
};

/// Answers; version 0 knows subscriptions only.
pub fn answer(
    version: i16,
    asked: &ListConfigResourcesRequest,
    image: &Image,
) -> ListConfigResourcesResponse {
    let all = [Topic, Broker, BrokerLogger, ClientMetrics, Group];
    let kinds: Option<Vec<ResourceKind>> = match version {
        0 => Some(vec![ClientMetrics]),
        _ if asked.resource_types.is_empty() => Some(all.to_vec()),
        _ => {
            let numbers = asked.resource_types.iter();
            numbers.map(|number| ResourceKind::of(*number)).collect()
        }
    };
    let Some(mut kinds) = kinds else {
        let code = ErrorCode::UnsupportedVersion.code();
        return ListConfigResourcesResponse::default().with_error_code(code);
    };
    kinds.sort_unstable();
    kinds.dedup();
    let resources = kinds.into_iter().flat_map(|kind| {
        names(kind, image).into_iter().map(move |name| {
            ConfigResource::default()
                .with_resource_name(name.into())
                .with_resource_type(kind as i8)
        })
    });
    ListConfigResourcesResponse::default().with_config_resources(resources.collect())
}

fn names(kind: ResourceKind, image: &Image) -> Vec<String> {
    match kind {
        Topic => image.topics().map(|topic| topic.name.to_string()).collect(),
        Broker | BrokerLogger => vec![image.node.node_id.to_string()],
        ClientMetrics => image.configs.client_metrics.keys().cloned().collect(),
        Group => image.configs.groups.keys().cloned().collect(),
    }
}
