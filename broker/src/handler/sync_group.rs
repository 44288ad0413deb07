//! SyncGroup: answered when the leader has brought the assignment and it is durable.

use std::{cell::Cell, rc::Rc};

use spate_net::kafka::{
    api::sync_group::{SyncGroupRequest, SyncGroupResponse},
    error::ErrorCode,
    header::{Request, RequestHeader},
};

use crate::{
    connection::{Client, Closed, Memory},
    coordinator::message::{GroupAnswer, GroupAsk},
    handler::{Answered, Context, coordinate, decode, detached, reply},
};

/// The first version that names the protocol.
const PROTOCOL_FROM: i16 = 5;

/// Answers.
pub async fn answer(
    context: &Rc<Context>,
    client: Client,
    request: Request,
    memory: &Cell<Option<Memory>>,
) -> Result<Answered, Closed> {
    let Request { header, body, .. } = request;
    let asked: SyncGroupRequest = decode(&header, &body)?;
    drop(body);
    // What the answer needs of the header is no text; the client's id would hold the frame.
    let header = RequestHeader {
        client_id: None,
        ..header
    };
    let refused = |code: ErrorCode| SyncGroupResponse::default().with_error_code(code.code());
    // Else a client could take the assignment of another protocol for its own (KIP-559).
    let names_protocol = asked.protocol_type.is_some() && asked.protocol_name.is_some();
    if header.version >= PROTOCOL_FROM && !names_protocol {
        return reply(&header, &refused(ErrorCode::InconsistentGroupProtocol));
    }
    let group_id = detached(&asked.group_id);
    let make = |key| GroupAsk::Sync(key, Box::new(asked));
    let answer = coordinate::ask_and_wait(context, client, group_id.as_str(), make, memory).await;
    let mut answer = match answer {
        Ok(GroupAnswer::Synced(answer)) => *answer,
        Ok(_) => refused(ErrorCode::UnknownServerError),
        Err(code) => refused(code),
    };
    if header.version < PROTOCOL_FROM {
        answer.protocol_type = None;
        answer.protocol_name = None;
    }
    reply(&header, &answer)
}
