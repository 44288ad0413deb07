//! OffsetDelete (47), version 0, never flexible: some offsets of a group go.
//!
//! Errors: 3 an unknown partition, 14/15/16 the coordinator's state, 68 members of a protocol that
//! the broker does not read, 69 an unknown group, 86 the group is subscribed to the topic.

pub use kacrab_protocol::generated::offset_delete_request::{
    OffsetDeleteRequestData as OffsetDeleteRequest, OffsetDeleteRequestPartition,
    OffsetDeleteRequestTopic,
};
pub use kacrab_protocol::generated::offset_delete_response::{
    OffsetDeleteResponseData as OffsetDeleteResponse, OffsetDeleteResponsePartition,
    OffsetDeleteResponseTopic,
};

use super::generated_api;
use crate::kafka::shape::{Kind, Part, Shape};
use crate::kafka::versions::{ApiKey, ApiRange};

/// The served versions.
pub const RANGE: ApiRange = ApiRange::new(ApiKey::OffsetDelete, 0, 0, i16::MAX);

/// The request on the wire.
pub const SHAPE: Shape = &[
    Part::always(Kind::Text),
    Part::always(Kind::List(&[
        Part::always(Kind::Text),
        Part::always(Kind::List(&[Part::always(Kind::Fixed(4))])),
    ])),
];

generated_api!(OffsetDeleteRequest => OffsetDeleteResponse);
