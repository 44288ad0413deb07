//! ListOffsets (2), versions 1-11, flexible from 6: the offset for a timestamp.
//!
//! Timestamps below zero are questions of their own: see the constants. Not found is answered with
//! offset -1 and timestamp -1 and no error.
//!
//! Errors per partition: 3 unknown, 6 not the leader, 74/75 leader epoch older/newer (v4+), 78 the
//! high watermark lags behind a new leadership (v5+, before that 5), 43 timestamp of a kind that
//! the version does not know. Twice the same partition in one request: 42.
//!
//! Clients: kafka-python and librdkafka ask v1-v7, Java up to 11. v10 adds a timeout that only
//! matters to tiered storage.

pub use kacrab_protocol::generated::list_offsets_request::{
    ListOffsetsPartition, ListOffsetsRequestData as ListOffsetsRequest, ListOffsetsTopic,
};
pub use kacrab_protocol::generated::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsResponseData as ListOffsetsResponse,
    ListOffsetsTopicResponse,
};

use super::generated_api;
use crate::kafka::shape::{Kind, Part, Shape};
use crate::kafka::versions::{ApiKey, ApiRange};

/// The served versions.
pub const RANGE: ApiRange = ApiRange::new(ApiKey::ListOffsets, 1, 11, 6);

/// The request on the wire.
pub const SHAPE: Shape = &[
    Part::always(Kind::Fixed(4)),
    Part::since(2, Kind::Fixed(1)),
    Part::always(Kind::List(&[
        Part::always(Kind::Text),
        Part::always(Kind::List(PARTITION)),
    ])),
    Part::since(10, Kind::Fixed(4)),
];

/// A partition of the request.
const PARTITION: Shape = &[
    Part::always(Kind::Fixed(4)),
    Part::since(4, Kind::Fixed(4)),
    Part::always(Kind::Fixed(8)),
];

/// The end of the log: high watermark, or last stable offset for read_committed.
pub const LATEST_TIMESTAMP: i64 = -1;
/// The start of the log.
pub const EARLIEST_TIMESTAMP: i64 = -2;
/// The record with the largest timestamp (v7+).
pub const MAX_TIMESTAMP: i64 = -3;
/// The start of what lies on this node (v8+): the start of the log, without tiers.
pub const EARLIEST_LOCAL_TIMESTAMP: i64 = -4;
/// The end of what lies in the remote tier (v9+): nothing, without tiers.
pub const LATEST_TIERED_TIMESTAMP: i64 = -5;
/// The first offset not yet in the remote tier (v11+): the start of the log, without tiers.
pub const EARLIEST_PENDING_UPLOAD_TIMESTAMP: i64 = -6;

generated_api!(ListOffsetsRequest => ListOffsetsResponse);
