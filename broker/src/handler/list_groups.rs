//! ListGroups: every shard's groups, filtered here. A shard that is a broker of its own has its own
//! groups only: who asks every broker, as Kafka's tools do, sees each group once.

use futures_util::future::join_all;
use spate_net::kafka::{
    KafkaString,
    api::list_groups::{ListGroupsRequest, ListGroupsResponse, ListedGroup},
    error::ErrorCode,
};
use spate_storage::types::ShardId;

use crate::{
    coordinator::message::{GroupAnswer, GroupAsk},
    handler::coordinate,
    image::brokers::Listener,
    shard::route::Router,
};

/// The first version that tells states.
const STATES_FROM: i16 = 4;
/// The first version that tells types.
const TYPES_FROM: i16 = 5;

/// Answers.
pub async fn answer(
    version: i16,
    asked: &ListGroupsRequest,
    router: &Router,
    listener: Listener,
) -> ListGroupsResponse {
    let shards = match listener {
        Listener::Node => 0..router.shards(),
        Listener::Shard => router.me().0..router.me().0 + 1,
    };
    let shards = shards.map(ShardId);
    let asks = shards.map(|shard| coordinate::ask_shard(router, shard, GroupAsk::List));
    let mut groups = Vec::new();
    for answer in join_all(asks).await {
        match answer {
            GroupAnswer::Listed(Ok(listed)) => groups.extend(listed),
            GroupAnswer::Listed(Err(code)) => {
                return ListGroupsResponse::default().with_error_code(code.code());
            }
            _ => {
                let code = ErrorCode::UnknownServerError.code();
                return ListGroupsResponse::default().with_error_code(code);
            }
        }
    }
    groups.retain(|group| {
        is_among(&asked.states_filter, &group.group_state)
            && is_among(&asked.types_filter, &group.group_type)
    });
    for group in &mut groups {
        *group = in_version(version, std::mem::take(group));
    }
    ListGroupsResponse::default().with_groups(groups)
}

/// An empty filter lets everything through; case does not count.
fn is_among(filter: &[KafkaString], name: &KafkaString) -> bool {
    let is_it = |wanted: &KafkaString| wanted.as_str().eq_ignore_ascii_case(name.as_str());
    filter.is_empty() || filter.iter().any(is_it)
}

fn in_version(version: i16, mut group: ListedGroup) -> ListedGroup {
    if version < STATES_FROM {
        group.group_state = KafkaString::default();
    }
    if version < TYPES_FROM {
        group.group_type = KafkaString::default();
    }
    group
}
