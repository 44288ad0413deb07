//! JoinGroup: answered when the group's joining phase is over, which may take minutes. Meanwhile
//! the connection's other requests wait, as in Kafka; the request's memory does not.

use std::{cell::Cell, rc::Rc};

use spate_net::kafka::{
    KafkaString,
    api::join_group::{JoinGroupRequest, JoinGroupResponse},
    error::ErrorCode,
    header::Request,
};

use crate::{
    connection::{Client, Closed, Memory},
    coordinator::message::{GroupAnswer, GroupAsk, JoinAsk},
    handler::{Answered, Context, coordinate, decode, detached, reply},
};

/// The first version that has the protocol's type, and in which its name may be null.
const PROTOCOL_TYPE_FROM: i16 = 7;

/// Answers.
pub async fn answer(
    context: &Rc<Context>,
    client: Client,
    request: Request,
    memory: &Cell<Option<Memory>>,
) -> Result<Answered, Closed> {
    let Request {
        mut header, body, ..
    } = request;
    let asked: JoinGroupRequest = decode(&header, &body)?;
    drop(body);
    header.client_id = header.client_id.as_ref().map(detached);
    let (group_id, member_id) = (detached(&asked.group_id), detached(&asked.member_id));
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
    let answer = coordinate::ask_and_wait(context, client, group_id.as_str(), make, memory).await;
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
    reply(&header, &answer)
}
