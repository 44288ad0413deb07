//! JoinGroup: answered when the group's joining phase is over, which may take minutes. Meanwhile
//! the connection's other requests wait, as in Kafka.

use std::rc::Rc;

use spate_net::kafka::{
    KafkaString,
    api::join_group::{JoinGroupRequest, JoinGroupResponse},
    error::ErrorCode,
    header::RequestHeader,
};

use crate::{
    connection::Client,
    coordinator::message::{GroupAnswer, GroupAsk, JoinAsk},
    handler::{Context, coordinate},
};

/// The first version that has the protocol's type, and in which its name may be null.
const PROTOCOL_TYPE_FROM: i16 = 7;

/// Answers.
pub async fn answer(
    context: &Rc<Context>,
    client: Client,
    header: &RequestHeader,
    asked: JoinGroupRequest,
) -> JoinGroupResponse {
    let (group_id, member_id) = (asked.group_id.clone(), asked.member_id.clone());
    let client_id = header.client_id.as_ref().map_or("", KafkaString::as_str);
    let make = |key| {
        GroupAsk::Join(Box::new(JoinAsk {
            key,
            version: header.version,
            client_id: client_id.to_owned(),
            client_host: format!("/{}", client.peer.ip()),
            asked,
        }))
    };
    let answer = coordinate::ask_and_wait(context, client, group_id.as_str(), make).await;
    let refused = |code: ErrorCode| {
        JoinGroupResponse::default()
            .with_member_id(member_id)
            .with_error_code(code.code())
    };
    let mut answer = match answer {
        Ok(GroupAnswer::Joined(answer)) => *answer,
        Ok(_) => refused(ErrorCode::UnknownServerError),
        Err(code) => refused(code),
    };
    if header.version < PROTOCOL_TYPE_FROM {
        answer.protocol_type = None;
        answer.protocol_name.get_or_insert_default();
    }
    answer
}
