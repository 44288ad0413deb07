//! Metadata (3), versions 0-13, flexible from 9: brokers, topics, partitions and their leaders.
//!
//! Errors per topic: 3 unknown name, 100 unknown id (v12 by id), 17 bad name, 5 no leader yet (also
//! right after auto-creation), 29 not authorised. v13 has an error for the whole answer (129 asks
//! the client to bootstrap anew).
//!
//! Clients: in v0 an empty topic list means all topics; from v1 null means all and empty none (the
//! codec reads v0's empty list as an empty one, so the handler has to look at the version).
//! Auto-creation is asked for by the flag from v4; before that it is implied. The cluster's
//! authorised operations exist in v8-10 only, -2147483648 stands for "not asked".

pub use kacrab_protocol::generated::metadata_request::{
    MetadataRequestData as MetadataRequest, MetadataRequestTopic,
};
pub use kacrab_protocol::generated::metadata_response::{
    MetadataResponseBroker, MetadataResponseData as MetadataResponse, MetadataResponsePartition,
    MetadataResponseTopic,
};

use super::generated_api;
use crate::kafka::shape::{Kind, Part, Shape};
use crate::kafka::versions::{ApiKey, ApiRange};

/// The served versions.
pub const RANGE: ApiRange = ApiRange::new(ApiKey::Metadata, 0, 13, 9);

/// The request on the wire.
pub const SHAPE: Shape = &[
    Part::within(0, 0, Kind::List(TOPIC)),
    Part::since(1, Kind::NullableList(TOPIC)),
    Part::since(4, Kind::Bool),
    Part::within(8, 10, Kind::Bool),
    Part::since(8, Kind::Bool),
];

/// A topic of the request.
const TOPIC: Shape = &[
    Part::since(10, Kind::Fixed(16)),
    Part::always(Kind::NullableText(10)),
];

/// "Authorised operations were not asked for."
pub const NO_AUTHORIZED_OPERATIONS: i32 = i32::MIN;

generated_api!(MetadataRequest => MetadataResponse);

/// Whether the request asks for every topic.
#[must_use]
pub fn asks_for_all(request: &MetadataRequest, version: i16) -> bool {
    match &request.topics {
        None => true,
        Some(topics) => version == 0 && topics.is_empty(),
    }
}
