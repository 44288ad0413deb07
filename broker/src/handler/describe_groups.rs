//! DescribeGroups: classic groups and their members.

use spate_net::kafka::{
    KafkaString,
    api::describe_groups::{DescribeGroupsRequest, DescribeGroupsResponse, DescribedGroup},
    error::ErrorCode,
};

use crate::{
    coordinator::message::{GroupAnswer, GroupAsk},
    handler::coordinate,
    shard::route::Router,
};

/// All operations on a group (read, delete, describe, describe and alter configs), as bits of
/// Kafka's `AclOperation`.
const GROUP_OPERATIONS: i32 = 0b1101_0100_1000;

/// The first version that tells an unknown group as an error and not as a dead one.
const UNKNOWN_FROM: i16 = 6;
/// The first version that tells static members.
const INSTANCES_FROM: i16 = 4;
/// The first version that tells what may be done.
const OPERATIONS_FROM: i16 = 3;

/// Answers in the order of the request, each group once.
pub async fn answer(
    version: i16,
    asked: DescribeGroupsRequest,
    router: &Router,
) -> DescribeGroupsResponse {
    let (names, places) = coordinate::once(asked.groups);
    let mut groups = Vec::with_capacity(names.len());
    let mut without = Vec::new();
    let answers = coordinate::ask_all(
        router,
        names,
        KafkaString::as_str,
        GroupAsk::Describe,
        |id, code| without.push((id, code)),
    );
    for answer in answers.await {
        if let GroupAnswer::Described(described) = answer {
            groups.extend(described);
        }
    }
    groups.extend(without.into_iter().map(|(id, code)| failed(id, code)));
    groups.sort_by_key(|group| places.get(&group.group_id).copied());
    let operations = asked.include_authorized_operations && version >= OPERATIONS_FROM;
    for group in &mut groups {
        *group = in_version(version, operations, std::mem::take(group));
    }
    DescribeGroupsResponse::default().with_groups(groups)
}

fn failed(id: KafkaString, code: ErrorCode) -> DescribedGroup {
    DescribedGroup::default()
        .with_group_id(id)
        .with_error_code(code.code())
}

fn in_version(version: i16, operations: bool, mut group: DescribedGroup) -> DescribedGroup {
    if version < UNKNOWN_FROM {
        group.error_message = None;
        if group.error_code == ErrorCode::GroupIdNotFound.code() {
            group.error_code = 0;
        }
    }
    if version < INSTANCES_FROM {
        for member in &mut group.members {
            member.group_instance_id = None;
        }
    }
    if operations && group.error_code == 0 {
        group.authorized_operations = GROUP_OPERATIONS;
    }
    group
}
