//! LeaveGroup: members go.

use spate_net::kafka::{
    api::leave_group::{LeaveGroupRequest, LeaveGroupResponse, MemberIdentity},
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
pub async fn answer(
    version: i16,
    mut asked: LeaveGroupRequest,
    router: &Router,
) -> LeaveGroupResponse {
    if version < MEMBERS_FROM {
        let member_id = std::mem::take(&mut asked.member_id);
        asked.members = vec![MemberIdentity::default().with_member_id(member_id)];
    }
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
