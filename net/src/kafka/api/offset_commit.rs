//! OffsetCommit (8), versions 2-10, flexible from 8: how far a group has come in each partition.
//!
//! Errors: 3/100 an unknown topic, 12 metadata too long, 14/15/16 the coordinator's state, 22
//! another generation (and 69 from v9 for an unknown group), 25 an unknown member, 27 the group
//! has not been told its assignment, 28 too much at once, 82 a fenced static member.
//!
//! Clients: a consumer without a group sends generation -1 and an empty member id. v2-4 may ask
//! for a retention of their own. v9 carries a member epoch in the generation's place (KIP-848),
//! v10 names topics by id.

pub use kacrab_protocol::generated::offset_commit_request::{
    OffsetCommitRequestData as OffsetCommitRequest, OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
};
pub use kacrab_protocol::generated::offset_commit_response::{
    OffsetCommitResponseData as OffsetCommitResponse, OffsetCommitResponsePartition,
    OffsetCommitResponseTopic,
};

use super::generated_api;
use crate::kafka::shape::{Kind, Part, Shape};
use crate::kafka::versions::{ApiKey, ApiRange};

/// The served versions.
pub const RANGE: ApiRange = ApiRange::new(ApiKey::OffsetCommit, 2, 10, 8);

/// The request on the wire.
pub const SHAPE: Shape = &[
    Part::always(Kind::Text),
    Part::always(Kind::Fixed(4)),
    Part::always(Kind::Text),
    Part::since(7, Kind::NullableText(7)),
    Part::within(0, 4, Kind::Fixed(8)),
    Part::always(Kind::List(&[
        Part::within(0, 9, Kind::Text),
        Part::since(10, Kind::Fixed(16)),
        Part::always(Kind::List(&[
            Part::always(Kind::Fixed(12)),
            Part::since(6, Kind::Fixed(4)),
            Part::always(Kind::NullableText(0)),
        ])),
    ])),
];

generated_api!(OffsetCommitRequest => OffsetCommitResponse);
