//! DeleteGroups (42), versions 0-2, flexible from 2: groups and their offsets go.
//!
//! Errors per group: 14/15/16 the coordinator's state, 68 it has members, 69 it does not exist.

pub use kacrab_protocol::generated::{
    delete_groups_request::DeleteGroupsRequestData as DeleteGroupsRequest,
    delete_groups_response::{
        DeletableGroupResult, DeleteGroupsResponseData as DeleteGroupsResponse,
    },
};

use super::generated_api;
use crate::kafka::shape::{Kind, Part, Shape};
use crate::kafka::versions::{ApiKey, ApiRange};

/// The served versions.
pub const RANGE: ApiRange = ApiRange::new(ApiKey::DeleteGroups, 0, 2, 2);

/// The request on the wire.
pub const SHAPE: Shape = &[Part::always(Kind::Values(&Kind::Text))];

generated_api!(DeleteGroupsRequest => DeleteGroupsResponse);
