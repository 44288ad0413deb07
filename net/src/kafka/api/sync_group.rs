//! SyncGroup (14), versions 0-5, flexible from 4: the leader hands out what each member is to do,
//! and each member gets its part.
//!
//! Errors: 14/15/16 the coordinator's state, 22 another generation, 23 another protocol than the
//! group's (v5), 25 an unknown member, 27 the next rebalance has begun, 82 a fenced static member.
//!
//! Clients: only the leader sends assignments; the others' lists are empty.

pub use kacrab_protocol::generated::sync_group_request::{
    SyncGroupRequestAssignment, SyncGroupRequestData as SyncGroupRequest,
};
pub use kacrab_protocol::generated::sync_group_response::SyncGroupResponseData as SyncGroupResponse;

use super::generated_api;
use crate::kafka::shape::{Kind, Part, Shape};
use crate::kafka::versions::{ApiKey, ApiRange};

/// The served versions.
pub const RANGE: ApiRange = ApiRange::new(ApiKey::SyncGroup, 0, 5, 4);

/// The request on the wire.
pub const SHAPE: Shape = &[
    Part::always(Kind::Text),
    Part::always(Kind::Fixed(4)),
    Part::always(Kind::Text),
    Part::since(3, Kind::NullableText(3)),
    Part::since(5, Kind::NullableText(5)),
    Part::since(5, Kind::NullableText(5)),
    Part::always(Kind::List(&[
        Part::always(Kind::Text),
        Part::always(Kind::Bytes),
    ])),
];

generated_api!(SyncGroupRequest => SyncGroupResponse);
