//! The requests about groups that wait for nobody: which handler answers which.

use std::rc::Rc;

use spate_net::kafka::{header::Request, versions::ApiKey};

use crate::{
    connection::{Client, Closed},
    handler::{
        Answered, Context, decode, delete_groups, describe_groups, find_coordinator, heartbeat,
        leave_group, list_groups, offset_delete, offset_fetch, reply, unreadable,
    },
};

/// Answers.
pub async fn answer(
    context: &Rc<Context>,
    client: Client,
    request: &Request,
) -> Result<Answered, Closed> {
    let Request { header, body, .. } = request;
    let (router, version) = (&context.router, header.version);
    match header.api.key {
        ApiKey::FindCoordinator => {
            let asked = decode(header, body)?;
            let control = &context.control;
            let found = find_coordinator::answer(version, &asked, router, control, client.listener);
            reply(header, &found.await)
        }
        ApiKey::Heartbeat => {
            let asked = decode(header, body)?;
            reply(header, &heartbeat::answer(asked, router).await)
        }
        ApiKey::LeaveGroup => {
            let asked = decode(header, body)?;
            reply(header, &leave_group::answer(version, asked, router).await)
        }
        ApiKey::OffsetFetch => {
            let asked = decode(header, body)?;
            reply(header, &offset_fetch::answer(version, asked, router).await)
        }
        ApiKey::OffsetDelete => {
            let asked = decode(header, body)?;
            reply(header, &offset_delete::answer(asked, router).await)
        }
        ApiKey::ListGroups => {
            let asked = decode(header, body)?;
            reply(
                header,
                &list_groups::answer(version, &asked, router, client.listener).await,
            )
        }
        ApiKey::DescribeGroups => {
            let asked = decode(header, body)?;
            reply(
                header,
                &describe_groups::answer(version, asked, router).await,
            )
        }
        ApiKey::DeleteGroups => {
            let asked = decode(header, body)?;
            reply(header, &delete_groups::answer(asked, router).await)
        }
        _ => Err(unreadable(header, &"no handler serves it")),
    }
}
