//! DescribeGroups (15), versions 0-6, flexible from 5: classic groups with their members.
//!
//! Errors per group: 14/15/16 the coordinator's state, 69 an unknown group (v6; before that it is
//! `Dead` without an error). Metadata and assignments are told of a stable group only.

pub use kacrab_protocol::generated::{
    describe_groups_request::DescribeGroupsRequestData as DescribeGroupsRequest,
    describe_groups_response::{
        DescribeGroupsResponseData as DescribeGroupsResponse, DescribedGroup, DescribedGroupMember,
    },
};

use super::generated_api;
use crate::kafka::shape::{Kind, Part, Shape};
use crate::kafka::versions::{ApiKey, ApiRange};

/// The served versions.
pub const RANGE: ApiRange = ApiRange::new(ApiKey::DescribeGroups, 0, 6, 5);

/// The request on the wire.
pub const SHAPE: Shape = &[
    Part::always(Kind::Values(&Kind::Text)),
    Part::since(3, Kind::Bool),
];

generated_api!(DescribeGroupsRequest => DescribeGroupsResponse);
