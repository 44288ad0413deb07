//! ListGroups (16), versions 0-5, flexible from 3: the groups of this broker.
//!
//! Errors: 14/15 the coordinator's state. v4 filters by state, v5 by type; names of states and
//! types are compared without case.

pub use kacrab_protocol::generated::list_groups_request::ListGroupsRequestData as ListGroupsRequest;
pub use kacrab_protocol::generated::list_groups_response::{
    ListGroupsResponseData as ListGroupsResponse, ListedGroup,
};

use super::generated_api;
use crate::kafka::shape::{Kind, Part, Shape};
use crate::kafka::versions::{ApiKey, ApiRange};

/// The served versions.
pub const RANGE: ApiRange = ApiRange::new(ApiKey::ListGroups, 0, 5, 3);

/// The request on the wire.
pub const SHAPE: Shape = &[
    Part::since(4, Kind::Values(&Kind::Text)),
    Part::since(5, Kind::Values(&Kind::Text)),
];

generated_api!(ListGroupsRequest => ListGroupsResponse);
