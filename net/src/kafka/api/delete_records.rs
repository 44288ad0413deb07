//! DeleteRecords (21), versions 0-2, flexible from 2: everything before an offset goes.
//!
//! Offset -1 is the high watermark. The answer's low watermark is the log's new first offset, -1
//! beside an error.
//!
//! Errors per partition: 3 unknown, 6 not the leader, 1 beyond the high watermark or negative, 44
//! the topic's cleanup.policy has no `delete`, 17 internal topic, 29 not authorised, 7 timeout.
//!
//! Clients: `kafka-delete-records` and every admin client; they ask each partition's leader.

pub use kacrab_protocol::generated::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsRequestData as DeleteRecordsRequest, DeleteRecordsTopic,
};
pub use kacrab_protocol::generated::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsResponseData as DeleteRecordsResponse,
    DeleteRecordsTopicResult,
};

use super::generated_api;
use crate::kafka::shape::{Kind, Part, Shape};
use crate::kafka::versions::{ApiKey, ApiRange};

/// The served versions.
pub const RANGE: ApiRange = ApiRange::new(ApiKey::DeleteRecords, 0, 2, 2);

/// The request on the wire.
pub const SHAPE: Shape = &[
    Part::always(Kind::List(&[
        Part::always(Kind::Text),
        Part::always(Kind::List(&[Part::always(Kind::Fixed(12))])),
    ])),
    Part::always(Kind::Fixed(4)),
];

/// The high watermark, as an offset to delete up to.
pub const HIGH_WATERMARK: i64 = -1;
/// The low watermark beside an error.
pub const NO_LOW_WATERMARK: i64 = -1;

generated_api!(DeleteRecordsRequest => DeleteRecordsResponse);
