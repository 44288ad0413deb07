//! Heartbeat: a member lives.

use spate_net::kafka::{
    api::heartbeat::{HeartbeatRequest, HeartbeatResponse},
    error::ErrorCode,
};

use crate::{
    coordinator::message::{GroupAnswer, GroupAsk},
    handler::coordinate,
    shard::route::Router,
};

/// Answers.
pub async fn answer(asked: HeartbeatRequest, router: &Router) -> HeartbeatResponse {
    let group_id = asked.group_id.clone();
    let ask = GroupAsk::Heartbeat(Box::new(asked));
    let code = match coordinate::ask(router, group_id.as_str(), ask).await {
        Ok(GroupAnswer::Heard(code)) | Err(code) => code,
        Ok(_) => ErrorCode::UnknownServerError,
    };
    HeartbeatResponse::default().with_error_code(code.code())
}
