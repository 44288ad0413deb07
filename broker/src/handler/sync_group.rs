//! SyncGroup: answered when the leader has brought the assignment and it is durable.

use std::rc::Rc;

use spate_net::kafka::{
    api::sync_group::{SyncGroupRequest, SyncGroupResponse},
    error::ErrorCode,
};

use crate::{
    connection::Client,
    coordinator::message::{GroupAnswer, GroupAsk},
    handler::{Context, coordinate},
};

/// The first version that names the protocol.
const PROTOCOL_FROM: i16 = 5;

/// Answers.
pub async fn answer(
    context: &Rc<Context>,
    client: Client,
    version: i16,
    asked: SyncGroupRequest,
) -> SyncGroupResponse {
    let refused = |code: ErrorCode| SyncGroupResponse::default().with_error_code(code.code());
    // Else a client could take the assignment of another protocol for its own (KIP-559).
    let names_protocol = asked.protocol_type.is_some() && asked.protocol_name.is_some();
    if version >= PROTOCOL_FROM && !names_protocol {
        return refused(ErrorCode::InconsistentGroupProtocol);
    }
    let group_id = asked.group_id.clone();
    let make = |key| GroupAsk::Sync(key, Box::new(asked));
    let answer = coordinate::ask_and_wait(context, client, group_id.as_str(), make).await;
    let mut answer = match answer {
        Ok(GroupAnswer::Synced(answer)) => *answer,
        Ok(_) => refused(ErrorCode::UnknownServerError),
        Err(code) => refused(code),
    };
    if version < PROTOCOL_FROM {
        answer.protocol_type = None;
        answer.protocol_name = None;
    }
    answer
}
