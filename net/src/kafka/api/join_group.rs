//! JoinGroup (11), versions 0-9, flexible from 6: a member enters a group's next generation, and
//! learns it when all are in.
//!
//! Errors: 14/15/16 the coordinator's state, 23 no protocol in common, 24 an empty group id, 25 an
//! unknown member, 26 a session timeout out of bounds, 79 the member id to come back with (v4+),
//! 81 the group is full, 82 another instance has the same static id, 27 a rebalance got in
//! between.
//!
//! Clients: v0 has no rebalance timeout and means the session timeout. The protocol's name is not
//! nullable before v7. v5 brings static members, v8 reasons, v9 lets a leader skip its assignment.

pub use kacrab_protocol::generated::join_group_request::{
    JoinGroupRequestData as JoinGroupRequest, JoinGroupRequestProtocol,
};
pub use kacrab_protocol::generated::join_group_response::{
    JoinGroupResponseData as JoinGroupResponse, JoinGroupResponseMember,
};

use super::generated_api;
use crate::kafka::shape::{Kind, Part, Shape};
use crate::kafka::versions::{ApiKey, ApiRange};

/// The served versions.
pub const RANGE: ApiRange = ApiRange::new(ApiKey::JoinGroup, 0, 9, 6);

/// The request on the wire.
pub const SHAPE: Shape = &[
    Part::always(Kind::Text),
    Part::always(Kind::Fixed(4)),
    Part::since(1, Kind::Fixed(4)),
    Part::always(Kind::Text),
    Part::since(5, Kind::NullableText(5)),
    Part::always(Kind::Text),
    Part::always(Kind::List(&[
        Part::always(Kind::Text),
        Part::always(Kind::Bytes),
    ])),
    Part::since(8, Kind::NullableText(8)),
];

generated_api!(JoinGroupRequest => JoinGroupResponse);
