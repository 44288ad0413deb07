//! LeaveGroup: members go.

use spate_net::kafka::{
    api::leave_group::{LeaveGroupRequest, LeaveGroupResponse},
    error::ErrorCode,
};

use crate::{
    coordinator::message::{GroupAnswer, GroupAsk},
    handler::coordinate,
    shard::route::Router,
};

/// The first version that names many members.
const MEMBERS_FROM: i16 = 3;

/// Answers.
pub async fn answer(version: i16, asked: LeaveGroupRequest, router: &Router) -> LeaveGroupResponse {
    let group_id = asked.group_id.clone();
    let ask = GroupAsk::Leave(Box::new(asked));
    let left = match coordinate::ask(router, group_id.as_str(), ask).await {
        Ok(GroupAnswer::Left(left)) => left,
        Ok(_) => Err(ErrorCode::UnknownServerError),
        Err(code) => Err(code),
    };
    let answer = LeaveGroupResponse::default();
    match left {
        Err(code) => answer.with_error_code(code.code()),
        Ok(members) if version >= MEMBERS_FROM => answer.with_members(members),
        Ok(members) => {
            let code = members.first().map_or(0, |member| member.error_code);
            answer.with_error_code(code)
        }
    }
}
