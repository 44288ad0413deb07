//! LeaveGroup (13), versions 0-5, flexible from 4: members leave: themselves, or removed by an
//! administrator by instance id.
//!
//! Errors: 14/15/16 the coordinator's state, 25 an unknown member, 82 a fenced static member; from
//! v3 on for each member by itself.
//!
//! Clients: one member up to v2, a list from v3, reasons from v5. Static members do not leave when
//! they close.

pub use kacrab_protocol::generated::leave_group_request::{
    LeaveGroupRequestData as LeaveGroupRequest, MemberIdentity,
};
pub use kacrab_protocol::generated::leave_group_response::{
    LeaveGroupResponseData as LeaveGroupResponse, MemberResponse,
};

use super::generated_api;
use crate::kafka::shape::{Kind, Part, Shape};
use crate::kafka::versions::{ApiKey, ApiRange};

/// The served versions.
pub const RANGE: ApiRange = ApiRange::new(ApiKey::LeaveGroup, 0, 5, 4);

/// The request on the wire.
pub const SHAPE: Shape = &[
    Part::always(Kind::Text),
    Part::within(0, 2, Kind::Text),
    Part::since(
        3,
        Kind::List(&[
            Part::always(Kind::Text),
            Part::always(Kind::NullableText(3)),
            Part::since(5, Kind::NullableText(5)),
        ]),
    ),
];

generated_api!(LeaveGroupRequest => LeaveGroupResponse);
