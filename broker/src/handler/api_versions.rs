//! ApiVersions: what this broker serves. Answered before anything else is known of the client.

use spate_net::kafka::{
    api::api_versions::{self, ApiVersionsRequest, ApiVersionsResponse},
    error::ErrorCode,
    header::Request,
};

use crate::{
    connection::Closed,
    handler::{Answered, decode, reply, unreadable},
};

/// Answers; a version above ours gets version 0 with error 35 and our ranges, its body unread.
pub fn answer(request: &Request) -> Result<Answered, Closed> {
    let Request {
        header,
        body,
        version_too_new,
    } = request;
    if *version_too_new {
        let frame = api_versions::version_too_new(header.correlation_id)
            .map_err(|error| unreadable(header, &error))?;
        return Ok(Answered::Frame {
            parts: vec![frame],
            memory: None,
        });
    }
    let asked: ApiVersionsRequest = decode(header, body)?;
    let response = if api_versions::is_valid_request(&asked, header.version) {
        ApiVersionsResponse::default().with_api_keys(api_versions::advertised())
    } else {
        ApiVersionsResponse::default().with_error_code(ErrorCode::InvalidRequest.code())
    };
    reply(header, &response)
}
