//! DeleteGroups: groups without members go, with their offsets. Answered when that is durable.

use spate_net::kafka::{
    KafkaString,
    api::delete_groups::{DeletableGroupResult, DeleteGroupsRequest, DeleteGroupsResponse},
};

use crate::{
    coordinator::message::{GroupAnswer, GroupAsk},
    handler::coordinate,
    shard::route::Router,
};

/// Answers group by group; one that is named twice is deleted once.
pub async fn answer(asked: DeleteGroupsRequest, router: &Router) -> DeleteGroupsResponse {
    let (names, places) = coordinate::once(asked.groups_names);
    let mut results: Vec<DeletableGroupResult> = Vec::with_capacity(names.len());
    let mut without = Vec::new();
    let answers = coordinate::ask_all(
        router,
        names,
        KafkaString::as_str,
        GroupAsk::Delete,
        |id, code| {
            let result = DeletableGroupResult::default()
                .with_group_id(id)
                .with_error_code(code.code());
            without.push(result);
        },
    );
    for answer in answers.await {
        if let GroupAnswer::Deleted(deleted) = answer {
            results.extend(deleted);
        }
    }
    results.extend(without);
    results.sort_by_key(|result| places.get(&result.group_id).copied());
    DeleteGroupsResponse::default().with_results(results)
}
